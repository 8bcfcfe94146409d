"""Which samples an epoch sees, and what happens to them on the way: shares, crops, masks, mixup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import dct
from torch import Tensor

from . import data

#: frames at a window's end that `hushed` leaves to the word, but for the last of them
OPEN, EDGE = 36, 6
#: (sample numbers, share of an epoch)
Bucket = tuple[data.Array, float]


@dataclass
class Mix:
    """Shares of an epoch, see configs/kws12.toml."""

    unknown: float = 0.17
    silence: float = 0.05
    synthetic: float = 0.12
    partial: float = 0.2
    long: float = 0.2
    suspect: float = 0.22
    running: float = 0.0
    nonsense: float = 0.0
    hard: float = 0.0
    hushed: float = 0.0  #: of all samples: begin, or end, in digital silence


def buckets(
    samples: data.Samples, labels: list[str], mix: Mix, kept: data.Array | None, hard: data.Array | None = None
) -> list[Bucket]:
    """(sample numbers, share of the epoch) of every label and group that has samples; the shares add up to 1.

    `kept` bool [n]: suspects that may be used, None for none of them; `hard` bool [n]: samples of the unknown class
    that are a bucket of their own, None for none of them."""
    special = {data.UNKNOWN: mix.unknown, data.SILENCE: mix.silence}
    words = [label for label in labels if label not in special]
    rest = (1 - sum(share for label, share in special.items() if label in labels)) / max(1, len(words))
    found = []
    for index, label in enumerate(labels):
        of_group = {}
        mined = hard if label == data.UNKNOWN else None
        for group, name in enumerate(data.GROUPS):
            chosen = (samples.label == index) & (samples.group == group)
            if name == "suspect":
                chosen &= False if kept is None else kept
            if mined is not None:
                chosen &= ~mined
            if chosen.any():
                of_group[name] = np.flatnonzero(chosen)
        if mined is not None and mined.any():
            of_group["hard"] = np.flatnonzero(mined)
        shares = {name: getattr(mix, name, 0.0) for name in of_group if name != "recorded"}
        if label == data.SILENCE:
            shares = {"long": 1.0}
        elif label != data.UNKNOWN:
            shares = {name: share for name, share in shares.items() if name == "synthetic"}
        if "recorded" in of_group:
            shares["recorded"] = max(0.0, 1 - sum(shares.values()))
        total = sum(shares.values())
        for name, share in shares.items():
            if name in of_group and total > 0:
                found.append((of_group[name], special.get(label, rest) * share / total))
    whole = sum(share for _, share in found)
    return [(numbers, share / whole) for numbers, share in found]


def draw(parts: list[Bucket], count: int, seed: tuple[int, ...]) -> data.Array:
    """`count` sample numbers of the buckets in random order; no repeats before a bucket is used up."""
    rng = np.random.default_rng(seed)
    wanted = np.floor(np.cumsum([0.0] + [share for _, share in parts]) * count + 1e-6).astype(int)
    order = []
    for (numbers, _), need in zip(parts, np.diff(wanted), strict=True):
        rounds = [rng.permutation(numbers) for _ in range(-(-need // len(numbers)))]
        order.append(np.concatenate(rounds)[:need] if rounds else numbers[:0])
    return rng.permutation(np.concatenate(order))


def cepstra(frontend: dict[str, Any]) -> Tensor | None:
    """What a change of the mel bands by a step of half a decibel each does to the features: [bins, n_mfcc]; None where
    the bands are the features."""
    if frontend["kind"] == "log-mel":
        return None
    basis = dct(np.eye(frontend["bins"]), norm="ortho")[:, : frontend["n_mfcc"]] * 0.5 / frontend["step"]
    return torch.from_numpy(basis.astype(np.float32))


def augment(
    features: Tensor, slack: Tensor, frames: int, random: torch.Generator, cepstra: Tensor | None = None
) -> Tensor:
    """Random crop, level, tilt and masks: int8 [n, frames + 2 margin, bins] to float32 of whole numbers
    [n, frames, bins]. `slack` [n]: how far a crop may be from the middle. `cepstra`: see there; cepstral features are
    masked in time alone, since none of them is a band."""
    n, _, bins = features.shape
    margin = (features.shape[1] - frames) // 2

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=random)

    start = margin + torch.round((uniform(n) * 2 - 1) * slack).long()
    rows = start[:, None] + torch.arange(frames)
    x = features[torch.arange(n)[:, None], rows].float()
    line = torch.linspace(-1, 1, bins if cepstra is None else len(cepstra))
    shift = (uniform(n, 1, 1) * 12 - 6) + (uniform(n, 1, 1) * 12 - 6) * line
    x = x + (shift if cepstra is None else shift @ cepstra)
    mean = x.mean((1, 2) if cepstra is None else 1, keepdim=True)
    for axis, size in ((1, frames), (2, bins))[: 2 if cepstra is None else 1]:
        position = torch.arange(size)
        width = torch.floor(uniform(n) * 5) * (uniform(n) < 0.4)
        first = torch.floor(uniform(n) * (size - width + 1))
        masked = (position >= first[:, None]) & (position < (first + width)[:, None])
        x = torch.where(masked.unsqueeze(3 - axis), mean, x)
    return torch.clamp(torch.round(x), -127, 127)


def hushed(x: Tensor, quiet: Tensor, share: float, random: torch.Generator) -> Tensor:
    """x [n, frames, bins] of which a share begins and another ends in digital silence, features `quiet` [bins].

    Where a word may be, the window's middle half second, is left alone; files and streams begin so, and a noise that
    sets in at once is no word."""
    n, frames, _ = x.shape
    lengths = torch.rand(2, n, generator=random) * torch.tensor([[frames - OPEN], [EDGE]])
    lengths = lengths * (torch.rand(2, n, generator=random) < share)
    position = torch.arange(frames)
    silent = (position < lengths[0, :, None].floor()) | (position >= frames - lengths[1, :, None].floor())
    return torch.where(silent[..., None], quiet, x)


def mixed(x: Tensor, label: Tensor, classes: int, alpha: float, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al., 2018): x and the labels' distributions [n, classes], each with a neighbour's share."""
    target = F.one_hot(label, classes).float()
    if not alpha:
        return x, target
    share = torch.from_numpy(random.beta(alpha, alpha, len(x)).astype(np.float32)).to(x.device)
    share = torch.maximum(share, 1 - share)  # the neighbour never outweighs the sample, whose mix of classes stays
    x = torch.round(torch.lerp(x.roll(1, 0), x, share[:, None, None]))
    return x, torch.lerp(target.roll(1, 0), target, share[:, None])
