"""All that a model file holds beside its manifest and its 1-bit weights, as one compressed section.

A row of float16 numbers (the last axis of norms, thresholds, slopes) is stored as multiples k of a step where there is
a coarse enough one: k stands for (k + 1/2) * UNITS[kind] * 2^exponent, rounded to float16; tools/train rounds so.
Taken from the row's median, or for a layer's norm at a further thinning level from the level before, a few bits tell
each multiple. A row without such a grid is stored by its bits: nothing is lost either way.

Under the compression (zlib): the float32 tensors, then the int8 ones; of each float16 row an int8 exponent (RAW: no
grid) and an int16 median; then the rows' codes as uint16, all low bytes before all high bytes. A code c stands for the
difference c / 2 where it is even, else for -(c + 1) / 2.
"""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwsrt.errors import ModelFileError
from kwsrt.layout import TensorSpec

Array = NDArray[Any]
HEAD = np.dtype([("exponent", "i1"), ("median", "<i2")])
RAW = 127
# No powers of two, and no zeros: a * n + b would meet thresholds exactly, again and again, and there the network in
# floating point, as trained, differs from the runtime by a whole step of the activation.
UNITS = {"a": 1.4142135623730951, "b": 1.618033988749895, "threshold": 1.7320508075688772, "slope": 1.1}
# of a multiple: what is left of it behind a median still fits into int16
LARGEST = 4095


def pack(specs: Sequence[TensorSpec], tensors: Mapping[str, Array]) -> bytes:
    """The section with these tensors, of which float16 ones have the last axis not empty."""
    heads, codes = [], []
    levels = _Levels()
    for name, row in _rows(specs, tensors):
        exponent, multiples = _multiples(row, _kind(name))
        left = multiples - levels.before(name, exponent, len(row))
        median = 0 if exponent == RAW else int(np.median(left))
        heads.append((exponent, median))
        codes.append(left - median)
        levels.keep(name, exponent, multiples)
    differences = np.concatenate([*codes, np.zeros(0, np.int32)])
    folded = np.where(differences < 0, -2 * differences - 1, 2 * differences).astype(np.uint16)
    parts = [
        *(tensors[spec.name].tobytes() for spec in _plain(specs)),
        np.array(heads, HEAD).tobytes(),
        (folded & 255).astype(np.uint8).tobytes(),
        (folded >> 8).astype(np.uint8).tobytes(),
    ]
    # No strings repeat here, but bytes; and each part has its own statistics.
    deflate = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    return b"".join(deflate.compress(part) + deflate.flush(zlib.Z_BLOCK) for part in parts) + deflate.flush()


def unpack(specs: Sequence[TensorSpec], section: bytes) -> dict[str, Array]:
    """The tensors of a section, read-only.

    Raises
    ------
    ModelFileError : a section that does not hold just these tensors.
    """
    plain = sum(spec.size for spec in _plain(specs))
    shapes = [spec.shape for spec in specs if spec.dtype == np.float16]
    count, lines = sum(math.prod(shape) for shape in shapes), sum(math.prod(shape[:-1]) for shape in shapes)
    content = inflate(section, plain + HEAD.itemsize * lines + 2 * count)
    tensors = {spec.name: np.empty(spec.shape, spec.dtype) for spec in specs}
    offset = 0
    for spec in _plain(specs):
        tensors[spec.name] = np.frombuffer(content[offset : offset + spec.size], spec.dtype).reshape(spec.shape)
        offset += spec.size
    heads = np.frombuffer(content, HEAD, lines, plain)
    low, high = np.frombuffer(content, np.uint8, 2 * count, plain + heads.nbytes).reshape(2, count).astype(np.int32)
    folded = low | high << 8
    differences = np.where(folded & 1, -(folded + 1) // 2, folded // 2)
    levels = _Levels()
    start = 0
    for (name, row), (exponent, median) in zip(_rows(specs, tensors), heads.tolist(), strict=True):
        multiples = differences[start : start + len(row)] + median + levels.before(name, exponent, len(row))
        start += len(row)
        levels.keep(name, exponent, multiples)
        row[:] = (
            multiples.astype(np.int16).view(np.float16)
            if exponent == RAW
            else on_grid(multiples, exponent, _kind(name))
        )
    for tensor in tensors.values():
        tensor.setflags(write=False)
    return tensors


def inflate(section: bytes, size: int) -> bytes:
    """What a compressed section holds, which must be `size` bytes.

    Raises
    ------
    ModelFileError : not zlib's, or of another size.
    """
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(section, size + 1)
    except zlib.error as error:
        raise ModelFileError(f"damaged: a compressed section cannot be read ({error})") from None
    if len(content) != size or not stream.eof or stream.unused_data:
        raise ModelFileError(f"a compressed section does not hold the {size} bytes that the manifest asks for")
    return content


def _plain(specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """The float32 tensors and the int8 ones."""
    return [spec for dtype in (np.float32, np.int8) for spec in specs if spec.dtype == dtype]


class _Levels:
    """The rows of the thinning level before, by layer."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[int, Array]] = {}

    def before(self, name: str, exponent: int, size: int) -> Array:
        """Of the same layer on the same grid, else zeros. int32 (size,)."""
        kept = self._rows.get(name)
        return kept[1] if kept is not None and kept[0] == exponent != RAW else np.zeros(size, np.int32)

    def keep(self, name: str, exponent: int, multiples: Array) -> None:
        """Those of this level."""
        self._rows[name] = exponent, multiples


def _rows(specs: Sequence[TensorSpec], tensors: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """LAYER.KIND and numbers of every float16 row, the same for a layer's rows of several levels."""
    for spec in specs:
        if spec.dtype == np.float16:
            tensor, (layer, affine, _) = tensors[spec.name], spec.name.partition(".affine")
            yield from zip((f"{layer}.a", f"{layer}.b"), tensor, strict=True) if affine else [(spec.name, tensor)]


def _kind(name: str) -> str:
    return name.rpartition(".")[2]


def _multiples(row: Array, kind: str) -> tuple[int, Array]:
    """The exponent of the coarsest grid that a row's numbers lie on, and their multiples, int32; or RAW and the
    numbers' bits, where there is none."""
    numbers = row.astype(np.float64)
    if np.isfinite(numbers).all():
        coarsest = int(np.ceil(np.log2(np.abs(numbers).max() + 2.0**-24)))
        for exponent in range(coarsest, coarsest - 13, -1):
            multiples = nearest(numbers, exponent, kind)
            if np.array_equal(on_grid(multiples, exponent, kind).view(np.int16), row.view(np.int16)):
                return exponent, multiples
    return RAW, row.view(np.int16).astype(np.int32)


def nearest(values: Array, exponent: int, kind: str) -> Array:
    """The multiples of the grid numbers next to `values`, int32."""
    multiples = np.floor(np.asarray(values, np.float64) / np.ldexp(UNITS[kind], exponent))
    result: Array = np.clip(multiples, -LARGEST, LARGEST).astype(np.int32)
    return result


def on_grid(multiples: Array, exponent: int, kind: str) -> Array:
    """The numbers of a kind ("a", "b", "threshold", "slope") that a file means by multiples on a grid, float16."""
    with np.errstate(over="ignore"):
        result: Array = ((multiples + 0.5) * np.ldexp(UNITS[kind], exponent)).astype(np.float16)
    return result
