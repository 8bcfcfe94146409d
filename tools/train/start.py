"""A packed model, or the weights of a full-precision one kept at half precision, as what training goes on from.

    python -m tools.train.start CHECKPOINT.pt WEIGHTS.npz

keeps the weights of a checkpoint, float16, a few bits a weight after compression: what `--init` of training takes.

A packed file keeps the signs of its 1-bit weights and nothing of how far each was from turning: all of a layer start
equally far. Norms come folded; their statistics are measured anew on a batch, so that the network computes what the
file does.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kwsrt import format as file_format
from kwsrt.layers import unpack_weights

from .checkpoints import checkpoint, load_model, save
from .fused import EPSILON
from .network import Layer, Network, Norm
from .rounding import unit_of

#: of latent weights, against the spread that random ones start with
DISTANCE = 0.8


@torch.no_grad()
def unpacked(path: Path) -> tuple[Network, dict[str, Any]]:
    """The training network of a packed two-plane model, and its manifest. ValueError for another kind of network."""
    file = file_format.read(path)
    manifest, tensors = file.manifest, file.tensors
    config = {**manifest["network"]}
    if config["planes"] != 2 or config.get("shared_norms"):
        raise ValueError(f"{path}: training goes on from two-plane networks with a norm for each level alone")
    network = Network(config, len(manifest["labels"]))
    scales = iter(np.asarray(tensors["scales"]).tolist())

    def take(values: Any) -> Tensor:
        return torch.from_numpy(np.array(values, np.float32))

    def fold_into(norm: Norm, affine: Any, unit: Tensor) -> None:
        norm.weight.copy_(take(affine[0]) / unit)
        norm.bias.copy_(take(affine[1]))
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0 - EPSILON)

    def fill(layer: Layer, name: str, signs: Any) -> None:
        size = DISTANCE * float(np.sqrt(2 / layer.weight[0].numel()))
        layer.weight.copy_(take(signs).reshape(layer.weight.shape) * size)
        layer.slope.copy_(take(tensors[f"{name}.slope"]))
        assert layer.act is not None
        layer.act.scale.fill_(next(scales))
        if layer.act.threshold is not None:
            layer.act.threshold.copy_(take(tensors[f"{name}.threshold"]))
        unit = unit_of(layer).float()
        if isinstance(layer.norm, Norm):
            fold_into(layer.norm, tensors[f"{name}.affine"], unit)
            return
        for level, run in config["levels"].items():
            if int(name.split(".")[1]) in run:
                fold_into(layer.norm_of(level), tensors[f"{name}.affine.{level}"], unit)

    first, second, width, hidden = config["conv1"], config["conv2"], config["width"], config["hidden"]
    network.conv1.weight.copy_(take(tensors["conv1.weight"].T).reshape(network.conv1.weight.shape) / 100)
    network.conv1.slope.copy_(take(tensors["conv1.slope"]))
    fold_into(network.conv1.norm, tensors["conv1.affine"], torch.full((first,), 0.01))
    kernels = unpack_weights(tensors["conv2.weight"], 25 * first, second)
    fill(network.conv2, "conv2", kernels.reshape(second, 5, 5, first).transpose(0, 3, 1, 2))
    inputs = config["bins"] // 4 * second
    fill(network.fc1, "fc1", unpack_weights(tensors["fc1.weight"], inputs, width))
    for i, block in enumerate(network.blocks):
        ones = np.unpackbits(tensors[f"blocks.{i}.memory.weight"], count=config["taps"] * width, bitorder="little")
        fill(block.memory, f"blocks.{i}.memory", 2.0 * ones.reshape(config["taps"], width).T - 1.0)
        fill(block.expand, f"blocks.{i}.expand", unpack_weights(tensors[f"blocks.{i}.expand.weight"], width, hidden))
        fill(block.project, f"blocks.{i}.project", unpack_weights(tensors[f"blocks.{i}.project.weight"], hidden, width))
    head = network.classifier
    assert head.act is not None  # a packed classifier has int8 inputs
    head.act.scale.fill_(1 / next(scales))
    for level in config["levels"]:
        scale, bias = take(tensors[f"classifier.affine.{level}"])
        head.weight.copy_(take(tensors["classifier.weight"]) * (scale / head.act.scale)[:, None])
        head.bias[level].copy_(bias)
    return network.eval(), dict(manifest)


@torch.no_grad()
def unfold(network: Network, features: Tensor) -> None:
    """Give every norm the statistics of `features` [n, frames, bins], and the weight and bias that leave its result."""
    finish = network._finish

    def measured(layer: Layer, z: Tensor, level: str = "", residual: Tensor | None = None) -> Tensor:
        norm = layer.norm_of(level)
        factor = norm.weight * torch.rsqrt(norm.running_var + EPSILON)
        shift = norm.bias - norm.running_mean * factor
        var, mean = torch.var_mean(z, tuple(range(z.dim() - 1)), correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)
        norm.weight.copy_(factor * torch.sqrt(var + EPSILON))
        norm.bias.copy_(shift + mean * factor)
        return finish(layer, z, level, residual)

    network._finish = measured  # type: ignore[method-assign]
    try:
        network(features)
    finally:
        del network._finish


def keep_weights(path: Path, out: Path) -> None:
    """Write the weights of the checkpoint `path` as `out`, an .npz of float16 arrays and of what network they are."""
    network, saved = load_model(path)
    about = {name: saved[name] for name in ("network", "labels", "frontend")}
    about["history"] = saved["train"].get("history", [])
    halves = {name: values.half().numpy() for name, values in network.state_dict().items()}
    np.savez_compressed(out, allow_pickle=False, about=np.array(json.dumps(about)), **halves)


def kept_weights(path: Path) -> tuple[Network, dict[str, Any]]:
    """The network of what `keep_weights` wrote, and what it says of itself."""
    with np.load(path, allow_pickle=False) as kept:
        about = json.loads(str(kept["about"]))
        network = Network(about["network"], len(about["labels"]))
        network.load_state_dict({name: torch.from_numpy(kept[name]).float() for name in kept.files if name != "about"})
    return network.eval(), about


def write_start(model: Path, out: Path, features: Tensor) -> None:
    """Write the checkpoint `out` of `model`, a packed file or kept weights (.npz).

    The norms of a packed file are measured on `features` [n, frames, bins]."""
    if model.suffix == ".npz":
        network, about = kept_weights(model)
        history = about["history"]
    else:
        network, about = unpacked(model)
        unfold(network, features)
        history = about["training"].get("history", [])
    train = {"history": [*history, f"from {model.name}"]}
    save(checkpoint(network, about["labels"], about["frontend"], train), out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT.pt")
    parser.add_argument("weights", type=Path, metavar="WEIGHTS.npz")
    arguments = parser.parse_args()
    keep_weights(arguments.checkpoint, arguments.weights)
