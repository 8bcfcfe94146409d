"""What a stage of training is: its settings, its loss, its optimiser and its learning rate."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import binarize, distil
from .network import Network

LEVEL_WEIGHTS = {"full": 1.0, "half": 0.5, "quarter": 0.25, "eighth": 0.25}


@dataclass
class Stage:
    """One training run. `rate` is the peak learning rate, `decay` the weight decay of full-precision weights."""

    name: str
    planes: int
    epochs: int
    samples: int = 32768  #: per epoch
    seed: int = 0  #: added to the run's
    batch: int = 256
    network: dict[str, Any] = dataclasses.field(default_factory=dict)  #: sizes other than default_config's
    #: stages whose weights it starts from, the mean of them ("binary.last": the last checkpoint that is not rounded)
    init: str | list[str] = ""
    teachers: list[str] = dataclasses.field(default_factory=list)  #: stages whose mean it distils, the first judges
    optimizer: str = "adamw"  #: or "sgd"
    rate: float = 2e-3
    decay: float = 0.0
    warmup: float = 0.02  #: fraction of all steps
    threshold_rate: float = 0.1  #: learning rate of thresholds and scales, relative
    method: str = "learned"  #: quantiser gradients, see binarize.METHODS
    miner: str = ""  #: stage whose false alarms in the long recordings are the mix's hard samples
    distil: float = 0.0  #: weight of the teacher's softened logits against 1 - distil of the labels
    temperature: float = 2.0
    hidden: str = ""  #: distillation of the blocks' outputs by the first teacher, see distil.METHODS
    hidden_weight: float = 0.01
    weights: str = "binary"  #: or "float": only activations are binary; or "frozen": all but the 1-bit weights is tuned
    spread: float = 0.0  #: numbers are rounded to steps of this share of their spread; 0: to float16
    parts: dict[str, float] = dataclasses.field(default_factory=dict)  #: share of each batch that a level sees, else 1
    weigh: dict[str, float] = dataclasses.field(default_factory=dict)  #: losses of levels, where not LEVEL_WEIGHTS
    mixup: float = 0.0  #: alpha of the Beta distribution of mixup's shares; 0 is off
    ema: float = 0.0  #: decay of the moving average of the weights that is kept in the end; 0 is off
    suspects_from: float = 1.0  #: fraction of the epochs after which filtered suspects are used; 1 is never
    validate: int = 2  #: epochs between validations
    settle: int = 150  #: batches over which the finished network's norm statistics are measured anew

    def __post_init__(self) -> None:
        known = (
            self.optimizer in ("adamw", "sgd")
            and self.method in binarize.METHODS
            and self.hidden in distil.METHODS
            and self.weights in ("binary", "float", "frozen")
        )
        lacking = (
            ((self.hidden or self.distil) and not self.teachers)
            or (self.weights == "frozen" and not self.init)
            or (self.method == "dual" and self.planes != 2)
        )
        if not known or lacking or self.epochs < 1:
            raise ValueError(f"stage {self}")


def loss_of(logits: dict[str, Tensor], target: Tensor, soft: Tensor | None, stage: Stage) -> Tensor:
    """Cross-entropy of the levels, weighted, mixed with that against the teachers' softened distribution."""
    total = torch.zeros((), device=target.device)
    for level, values in logits.items():
        seen = len(values)
        loss = F.cross_entropy(values, target[:seen])
        if soft is not None:
            # over their temperature squared, gradients of softened logits have the labels' size
            softened = F.cross_entropy(values / stage.temperature, soft[:seen]) * stage.temperature**2
            loss = (1 - stage.distil) * loss + stage.distil * softened
        total = total + {**LEVEL_WEIGHTS, **stage.weigh}.get(level, 0.25) * loss
    return total


def make_optimizer(model: Network, stage: Stage) -> torch.optim.Optimizer:
    """Full-precision weights decay, latent binary ones, norms, slopes and quantiser parameters do not."""
    groups: dict[str, list[Tensor]] = {"weights": [], "free": [], "quantizers": []}
    binary = {id(m.weight) for m in model.modules() if getattr(m, "kind", "") == "binary"}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if ".act." in name:
            groups["quantizers"].append(parameter)
        elif parameter.dim() > 1 and id(parameter) not in binary:
            groups["weights"].append(parameter)
        else:
            groups["free"].append(parameter)
    settings = [
        {"params": groups["weights"], "weight_decay": stage.decay, "relative": 1.0},
        {"params": groups["free"], "weight_decay": 0.0, "relative": 1.0},
        {"params": groups["quantizers"], "weight_decay": 0.0, "relative": stage.threshold_rate},
    ]
    settings = [s for s in settings if s["params"]]
    if stage.optimizer == "sgd":
        return torch.optim.SGD(settings, stage.rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(settings, stage.rate, fused=True)


def rate_at(step: int, steps: int, stage: Stage) -> float:
    """Learning rate of a step: linear warm-up, then half a cosine down to 0."""
    warm = max(1, round(stage.warmup * steps))
    if step < warm:
        return stage.rate * (step + 1) / warm
    return stage.rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
