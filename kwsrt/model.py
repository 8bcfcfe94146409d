"""A packed network with all that belongs to it, ready to hear: `load`, `Model`, `detect`."""

import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kwsrt import audio as audio_module
from kwsrt import format as file_format
from kwsrt.arguments import shown
from kwsrt.decision import Detection, Detector
from kwsrt.errors import AudioError, KwsrtError, ModelFileError
from kwsrt.frontend import FrontEnd, as_array
from kwsrt.layers import Kernels
from kwsrt.network import CLEAR, Network
from kwsrt.reading import Recording, Samples, is_recording
from kwsrt.stream import Stream

DEFAULT_MODEL = "commands12"
# Samples are pushed through in pieces of this many seconds, so that detections in many come as they are found.
PIECE = 10


class Model:
    """A keyword model: immutable, safe to share between threads and streams. Made by `kwsrt.load`.

    It can be copied and pickled, for example to be sent to another process; a pickle holds the bytes of the model file.

    Attributes
    ----------
    name : str. labels : tuple of str, in the order of scores; those that begin with an underscore are no keywords.
    thin_levels : tuple of str, thinning levels, slowest and most accurate first.
    sample_rate : Hz. window : samples that one decision covers. isa : instruction set of the kernels in use.
    threshold : score that a keyword must reach, or {label: score}. smoothing, patience : decisions. Of its detectors,
        unless they are told others.
    manifest : dict, everything that the model file says of itself. tensors : its arrays by name.
    size : bytes of the file. checksum : SHA-256, hex.
    """

    def __init__(self, file: file_format.ModelFile) -> None:
        self._file = file
        self.manifest: Mapping[str, Any] = file.manifest
        self.name: str = file.manifest["name"]
        self.labels: tuple[str, ...] = tuple(file.manifest["labels"])
        self.size, self.checksum = file.size, file.checksum
        self.tensors = file.tensors
        kernels = Kernels()
        try:
            self.frontend = FrontEnd(**file.manifest["frontend"])
            others = [index for index, label in enumerate(self.labels) if label.startswith("_")]
            self.network = Network(
                file.manifest["network"],
                len(self.labels),
                file.tensors,
                kernels,
                clear=file.manifest.get("clear", CLEAR),
                others=others,
            )
        except (KwsrtError, TypeError, OverflowError) as error:
            raise ModelFileError(f"the model cannot be run: {error}") from None
        self.thin_levels: tuple[str, ...] = self.network.levels
        self.sample_rate: int = self.frontend.sample_rate
        self.window: int = (self.network.frames - 1) * self.frontend.hop + self.frontend.window
        self.isa: str = self.network.kernels.isa
        self.threshold: float | dict[str, float] = file.manifest.get("threshold", 0.8)
        self.smoothing: int = file.manifest.get("smoothing", 5)
        self.patience: int = file.manifest.get("patience", 3)

    def __reduce__(self) -> tuple[Any, ...]:
        """The file, and what may have been changed since, or added by a subclass; all else is made of the file anew."""
        made = ("_file", "manifest", "tensors", "frontend", "network", "isa")
        return _of_file, (type(self), self._file), {key: value for key, value in vars(self).items() if key not in made}

    def __repr__(self) -> str:
        return f"<kwsrt.Model {self.name!r}: {len(self.labels)} labels, {', '.join(self.thin_levels)}, {self.isa}>"

    @overload
    def predict(
        self, clips: NDArray[Any], *, sample_rate: float | None = ..., thin: str = ..., channel: int | None = ...
    ) -> dict[str, float]: ...
    @overload
    def predict(
        self, clips: Sequence[ArrayLike], *, sample_rate: float | None = ..., thin: str = ..., channel: int | None = ...
    ) -> list[dict[str, float]]: ...

    def predict(
        self, clips: Any, *, sample_rate: float | None = None, thin: str = "full", channel: int | None = None
    ) -> Any:
        """Scores of about a second of audio, or of a batch of such clips.

        A clip is centred in the window of one decision (`window` samples, 1.264 s for the bundled model). One that
        fills three quarters of it goes on as its mirror image, since no background begins at once; a shorter one lies
        in silence. Longer ones, up to 1.5 windows, are cut on both sides. For longer audio use `detect`.

        Parameters
        ----------
        clips : one clip (n,) or (n, channels) with at most 8 channels, int16 or float32 within [-1, 1], or bytes or
            other memory of 16-bit samples; or a batch: a list or tuple of clips, or an array (clips, n).
        sample_rate : Hz of the clips, by default the model's.
        thin : thinning level, or "auto" (see `stream`).
        channel : number of the channel to hear, 0 is the first; by default the mean of all.

        Returns
        -------
        {label: score}, scores sum to 1; for a batch a list of them.

        Raises
        ------
        AudioError : unusable audio, no such channel, or a clip that is too long. ThinError : an unknown level.

        Warns
        -----
        AudioWarning : channels that cancel each other.
        """
        is_batch = _holds_clips(clips)
        if not is_batch:
            clips = as_array(clips)
            is_batch = clips.ndim == 3 or (clips.ndim == 2 and clips.shape[1] > 8)
        batch = clips if is_batch else [clips]
        rate = self.sample_rate if sample_rate is None else sample_rate
        features = (
            np.stack([self._features(clip, rate, channel) for clip in batch])
            if len(batch)
            else np.empty((0, self.network.frames, self.network.bins), np.int8)
        )
        results = [dict(zip(self.labels, row, strict=True)) for row in self.network.run(features, thin).tolist()]
        return results if is_batch else results[0]

    def _features(self, clip: ArrayLike, sample_rate: float, channel: int | None) -> NDArray[np.int8]:
        samples: NDArray[Any] = audio_module.prepare(clip, sample_rate, self.sample_rate, channel)
        if len(samples) > 1.5 * self.window:
            raise AudioError(
                f"the clip has {len(samples) / self.sample_rate:.2f} s, predict takes at most "
                f"{1.5 * self.window / self.sample_rate:.2f} s: use kwsrt.detect for longer audio"
            )
        return self.frontend.quantized(audio_module.middle(samples, self.window))

    def stream(self, *, thin: str = "full", stride: int | None = None, gate: float | None = None) -> Stream:
        """A new Stream: the state of one audio source, which yields the scores of a decision every `stride` frames.

        thin : thinning level, or "auto": the thinnest first, deeper ones unless it is sure that it hears no keyword.
        gate : dB below a full-scale sine, such as -70: windows in which no mel band reaches it are `_silence_`.

        Raises
        ------
        ThinError : an unknown level. OptionError : a stride that is no whole number from 1 to 10,000, a gate that is no
            number or without `_silence_`.
        """
        silence = self.labels.index("_silence_") if "_silence_" in self.labels else None
        return Stream(self.frontend, self.network, thin=thin, stride=stride, gate=gate, silence=silence)

    def detector(
        self,
        *,
        threshold: float | Mapping[str, float] | None = None,
        smoothing: int | None = None,
        patience: int | None = None,
        refractory: float = 0.5,
        debounce: float = 0.0,
    ) -> Detector:
        """A new Detector for a stream of this model: threshold, smoothing and patience are its own unless given.

        Raises
        ------
        OptionError : as Detector.
        """
        return Detector(
            self.labels,
            threshold=self.threshold if threshold is None else threshold,
            smoothing=self.smoothing if smoothing is None else smoothing,
            patience=self.patience if patience is None else patience,
            refractory=refractory,
            debounce=debounce,
        )

    def verify(self) -> float:
        """Hear a test signal; the largest difference to the scores that the file carries, 0.0 when all is well."""
        heard = self.frontend.quantized(file_format.verification_audio(self.window))[None]
        got = np.concatenate([self.network.run(heard, level) for level in self.thin_levels])
        return float(np.abs(got - self.tensors["verify.scores"]).max())


