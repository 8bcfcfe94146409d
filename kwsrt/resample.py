"""Sample rate conversion of audio that comes in chunks."""

import contextlib
import functools
import threading
from collections.abc import Iterator
from fractions import Fraction
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kwsrt.arguments import number
from kwsrt.errors import AudioError, no_copy, not_free

# The filter grows with the terms of the ratio of two rates, and with it the time that a chunk takes. Terms up to the
# first of these are enough for nearly all rates; with terms up to the second, every ratio is near enough to one.
LARGEST_TERMS = 1500, 5000
# How far off a ratio may be, as a fraction of it.
TOLERANCE = 1e-4


def ratio_of(source: float, target: float) -> Fraction:
    """Target rate over source rate, as two whole numbers up to 5,000.

    That is exact for all usual rates. Of other rates (47,999 Hz, 22,254.5454 Hz) it is a ratio nearby, off by 0.01 %
    at most: 0.36 s in an hour.
    """
    ratio = Fraction(float(target)) / Fraction(float(source))
    near = ratio
    for largest in LARGEST_TERMS:
        near = ratio.limit_denominator(largest) if ratio < 1 else 1 / (1 / ratio).limit_denominator(largest)
        if abs(near / ratio - 1) <= TOLERANCE:
            break
    return near


@functools.lru_cache(maxsize=8)
def _low_pass(up: int, down: int) -> NDArray[np.float32]:
    """The filter of scipy.signal.resample_poly, read-only."""
    from scipy.signal import firwin

    largest = max(up, down)
    taps: NDArray[np.float32] = firwin(20 * largest + 1, 1 / largest, window=("kaiser", 5.0)).astype(np.float32)
    taps *= up
    taps.setflags(write=False)
    return taps


class Resampler:
    """One channel from one sample rate to another, in chunks of any length.

    The output is that of scipy.signal.resample_poly for the whole recording, to the last bit and however it is cut. An
    output sample is returned as soon as the input that its filter sees was pushed: 10 samples of the lower rate later,
    0.6 ms for 16 kHz from a higher rate, 2.5 ms from 4 kHz. A chunk costs about the same at every rate; see ratio_of
    for how exact the rate is. Not for use by two threads at once.

    Parameters
    ----------
    source, target : Hz.

    Raises
    ------
    OptionError : a rate that is no number from 1 kHz to 1 MHz.
    """

    _held: NDArray[np.float32]
    _alone: "threading.Lock | None" = None  # taken by a call while it runs

    def __init__(self, source: float, target: float) -> None:
        rates = (number(rate, name, 1000, 1_000_000) for rate, name in ((source, "source"), (target, "target")))
        ratio = ratio_of(*rates)
        self._up, self._down = ratio.numerator, ratio.denominator
        self._filter = _low_pass(self._up, self._down) if ratio != 1 else np.ones(1, np.float32)
        self._reach = len(self._filter) // 2  # on each side of an output sample, in steps of which an input has `up`
        self._alone = threading.Lock()
        self._forget()

    def __reduce__(self) -> NoReturn:
        raise no_copy(self, "make a new one")

    def reset(self) -> None:
        """Forget all samples."""
        with self._use():
            self._forget()

    def push(self, samples: ArrayLike) -> NDArray[np.float32]:
        """The output samples, float32, that a chunk of input samples, float32 (n,), completes.

        Raises
        ------
        AudioError : another dtype or shape. UseError : another thread is pushing.
        """
        chunk = np.asarray(samples)
        if chunk.ndim != 1 or chunk.dtype not in (np.float32, np.float64):
            raise AudioError(f"expected samples as float32 (n,), got {chunk.dtype} {chunk.shape}")
        with self._use():
            self._held = np.concatenate([self._held, chunk.astype(np.float32, copy=False)])
            return self._output(-(-(self._end() * self._up - self._reach) // self._down))

    def flush(self) -> NDArray[np.float32]:
        """The rest of the output, as if silence followed; the next chunk begins anew."""
        with self._use():
            rest = self._output(-(-self._end() * self._up // self._down))
            self._forget()
            return rest

    @contextlib.contextmanager
    def _use(self) -> Iterator[None]:
        if self._alone is None or not self._alone.acquire(blocking=False):
            raise not_free(self, self._alone is not None)
        try:
            yield
        finally:
            self._alone.release()

    def _forget(self) -> None:
        self._held = np.zeros(0, np.float32)
        self._first = 0  # input samples before the held ones
        self._done = 0  # output samples that were returned

    def _end(self) -> int:
        """Input samples so far."""
        return self._first + len(self._held)

    def _output(self, until: int) -> NDArray[np.float32]:
        """Output samples from `_done` to `until`."""
        if until <= self._done:
            return np.zeros(0, np.float32)
        from scipy.signal import upfirdn

        # upfirdn's first output lies where its filter begins to touch the first input. Zeros before the filter make
        # one of its outputs fall on the first that is wanted.
        begin = self._reach + self._done * self._down - self._first * self._up
        padding = -begin % self._down
        skipped = (padding + begin) // self._down
        taps = np.concatenate([np.zeros(padding, np.float32), self._filter])
        output: NDArray[np.float32] = upfirdn(taps, self._held, self._up, self._down)
        result = output[skipped : skipped + until - self._done]
        self._done = until
        unused = max(0, -(-(until * self._down - self._reach) // self._up) - self._first)
        self._held, self._first = self._held[unused:], self._first + unused
        return result
