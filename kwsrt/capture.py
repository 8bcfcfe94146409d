"""A live microphone as chunks of samples, whatever rate it runs at and however busy the machine is."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from kwsrt.arguments import LARGEST_INT, whole
from kwsrt.audio import as_float, check_rate
from kwsrt.errors import MicrophoneError, no_copy
from kwsrt.resample import Resampler

# Seconds of audio that wait for a reader that has fallen behind, before new audio is dropped.
LONGEST_QUEUE = 5.0
CHUNK = 0.03
# PulseAudio takes two seconds for the first chunk; a device that is silent longer than this is gone.
LONGEST_SILENCE = 6.0
RETRY = 1.0


def sounddevice() -> Any:
    """The module sounddevice.

    Raises
    ------
    MicrophoneError : it is missing, or its PortAudio is.
    """
    try:
        import sounddevice
    except ImportError:
        raise MicrophoneError("sounddevice is not installed; run: pip install sounddevice") from None
    except OSError as error:
        raise MicrophoneError(f"{error}; on Debian and Raspberry Pi OS run: sudo apt install libportaudio2") from None
    return sounddevice


class Microphone:
    """Chunks of a live microphone: iterate over it. Opened at once; close it, or use it in a `with` statement.

    PortAudio's own thread only copies the samples; where the reader falls more than five seconds behind, new audio is
    dropped, counted, and replaced by as much silence, so that times stay true.

    Parameters
    ----------
    device : sounddevice's index, or a part of the device's name; None for the default input.
    sample_rate : Hz of the chunks. A device that does not offer it is opened at its own rate and resampled.
    reconnect : try again, once a second, when the device disappears, instead of raising MicrophoneError.

    Attributes
    ----------
    name : of the device. native_rate : Hz that it runs at. overflows : how often audio was lost on the way.
    reconnections : how often the device came back.

    Raises
    ------
    MicrophoneError : no PortAudio (Debian: apt install libportaudio2), no such device, one that cannot be opened; from
        the iterator, one that stopped. AudioError : a sample rate outside 1 kHz to 1 MHz. OptionError : a
        device that is no number and no text.
    """

    def __init__(self, device: int | str | None = None, *, sample_rate: int = 16000, reconnect: bool = False) -> None:
        check_rate(sample_rate)
        if device is not None and not isinstance(device, str):
            device = whole(device, "device", -LARGEST_INT, LARGEST_INT)  # sounddevice knows Python's int alone
        self.sample_rate, self.overflows, self.reconnections = sample_rate, 0, 0
        self._device, self._reconnect = device, reconnect
        self._stream: Any = None
        self._closed = False
        self._open()

    def _open(self) -> None:
        library = sounddevice()
        self._chunks: queue.Queue[tuple[int, bytes]] = queue.Queue(int(LONGEST_QUEUE / CHUNK))
        self._lost = 0
        try:
            found = library.query_devices(self._device, "input")
            self.name = str(found["name"])
            self.native_rate = self._usable_rate(library, found)
            self._stream = library.RawInputStream(
                samplerate=self.native_rate,
                device=self._device,
                channels=1,
                dtype="int16",
                blocksize=round(CHUNK * self.native_rate),
                callback=self._copy,
            )
            self._stream.start()
        except (library.PortAudioError, ValueError, OverflowError) as error:
            self._release()
            raise MicrophoneError(f"cannot open the microphone: {error}") from None
        same = self.native_rate == self.sample_rate
        self._resampler = None if same else Resampler(self.native_rate, self.sample_rate)

    def _usable_rate(self, library: Any, found: dict[str, Any]) -> int:
        try:
            library.check_input_settings(device=self._device, channels=1, dtype="int16", samplerate=self.sample_rate)
        except library.PortAudioError:
            return int(found["default_samplerate"])
        return self.sample_rate

    def _copy(self, data: Any, frames: int, clock: Any, status: Any) -> None:
        """PortAudio's callback: copies, and never waits."""
        if status and status.input_overflow:
            self.overflows += 1
        try:
            self._chunks.put_nowait((self._lost, bytes(data)))
            self._lost = 0
        except queue.Full:
            self.overflows += 1
            self._lost += frames

    def __reduce__(self) -> NoReturn:
        raise no_copy(self, "open it a second time")

    @property
    def waiting(self) -> float:
        """Seconds of audio that were recorded and not yet read."""
        return self._chunks.qsize() * CHUNK

    def __iter__(self) -> Iterator[NDArray[np.int16] | NDArray[np.float32]]:
        """Chunks (n,): int16 as recorded, or float32 where they had to be resampled, until the microphone is closed."""
        last = time.monotonic()
        while not self._closed:
            try:
                lost, data = self._chunks.get(timeout=0.1)
            except queue.Empty:
                stream = self._stream
                silent = time.monotonic() - last
                if not self._closed and (stream is None or not stream.active or silent > LONGEST_SILENCE):
                    self._gone()
                    last = time.monotonic()
            else:
                last = time.monotonic()
                yield from self._converted(np.frombuffer(bytes(2 * lost) + data, np.int16))

    def _converted(self, samples: NDArray[np.int16]) -> Iterator[NDArray[np.int16] | NDArray[np.float32]]:
        if self._resampler is None:
            yield samples
        elif len(converted := self._resampler.push(as_float(samples))):
            yield converted

    def _gone(self) -> None:
        """The device stopped: wait until it is back, or raise."""
        self._release()
        if not self._reconnect:
            raise MicrophoneError(f"the microphone stopped: {self.name}")
        library = sounddevice()
        while not self._closed:
            # PortAudio looks for devices only when it starts.
            library._terminate()
            library._initialize()
            try:
                self._open()
            except MicrophoneError:
                time.sleep(RETRY)
            else:
                self.reconnections += 1
                return

    def close(self) -> None:
        """Stop recording; iteration ends. May be called twice, and from another thread."""
        self._closed = True
        self._release()

    def _release(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def microphone(device: int | str | None = None, *, sample_rate: int = 16000, reconnect: bool = False) -> Microphone:
    """Open a microphone, for example for `kwsrt.detect(kwsrt.microphone())`. See Microphone."""
    return Microphone(device, sample_rate=sample_rate, reconnect=reconnect)


def devices() -> list[dict[str, Any]]:
    """The inputs of this machine: dicts of index, name, channels, sample_rate (Hz, its own) and default (bool).

    Raises
    ------
    MicrophoneError : no PortAudio.
    """
    library = sounddevice()
    try:
        default = library.query_devices(kind="input")["index"]
    except (library.PortAudioError, ValueError):
        default = None
    return [
        {
            "index": found["index"],
            "name": found["name"],
            "channels": found["max_input_channels"],
            "sample_rate": round(found["default_samplerate"]),
            "default": found["index"] == default,
        }
        for found in library.query_devices()
        if found["max_input_channels"] > 0
    ]