def _of_file(kind: type[Model], file: file_format.ModelFile) -> Model:
    """A Model, or an object of a subclass, whose own __init__ may take something else."""
    model = kind.__new__(kind)
    Model.__init__(model, file)
    return model


def bundled_models() -> dict[str, Path]:
    """Names and paths of the models that come with the package."""
    from importlib.resources import files

    try:
        folder = Path(str(files("kwsrt.models")))
    except ModuleNotFoundError:  # a checkout that was built in place
        folder = Path(__file__).parent.parent / "models"
    return {path.stem: path for path in sorted(folder.glob("*.kws"))}


def load(name_or_path: str | Path = DEFAULT_MODEL) -> Model:
    """Load a model.

    Parameters
    ----------
    name_or_path : the name of a bundled model, or a path of a .kws file. By default the bundled model of twelve
        classes: ten words (yes, no, up, down, left, right, on, off, stop, go), `_unknown_` and `_silence_`.

    Raises
    ------
    ModelFileError : no such model, or a file that is damaged, truncated, of another format or of a newer version.
    OptionError : KWSRT_ISA names an instruction set that this machine lacks.
    """
    bundled = bundled_models()
    if isinstance(name_or_path, str) and name_or_path in bundled:
        return Model(file_format.read(bundled[name_or_path]))
    try:
        path = Path(name_or_path)
    except TypeError:
        raise ModelFileError(
            f"name_or_path is {shown(name_or_path)}: expected the path of a .kws file, or one of {', '.join(bundled)}"
        ) from None
    if not os.path.exists(path) and path.suffix != ".kws":
        raise ModelFileError(
            f"no model {shown(str(name_or_path))}: expected the path of a .kws file, or one of {', '.join(bundled)}"
        )
    file = file_format.read(path)
    try:
        return Model(file)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None


