"""Small model files with random weights, for tests of everything that needs a model but no accuracy."""

import hashlib
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwsrt import format as file_format
from kwsrt import layers, layout
from kwsrt.frontend import FrontEnd
from kwsrt.network import Network

LABELS = ("yes", "no", "_unknown_", "_silence_")


def make_model(
    seed: int = 0,
    planes: int = 2,
    labels: tuple[str, ...] = LABELS,
    *,
    name: str = "tiny",
    frontend: dict[str, Any] | None = None,
    manifest: dict[str, Any] | None = None,
    **network_overrides: Any,
) -> bytes:
    """The bytes of a valid .kws file.

    Parameters
    ----------
    seed : of the weights. planes : activation planes. labels : in the order of scores.
    frontend : options that differ from FrontEnd's defaults. manifest : further keys, e.g. {"threshold": 0.5}.
    network_overrides : parts of the network that differ from the small one below, e.g. width=20, levels={"full": [0]}.
    """
    levels = {"full": [0, 1, 2, 3], "half": [1, 3], "quarter": [3]}
    network = {
        "family": "dfsmn",
        "frames": 32,
        "bins": 32,
        "conv1": 4,
        "conv2": 8,
        "width": 24,
        "hidden": 40,
        "blocks": 4,
        "taps": 5,
        "planes": planes,
        "levels": levels,
        **network_overrides,
    }
    options = FrontEnd(**{"bins": network["bins"], **(frontend or {})}).options
    whole = {
        "name": name,
        "labels": list(labels),
        "frontend": options,
        "network": network,
        "training": {"data": "none: random weights"},
        "licence": "Apache-2.0",
        **(manifest or {}),
    }
    return file_format.write(whole, make_tensors(seed, whole))


def make_tensors(seed: int, manifest: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Random tensors for a manifest, by name; the `verify` ones are what the network of the others gives."""
    rng = np.random.default_rng(seed)
    network, classes = manifest["network"], len(manifest["labels"])
    specs = layout.tensor_specs(network, classes)
    inputs = _inputs(network)
    tensors = {spec.name: _tensor(spec, rng, inputs) for spec in specs}
    frontend = FrontEnd(**manifest["frontend"])
    samples = (network["frames"] - 1) * frontend.hop + frontend.window
    heard = frontend.quantized(file_format.verification_audio(samples))[None]
    runnable = Network(network, classes, tensors)
    for index, level in enumerate(network["levels"]):
        tensors["verify.scores"][index] = runnable.run(heard, level)[0]
    return tensors


def sealed(text: bytes, numbers: bytes, rest: bytes, /, **header: Any) -> bytes:
    """A file with a correct checksum, of a manifest and numbers that are compressed already, and what follows them.

    header : what the header says, where that is not the truth: magic, version, manifest, size, numbers, text."""
    says = {
        "magic": b"KWSRT\r\n\x1a",
        "version": 2,
        "manifest": len(text),
        "size": 64 + len(text + numbers + rest),
        "numbers": len(numbers),
        **header,
    }
    if "text" not in says:
        says["text"] = len(zlib.decompress(text))
    fields = (says[key] for key in ("magic", "version", "manifest", "size", "numbers", "text"))
    data = struct.pack("<8sIIQII", *fields) + bytes(32) + text + numbers + rest
    return data[:32] + hashlib.sha256(data).digest() + data[64:]


def taken_apart(data: bytes) -> tuple[bytes, bytes, bytes]:
    """A file's manifest and numbers, both compressed, and its 1-bit weights from the first on."""
    (manifest,) = struct.unpack_from("<I", data, 12)
    (numbers,) = struct.unpack_from("<I", data, 24)
    end = 64 + manifest + numbers
    return data[64 : 64 + manifest], data[64 + manifest : end], data[-(-end // 16) * 16 :]


def _inputs(network: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of every kind of layer, by the last part of its name."""
    kernel = layout.KERNEL**2
    return {
        "conv1": (kernel, network["conv1"]),
        "conv2": (kernel * network["conv1"], network["conv2"]),
        "fc1": (network["bins"] // 4 * network["conv2"], network["width"]),
        "memory": (network["taps"], network["width"]),
        "expand": (network["width"], network["hidden"]),
        "project": (network["hidden"], network["width"]),
        "classifier": (network.get("steps", network["frames"] // 4) * network["width"], 0),
    }


def _tensor(spec: layout.TensorSpec, rng: np.random.Generator, sizes: dict[str, tuple[int, int]]) -> NDArray[Any]:
    """One random tensor, of a size that keeps the activations of a deep network near 1."""
    parts = spec.name.split(".")
    layer = parts[2] if parts[0] == "blocks" else parts[0]
    kind = parts[3] if parts[0] == "blocks" else parts[-1]
    if layer == "scales":
        scales = rng.uniform(0.5, 1.5, spec.shape).astype(spec.dtype)
        scales[-1] *= 20  # the classifier's input is int8, not 1 or 2 bits
        return scales
    if layer == "verify":
        return np.zeros(spec.shape, spec.dtype)
    fan_in, outputs = sizes[layer]
    if spec.dtype == np.int8:
        most = layout.LARGEST_TOTAL // fan_in if layer == "conv1" else 127
        return rng.integers(-most, most + 1, spec.shape).astype(np.int8)
    if kind == "weight" and layer == "memory":
        bits = rng.integers(0, 2, fan_in * outputs).astype(np.uint8)
        return np.packbits(bits, bitorder="little")
    if kind == "weight":
        return layers.pack_weights(rng.choice([-1, 1], (outputs, fan_in)))
    if kind == "threshold":
        return rng.normal(0, 0.3, spec.shape).astype(spec.dtype)
    if kind == "slope":
        return rng.uniform(0, 0.5, spec.shape).astype(spec.dtype)
    loudest = {"conv1": 40 * 6, "classifier": 40 * 70}.get(layer, 2)
    gain = rng.uniform(0.5, 1.5, spec.shape[1]) / (loudest * fan_in**0.5)
    return np.stack([gain, rng.normal(0, 0.3, spec.shape[1])]).astype(spec.dtype)
