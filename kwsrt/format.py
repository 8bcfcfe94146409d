"""The packed model file, `.kws`: its layout, and how to read and write it.

Layout, little-endian
---------------------
| bytes    | what |
| -------- | ---- |
| 0..7     | magic: b"KWSRT\\r\\n\\x1a" |
| 8..11    | uint32 format version, 2 |
| 12..15   | uint32 M: bytes of the manifest |
| 16..23   | uint64 length of the whole file |
| 24..27   | uint32 N: bytes of the numbers |
| 28..31   | uint32 length of the manifest as text |
| 32..63   | SHA-256 of the whole file with these 32 bytes taken as zero |
| 64..     | M bytes: the manifest, UTF-8 JSON, compressed by zlib |
| then     | N bytes: the numbers, all tensors that hold no 1-bit weights, see kwsrt.numbers |
| then     | the 1-bit weights in the order of kwsrt.layout, each from a multiple of 16 on, zero bytes between them, to
             the end of the file |

Nothing but the manifest says where a tensor lies: the network's sizes decide names, types, shapes and order, so the
file can be mapped, its weights be read in place, and it has no table that could disagree with itself.

The manifest and its check are those of kwsrt.manifest.
"""

import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwsrt import manifest as manifests
from kwsrt import numbers
from kwsrt.errors import ModelFileError
from kwsrt.layout import TensorSpec, tensor_specs

MAGIC = b"KWSRT\r\n\x1a"
VERSION = 2
HEADER = struct.Struct("<8sIIQII32s")
ALIGNMENT = 16
LARGEST_FILE = 1 << 26
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
VERIFICATION_PIECE = 1 << 16


@dataclass(frozen=True)
class ModelFile:
    """What a file holds: the manifest as a dict, read-only arrays by name, and its bytes, of which copies are made."""

    manifest: dict[str, Any]
    tensors: dict[str, NDArray[Any]]
    size: int
    checksum: str
    data: bytes

    def __reduce__(self) -> tuple[Callable[[bytes], "ModelFile"], tuple[bytes]]:
        return parse, (self.data,)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _placed(specs: list[TensorSpec], offset: int) -> list[tuple[TensorSpec, int]]:
    """The 1-bit weights among the tensors with their offsets in the file."""
    placed = []
    for spec in filter(lambda spec: spec.is_binary, specs):
        offset = _aligned(offset)
        placed.append((spec, offset))
        offset += spec.size
    return placed


