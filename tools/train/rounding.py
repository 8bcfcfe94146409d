"""Round a trained network's free numbers to what the packed file stores, before it is validated and saved.

The file keeps a, b (what a norm and the scales fold into), thresholds and slopes as float16. Rounding them at
conversion would move activations across their steps, and a 1-bit network answers each with a jump; rounded here, the
checkpoint that is validated and the file that is shipped are the same network to the last float32 bits.

Rounded to a grid (kwsrt.numbers) whose step is near their spread, the levels sharing their a, they take a few bits each
in the file. A network does not bear that unprepared: a stage with `spread` trains it so, the rounding done in
each pass and gradients passed straight through.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from kwsrt import numbers

from .fused import EPSILON
from .network import Layer, Network, Norm

#: exponent of the grid of a network's numbers, by layer and kind: slope, threshold, a, b
Grids = dict[str, int]


def layers(network: Network) -> Iterator[tuple[str, Layer]]:
    """The layers whose numbers are rounded: none of a full-precision network's."""
    for name, layer in network.named_modules() if network.config["planes"] else ():
        if isinstance(layer, Layer):
            yield name, layer


def norms(layer: Layer) -> list[Norm]:
    """A layer's norm, or those of its levels; none where the file keeps them in float32."""
    if layer.kind != "binary" or layer.act is None:
        return []
    return [norm for norm in layer.norm.modules() if isinstance(norm, Norm)]


def unit_of(layer: Layer) -> Tensor:
    """What 1 is worth in each output's integer sum, float64 [outputs]."""
    assert layer.act is not None
    unit = layer.effective_weight().double().abs().flatten(1).mean(1) * layer.act.scale.double()
    return unit / 2 if layer.act.planes == 2 else unit


def folded(norm: Norm, unit: Tensor) -> tuple[Tensor, Tensor]:
    """a, b of a norm behind sums of that unit, float64."""
    factor = norm.weight.double() / torch.sqrt(norm.running_var.double() + EPSILON)
    return unit * factor, norm.bias.double() - norm.running_mean.double() * factor


@torch.no_grad()
def grids_of(network: Network, spread: float) -> Grids:
    """Of steps near `spread` times the spread (half of what lies between 16 % and 84 %) of the numbers."""
    grids: Grids = {}

    def measure(name: str, values: Tensor) -> None:
        low, high = torch.quantile(values.double(), torch.tensor([0.16, 0.84], dtype=torch.float64)).tolist()
        # A single number, or equal ones: to eight bits.
        size = spread * (high - low) / 2 or max(values.abs().max().item(), 1e-4) / 256
        grids[name] = round(math.log2(size / numbers.UNITS[name.rpartition(".")[2]]))

    for name, layer in layers(network):
        measure(f"{name}.slope", layer.slope)
        if norms(layer):
            unit = unit_of(layer)
            pairs = [folded(norm, unit) for norm in norms(layer)]
            measure(f"{name}.a", torch.cat([a for a, _ in pairs]))
            measure(f"{name}.b", torch.cat([b for _, b in pairs]))
            if layer.act is not None and layer.act.threshold is not None:
                measure(f"{name}.threshold", layer.act.threshold)
    return grids


def _half(values: Tensor) -> Tensor:
    rounded = values.double().half().double()
    if not torch.isfinite(rounded).all():
        raise ValueError("a number of the network does not fit into float16")
    return rounded


def _nearest(values: Tensor, kind: str, exponent: int | None) -> Tensor:
    """The nearest numbers that the file holds, float64."""
    if exponent is None:
        return _half(values)
    found = numbers.on_grid(numbers.nearest(values.detach().cpu().numpy(), exponent, kind), exponent, kind)
    return _half(torch.from_numpy(found)).to(values.device)


@torch.no_grad()
def _round(network: Network, grids: Grids | None, fold: bool) -> None:
    """Round in place; norms keep their statistics, or fold them into weight and bias."""
    for name, layer in layers(network):
        grid = {kind: grids.get(f"{name}.{kind}") if grids else None for kind in ("slope", "threshold", "a", "b")}
        layer.slope.copy_(_nearest(layer.slope, "slope", grid["slope"]))
        if not norms(layer):
            continue
        if layer.act is not None and layer.act.threshold is not None:
            layer.act.threshold.copy_(_nearest(layer.act.threshold, "threshold", grid["threshold"]))
        unit = unit_of(layer)
        pairs = [folded(norm, unit) for norm in norms(layer)]
        shared = torch.stack([a for a, _ in pairs]).mean(0)
        for norm, (a, b) in zip(norms(layer), pairs, strict=True):
            if fold:
                norm.running_mean.zero_()
                norm.running_var.fill_(1.0 - EPSILON)
            factor = _nearest(a if grids is None else shared, "a", grid["a"]) / unit
            norm.weight.copy_(factor * torch.sqrt(norm.running_var.double() + EPSILON))
            norm.bias.copy_(_nearest(b, "b", grid["b"]) + norm.running_mean.double() * factor)


@contextmanager
def rounded(network: Network, grids: Grids | None) -> Iterator[None]:
    """Inside, the network's numbers are rounded to `grids`, if any; afterwards as before, gradients kept."""
    if grids is None:
        yield
        return
    free = [parameter for parameter in network.parameters() if parameter.dim() == 1]
    before = [parameter.detach().clone() for parameter in free]
    _round(network, grids, fold=False)
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(free, before)


@torch.no_grad()
def round_for_file(network: Network, grids: Grids | None = None) -> Network:
    """Round `network` in place, see the module text; full-precision networks are left as they are. Returns it.

    Norms are left with a running mean of 0 and a variance of 1. ValueError for a number beyond float16."""
    _round(network, grids, fold=True)
    return network
