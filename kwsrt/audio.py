"""Audio in: recordings and samples as the front end takes them, one channel at the model's rate."""

import math
import operator
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kwsrt.arguments import shown
from kwsrt.errors import AudioError, AudioWarning
from kwsrt.frontend import as_array, check_samples
from kwsrt.reading import Recording, Samples, open_recording
from kwsrt.resample import Resampler, ratio_of
from kwsrt.wav import MOST_CHANNELS as MOST_IN_FILES

# Of samples that are given as an array, which may lie the wrong way round.
MOST_CHANNELS = 64
# The mean of channels has lost what was said where its power is so much smaller than theirs: 20 dB.
CANCELLED = 100.0
# Mean power, -80 dB, below which there is nothing to lose; seconds that it takes at least; and seconds after which
# the channels of a long recording are judged.
SILENT = 1e-8
SHORTEST = 0.1
JUDGED_AFTER = 5
# Seconds that a recording may be shorter than it says without a warning.
MISSED = 0.02


def read(given: str | os.PathLike[str] | Any) -> tuple[Samples, int]:
    """All samples and the sample rate of a recording: WAV, or what soundfile reads where it is installed.

    Parameters
    ----------
    given : a path, also of a pipe, or a binary file that is open for reading.

    Returns
    -------
    int16 or float32 (n,) or (n, channels), as the file has them; Hz.

    Raises
    ------
    AudioError : a file that is missing or not audio, or a format that needs soundfile.
    """
    with open_recording(given) as recording:
        return _joined(list(recording), recording.channels), recording.rate


def load(given: str | os.PathLike[str] | Any, target_rate: int, channel: int | None = None) -> Samples:
    """A whole recording as `prepare` returns its samples. See `pieces`, which takes less memory."""
    return _joined(list(pieces(given, target_rate, channel)), 1)


def pieces(
    given: Recording | str | os.PathLike[str] | Any, target_rate: int, channel: int | None = None
) -> Iterator[Samples]:
    """A recording as `prepare` returns its samples, in pieces, while it is read.

    Parameters
    ----------
    given : a path, also of a pipe, a binary file that is open for reading, or a Recording, which is closed at the end.
    target_rate : Hz. channel : see prepare.

    Raises
    ------
    AudioError : at the call, what cannot be opened, and a channel or a sample rate that cannot be; later, what is
        damaged, and samples that cannot be used.

    Warns
    -----
    AudioWarning : at the end, a recording that is shorter than its header says; and as prepare.
    """
    recording = given if isinstance(given, Recording) else open_recording(given)
    try:
        with _named(recording.name):
            check_rate(recording.rate)
            check_channel(channel, recording.channels)
    except AudioError:
        recording.close()
        raise

    def each() -> Iterator[Samples]:
        with recording, _named(recording.name):
            empty = True
            mixer = Mixer(recording.rate, channel, MOST_IN_FILES, f"{recording.name}: ")
            for piece in _prepared(recording, mixer, recording.rate, target_rate):
                empty = False
                if len(piece):
                    yield piece
            if empty:
                raise AudioError("the audio is empty")
            _tell_if_cut(recording, mixer.frames)

    return each()


def _tell_if_cut(recording: Recording, frames: int) -> None:
    promised, rate = recording.frames or 0, recording.rate
    if promised - frames > MISSED * rate:
        warnings.warn(
            f"{recording.name}: cut off: it ends after {frames / rate:.2f} s, its header says "
            f"{promised / rate:.2f} s; what is there is used",
            AudioWarning,
            stacklevel=2,
        )