def verification_audio(samples: int) -> NDArray[np.int16]:
    """A fixed signal made of integers alone, the same on every machine: bursts of noise over a rising square wave.

    Returns int16 (samples,).
    """
    result = np.empty(samples, np.int16)
    state = np.uint32(12345)
    # In pieces, since a window may have millions of samples. Products and sums of uint32 are those modulo 2^32.
    for start in range(0, samples, VERIFICATION_PIECE):
        n = np.arange(start, min(start + VERIFICATION_PIECE, samples))
        powers = np.cumprod(np.full(len(n), 1664525, np.uint32), dtype=np.uint32)
        sums = np.cumsum(np.concatenate([[1], powers[:-1]]), dtype=np.uint32)
        states = powers * state + sums * np.uint32(1013904223)
        state = states[-1]
        noise = (states >> 16).astype(np.int64) - 32768
        loudness = np.array([4, 6, 9, 5, 12, 7])[n // 2500 % 6]
        square = np.where((n * n // 60000) % 2 == 0, 1500, -1500)
        result[n] = (noise >> loudness) + square
    return result


def write(manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of a file; the tensors must be those of `tensor_specs`.

    Raises
    ------
    ModelFileError : an invalid manifest, a tensor that is missing, left over, or of another type or shape, or a larger
        file than `read` takes.
    """
    manifest = manifests.check(manifest)
    text = manifests.encode(manifest)
    specs = tensor_specs(manifest["network"], len(manifest["labels"]))
    if {spec.name for spec in specs} != set(tensors):
        raise ModelFileError(f"tensors do not match the network: {sorted({s.name for s in specs} ^ set(tensors))}")
    for spec in specs:
        tensor = tensors[spec.name]
        if tensor.dtype != spec.dtype or tensor.shape != spec.shape:
            raise ModelFileError(
                f"tensor {spec.name} is {tensor.dtype} {tensor.shape}, expected {spec.dtype} {spec.shape}"
            )
    described = zlib.compress(text, 9)
    section = numbers.pack([spec for spec in specs if not spec.is_binary], tensors)
    placed = _placed(specs, HEADER.size + len(described) + len(section))
    last, offset = placed[-1]
    if offset + last.size > LARGEST_FILE:
        raise ModelFileError(f"the file would take {offset + last.size} bytes, a model has at most {LARGEST_FILE}")
    data = bytearray(offset + last.size)
    data[HEADER.size : HEADER.size + len(described) + len(section)] = described + section
    for spec, offset in placed:
        data[offset : offset + spec.size] = tensors[spec.name].tobytes()
    HEADER.pack_into(data, 0, MAGIC, VERSION, len(described), len(data), len(section), len(text), bytes(32))
    data[32:64] = hashlib.sha256(data).digest()
    return bytes(data)


def read(path: str | Path) -> ModelFile:
    """Read and check a file.

    Raises
    ------
    ModelFileError : a file that is missing, unreadable, no regular file (a pipe, a device), larger than any model,
        damaged, truncated, of another format or of a newer version.
    """
    path = Path(path)
    data = read_bytes(path)
    try:
        return parse(data)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None


def read_bytes(path: str | Path, most: int = LARGEST_FILE, what: str = "kwsrt model") -> bytes:
    """What a regular file holds; nothing of a file with more than `most` bytes is read.

    Raises
    ------
    ModelFileError : a file that is missing, unreadable, larger, or no regular file.
    """
    try:
        # A pipe that nobody writes to would keep an ordinary open waiting.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            regular, small = stat.S_ISREG(found.st_mode), found.st_size <= most
            data = file.read(found.st_size) if regular and small else b""
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: cannot read the file: {getattr(error, 'strerror', None) or error}") from None
    if not regular:
        raise ModelFileError(f"{path}: cannot read the file: expected a regular file, not a folder, a pipe or a device")
    if not small:
        raise ModelFileError(f"{path}: larger than any {what}; is this the right file?")
    if data.startswith(LFS_POINTER):
        raise ModelFileError(f"{path}: a pointer of Git LFS, and not the file itself; fetch it with git lfs pull")
    return data


def parse(data: bytes) -> ModelFile:
    """The same from bytes; the arrays are views of them.

    Raises
    ------
    ModelFileError : as `read`.
    """
    if len(data) < HEADER.size or data[:8] != MAGIC:
        raise ModelFileError("not a kwsrt model file (.kws)")
    _, version, manifest_size, size, section_size, text_size, digest = HEADER.unpack_from(data)
    if version != VERSION:
        raise ModelFileError(
            f"format version {version}; this kwsrt reads version {VERSION}: "
            + ("convert the checkpoint again" if version < VERSION else "upgrade kwsrt")
        )
    if size != len(data):
        raise ModelFileError(f"truncated or damaged: {len(data)} bytes, the header says {size}; fetch the file again")
    if hashlib.sha256(data[:32] + bytes(32) + data[64:]).digest() != digest:
        raise ModelFileError("damaged: the checksum does not match; fetch the file again")
    if text_size > manifests.LARGEST_TEXT:
        raise ModelFileError(f"invalid manifest: {text_size} bytes long")
    start = HEADER.size + manifest_size
    manifest = manifests.decode(numbers.inflate(data[HEADER.size : start], text_size))
    specs = tensor_specs(manifest["network"], len(manifest["labels"]))
    placed = _placed(specs, start + section_size)
    last, offset = placed[-1]
    if offset + last.size != size:
        raise ModelFileError(f"the network of the manifest takes {offset + last.size} bytes, the file has {size}")
    ends = [start + section_size, *(offset + spec.size for spec, offset in placed)]
    if any(data[end:offset].strip(b"\0") for end, (_, offset) in zip(ends, placed, strict=False)):
        raise ModelFileError("the bytes between the weights are not zero")
    tensors = numbers.unpack([spec for spec in specs if not spec.is_binary], data[start : start + section_size])
    tensors |= {
        spec.name: np.frombuffer(data, spec.dtype, spec.size, offset).reshape(spec.shape) for spec, offset in placed
    }
    return ModelFile(manifest, tensors, size, digest.hex(), data)


def sections(data: bytes) -> dict[str, int]:
    """Bytes of the parts of a valid file."""
    _, _, manifest, size, section, _, _ = HEADER.unpack_from(data)
    return {
        "header": HEADER.size,
        "manifest": manifest,
        "norms, thresholds, slopes, int8 weights": section,
        "1-bit weights": size - HEADER.size - manifest - section,
    }
