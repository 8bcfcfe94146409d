"""What a stream returns: scores with their place in time."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of consecutive decisions of one stream. NumPy takes it for the array `values`.

    Attributes
    ----------
    values : float32 (decisions, labels), each row sums to 1; the rows are also what iterating over the object gives.
    ends : int64 (decisions,), the number of samples pushed since the start (or the last reset) at the end of each
        decision's window; the window begins `window` samples earlier.
    loudness : float32 (decisions,), dB: the loudest mel band (of an MFCC front end the mean of the bands) of the newest
        frames, those that the decision before did not cover, against a full-scale sine.
    thin : int8 (decisions,), the thinning level that gave the scores, an index into Model.thin_levels; -1 where the
        gate took the window for silence.
    window : samples. sample_rate : Hz.
    """

    values: NDArray[np.float32]
    ends: NDArray[np.int64]
    loudness: NDArray[np.float32]
    thin: NDArray[np.int8]
    window: int
    sample_rate: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(decisions, labels)."""
        return self.values.shape

    @property
    def times(self) -> NDArray[np.float64]:
        """float64 (decisions,), `ends` in seconds."""
        return self.ends / self.sample_rate

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return iter(self.values)

    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = np.asarray(self.values, dtype)
        return array.copy() if copy else array
