"""The network in PyTorch: D-FSMN in full precision (planes 0), BiFSMN (1) and BiFSMNv2 with static scales (2).

Time t, frequency f and channels c lie in that order in memory behind the stem, channels last. What a binary network
computes here in evaluation mode is what the runtime computes, up to the float32 rounding of folding norms and scales.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import binarize, fused
from .fused import EPSILON

LEVELS = {"full": [0, 1, 2, 3, 4, 5, 6, 7], "half": [1, 3, 5, 7], "quarter": [3, 7]}
MOMENTUM = 0.1
#: bounds of the float16 values that the packed file stores
SMALLEST_SCALE = 1e-4


def default_config(planes: int) -> dict[str, Any]:
    """The "network" entry of a checkpoint for 0 (float), 1 or 2 activation planes."""
    return {
        "family": "dfsmn",
        "frames": 32,
        "bins": 32,
        "conv1": 16,
        "conv2": 32,
        "width": 128,
        "hidden": 256,
        "blocks": 8,
        "taps": 5,
        "centred_memory": False,
        "shared_norms": False,
        "planes": planes,
        "levels": {name: list(blocks) for name, blocks in LEVELS.items()},
    }


class Norm(nn.Module):
    """Batch norm over the last axis; `running_mean`, `running_var` [channels] as in torch, no batch counter."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def tensors(self) -> tuple[Tensor, ...]:
        """weight, bias, running mean, running variance: what `normalize` takes."""
        return self.weight, self.bias, self.running_mean, self.running_var

    @torch.no_grad()
    def update(self, statistics: tuple[Tensor, Tensor], momentum: float = MOMENTUM) -> None:
        """Move the running statistics towards a batch's (mean, variance)."""
        self.running_mean.lerp_(statistics[0], momentum)
        self.running_var.lerp_(statistics[1], momentum)


#: (mean, variance) of a batch, each [channels]
Statistics = tuple[Tensor, Tensor]


def norm_act(
    z: Tensor, norm: tuple[Tensor, ...], slope: Tensor, residual: Tensor | None, training: bool
) -> tuple[Tensor, Statistics]:
    """Batch norm over z's last axis, PReLU (slope [channels] or [1]), + residual; also the statistics it used."""
    weight, bias, mean, var = norm
    if fused.usable(z):
        y, mean, var = fused.NormAct.apply(z, weight, bias, mean, var, slope, residual, training)
        return y, (mean, var)
    if training:
        var, mean = torch.var_mean(z, tuple(range(z.dim() - 1)), correction=0)
    factor = weight * torch.rsqrt(var + EPSILON)
    u = z * factor + (bias - mean * factor)
    y = torch.where(u >= 0, u, slope * u)
    return y if residual is None else y + residual, (mean.detach(), var.detach())


class Activation(nn.Module):
    """Parameters of an activation quantiser: `scale` [] and, unless channels is 0, `threshold` [channels]."""

    def __init__(self, channels: int, planes: int, method: str):
        super().__init__()
        self.planes, self.method = planes, method
        # plain sign and its straight-through estimator know no threshold: it stays 0
        self.threshold = nn.Parameter(torch.zeros(channels), requires_grad=method != "ste") if channels else None
        self.scale = nn.Parameter(torch.tensor(1.0))
        if method == "dual":
            self.residue = nn.Parameter(torch.tensor(0.5))
        self.calibrating = False

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Threshold = mean of each channel, scale = best for a Gaussian of the remaining spread. x [..., channels]."""
        if self.threshold is not None and self.method != "ste":
            mean = x.mean(tuple(range(x.dim() - 1)))
            self.threshold.copy_(mean)
            x = x - mean
        self.scale.copy_(x.abs().mean() if self.planes == 1 else x.square().mean().sqrt())
        if self.method == "dual":
            self.residue.copy_(self.scale / 2)
        self.calibrating = False

    def forward(self, x: Tensor) -> Tensor:
        """Quantised x [..., channels]; sets the parameters first when `calibrating`."""
        if self.calibrating:
            self.calibrate(x)
        if self.method == "dual":
            return binarize.quantize_dual(x, self.threshold, self.scale, self.residue)
        return binarize.quantize_activation(x, self.threshold, self.scale, self.planes, self.method)


class Int8Activation(nn.Module):
    """int8 quantiser with a learned `scale` [] (value = scale * q)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.05))
        self.calibrating = False

    def forward(self, x: Tensor) -> Tensor:
        """Quantised x; sets the scale first when `calibrating`."""
        if self.calibrating:
            with torch.no_grad():
                self.scale.copy_(x.square().mean().sqrt() * (6 / 127))
            self.calibrating = False
        return binarize.quantize_int8(x, self.scale)


