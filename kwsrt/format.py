"""The packed model file, `.kws`: its layout, and how to read and write it.

Layout, little-endian
---------------------
| bytes    | what |
| -------- | ---- |
| 0..7     | magic: b"KWSRT\\r\\n\\x1a" |
| 8..11    | uint32 format version, 1 |
| 12..15   | uint32 length of the manifest in bytes |
| 16..23   | uint64 length of the whole file |
| 24..31   | zero |
| 32..63   | SHA-256 of the whole file with these 32 bytes taken as zero |
| 64..     | the manifest: UTF-8 JSON |
| then     | the tensors in the order of `tensor_specs`, each starting at a multiple of 64, zero bytes between them; the
             file ends with the last tensor |

Nothing but the manifest says where a tensor lies: the network's sizes decide names, types, shapes and order, so the
file can be mapped and read in place and has no table that could disagree with itself.

Manifest
--------
name, labels: strings. threshold: 0 to 1, from which a detection is reported (0.8 where it is missing). frontend:
options of kwsrt.frontend.FrontEnd. network: family "dfsmn"; frames, bins: input size; conv1, conv2, width, hidden:
channels; blocks; taps of a memory; planes: 1 or 2 activation planes; levels: thinning levels, name -> indices of the
blocks that run. Where causal is true, memories look back, convolutions are not padded in time, and the classifier sees
`steps` steps of four frames: frames is 4 * steps + 9. clear: 0 to 1, the score of all labels together that are no
keywords from which on thin="auto" runs no deeper level, or {level: score} of the levels that it runs before the first
(0.85 for all where it is missing). verify: number of input/score vectors that the file carries. training, accuracy,
licence, provenance: what a user should know, in any form.

Tensors
-------
1-bit weights are uint8 [outputs / 16][2 * inputs / 16][16] as layers.pack_weights says (memories: bits, tap after tap).
The first convolution's are int8, LARGEST_TOTAL at most in an output's magnitudes together, so that its sums are int16.
A layer computes y = a*n + b and PReLU from its integer sum n: `affine` is [a, b], `slope` the PReLU's. `threshold`
shifts the activations before they are quantised, `scales` holds the quantisers' scales: conv2, fc1, then memory,
expand, project of every block, and last the inverse scale of the classifier's int8 input. Inside the blocks there is
one `affine` for every level that runs the block. `verify.*` are int8 features and their scores at every level, and the
scores of the samples that `verification_audio` makes.
"""
import hashlib
import json
import math
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwsrt.errors import ModelFileError

MAGIC = b"KWSRT\r\n\x1a"
VERSION = 1
HEADER = struct.Struct("<8sIIQ8x32s")
ALIGNMENT = 64
LARGEST_FILE = 1 << 26
KERNEL = 5
LARGEST_TOTAL = 255


