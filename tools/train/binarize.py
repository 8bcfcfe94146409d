"""Quantisers with hand-written gradients. In all of them sign(0) is +1.

Each forward pass is the arithmetic of the runtime (comparisons, no divisions), each backward pass is one of:
"learned": gradient 1 inside a window that grows with the learned scale, threshold and scale learned (after the Learning
Propagation Binarizer of BiFSMNv2; the scale's gradient is that of LSQ); "ste": the plain straight-through estimator,
gradient 1 where |x - t| <= 1, neither threshold nor scale is learned; "dual": two planes whose second scale is learned
by itself, as BiFSMNv2 has it (an ablation: the file format has no place for it).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import fused

METHODS = ("learned", "ste", "dual")
LARGEST_TOTAL = 255  #: times 128, the largest feature, is within int16
CLIP = 2.7  #: near the best for a Gaussian at four bits


def levels_of(distance: Tensor, scale: Tensor, planes: int) -> Tensor:
    """q of x - threshold: -1, +1 (one plane) or -3, -1, +1, +3 (two), float32 of the same shape."""
    if planes == 1:
        return torch.where(distance >= 0, 1.0, -1.0)
    # one step per passed boundary: the same comparisons as 2*b1 + b2, without the nested choice
    first = torch.where(distance >= 0, 1.0, -1.0)
    return first + torch.where(distance >= scale, 1.0, -1.0) + torch.where(distance >= -scale, 1.0, -1.0)


class ActivationQuantizer(torch.autograd.Function):
    """value = scale * q (one plane) or scale/2 * q (two planes), q from x - threshold.

    x [..., channels], threshold [channels] or None, scale a positive scalar."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: Tensor | None, scale: Tensor, planes: int, method: str) -> Tensor:
        distance = x if threshold is None else x - threshold
        ctx.save_for_backward(distance, scale, threshold)
        ctx.planes, ctx.method = planes, method
        return levels_of(distance, scale, planes) * (scale if planes == 1 else scale * 0.5)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        distance, scale, threshold = ctx.saved_tensors
        learned = ctx.method == "learned"
        inside = distance.abs() < (2 * scale if learned else torch.ones_like(scale))
        grad_x = torch.where(inside, grad, 0.0)
        grad_threshold = grad_scale = None
        if threshold is not None:
            grad_threshold = -grad_x.sum(tuple(range(grad.dim() - 1)))
        if learned:
            unit = levels_of(distance, scale, ctx.planes) * (1.0 if ctx.planes == 1 else 0.5)
            slope = torch.where(inside, unit - distance / scale, unit)
            # per channel first: one pass over memory serves threshold and scale
            grad_scale = (grad * slope).sum(tuple(range(grad.dim() - 1))).sum() * distance.numel() ** -0.5
        return grad_x, grad_threshold, grad_scale, None, None


class DualQuantizer(torch.autograd.Function):
    """value = scale * b1 + residue * b2, b1 the sign of d = x - threshold and b2 that of d - scale * b1.

    x [..., channels], threshold [channels] or None, scale and residue positive scalars."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: Tensor | None, scale: Tensor, residue: Tensor) -> Tensor:
        distance = x if threshold is None else x - threshold
        ctx.save_for_backward(distance, scale, residue, threshold)
        coarse = torch.where(distance >= 0, 1.0, -1.0)
        return scale * coarse + residue * torch.where(distance - scale * coarse >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        distance, scale, residue, threshold = ctx.saved_tensors
        grad_x = torch.where(distance.abs() < scale + 2 * residue, grad, 0.0)
        coarse = torch.where(distance >= 0, 1.0, -1.0)
        fine = torch.where(distance - scale * coarse >= 0, 1.0, -1.0)
        grad_threshold = None if threshold is None else -grad_x.sum(tuple(range(grad.dim() - 1)))
        share = distance.numel() ** -0.5
        return grad_x, grad_threshold, (grad * coarse).sum() * share, (grad * fine).sum() * share


class Int8Quantizer(torch.autograd.Function):
    """value = scale * clip(rint(x / scale), -127, 127), learned scale (a positive scalar), LSQ gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        return torch.clamp(torch.round(x * (1 / scale)), -127, 127) * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, scale = ctx.saved_tensors
        ratio = x * (1 / scale)
        q = torch.clamp(torch.round(ratio), -127, 127)
        inside = ratio.abs() <= 127
        slope = torch.where(inside, q - ratio, q)
        return torch.where(inside, grad, 0.0), (grad * slope).sum() * (127 * x.numel()) ** -0.5