def prepare(samples: ArrayLike, sample_rate: float, target_rate: int, channel: int | None = None) -> Samples:
    """Samples as the front end takes them: one channel, int16 or float32, at `target_rate`.

    Channels are averaged, or one of them is taken; other rates are resampled with scipy's polyphase filter. Mono audio
    at the target rate is handed on as it is: only then are scores the same bits on every machine.

    Parameters
    ----------
    samples : (n,) or (n, channels), int16, or float32 within [-1, 1]; or bytes of 16-bit samples.
    sample_rate, target_rate : Hz. channel : number of the one to take, 0 is the first; None for the mean.

    Raises
    ------
    AudioError : another dtype or shape, no samples, no such channel, NaN or infinite samples, a sample rate outside
        1 kHz to 1 MHz.

    Warns
    -----
    AudioWarning : channels that cancel each other: their mean is 20 dB or more under them.
    """
    check_rate(sample_rate)
    one = mono(samples, channel, sample_rate)
    if sample_rate == target_rate:
        return one
    from scipy.signal import resample_poly

    ratio = ratio_of(sample_rate, target_rate)
    resampled = resample_poly(as_float(one), ratio.numerator, ratio.denominator)
    result: NDArray[np.float32] = resampled.astype(np.float32)
    return result


def mono(samples: ArrayLike, channel: int | None = None, sample_rate: float = 16000) -> Samples:
    """Checked samples with their channels averaged, or one of them: (n,) int16, or float32.

    Raises
    ------
    AudioError : as `prepare`. Warns as it does.
    """
    mixer = Mixer(sample_rate, channel)
    one = mixer.mix(samples)
    mixer.finish()
    return one


def prepare_chunks(
    chunks: Iterable[ArrayLike], sample_rate: float, target_rate: int, channel: int | None = None
) -> Iterator[Samples]:
    """Chunks as `prepare` would return the whole, to the last bit; empty ones are left out.

    Raises
    ------
    AudioError : see prepare; when the chunk comes.
    """
    return _prepared(chunks, Mixer(sample_rate, channel), sample_rate, target_rate)


def _prepared(chunks: Iterable[ArrayLike], mixer: "Mixer", sample_rate: float, target_rate: int) -> Iterator[Samples]:
    resampler = None if sample_rate == target_rate else Resampler(sample_rate, target_rate)
    for chunk in chunks:
        array = as_array(chunk)
        if array.size:
            one = mixer.mix(array)
            yield resampler.push(as_float(one)) if resampler else one
    mixer.finish()
    if resampler and mixer.frames:
        yield resampler.flush()


class Mixer:
    """Channels to one, in chunks of any length: their mean, or one of them.

    Warns once, with an AudioWarning, where the mean is 20 dB or more under the channels: what they have in common is
    cancelled then, as it is if one of them was wired the wrong way round.

    Parameters
    ----------
    sample_rate : Hz. channel : number of the one to take, 0 is the first; None for the mean.
    most_channels : more are taken for samples that lie the wrong way round. name : what the warning begins with.

    Attributes
    ----------
    frames : how many there were.

    Raises
    ------
    AudioError : a channel that is no number.
    """

    def __init__(
        self, sample_rate: float, channel: int | None = None, most_channels: int = MOST_CHANNELS, name: str = ""
    ) -> None:
        self.frames, self._name = 0, name
        self._channel = check_channel(channel, None)
        self._most, self._rate = most_channels, sample_rate
        self._mean = self._channels = 0.0  # energy
        self._judged = False

    def mix(self, samples: ArrayLike) -> Samples:
        """Checked samples (n,) of a chunk (n,) or (n, channels).

        Raises
        ------
        AudioError : as `prepare`.
        """
        array = as_array(samples)
        if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] > self._most):
            raise AudioError(
                f"expected samples of shape (n,) or (n, channels), got {array.shape}"
                + (": transpose them?" if array.ndim == 2 else "")
            )
        if array.size == 0:
            raise AudioError("the audio is empty")
        self.frames += len(array)
        count = 1 if array.ndim == 1 else array.shape[1]
        check_channel(self._channel, count)
        if array.ndim == 2 and (count == 1 or self._channel is not None):
            array = array[:, self._channel or 0]
        elif array.ndim == 2:
            every = as_float(check_samples(array.reshape(-1)).reshape(array.shape))
            array = every.mean(axis=1, dtype=np.float32)
            self._weigh(array, every)
        one: Samples = check_samples(array)
        return one

    def finish(self) -> None:
        """There are no more chunks."""
        self._judge()

    def _weigh(self, mean: NDArray[np.float32], channels: NDArray[np.float32]) -> None:
        if not self._judged:
            self._mean += float(np.einsum("i,i->", mean, mean))
            self._channels += float(np.einsum("ij,ij->", channels, channels)) / channels.shape[1]
            if self.frames >= JUDGED_AFTER * self._rate:
                self._judge()

    def _judge(self) -> None:
        if (
            self._judged
            or self.frames < SHORTEST * self._rate
            or self._channels <= SILENT * self.frames
            or self._mean * CANCELLED > self._channels
        ):
            return
        self._judged = True
        lost = f"is {10 * math.log10(self._channels / self._mean):.0f} dB below them" if self._mean else "is silent"
        warnings.warn(
            f"{self._name}the channels cancel each other, their mean {lost}: choose one, such as channel=0 "
            "(--channel 0)",
            AudioWarning,
            stacklevel=2,
        )


