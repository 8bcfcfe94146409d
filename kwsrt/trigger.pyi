from typing import Self

import numpy as np
from numpy.typing import NDArray

from kwsrt.scores import Scores

class Trigger:
    def __new__(
        cls, limits: NDArray[np.float64], smoothing: int, patience: int, refractory: float, debounce: float
    ) -> Self: ...
    def reset(self) -> None: ...
    def push(self, scores: Scores) -> list[tuple[int, float, float, float, float]]: ...
