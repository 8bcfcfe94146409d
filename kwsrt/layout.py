"""What tensors a network's model file holds: names, types, shapes and order follow from the network's sizes.

1-bit weights are uint8 [outputs / 16][2 * inputs / 16][16] as layers.pack_weights says (memories: bits, tap after tap).
The first convolution's are int8, LARGEST_TOTAL at most in an output's magnitudes together, so that its sums are int16.
A layer computes y = a*n + b and PReLU from its integer sum n: `affine` is [a, b], `slope` the PReLU's. `threshold`
shifts the activations before they are quantised, `scales` holds the quantisers' scales: conv2, fc1, then memory,
expand, project of every block, and last the inverse scale of the classifier's int8 input. Inside the blocks there is
one `affine` for every level that runs the block. `verify.scores` are those of the samples that
format.verification_audio makes, at every level.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

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
        """Bytes in memory."""
        return int(self.dtype.itemsize * math.prod(self.shape))

    @property
    def is_binary(self) -> bool:
        """Whether it holds 1-bit weights."""
        return self.dtype == np.uint8


def _packed(inputs: int, outputs: int) -> tuple[int, int, int]:
    return (-(-outputs // 16), -(-inputs // 16) * 2, 16)


def tensor_specs(network: Mapping[str, Any], classes: int) -> list[TensorSpec]:
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
    for name, inputs, channels, outputs in (
        ("conv2", KERNEL * KERNEL * conv1, conv1, conv2),
        ("fc1", bands * conv2, conv2, width),
    ):
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
    add("verify.scores", "<f4", len(levels), classes)
    return specs
