"""Sample rate conversion of audio that comes in chunks."""
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def ratio_of(source: float, target: int) -> Fraction:
    """Target rate over source rate, as whole numbers that a polyphase filter can have."""
    return Fraction(target) / Fraction(source).limit_denominator(1000)


class Resampler:
    """One channel from one sample rate to another, in chunks of any length.

    The output is that of scipy.signal.resample_poly for the whole recording, to the last bit and however it is cut. The
    newest samples wait for the next chunk: for half the filter's length and for a whole period of the two rates,
    together 1 ms at 48 kHz, 20 ms at 44.1 kHz.

    Parameters
    ----------
    source, target : Hz.
    """

    def __init__(self, source: float, target: int) -> None:
        ratio = ratio_of(source, target)
        self._up, self._down = ratio.numerator, ratio.denominator
        # The reach of resample_poly's default filter in input samples, in whole periods of the two rates.
        reach = 10 * max(self._up, self._down) // self._up + 1
        self._margin = -(-reach // self._down) * self._down
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self._held = np.zeros(0, np.float32)
        self._first = 0  # input samples before the held ones
        self._done = 0  # input samples whose output was returned

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The output samples, float32, that a chunk of input samples, float32 (n,), completes."""
        self._held = np.concatenate([self._held, samples])
        ready = (self._first + len(self._held) - self._margin) // self._down * self._down
        if ready <= self._done:
            return np.zeros(0, np.float32)
        return self._convert(ready)

    def flush(self) -> NDArray[np.float32]:
        """The rest of the output, as if silence followed; the next chunk begins anew."""
        end = self._first + len(self._held)
        rest = self._convert(end) if end > self._done else np.zeros(0, np.float32)
        self.reset()
        return rest

    def _convert(self, until: int) -> NDArray[np.float32]:
        """Output of the input from `_done` to `until`."""
        from scipy.signal import resample_poly

        output = resample_poly(self._held, self._up, self._down)
        begin = (self._done - self._first) * self._up // self._down
        end = -(-(until - self._first) * self._up // self._down)
        self._done = until
        keep = max(self._first, until - self._margin)
        self._held, self._first = self._held[keep - self._first:], keep
        result: NDArray[np.float32] = output[begin:end].astype(np.float32, copy=False)
        return result
