"""Distillation of the blocks' outputs by their parts in frequency.

BiFSMN's High-frequency Enhancement Distillation ("hed") compares the high part of what a float and a binary block give,
BiFSMNv2's Frequency Independent Distillation ("fid") the low and the high part, each for itself. A part's values are
squared and each clip's are divided by their norm, so that strength and sign do not matter: what counts is where on the
map of time and channels the energy lies. Facts after Qin et al., "BiFSMN" (IJCAI 2022) and "BiFSMNv2" (TNNLS 2023).
"""

from __future__ import annotations

import torch
from torch import Tensor

METHODS = ("", "hed", "fid")


def haar(x: Tensor) -> tuple[Tensor, Tensor]:
    """One step of the orthonormal two-dimensional Haar wavelet transform of x [n, t, c], t and c even.

    The low part [n, t/2, c/2] and the three high ones [n, 3, t/2, c/2]: along t, along c, along both."""
    early, late = x[:, 0::2], x[:, 1::2]
    total, change = early + late, early - late
    low, along_c = total[..., 0::2] + total[..., 1::2], total[..., 0::2] - total[..., 1::2]
    along_t, both = change[..., 0::2] + change[..., 1::2], change[..., 0::2] - change[..., 1::2]
    return low / 2, torch.stack([along_t, along_c, both], 1) / 2


def energy(part: Tensor) -> Tensor:
    """[n, ...] to [n, values]: squared, each row of norm 1."""
    squared = part.flatten(1).square()
    return squared / squared.norm(dim=1, keepdim=True).clamp_min(1e-12)


def hidden_loss(student: list[Tensor], teacher: list[Tensor], method: str) -> Tensor:
    """Sum over blocks of the squared distance between the parts' energies, mean over clips. Lists of [n, t, width].

    ValueError for an unknown method or another number of blocks."""
    if method not in METHODS[1:]:
        raise ValueError(f"distillation {method!r} of hidden layers")
    total = student[0].new_zeros(())
    for own, wanted in zip(student, teacher, strict=True):
        parts = list(zip(haar(own), haar(wanted), strict=True))
        for mine, theirs in parts[1 if method == "hed" else 0 :]:
            total = total + (energy(mine) - energy(theirs)).square().sum(1).mean()
    return total