class PerLevel(nn.Module):
    """Modules or parameters by level name. nn.ModuleDict refuses "half", the name of one of its own methods."""

    def __init__(self, members: dict[str, Any]):
        super().__init__()
        for name, member in members.items():
            (self._modules if isinstance(member, nn.Module) else self._parameters)[name] = member

    def __getitem__(self, level: str) -> Any:
        return self._modules[level] if self._modules else self._parameters[level]


class Layer(nn.Module):
    """A weighted layer: latent `weight`, one norm or one per level, PReLU `slope`, an activation quantiser."""

    def __init__(
        self,
        shape: tuple[int, ...],
        planes: int,
        method: str,
        channels: int | None = None,
        levels: Iterable[str] = (),
        slopes: int | None = None,
        kind: str = "binary",
        centred: bool = True,
    ):
        super().__init__()
        self.kind = kind if planes else "float"
        self.centred = centred
        self.weight = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        outputs = shape[0]
        self.norm = PerLevel({level: Norm(outputs) for level in levels}) if levels else Norm(outputs)
        self.slope = nn.Parameter(torch.full((slopes or outputs,), 0.25))
        self.act = Activation(channels, planes, method) if planes and channels is not None else None

    def effective_weight(self) -> Tensor:
        """What the forward pass multiplies with: latent, alpha[o] * sign, or whole numbers times a scale."""
        if self.kind == "float":
            return self.weight
        if self.kind == "binary":
            return binarize.binarize_weight(self.weight, self.centred)
        return binarize.input_weight(self.weight)

    def norm_of(self, level: str) -> Norm:
        """The norm of a level."""
        return self.norm[level] if isinstance(self.norm, PerLevel) else self.norm


class Block(nn.Module):
    """memory -> expand -> project, with the memory's input added to its output and that to the block's output."""

    def __init__(self, config: dict[str, Any], method: str, levels: list[str]):
        super().__init__()
        width, hidden, planes = config["width"], config["hidden"], config["planes"]
        # the few taps of a memory may well have one sign (a mean over time), which centred weights cannot have;
        # checkpoints of before this was known have no such key
        centred = config.get("centred_memory", True)
        self.memory = Layer((width, config["taps"]), planes, method, width, levels, centred=centred)
        self.expand = Layer((hidden, width), planes, method, width, levels, slopes=1)
        self.project = Layer((width, hidden), planes, method, 0, levels)

    def layers(self) -> list[Layer]:
        """Its layers in the order of the computation."""
        return [self.memory, self.expand, self.project]


