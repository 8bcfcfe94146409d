"""Words mixed into recordings, where and as loud as they are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kwsrt.audio import as_float
from kwsrt.reading import Samples

# A word comes about every so many seconds, and its clip has so many at most.
SPACING, LONGEST_WORD = 4.0, 2.0


@dataclass(frozen=True)
class Placed:
    """A word in a recording: its label, and where its sound starts and ends, in seconds."""

    label: str
    start: float
    end: float


def sounding(samples: NDArray[np.float32], rate: int) -> tuple[int, int]:
    """First and last sample of a clip's word: what is within 25 dB of its loudest 20 ms."""
    size = rate // 50
    blocks = samples[: len(samples) // size * size].reshape(-1, size)
    power = np.square(blocks, dtype=np.float64).mean(1)
    if not len(power) or not power.max():
        return 0, len(samples)
    loud = np.flatnonzero(power >= power.max() * 10**-2.5)
    return int(loud[0]) * size, int(loud[-1] + 1) * size


def mixed(
    background: NDArray[np.float32],
    clips: Iterator[tuple[str, NDArray[np.float32]]],
    rate: int,
    snr: float,
    random: np.random.Generator,
) -> tuple[NDArray[np.float32], list[Placed]]:
    """The background with a word about every four seconds, each `snr` dB above what lies under it.

    Both are measured over the word's sound; where the background is silent, the word keeps its level. Where the sum
    would go beyond full scale, all of it is made quieter."""
    placed: list[Placed] = []
    out = np.concatenate([background[:0], *mixed_in([background], len(background), clips, rate, snr, random, placed)])
    loudest = max(1.0, float(np.abs(out).max(initial=0.0)))
    return (out / loudest).astype(np.float32, copy=False), placed


def mixed_in(
    pieces: Iterable[Samples],
    length: int,
    clips: Iterator[tuple[str, NDArray[np.float32]]],
    rate: int,
    snr: float,
    random: np.random.Generator,
    placed: list[Placed],
) -> Iterator[NDArray[np.float32]]:
    """As `mixed`, of a background of `length` samples that comes in pieces, and not made quieter. The words are added
    to `placed`."""
    held, first = np.zeros(0, np.float32), 0  # what may still get a word, and its place in the background
    at, room = int(rate * random.uniform(1, SPACING / 2)), int(LONGEST_WORD * rate)
    for piece in pieces:
        held = np.concatenate([held, as_float(piece)])
        while at + room < length and at + room <= first + len(held):
            label, clip = next(clips)
            start, end = sounding(clip, rate)
            under = held[at - first : at - first + len(clip)]
            power = float(np.square(under[start:end], dtype=np.float64).mean())
            word = float(np.square(clip[start:end], dtype=np.float64).mean())
            gain = (power * 10 ** (snr / 10) / word) ** 0.5 if power > 1e-8 and word > 0 else 1.0
            under += np.float32(gain) * clip
            placed.append(Placed(label, (at + start) / rate, (at + end) / rate))
            at += int(rate * random.uniform(0.75 * SPACING, 1.25 * SPACING))
        ready = len(held) if at + room >= length else min(at - first, len(held))
        if ready:
            yield held[:ready]
        held, first = held[ready:], first + ready
    if len(held):
        yield held
