"""The network in PyTorch: D-FSMN in full precision (planes 0), BiFSMN (1) and BiFSMNv2 with static scales (2).

Time t, frequency f and channels c lie in that order in memory behind the stem, channels last. What a binary network
computes here in evaluation mode is what the runtime computes, up to the float32 rounding of folding norms and scales.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import binarize

LEVELS = {"full": [0, 1, 2, 3, 4, 5, 6, 7], "half": [1, 3, 5, 7], "quarter": [3, 7]}
EPSILON = 1e-5
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
        "planes": planes,
        "levels": {name: list(blocks) for name, blocks in LEVELS.items()},
    }


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """x where x >= 0, slope * x elsewhere; slope broadcasts over the last axis."""
    return torch.where(x >= 0, x, slope * x)


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


def normalize(x: Tensor, norm: tuple[Tensor, ...], training: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Batch norm of x [..., channels]; also the (mean, variance) it used."""
    weight, bias, mean, var = norm
    if training:
        var, mean = torch.var_mean(x, tuple(range(x.dim() - 1)), correction=0)
    factor = weight * torch.rsqrt(var + EPSILON)
    return x * factor + (bias - mean * factor), (mean.detach(), var.detach())


class Activation(nn.Module):
    """Parameters of an activation quantiser: `scale` [] and, unless channels is 0, `threshold` [channels]."""

    def __init__(self, channels: int, planes: int, method: str):
        super().__init__()
        self.planes, self.method = planes, method
        self.threshold = nn.Parameter(torch.zeros(channels)) if channels else None
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.calibrating = False

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Threshold = mean of each channel, scale = best for a Gaussian of the remaining spread. x [..., channels]."""
        if self.threshold is not None:
            mean = x.mean(tuple(range(x.dim() - 1)))
            self.threshold.copy_(mean)
            x = x - mean
        self.scale.copy_(x.abs().mean() if self.planes == 1 else x.square().mean().sqrt())
        self.calibrating = False

    def tensors(self) -> tuple[Tensor | None, Tensor, int, str]:
        """The arguments of binarize.quantize_activation behind x."""
        return self.threshold, self.scale, self.planes, self.method

    def forward(self, x: Tensor) -> Tensor:
        """Quantised x [..., channels]; sets the parameters first when `calibrating`."""
        if self.calibrating:
            self.calibrate(x)
        return binarize.quantize_activation(x, *self.tensors())


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
    ):
        super().__init__()
        self.kind = kind if planes else "float"
        self.weight = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        outputs = shape[0]
        self.norm = PerLevel({level: Norm(outputs) for level in levels}) if levels else Norm(outputs)
        self.slope = nn.Parameter(torch.full((slopes or outputs,), 0.25))
        self.act = Activation(channels, planes, method) if planes and channels is not None else None

    def effective_weight(self) -> Tensor:
        """What the forward pass multiplies with: latent, alpha[o] * sign, or rounded to int8 times its scale."""
        if self.kind == "float":
            return self.weight
        return binarize.binarize_weight(self.weight) if self.kind == "binary" else binarize.int8_weight(self.weight)

    def norm_of(self, level: str) -> Norm:
        """The norm of a level."""
        return self.norm[level] if isinstance(self.norm, PerLevel) else self.norm


class Block(nn.Module):
    """memory -> expand -> project, with the memory's input added to its output and that to the block's output."""

    def __init__(self, width: int, hidden: int, taps: int, planes: int, method: str, levels: list[str]):
        super().__init__()
        self.memory = Layer((width, taps), planes, method, width, levels)
        self.expand = Layer((hidden, width), planes, method, width, levels, slopes=1)
        self.project = Layer((width, hidden), planes, method, 0, levels)


def remember(q: Tensor, weight: Tensor) -> Tensor:
    """Each channel's weighted sum over neighbouring times (zeros outside): q [n, t, c], weight [c, taps]."""
    taps, steps = weight.shape[1], q.shape[1]
    padded = F.pad(q, (0, 0, taps // 2, taps // 2))
    total = padded[:, :steps] * weight[:, 0]
    for tap in range(1, taps):
        total = total + padded[:, tap : tap + steps] * weight[:, tap]
    return total


#: what `quantized` takes: see there
Quantizer = Activation | tuple[Tensor | None, Tensor, int, str] | None
#: (mean, variance) of a batch, each [channels]
Statistics = tuple[Tensor, Tensor]


def quantized(quantizer: Quantizer, x: Tensor) -> Tensor:
    """x through a quantiser: an Activation, what its `tensors` gave, or None (x itself)."""
    if quantizer is None:
        return x
    return quantizer(x) if isinstance(quantizer, Activation) else binarize.quantize_activation(x, *quantizer)


def stem_math(
    x: Tensor,
    weights: list[Tensor],
    norms: list[tuple[Tensor, ...]],
    slopes: list[Tensor],
    quantizers: list[Quantizer],
    training: bool,
) -> tuple[Tensor, tuple[Statistics, ...]]:
    """Features [n, t, f] to [n, t/4, width]; also the statistics of the three norms."""
    x = F.conv2d(x.unsqueeze(1), weights[0], stride=2, padding=2).permute(0, 2, 3, 1)
    x, first = normalize(x, norms[0], training)
    x = quantized(quantizers[1], prelu(x, slopes[0]))
    x = F.conv2d(x.permute(0, 3, 1, 2), weights[1], stride=2, padding=2).permute(0, 2, 3, 1)
    x, second = normalize(x, norms[1], training)
    x = F.linear(quantized(quantizers[2], prelu(x, slopes[1])).flatten(2), weights[2])
    x, third = normalize(x, norms[2], training)
    return prelu(x, slopes[2]), (first, second, third)


def block_math(
    x: Tensor,
    weights: list[Tensor],
    norms: list[tuple[Tensor, ...]],
    slopes: list[Tensor],
    quantizers: list[Quantizer],
    training: bool,
) -> tuple[Tensor, tuple[Statistics, ...]]:
    """One block on x [n, t, width]; also the statistics of its three norms."""
    y, first = normalize(remember(quantized(quantizers[0], x), weights[0]), norms[0], training)
    m = prelu(y, slopes[0]) + x
    y, second = normalize(F.linear(quantized(quantizers[1], m), weights[1]), norms[1], training)
    y, third = normalize(F.linear(quantized(quantizers[2], prelu(y, slopes[1])), weights[2]), norms[2], training)
    return prelu(y, slopes[2]) + m, (first, second, third)


class Network(nn.Module):
    """See the module text. `config` as default_config gives it, `classes` outputs per level.

    ValueError for sizes that the runtime does not know."""

    def __init__(self, config: dict[str, Any], classes: int, method: str = "learned"):
        super().__init__()
        if config["family"] != "dfsmn" or config["planes"] not in (0, 1, 2) or config["taps"] % 2 != 1:
            raise ValueError(f"network {config!r}")
        self.config = config
        planes, width, levels = config["planes"], config["width"], config["levels"]
        first, second = config["conv1"], config["conv2"]
        self.levels = levels
        self.conv1 = Layer((first, 1, 5, 5), planes, method, kind="int8")
        self.conv2 = Layer((second, first, 5, 5), planes, method, first)
        self.fc1 = Layer((width, second * config["bins"] // 4), planes, method, second)
        self.blocks = nn.ModuleList(
            Block(width, config["hidden"], config["taps"], planes, method, [n for n, run in levels.items() if i in run])
            for i in range(config["blocks"])
        )
        self.classifier = Classifier(classes, width * config["frames"] // 4, planes, levels)
        self.calibrating = self.compiled_evaluation = False
        self.momentum = MOMENTUM  #: of the norms' running statistics in training passes
        self._stem: Callable[..., Any] = stem_math
        self._block: Callable[..., Any] = block_math

    def compile(self, evaluation: bool = False) -> None:
        """Use torch.compile for training passes (one graph for the stem, one for all blocks).

        With `evaluation` for evaluation passes too, which pays where all batches have the same size."""
        self.compiled_evaluation = evaluation
        self._stem = torch.compile(stem_math, dynamic=False)
        self._block = torch.compile(block_math, dynamic=False)

    def _run(self, part: str, x: Tensor, layers: list[Layer], weights: list[Tensor], level: str = "") -> Tensor:
        norms = [layer.norm_of(level) for layer in layers]
        # the compiled graphs take tensors and not modules: one graph serves all blocks
        if self.calibrating or not (self.training or self.compiled_evaluation):
            math = stem_math if part == "stem" else block_math
            acts: list[Quantizer] = [layer.act for layer in layers]
        else:
            math = self._stem if part == "stem" else self._block
            acts = [layer.act and layer.act.tensors() for layer in layers]
        y, statistics = math(
            x, weights, [n.tensors() for n in norms], [layer.slope for layer in layers], acts, self.training
        )
        if self.training:
            for norm, values in zip(norms, statistics, strict=True):
                norm.update(values, self.momentum)
        return y

    def forward(self, features: Tensor, only: str | None = None) -> dict[str, Tensor]:
        """Quantised features [n, frames, bins] (int8, or floats of whole numbers) to {level: logits [n, classes]}."""
        stem: list[Any] = [self.conv1, self.conv2, self.fc1]
        x0 = self._run("stem", features.to(self.conv1.weight.dtype), stem, [layer.effective_weight() for layer in stem])
        weights = [[layer.effective_weight() for layer in (b.memory, b.expand, b.project)] for b in self.blocks]
        head = self.classifier.effective_weight()
        logits = {}
        for level, run in self.levels.items():
            if only is not None and level != only:
                continue
            x = x0
            for i in run:
                block = self.blocks[i]
                x = self._run("block", x, [block.memory, block.expand, block.project], weights[i], level)
            logits[level] = self.classifier(x.flatten(1), head, level)
        return logits

    def calibrate(self, features: Tensor) -> None:
        """Set the quantisers' thresholds and scales from a batch, layer by layer as the quantised network sees it."""
        was = self.training
        self.train()
        for module in self.modules():
            if isinstance(module, Activation | Int8Activation):
                module.calibrating = True
        self.calibrating = True
        with torch.no_grad():
            self(features)
        self.calibrating = False
        self.train(was)

    @torch.no_grad()
    def clamp(self) -> None:
        """Keep every quantiser's scale positive; call after each optimiser step."""
        for module in self.modules():
            if isinstance(module, Activation | Int8Activation):
                module.scale.clamp_(min=SMALLEST_SCALE)


class Classifier(nn.Module):
    """Linear over time * width, int8 in a binary network; a `bias` [classes] per level."""

    def __init__(self, classes: int, inputs: int, planes: int, levels: Iterable[str]):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, inputs) * (0.1 * inputs**-0.5))
        self.bias = PerLevel({level: nn.Parameter(torch.zeros(classes)) for level in levels})
        self.act = Int8Activation() if planes else None

    def effective_weight(self) -> Tensor:
        """Latent weight, or rounded to int8 times its scale."""
        return self.weight if self.act is None else binarize.int8_weight(self.weight)

    def forward(self, x: Tensor, weight: Tensor, level: str) -> Tensor:
        """x [n, t * width] to logits [n, classes]."""
        return F.linear(x if self.act is None else self.act(x), weight, self.bias[level])