def check_channel(channel: Any, count: int | None = None) -> int | None:
    """The number of a channel, of `count` if that is known; None is the mean of all. Raises AudioError."""
    if channel is None:
        return None
    try:
        number = -1 if isinstance(channel, (bool, np.bool_)) else operator.index(channel)
    except TypeError:
        number = -1
    if number < 0:
        raise AudioError(f"channel is {shown(channel)}: expected the number of a channel, 0 for the first")
    if count is not None and number >= count:
        raise AudioError(f"channel is {number}: there {f'are {count}, 0 to {count - 1}' if count > 1 else 'is one, 0'}")
    return number


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Errors begin with the recording's name."""
    try:
        yield
    except AudioError as error:
        said = str(error)
        raise AudioError(said if said.startswith(name) else f"{name}: {said}") from None


def _joined(parts: list[Samples], channels: int) -> Samples:
    if not parts:
        return np.zeros(0 if channels == 1 else (0, channels), np.int16)
    return np.concatenate(parts) if len(parts) > 1 else parts[0]  # type: ignore[return-value]


def check_rate(sample_rate: float) -> None:
    """Raise AudioError unless `sample_rate` is a number of hertz from 1,000 to 1,000,000."""
    if (
        isinstance(sample_rate, bool)
        or not isinstance(sample_rate, (int, float, np.integer, np.floating))
        or not 1000 <= sample_rate <= 1_000_000
    ):
        raise AudioError(f"sample rate {shown(sample_rate)}: expected hertz, 1000 to 1000000, e.g. 16000")


def as_float(samples: Samples) -> NDArray[np.float32]:
    """Checked samples as float32 within [-1, 1]."""
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / np.float32(32768.0)
    return samples.astype(np.float32, copy=False)


def as_int16(samples: Samples) -> NDArray[np.int16]:
    """Samples as int16, rounded and clipped where they are floats."""
    scale = np.float32(1 if samples.dtype == np.int16 else 32768)
    result: NDArray[np.int16] = np.clip(np.rint(samples * scale), -32768, 32767).astype(np.int16)
    return result


def middle(samples: NDArray[Any], length: int) -> NDArray[Any]:
    """The middle `length` samples. Where there are fewer, but three quarters of it, they are mirrored at both ends;
    where there are fewer still, zeros are put around them."""
    missing = max(0, length - len(samples))
    before = missing // 2
    padded: NDArray[Any] = np.pad(
        samples, (before, missing - before), mode="symmetric" if 4 * len(samples) >= 3 * length else "constant"
    )
    start = (len(padded) - length) // 2
    return padded[start : start + length]
