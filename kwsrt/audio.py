"""Audio in: files, sample rates and channels."""
import math
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kwsrt.errors import AudioError
from kwsrt.frontend import as_array, check_samples
from kwsrt.resample import Resampler, ratio_of

MOST_CHANNELS = 64
Samples = NDArray[np.int16] | NDArray[np.float32]


def read(path: str | Path) -> tuple[Samples, int]:
    """Samples and sample rate of a recording: WAV by scipy, every other format by soundfile where it is installed.

    Returns
    -------
    int16 or float32 (n,) or (n, channels), as the file has them; Hz.

    Raises
    ------
    AudioError : a file that is missing or not audio, or a format that needs soundfile.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError as error:
        raise AudioError(f"{path}: cannot read: {error.strerror or error}") from None
    if start[:4] in (b"RIFF", b"RIFX", b"RF64") and start[8:12] == b"WAVE":
        return _read_wav(path)
    try:
        import soundfile
    except (ImportError, OSError):
        raise AudioError(f"{path}: not a WAV file; for FLAC, Ogg, Opus and MP3 run: pip install soundfile") from None
    try:
        samples, rate = soundfile.read(path, dtype="float32")
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise AudioError(f"{path}: not an audio file that can be read ({error})") from None
    return samples, int(rate)


def _read_wav(path: Path) -> tuple[Samples, int]:
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks of other programs are no concern of ours
            rate, samples = wavfile.read(path)
    except Exception as error:  # a damaged header raises whatever struct, NumPy or scipy stumbled over
        raise AudioError(f"{path}: damaged or unsupported WAV file ({error})") from None
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.int16) - 128) * 256
    elif samples.dtype == np.int32:
        samples = (samples / 2147483648.0).astype(np.float32)
    elif samples.dtype == np.float64:
        samples = samples.astype(np.float32)
    return samples, int(rate)


def prepare(samples: ArrayLike, sample_rate: float, target_rate: int) -> Samples:
    """Samples as the front end takes them: one channel, int16 or float32, at `target_rate`.

    Channels are averaged; other rates are resampled with scipy's polyphase filter. Mono audio at the target rate is
    handed on as it is: only then are scores the same bits on every machine.

    Parameters
    ----------
    samples : (n,) or (n, channels), int16, or float32 within [-1, 1]. sample_rate, target_rate : Hz.

    Raises
    ------
    AudioError : another dtype or shape, no samples, NaN or infinite samples, a sample rate outside 1 kHz to 1 MHz.
    """
    check_rate(sample_rate)
    one = mono(samples)
    if sample_rate == target_rate:
        return one
    from scipy.signal import resample_poly

    ratio = ratio_of(sample_rate, target_rate)
    resampled = resample_poly(as_float(one), ratio.numerator, ratio.denominator)
    result: NDArray[np.float32] = resampled.astype(np.float32)
    return result


def mono(samples: ArrayLike) -> Samples:
    """Checked samples with their channels averaged: (n,) int16, or float32.

    Raises
    ------
    AudioError : as `prepare`.
    """
    array = as_array(samples)
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] > MOST_CHANNELS):
        raise AudioError(f"expected samples of shape (n,) or (n, channels), got {array.shape}"
                         + (": transpose them?" if array.ndim == 2 else ""))
    if array.size == 0:
        raise AudioError("the audio is empty")
    if array.ndim == 2:
        checked = check_samples(array.reshape(-1)).reshape(array.shape)
        array = checked[:, 0] if array.shape[1] == 1 else as_float(checked).mean(axis=1, dtype=np.float32)
    checked_mono: Samples = check_samples(array)
    return checked_mono


def prepare_chunks(chunks: Iterable[ArrayLike], sample_rate: float, target_rate: int) -> Iterator[Samples]:
    """Chunks as `prepare` would return the whole, to the last bit where there is one channel; empty ones are left out.

    Raises
    ------
    AudioError : see prepare; when the chunk comes.
    """
    resampler = None if sample_rate == target_rate else Resampler(sample_rate, target_rate)
    for chunk in chunks:
        array = as_array(chunk)
        if array.size:
            one = mono(array)
            yield resampler.push(as_float(one)) if resampler else one
    if resampler:
        yield resampler.flush()


def check_rate(sample_rate: float) -> None:
    """Raise AudioError unless `sample_rate` is a number of hertz from 1,000 to 1,000,000."""
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, (int, float, np.integer, np.floating)) \
            or not math.isfinite(sample_rate) or not 1000 <= sample_rate <= 1_000_000:
        raise AudioError(f"sample rate {sample_rate!r}: expected hertz, 1000 to 1000000, e.g. 16000")


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
    padded: NDArray[Any] = np.pad(samples, (before, missing - before),
                                  mode="symmetric" if 4 * len(samples) >= 3 * length else "constant")
    start = (len(padded) - length) // 2
    return padded[start:start + length]
