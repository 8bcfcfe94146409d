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

Manifest
--------
name, labels: strings. threshold: 0 to 1, from which a detection is reported (0.8 where it is missing). smoothing,
patience: decisions, 1 to 100, of kwsrt.Detector (5 and 3 where they are missing). frontend: options of
kwsrt.frontend.FrontEnd. network: family "dfsmn"; frames, bins: input size; conv1, conv2, width, hidden: channels;
blocks; taps of a memory; planes: 1 or 2 activation planes; levels: thinning levels, name -> indices of the blocks that
run. Where causal is true, memories look back, convolutions are not padded in time, and the classifier sees `steps`
steps of four frames: frames is 4 * steps + 9. clear: 0 to 1, the score of all labels together that are no keywords from
which on thin="auto" runs no deeper level, or {level: score} of the levels that it runs before the first (0.85 for all
where it is missing). training, accuracy, licence, provenance: what a user should know, in any form.
"""
import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwsrt import numbers
from kwsrt.errors import ModelFileError
from kwsrt.layout import TensorSpec, tensor_specs

MAGIC = b"KWSRT\r\n\x1a"
VERSION = 2
HEADER = struct.Struct("<8sIIQII32s")
ALIGNMENT = 16
LARGEST_FILE = 1 << 26
LARGEST_MANIFEST = 1 << 20


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
    state, noise = 12345, np.empty(samples, np.int64)
    for i in range(samples):
        state = (1664525 * state + 1013904223) & 0xFFFFFFFF
        noise[i] = (state >> 16) - 32768
    n = np.arange(samples)
    loudness = np.array([4, 6, 9, 5, 12, 7])[n // 2500 % 6]
    square = np.where((n * n // 60000) % 2 == 0, 1500, -1500)
    result: NDArray[np.int16] = ((noise >> loudness) + square).astype(np.int16)
    return result


def write(manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of a file; the tensors must be those of `tensor_specs`.

    Raises
    ------
    ModelFileError : an invalid manifest, or a tensor that is missing, left over, or of another type or shape.
    """
    text = json.dumps(manifest, separators=(",", ":"), sort_keys=False).encode()
    _check_manifest(manifest)
    specs = tensor_specs(manifest["network"], len(manifest["labels"]))
    if {spec.name for spec in specs} != set(tensors):
        raise ModelFileError(f"tensors do not match the network: {sorted({s.name for s in specs} ^ set(tensors))}")
    for spec in specs:
        tensor = tensors[spec.name]
        if tensor.dtype != spec.dtype or tensor.shape != spec.shape:
            raise ModelFileError(f"tensor {spec.name} is {tensor.dtype} {tensor.shape}, "
                                 f"expected {spec.dtype} {spec.shape}")
    described = zlib.compress(text, 9)
    section = numbers.pack([spec for spec in specs if not spec.is_binary], tensors)
    placed = _placed(specs, HEADER.size + len(described) + len(section))
    last, offset = placed[-1]
    data = bytearray(offset + last.size)
    data[HEADER.size:HEADER.size + len(described) + len(section)] = described + section
    for spec, offset in placed:
        data[offset:offset + spec.size] = tensors[spec.name].tobytes()
    HEADER.pack_into(data, 0, MAGIC, VERSION, len(described), len(data), len(section), len(text), bytes(32))
    data[32:64] = hashlib.sha256(data).digest()
    return bytes(data)


