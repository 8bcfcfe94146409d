from typing import Any, Self, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

class _Options(TypedDict):
    kind: str
    sample_rate: int
    window: int
    hop: int
    n_fft: int
    bins: int
    n_mfcc: int
    fmin: float
    fmax: float
    floor: float
    offset: float
    step: float

def as_array(samples: ArrayLike) -> NDArray[Any]: ...
def check_samples(samples: ArrayLike) -> NDArray[np.int16] | NDArray[np.float32]: ...

class FrontEnd:
    def __new__(
        cls,
        *,
        kind: str = "log-mel",
        sample_rate: int = 16000,
        window: int = 1024,
        hop: int = 480,
        n_fft: int = 1024,
        bins: int = 32,
        n_mfcc: int = 0,
        fmin: float = 20.0,
        fmax: float = 7600.0,
        floor: float = 1e-7,
        offset: float = -12.0,
        step: float = 0.5,
    ) -> Self: ...
    @property
    def options(self) -> _Options: ...
    @property
    def sample_rate(self) -> int: ...
    @property
    def window(self) -> int: ...
    @property
    def hop(self) -> int: ...
    @property
    def width(self) -> int: ...
    def features(self, samples: ArrayLike) -> NDArray[np.float32]: ...
    def quantized(self, samples: ArrayLike) -> NDArray[np.int8]: ...
    def quantize(self, features: ArrayLike) -> NDArray[np.int8]: ...

class OnlineFrontEnd:
    def __new__(cls, frontend: FrontEnd) -> Self: ...
    @property
    def frontend(self) -> FrontEnd: ...
    def reset(self) -> None: ...
    def accept(self, samples: ArrayLike) -> NDArray[np.float32]: ...