@functools.cache
def default_model() -> Model:
    """The bundled model, loaded once."""
    return load()


def detect(
    audio: ArrayLike | str | os.PathLike[str] | BinaryIO | Iterable[ArrayLike],
    *,
    sample_rate: float | None = None,
    channel: int | None = None,
    model: Model | str | Path | None = None,
    thin: str = "full",
    threshold: float | Mapping[str, float] | None = None,
    smoothing: int | None = None,
    patience: int | None = None,
    refractory: float = 0.5,
    debounce: float = 0.0,
    stride: int | None = None,
    gate: float | None = None,
) -> Iterator[Detection]:
    """Hear keywords in audio of any length.

    Half a second of silence is put before the audio, and a window of it after (see Stream.finish), so that words at
    its edges are heard. Chunking does not matter: an array and the same samples as an iterable of chunks give the
    same detections, to the last bit. Recordings are read in blocks, once and front to back: their length takes no
    memory, and detections come while they are read.

    Parameters
    ----------
    audio : samples (n,) or (n, channels), int16 or float32 within [-1, 1], or bytes or other memory of 16-bit samples;
        or the path of a recording, which may be a pipe; or a binary file that is open for reading; or an iterable of
        chunks of samples (a live source, e.g. kwsrt.microphone()).
    sample_rate : Hz of the samples, by default the model's (16,000); other rates are resampled. A recording brings its
        own.
    channel : number of the channel to hear, 0 is the first; by default the mean of all.
    model : a Model, or what `load` takes; by default the bundled model.
    thin, gate : thinning level, or "auto"; dB below which nothing is heard; see Model.stream.
    threshold, smoothing, patience, refractory, debounce : see Detector; by default the model's own.
    stride : frames (30 ms) between decisions; None: 2, of a causal network 4.

    Yields
    ------
    Detection(label, score, time, start, end), in the order of time, each as soon as it is known.

    Raises
    ------
    AudioError, ModelFileError, ThinError, OptionError : at the call; AudioError of chunks, and of what follows the
        header of a recording, when they come.

    Warns
    -----
    AudioWarning : channels that cancel each other, a recording that was cut off.
    """
    chosen = default_model() if model is None else model if isinstance(model, Model) else load(model)
    detector = chosen.detector(
        threshold=threshold, smoothing=smoothing, patience=patience, refractory=refractory, debounce=debounce
    )
    stream = chosen.stream(thin=thin, stride=stride, gate=gate)
    audio_module.check_channel(channel)
    if isinstance(audio, Recording) or is_recording(audio):
        if sample_rate is not None:
            raise AudioError("a recording brings its own sample rate: leave sample_rate out")
        chunks = audio_module.pieces(audio, chosen.sample_rate, channel)
        return _events(chunks, chosen, stream, detector)
    rate = chosen.sample_rate if sample_rate is None else sample_rate
    audio_module.check_rate(rate)
    given: Any = audio
    if _is_samples(given):
        samples = audio_module.mono(given, channel, rate)
        piece = PIECE * round(rate)
        given, channel = (samples[start : start + piece] for start in range(0, len(samples), piece)), None
    if not isinstance(given, Iterable):
        raise AudioError(f"expected samples, a path or an iterable of chunks, got {type(given).__name__}")
    return _events(audio_module.prepare_chunks(given, rate, chosen.sample_rate, channel), chosen, stream, detector)


def _is_samples(given: object) -> bool:
    """Whether it is an array of samples or what is taken for one, and not chunks of them."""
    if isinstance(given, (list, tuple)):
        return not _holds_clips(given)
    return isinstance(given, np.ndarray) or _is_memory(given) or hasattr(given, "__array__")


def _holds_clips(given: object) -> bool:
    """Whether it is a list or tuple whose items are samples themselves."""
    if not isinstance(given, (list, tuple)) or not given:
        return False
    return isinstance(given[0], (list, tuple)) or _is_memory(given[0]) or np.ndim(given[0]) > 0


def _is_memory(given: object) -> bool:
    """Whether it is memory of samples, such as bytes."""
    if isinstance(given, np.generic):
        return False
    try:
        memoryview(given)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def _events(chunks: Iterable[Samples], model: Model, stream: Stream, detector: Detector) -> Iterator[Detection]:
    silence = np.zeros(model.sample_rate // 2, np.int16)
    earlier, length = len(silence) / model.sample_rate, 0
    for samples in itertools.chain([silence], chunks):
        length += len(samples)
        for heard in detector.push(stream.push(samples)):
            yield heard.later(-earlier)
    for heard in detector.push(stream.finish()):
        yield heard.later(-earlier, length / model.sample_rate - earlier)