def remember(q: Tensor, weight: Tensor, causal: bool = False) -> Tensor:
    """Each channel's weighted sum over neighbouring times (zeros outside): q [n, t, c], weight [c, taps].

    A causal one sees the time itself and those before it."""
    if causal:
        return remember(F.pad(q, (0, 0, weight.shape[1] // 2, 0)), weight)[:, : q.shape[1]]
    if fused.usable(q):
        return fused.Remember.apply(q, weight)
    taps, steps = weight.shape[1], q.shape[1]
    padded = F.pad(q, (0, 0, taps // 2, taps // 2))
    total = padded[:, :steps] * weight[:, 0]
    for tap in range(1, taps):
        total = total + padded[:, tap : tap + steps] * weight[:, tap]
    return total


def quantized(layer: Layer, x: Tensor) -> Tensor:
    """x through the layer's activation quantiser, if it has one."""
    return x if layer.act is None else layer.act(x)


class Network(nn.Module):
    """See the module text. `config` as default_config gives it, `classes` outputs per level.

    ValueError for sizes that the runtime does not know."""

    def __init__(self, config: dict[str, Any], classes: int, method: str = "learned", binary_weights: bool = True):
        super().__init__()
        if config["family"] != "dfsmn" or config["planes"] not in (0, 1, 2) or config["taps"] % 2 != 1:
            raise ValueError(f"network {config!r}")
        self.config = config
        planes, width, levels = config["planes"], config["width"], config["levels"]
        self.causal = config.get("causal", False)
        self.steps = config["steps"] if self.causal else config["frames"] // 4  #: that the classifier sees
        first, second = config["conv1"], config["conv2"]
        self.levels = levels
        self.conv1 = Layer((first, 1, 5, 5), planes, method, kind="input")
        self.conv2 = Layer((second, first, 5, 5), planes, method, first)
        self.fc1 = Layer((width, second * config["bins"] // 4), planes, method, second)
        self.blocks = nn.ModuleList(
            Block(config, method, [name for name, run in levels.items() if i in run and not config.get("shared_norms")])
            for i in range(config["blocks"])
        )
        bits = config.get("classifier_bits", 8)
        self.classifier = Classifier(classes, width * self.steps, planes, levels, bits)
        for layer in self.modules():
            if isinstance(layer, Layer) and layer.kind == "binary" and not binary_weights:
                layer.kind = "float"
        self.momentum = MOMENTUM  #: of the norms' running statistics in training passes

    def _finish(self, layer: Layer, z: Tensor, level: str = "", residual: Tensor | None = None) -> Tensor:
        """A layer's norm, PReLU and residual behind its product z."""
        norm = layer.norm_of(level)
        y, statistics = norm_act(z, norm.tensors(), layer.slope, residual, self.training)
        if self.training:
            norm.update(statistics, self.momentum)
        return y

    def _stem(self, features: Tensor) -> Tensor:
        """Features [n, t, f] to [n, steps, width]: t/4 steps; where causal, those that see nothing beyond the ends."""
        padding = (0 if self.causal else 2, 2)
        x = features.to(self.conv1.weight.dtype).unsqueeze(1)
        z = F.conv2d(x, self.conv1.effective_weight(), stride=2, padding=padding).permute(0, 2, 3, 1)
        q = quantized(self.conv2, self._finish(self.conv1, z)).permute(0, 3, 1, 2)
        z = F.conv2d(q, self.conv2.effective_weight(), stride=2, padding=padding).permute(0, 2, 3, 1)
        q = quantized(self.fc1, self._finish(self.conv2, z)).flatten(2)
        return self._finish(self.fc1, F.linear(q, self.fc1.effective_weight()))

    def _run(self, block: Block, weights: list[Tensor], x: Tensor, level: str) -> Tensor:
        """One block on x [n, t, width]."""
        z = remember(quantized(block.memory, x), weights[0], self.causal)
        m = self._finish(block.memory, z, level, x)
        y = self._finish(block.expand, F.linear(quantized(block.expand, m), weights[1]), level)
        return self._finish(block.project, F.linear(quantized(block.project, y), weights[2]), level, m)

    def forward(
        self,
        features: Tensor,
        only: str | None = None,
        hidden: dict[str, list[Tensor]] | None = None,
        parts: dict[str, float] | None = None,
    ) -> dict[str, Tensor]:
        """Quantised features [n, frames, bins] (int8, or floats of whole numbers) to {level: logits [n, classes]}.

        Of level `only`, else of all. `hidden`, where given, gets each level's block outputs [n, t, width] in turn.
        `parts`: share of the clips, the first, that a level sees where not all."""
        x0 = self._stem(features)
        weights = [[layer.effective_weight() for layer in block.layers()] for block in self.blocks]
        head = self.classifier.effective_weight()
        logits = {}
        for level, run in self.levels.items():
            if only is not None and level != only:
                continue
            x = x0
            if parts and level in parts:
                x = x[: max(2, round(parts[level] * len(x)))]
            for i in run:
                x = self._run(self.blocks[i], weights[i], x, level)
                if hidden is not None:
                    hidden.setdefault(level, []).append(x)
            logits[level] = self.classifier(x[:, -self.steps :].flatten(1), head, level)
        return logits

    def calibrate(self, features: Tensor) -> None:
        """Set the quantisers' thresholds and scales from a batch, layer by layer as the quantised network sees it."""
        was = self.training
        self.train()
        for module in self.modules():
            if isinstance(module, Activation | Int8Activation):
                module.calibrating = True
        with torch.no_grad():
            self(features)
        self.train(was)

    @torch.no_grad()
    def clamp(self) -> None:
        """Keep every quantiser's scale positive; call after each optimiser step."""
        for module in self.modules():
            if isinstance(module, Activation | Int8Activation):
                module.scale.clamp_(min=SMALLEST_SCALE)
            if isinstance(module, Activation) and module.method == "dual":
                module.residue.clamp_(min=SMALLEST_SCALE)


class Classifier(nn.Module):
    """Linear over time * width, int8 with weights of `bits` bits in a binary network; a `bias` [classes] per level."""

    def __init__(self, classes: int, inputs: int, planes: int, levels: Iterable[str], bits: int = 8):
        super().__init__()
        self.bits = bits
        self.weight = nn.Parameter(torch.randn(classes, inputs) * (0.1 * inputs**-0.5))
        self.bias = PerLevel({level: nn.Parameter(torch.zeros(classes)) for level in levels})
        self.act = Int8Activation() if planes else None

    def effective_weight(self) -> Tensor:
        """Latent weight, or rounded to `bits` bits times its scale."""
        return self.weight if self.act is None else binarize.classifier_weight(self.weight, self.bits)

    def forward(self, x: Tensor, weight: Tensor, level: str) -> Tensor:
        """x [n, t * width] to logits [n, classes]."""
        return F.linear(x if self.act is None else self.act(x), weight, self.bias[level])
