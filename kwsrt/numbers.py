"""All that a model file holds beside its manifest and its 1-bit weights, as one compressed section.

A row of float16 numbers (the last axis of norms, thresholds, slopes) is stored as whole multiples of a power of two
where there is a coarse enough one; tools/train rounds networks so. Taken from the row's median, or for a layer's norm
at a further thinning level from the level before, a few bits tell each multiple. A row without such a grid is stored by
its bits: nothing is lost either way.

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
# of a multiple: what is left of it behind a median still fits into int16
LARGEST = 4095


def pack(specs: Sequence[TensorSpec], tensors: Mapping[str, Array]) -> bytes:
    """The section with these tensors, of which float16 ones have the last axis not empty."""
    heads, codes = [], []
    levels = _Levels()
    for name, row in _rows(specs, tensors):
        exponent, multiples = _on_a_grid(row)
        left = multiples - levels.before(name, exponent, len(row))
        median = 0 if exponent == RAW else int(np.median(left))
        heads.append((exponent, median))
        codes.append(left - median)
        levels.keep(name, exponent, multiples)
    differences = np.concatenate([*codes, np.zeros(0, np.int32)])
    folded = np.where(differences < 0, -2 * differences - 1, 2 * differences).astype(np.uint16)
    parts = [*(tensors[spec.name].tobytes() for spec in _plain(specs)), np.array(heads, HEAD).tobytes(),
             (folded & 255).astype(np.uint8).tobytes(), (folded >> 8).astype(np.uint8).tobytes()]
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
        tensors[spec.name] = np.frombuffer(content[offset:offset + spec.size], spec.dtype).reshape(spec.shape)
        offset += spec.size
    heads = np.frombuffer(content, HEAD, lines, plain)
    low, high = np.frombuffer(content, np.uint8, 2 * count, plain + heads.nbytes).reshape(2, count).astype(np.int32)
    folded = low | high << 8
    differences = np.where(folded & 1, -(folded + 1) // 2, folded // 2)
    levels = _Levels()
    start = 0
    for (name, row), (exponent, median) in zip(_rows(specs, tensors), heads.tolist(), strict=True):
        multiples = differences[start:start + len(row)] + median + levels.before(name, exponent, len(row))
        start += len(row)
        levels.keep(name, exponent, multiples)
        with np.errstate(over="ignore"):
            row[:] = (multiples.astype(np.int16).view(np.float16) if exponent == RAW
                      else np.ldexp(1.0, exponent) * multiples)
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
    """Name and numbers of every float16 row, the same name for a layer's rows of several levels."""
    for spec in specs:
        if spec.dtype == np.float16:
            layer, _, what = spec.name.partition(".affine.")
            for index, row in enumerate(tensors[spec.name].reshape(-1, spec.shape[-1])):
                yield f"{layer}.{index}" if what else f"{spec.name}.{index}", row


def _on_a_grid(row: Array) -> tuple[int, Array]:
    """The exponent of the coarsest power of two that a row's numbers are multiples of, and those: int32; or RAW, and
    the numbers' bits, where the multiples get too large, or bits would be lost (-0, infinities)."""
    numbers = row.astype(np.float64)
    if np.isfinite(numbers).all():
        largest = int(np.ceil(np.log2(np.abs(numbers).max() + 2.0**-24)))
        for exponent in range(largest, largest - 13, -1):
            multiples = np.rint(np.ldexp(numbers, -exponent)).astype(np.int32)
            if np.abs(multiples).max() > LARGEST:
                break
            if np.array_equal(np.ldexp(1.0, exponent) * multiples, numbers) and not np.signbit(row[row == 0]).any():
                return exponent, multiples
    return RAW, row.view(np.int16).astype(np.int32)
