"""From a microphone to keywords, all day long: `listen`."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self

from numpy.typing import NDArray

from kwsrt.capture import Microphone
from kwsrt.decision import Detection, Detector
from kwsrt.errors import no_copy
from kwsrt.model import Model, default_model, load
from kwsrt.scores import Scores
from kwsrt.stream import Stream

# A reader so many seconds behind takes the thinnest level, and "auto" again when it has caught up.
BEHIND, CAUGHT_UP = 0.5, 0.1


class Step(NamedTuple):
    """One chunk of the microphone and what came of it.

    samples : (n,) int16 or float32. scores : Scores of the decisions that they completed. detections : list.
    """

    samples: NDArray[Any]
    scores: Scores
    detections: list[Detection]


class Listener:
    """Detections of a live microphone, made by `listen`: iterate with `for` or `async for`, or let it call back.

    Attributes
    ----------
    microphone : its name, native_rate, overflows and reconnections tell how recording goes. model : Model.
    stream : its `thin` tells the level in use. fallbacks : how often the machine did not keep up with `thin="auto"`.
    """

    def __init__(self, microphone: Microphone, model: Model, stream: Stream, detector: Detector) -> None:
        self.microphone, self.model, self.stream, self.fallbacks = microphone, model, stream, 0
        self._detector, self._adaptive = detector, stream.thin == "auto"
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __reduce__(self) -> NoReturn:
        raise no_copy(self, "call listen again")

    def steps(self) -> Iterator[Step]:
        """Every chunk with its scores and detections, for meters and recorders."""
        for samples in self.microphone:
            if self._adaptive:
                self._keep_up()
            scores = self.stream.push(samples)
            yield Step(samples, scores, self._detector.push(scores))

    def _keep_up(self) -> None:
        if self.microphone.waiting > BEHIND and self.stream.thin == "auto":
            self.stream.thin = self.model.thin_levels[-1]
            self.fallbacks += 1
        elif self.microphone.waiting < CAUGHT_UP:
            self.stream.thin = "auto"

    def __iter__(self) -> Iterator[Detection]:
        for step in self.steps():
            yield from step.detections

    async def __aiter__(self) -> AsyncIterator[Detection]:
        import asyncio  # takes as long as the rest of kwsrt

        loop = asyncio.get_running_loop()
        heard: asyncio.Queue[Detection | None] = asyncio.Queue()

        def later(event: Detection | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(heard.put_nowait, event)

        self.start(later, ended=lambda: later(None))
        try:
            while (event := await heard.get()) is not None:
                yield event
        finally:
            self.close()
        self.wait()

    def start(self, callback: Callable[[Detection], object], *, ended: Callable[[], object] = lambda: None) -> None:
        """Call back for every detection from a thread of its own, and `ended` when there will be no more.

        What goes wrong there, in the callback too, ends it and is raised by `wait`."""

        def run() -> None:
            try:
                for event in self:
                    callback(event)
            except BaseException as error:
                self._error = error
            finally:
                self.close()
                ended()

        self._thread = threading.Thread(target=run, name="kwsrt.listen", daemon=True)
        self._thread.start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the thread of `start`, for so long at most; whether it has ended. Raises what ended it."""
        if self._thread is not None:
            self._thread.join(seconds)
            if self._thread.is_alive():
                return False
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return True

    def close(self) -> None:
        """Stop listening; iteration ends."""
        self.microphone.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def listen(
    device: int | str | None = None,
    *,
    callback: Callable[[Detection], object] | None = None,
    model: Model | str | Path | None = None,
    thin: str = "auto",
    threshold: float | Mapping[str, float] | None = None,
    smoothing: int | None = None,
    patience: int | None = None,
    refractory: float = 0.5,
    debounce: float = 0.0,
    stride: int | None = None,
    gate: float | None = -70.0,
    reconnect: bool = False,
) -> Listener:
    """Hear keywords from a microphone.

    >>> for heard in kwsrt.listen():             # or: async for, or listen(callback=print).wait()
    ...     print(heard.label)

    Parameters
    ----------
    device : sounddevice's index, or a part of the device's name (`kwsrt devices` lists them); None for the default.
    callback : called with every Detection from a thread of its own, which ends when the Listener is closed.
    model : a Model, or what `load` takes; by default the bundled model.
    thin : thinning level; with "auto", the default, deeper levels run only where a thinner one is not sure, and the
        thinnest alone while the machine does not keep up.
    threshold, smoothing, patience, refractory, debounce : see Detector; by default the model's own.
    stride : frames (30 ms) between decisions; None: 2, of a causal network 4. gate : dB below which nothing is heard,
        None for never; see Model.stream. A model without the label `_silence_` has no gate.
    reconnect : wait for a device that disappeared, instead of raising MicrophoneError.

    Raises
    ------
    MicrophoneError, ModelFileError, ThinError, OptionError : at the call; MicrophoneError also later, see Microphone.
    """
    chosen = default_model() if model is None else model if isinstance(model, Model) else load(model)
    detector = chosen.detector(
        threshold=threshold, smoothing=smoothing, patience=patience, refractory=refractory, debounce=debounce
    )
    stream = chosen.stream(thin=thin, stride=stride, gate=gate if "_silence_" in chosen.labels else None)
    microphone = Microphone(device, sample_rate=chosen.sample_rate, reconnect=reconnect)
    listener = Listener(microphone, chosen, stream, detector)
    if callback is not None:
        listener.start(callback)
    return listener
