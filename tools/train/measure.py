"""Accuracy and calibration of a network in training."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import data
from .network import Network


@torch.no_grad()
def predict(
    model: Network, features: data.Array, device: torch.device | str, batch: int = 512, only: str | None = None
) -> dict[str, Tensor]:
    """{level: logits float32 [n, classes]} in evaluation mode."""
    was = model.training
    model.eval()
    parts = [
        model(torch.from_numpy(np.array(features[at : at + batch])).to(device), only)
        for at in range(0, len(features), batch)
    ]
    model.train(was)
    return {level: torch.cat([part[level] for part in parts]).float().cpu() for level in parts[0]}


def accuracies(model: Network, sets: dict[str, data.Samples], device: torch.device | str) -> dict[str, float]:
    """{"full": 0.93, "full_balanced": ..., "full_synthetic": ...}: plain and class-balanced accuracy per level of the
    recorded clips, plain accuracy of the synthetic ones."""
    result = {}
    for name, samples in sets.items():
        label = torch.from_numpy(np.asarray(samples.label)).long()
        for level, logits in predict(model, samples.features, device).items():
            right = (logits.argmax(1) == label).double()
            if name == "recorded":
                result[level] = round(right.mean().item(), 5)
                per_class = [right[label == c].mean().item() for c in label.unique()]
                result[f"{level}_balanced"] = round(float(np.mean(per_class)), 5)
            else:
                result[f"{level}_{name}"] = round(right.mean().item(), 5)
    return result


@torch.no_grad()
def fit_temperature(logits: list[Tensor], label: Tensor) -> float:
    """The temperature T whose softmax(logits / T) gives the labels the highest likelihood, summed over the levels.

    Guo et al., "On Calibration of Modern Neural Networks", 2017. Golden-section search over 0.2 to 5, to 0.1 %."""

    def cost(power: float) -> float:
        return float(sum(F.cross_entropy(values.double() / 2**power, label) for values in logits))

    low, high, golden = -2.33, 2.33, (5**0.5 - 1) / 2
    while high - low > 1e-3:
        first, second = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, second) if cost(first) < cost(second) else (first, high)
    return float(2 ** ((low + high) / 2))


def calibrate(model: Network, samples: data.Samples, device: torch.device | str) -> float:
    """Divide the classifier by the temperature fitted on `samples`, one for all levels; that temperature.

    Weights and biases take it up: their int8 values stay, their scale changes."""
    label = torch.from_numpy(np.asarray(samples.label)).long()
    temperature = fit_temperature(list(predict(model, samples.features, device).values()), label)
    with torch.no_grad():
        for parameter in (model.classifier.weight, *(model.classifier.bias[level] for level in model.levels)):
            parameter.div_(temperature)
    return temperature