class WeightBinarizer(torch.autograd.Function):
    """alpha[o] * sign(w - mean of its output channel), alpha the mean magnitude of w - mean; mean 0 if not centred.

    weight [outputs, ...]. A norm follows every binary layer, so alpha is no more than a unit and gets no gradient; the
    latent weights get the gradient as it is, 0 beyond four times alpha so that none runs away."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, centred: bool) -> Tensor:
        axes = tuple(range(1, weight.dim()))
        deviation = weight - weight.mean(axes, keepdim=True) if centred else weight
        alpha = deviation.abs().mean(axes, keepdim=True)
        ctx.save_for_backward(deviation, alpha)
        ctx.centred = centred
        return torch.where(deviation >= 0, alpha, -alpha)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        deviation, alpha = ctx.saved_tensors
        grad = torch.where(deviation.abs() <= fused.WEIGHT_WINDOW * alpha, grad, 0.0)
        if ctx.centred:
            grad = grad - grad.mean(tuple(range(1, grad.dim())), keepdim=True)
        return grad, None


class InputWeight(torch.autograd.Function):
    """Weights of the first convolution as whole numbers, one scale per output: the largest is k times the scale, with
    the largest k that keeps the sum of an output's magnitudes within LARGEST_TOTAL, so that int16 holds every sum of
    them with int8 features. Gradient straight through."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        magnitude, axes = weight.abs(), tuple(range(1, weight.dim()))
        largest = magnitude.amax(axes, keepdim=True).clamp_min(1e-12)
        rounding = weight[0].numel() / 2
        most = torch.floor((LARGEST_TOTAL - rounding) * largest / magnitude.sum(axes, keepdim=True).clamp_min(1e-12))
        scale = largest / most.clamp(1, 127)
        return torch.round(weight / scale) * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad


class ClassifierWeight(torch.autograd.Function):
    """Weights of `bits` bits, -m to m with m = 2^(bits-1) - 1, one scale per output; what lies beyond CLIP times an
    output's root mean square is clipped, unless they are 8 bits. Gradient straight through."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits: int) -> Tensor:
        most = 2 ** (bits - 1) - 1
        largest = weight.abs().amax(1, keepdim=True)
        if bits < 8:
            largest = torch.minimum(largest, CLIP * weight.square().mean(1, keepdim=True).sqrt())
        scale = largest.clamp_min(1e-12) / most
        return torch.clamp(torch.round(weight / scale), -most, most) * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad, None


def quantize_activation(x: Tensor, threshold: Tensor | None, scale: Tensor, planes: int, method: str) -> Tensor:
    """See ActivationQuantizer. ValueError for another number of planes than 1 or 2, or another method."""
    if planes not in (1, 2) or method not in METHODS[:2]:
        raise ValueError(f"planes {planes}, method {method!r}")
    quantizer = fused.Quantize if fused.usable(x) else ActivationQuantizer
    return quantizer.apply(x, threshold, scale, planes, method)


def quantize_dual(x: Tensor, threshold: Tensor | None, scale: Tensor, residue: Tensor) -> Tensor:
    """See DualQuantizer."""
    return DualQuantizer.apply(x, threshold, scale, residue)


def quantize_int8(x: Tensor, scale: Tensor) -> Tensor:
    """See Int8Quantizer."""
    quantizer = fused.QuantizeInt8 if fused.usable(x) else Int8Quantizer
    return quantizer.apply(x, scale)


def binarize_weight(weight: Tensor, centred: bool = True) -> Tensor:
    """See WeightBinarizer."""
    binarizer = fused.BinarizeWeight if fused.usable(weight.flatten(1)[:, :1]) else WeightBinarizer
    return binarizer.apply(weight, centred)


def input_weight(weight: Tensor) -> Tensor:
    """See InputWeight."""
    return InputWeight.apply(weight)


def classifier_weight(weight: Tensor, bits: int) -> Tensor:
    """See ClassifierWeight."""
    return ClassifierWeight.apply(weight, bits)