def read(path: str | Path) -> ModelFile:
    """Read and check a file.

    Raises
    ------
    ModelFileError : a file that is missing, unreadable, damaged, truncated, of another format or of a newer version.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ModelFileError(f"{path}: larger than any kwsrt model; is this the right file?")
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot read the model file: {error.strerror or error}") from None
    try:
        return parse(data)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None


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
        raise ModelFileError(f"format version {version}; this kwsrt reads version {VERSION}: "
                             + ("convert the checkpoint again" if version < VERSION else "upgrade kwsrt"))
    if size != len(data):
        raise ModelFileError(f"truncated or damaged: {len(data)} bytes, the header says {size}; fetch the file again")
    if hashlib.sha256(data[:32] + bytes(32) + data[64:]).digest() != digest:
        raise ModelFileError("damaged: the checksum does not match; fetch the file again")
    _require(text_size <= LARGEST_MANIFEST, f"{text_size} bytes long")
    start = HEADER.size + manifest_size
    text = numbers.inflate(data[HEADER.size:start], text_size)
    try:
        manifest = json.loads(text)
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise ModelFileError("the manifest is not JSON") from None
    _check_manifest(manifest)
    specs = tensor_specs(manifest["network"], len(manifest["labels"]))
    placed = _placed(specs, start + section_size)
    last, offset = placed[-1]
    if offset + last.size != size:
        raise ModelFileError(f"the network of the manifest takes {offset + last.size} bytes, the file has {size}")
    ends = [start + section_size, *(offset + spec.size for spec, offset in placed)]
    if any(data[end:offset].strip(b"\0") for end, (_, offset) in zip(ends, placed, strict=False)):
        raise ModelFileError("the bytes between the weights are not zero")
    tensors = numbers.unpack([spec for spec in specs if not spec.is_binary], data[start:start + section_size])
    tensors |= {spec.name: np.frombuffer(data, spec.dtype, spec.size, offset).reshape(spec.shape)
                for spec, offset in placed}
    return ModelFile(manifest, tensors, size, digest.hex(), data)


def sections(data: bytes) -> dict[str, int]:
    """Bytes of the parts of a valid file."""
    _, _, manifest, size, section, _, _ = HEADER.unpack_from(data)
    return {"header": HEADER.size, "manifest": manifest, "norms, thresholds, slopes, int8 weights": section,
            "1-bit weights": size - HEADER.size - manifest - section}


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ModelFileError(f"invalid manifest: {what}")


def _is_count(value: object, low: int, high: int, multiple: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high and value % multiple == 0


def _are_scores(value: object, names: Collection[str]) -> bool:
    """One number from 0 to 1, or one for each of some of the names."""
    if isinstance(value, dict):
        return all(name in names and not isinstance(one, dict) and _are_scores(one, ()) for name, one in value.items())
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _check_manifest(manifest: Any) -> None:
    """Bounds of everything that sizes a buffer or names a thing; numbers inside tensors are checked by the layers."""
    _require(isinstance(manifest, dict), "not an object")
    labels, network, levels = manifest.get("labels"), manifest.get("network"), None
    _require(isinstance(manifest.get("name"), str), "name")
    _require(isinstance(labels, list) and 2 <= len(labels) <= 1000 and all(isinstance(v, str) and v for v in labels)
             and len(set(labels)) == len(labels), "labels")
    _require(isinstance(manifest.get("frontend"), dict), "frontend")
    _require(_are_scores(manifest.get("threshold", 0.8), manifest["labels"]), "threshold")
    _require(_is_count(manifest.get("smoothing", 5), 1, 100) and _is_count(manifest.get("patience", 3), 1, 100),
             "smoothing and patience, decisions")
    _require(isinstance(network, dict) and network.get("family") == "dfsmn",
             f"network family {network.get('family') if isinstance(network, dict) else network!r}; upgrade kwsrt?")
    assert isinstance(network, dict)
    causal = network.get("causal", False)
    _require(isinstance(causal, bool), "network.causal")
    if causal:
        _require(_is_count(network.get("steps"), 2, 256) and network.get("frames") == 4 * network["steps"] + 9,
                 "network.steps, of four frames each, and nine frames more")
    for key, low, high, multiple in (("frames", 8, 1024, 1 if causal else 4), ("bins", 8, 256, 4), ("conv1", 4, 256, 4),
                                     ("conv2", 4, 256, 4), ("width", 4, 1024, 1), ("hidden", 4, 4096, 1),
                                     ("blocks", 1, 64, 1), ("taps", 1, 31, 1), ("planes", 1, 2, 1)):
        _require(_is_count(network.get(key), low, high, multiple), f"network.{key} = {network.get(key)!r}")
    _require(network["taps"] % 2 == 1, "network.taps must be odd")
    _require(network["frames"] // 4 * network["width"] <= 65536
             and network["frames"] * network["bins"] * network["conv1"] <= 1 << 22, "network too large")
    levels = network.get("levels")
    _require(isinstance(levels, dict) and 1 <= len(levels) <= 8, "network.levels")
    assert isinstance(levels, dict)
    for name, indices in levels.items():
        _require(bool(name) and isinstance(indices, list)
                 and all(_is_count(i, 0, network["blocks"] - 1) for i in indices)
                 and all(i < j for i, j in pairwise(indices)), f"network.levels.{name}")
    _require(_are_scores(manifest.get("clear", 1), levels), "clear")
