"""Round a trained network's free numbers to what the packed file stores, before it is validated and saved.

The file keeps a, b (what a norm and the scales fold into), thresholds and slopes as float16. Rounding them at
conversion would move activations across their steps, and a 1-bit network answers each with a jump; rounded here, the
checkpoint that is validated and the file that is shipped are the same network to the last float32 bits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .fused import EPSILON
from .network import Layer, Network, Norm


def _half(values: Tensor) -> Tensor:
    rounded = values.double().half().double()
    if not torch.isfinite(rounded).all():
        raise ValueError("a number of the network does not fit into float16")
    return rounded


def _round_norm(norm: Norm, unit: Tensor) -> None:
    """Make a = unit * factor and b of a norm float16 numbers, with a running mean of 0 and variance of 1."""
    factor = norm.weight.double() / torch.sqrt(norm.running_var.double() + EPSILON)
    shift = norm.bias.double() - norm.running_mean.double() * factor
    norm.weight.copy_(_half(unit * factor) / unit)
    norm.bias.copy_(_half(shift))
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0 - EPSILON)


@torch.no_grad()
def round_for_file(network: Network) -> Network:
    """Round `network` in place, see the module text; full-precision networks are left as they are. Returns it.

    ValueError for a number beyond float16."""
    for layer in network.modules() if network.config["planes"] else ():
        if not isinstance(layer, Layer):
            continue
        layer.slope.copy_(_half(layer.slope))
        if layer.kind != "binary" or layer.act is None:
            continue
        if layer.act.threshold is not None:
            layer.act.threshold.copy_(_half(layer.act.threshold))
        weight = layer.effective_weight().double()
        unit = weight.abs().flatten(1).mean(1) * layer.act.scale.double()
        if network.config["planes"] == 2:
            unit = unit / 2
        norms = [layer.norm] if isinstance(layer.norm, Norm) else list(layer.norm.children())
        for norm in norms:
            _round_norm(norm, unit)
    return network