@dataclass(frozen=True)
class TensorSpec:
    """Name, dtype and shape of one tensor of a file."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.dtype.itemsize * math.prod(self.shape))


@dataclass(frozen=True)
class ModelFile:
    """What a file holds: the manifest as a dict, and read-only arrays by name."""

    manifest: dict[str, Any]
    tensors: dict[str, NDArray[Any]]
    size: int
    checksum: str


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _packed(inputs: int, outputs: int) -> tuple[int, int, int]:
    return (-(-outputs // 16), -(-inputs // 16) * 2, 16)


def tensor_specs(network: Mapping[str, Any], classes: int, vectors: int) -> list[TensorSpec]:
    """The tensors of a file, in order, for a valid `network` part of a manifest."""
    conv1, conv2, width, hidden = (network[key] for key in ("conv1", "conv2", "width", "hidden"))
    frames, bins, blocks, taps, levels = (network[key] for key in ("frames", "bins", "blocks", "taps", "levels"))
    steps, bands = network["steps"] if network.get("causal") else frames // 4, bins // 4
    specs: list[TensorSpec] = []

    def add(name: str, dtype: str, *shape: int) -> None:
        specs.append(TensorSpec(name, np.dtype(dtype), shape))

    add("scales", "<f4", 2 + 3 * blocks + 1)
    add("conv1.weight", "i1", KERNEL * KERNEL, conv1)
    add("conv1.affine", "<f4", 2, conv1)
    add("conv1.slope", "<f2", conv1)
    for name, inputs, channels, outputs in (("conv2", KERNEL * KERNEL * conv1, conv1, conv2),
                                            ("fc1", bands * conv2, conv2, width)):
        add(f"{name}.weight", "u1", *_packed(inputs, outputs))
        add(f"{name}.threshold", "<f2", channels)
        add(f"{name}.affine", "<f2", 2, outputs)
        add(f"{name}.slope", "<f2", outputs)
    for i in range(blocks):
        running = [name for name, indices in levels.items() if i in indices]
        add(f"blocks.{i}.memory.weight", "u1", -(-taps * width // 8))
        add(f"blocks.{i}.memory.threshold", "<f2", width)
        add(f"blocks.{i}.memory.slope", "<f2", width)
        add(f"blocks.{i}.expand.weight", "u1", *_packed(width, hidden))
        add(f"blocks.{i}.expand.threshold", "<f2", width)
        add(f"blocks.{i}.expand.slope", "<f2", 1)
        add(f"blocks.{i}.project.weight", "u1", *_packed(hidden, width))
        add(f"blocks.{i}.project.slope", "<f2", width)
        for layer, outputs in (("memory", width), ("expand", hidden), ("project", width)):
            for name in running:
                add(f"blocks.{i}.{layer}.affine.{name}", "<f2", 2, outputs)
    add("classifier.weight", "i1", classes, steps * width)
    for name in levels:
        add(f"classifier.affine.{name}", "<f4", 2, classes)
    add("verify.features", "i1", vectors, frames, bins)
    add("verify.scores", "<f4", vectors, len(levels), classes)
    add("verify.audio_scores", "<f4", len(levels), classes)
    return specs


def _placed(specs: list[TensorSpec], offset: int) -> list[tuple[TensorSpec, int]]:
    placed = []
    for spec in specs:
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
    specs = tensor_specs(manifest["network"], len(manifest["labels"]), manifest["verify"])
    if {spec.name for spec in specs} != set(tensors):
        raise ModelFileError(f"tensors do not match the network: {sorted({s.name for s in specs} ^ set(tensors))}")
    placed = _placed(specs, HEADER.size + len(text))
    last, offset = placed[-1]
    data = bytearray(offset + last.size)
    data[HEADER.size:HEADER.size + len(text)] = text
    for spec, offset in placed:
        tensor = tensors[spec.name]
        if tensor.dtype != spec.dtype or tensor.shape != spec.shape:
            raise ModelFileError(f"tensor {spec.name} is {tensor.dtype} {tensor.shape}, "
                                 f"expected {spec.dtype} {spec.shape}")
        data[offset:offset + spec.size] = tensor.tobytes()
    HEADER.pack_into(data, 0, MAGIC, VERSION, len(text), len(data), bytes(32))
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
    _, version, manifest_size, size, digest = HEADER.unpack_from(data)
    if version != VERSION:
        raise ModelFileError(f"format version {version}; this kwsrt reads version {VERSION}: upgrade kwsrt")
    if size != len(data):
        raise ModelFileError(f"truncated or damaged: {len(data)} bytes, the header says {size}; fetch the file again")
    if hashlib.sha256(data[:32] + bytes(32) + data[64:]).digest() != digest:
        raise ModelFileError("damaged: the checksum does not match; fetch the file again")
    try:
        manifest = json.loads(data[HEADER.size:HEADER.size + manifest_size])
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise ModelFileError("the manifest is not JSON") from None
    _check_manifest(manifest)
    placed = _placed(tensor_specs(manifest["network"], len(manifest["labels"]), manifest["verify"]),
                     HEADER.size + manifest_size)
    last, offset = placed[-1]
    if offset + last.size != size:
        raise ModelFileError(f"the network of the manifest takes {offset + last.size} bytes, the file has {size}")
    ends = [HEADER.size + manifest_size, *(start + spec.size for spec, start in placed)]
    if any(data[end:start].strip(b"\0") for end, (_, start) in zip(ends, placed, strict=False)):
        raise ModelFileError("the bytes between the tensors are not zero")
    tensors = {spec.name: np.frombuffer(data, spec.dtype, math.prod(spec.shape), offset).reshape(spec.shape)
               for spec, offset in placed}
    return ModelFile(manifest, tensors, size, digest.hex())


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
    _require(_is_count(manifest.get("verify"), 0, 64), "verify")
    _require(_are_scores(manifest.get("threshold", 0.8), manifest["labels"]), "threshold")
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
