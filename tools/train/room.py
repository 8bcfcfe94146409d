"""The impulse response of a small room, for the makers of clips."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def impulse_response(noise: NDArray[Any], rate: int, decay: float, gap: int, weaker: float) -> NDArray[np.float64]:
    """The direct sound, then silence for `gap` samples, then `noise` [n] that falls by 60 dB in `decay` seconds.

    All that noise is `weaker` dB below the direct sound, which is 1."""
    time = np.arange(noise.size) / rate
    tail = noise * 10 ** (-3 * time / decay)
    tail[:gap] = 0
    tail *= 10 ** (-weaker / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return np.asarray(tail)
