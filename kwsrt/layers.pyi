from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

def available_isas() -> tuple[str, ...]: ...
def pack_weights(signs: ArrayLike) -> NDArray[np.uint8]: ...
def unpack_weights(packed: NDArray[Any], inputs: int, outputs: int) -> NDArray[np.int8]: ...

class Kernels:
    def __new__(cls, isa: str | None = None) -> Self: ...
    @property
    def isa(self) -> str: ...
    def finish(
        self,
        sums: ArrayLike,
        a: ArrayLike,
        b: ArrayLike,
        slope: ArrayLike,
        residual: NDArray[Any] | None,
        threshold: ArrayLike,
        scale: float,
        planes: int,
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...

class PackedWeights:
    @property
    def kernels(self) -> Kernels: ...
    @property
    def inputs(self) -> int: ...
    @property
    def outputs(self) -> int: ...
    @property
    def file_order(self) -> NDArray[np.uint8]: ...
    @property
    def data(self) -> NDArray[np.uint8]: ...
    def __new__(cls, weights: NDArray[Any], inputs: int, outputs: int, kernels: Kernels | None = None) -> Self: ...
    def signs(self) -> NDArray[np.int8]: ...

class BinaryLinear:
    @property
    def kernels(self) -> Kernels: ...
    def __new__(
        cls,
        weights: PackedWeights,
        *,
        threshold: ArrayLike,
        scale: float,
        planes: int,
        a: ArrayLike,
        b: ArrayLike,
        slope: ArrayLike,
    ) -> Self: ...
    def __call__(self, x: ArrayLike, residual: ArrayLike | None = None) -> NDArray[np.float32]: ...
    def sums(self, q: ArrayLike) -> NDArray[np.int16]: ...

class Staircase:
    def __new__(
        cls, a: ArrayLike, b: ArrayLike, slope: ArrayLike, threshold: ArrayLike, scale: float, planes: int, largest: int
    ) -> Self: ...
    def __call__(self, sums: NDArray[np.int16], kernels: Kernels | None = None) -> NDArray[np.uint8]: ...

class BinaryConv2d:
    @property
    def kernels(self) -> Kernels: ...
    def __new__(
        cls,
        weights: PackedWeights,
        *,
        height: int,
        width: int,
        channels: int,
        kernel: int,
        stride: int,
        pad: int | tuple[int, int],
        threshold: ArrayLike,
        scale: float,
        planes: int,
        a: ArrayLike,
        b: ArrayLike,
        slope: ArrayLike,
    ) -> Self: ...
    def __call__(self, x: ArrayLike) -> NDArray[np.float32]: ...

class Memory:
    @property
    def kernels(self) -> Kernels: ...
    def __new__(
        cls,
        signs: ArrayLike,
        *,
        threshold: ArrayLike,
        scale: float,
        planes: int,
        a: ArrayLike,
        b: ArrayLike,
        slope: ArrayLike,
        causal: bool = False,
        kernels: Kernels | None = None,
    ) -> Self: ...
    def __call__(self, x: ArrayLike) -> NDArray[np.float32]: ...

class InputConv2d:
    @property
    def kernels(self) -> Kernels: ...
    def __new__(
        cls,
        weights: NDArray[np.int8],
        *,
        height: int,
        width: int,
        stride: int,
        pad: int | tuple[int, int],
        a: ArrayLike,
        b: ArrayLike,
        slope: ArrayLike,
        kernels: Kernels | None = None,
    ) -> Self: ...
    def __call__(self, features: ArrayLike) -> NDArray[np.float32]: ...

class Classifier:
    @property
    def kernels(self) -> Kernels: ...
    def __new__(
        cls,
        weights: NDArray[np.int8],
        *,
        inverse_scale: float,
        a: ArrayLike,
        b: ArrayLike,
        kernels: Kernels | None = None,
    ) -> Self: ...
    def __call__(self, x: ArrayLike) -> NDArray[np.float32]: ...
