"""How good a model is on labelled clips: accuracy with its spread, confusion, calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kwsrt import audio
from kwsrt.model import Model

RESAMPLES = 2000
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Outcome:
    """What a model heard in one clip: the clip's speaker, its label, the label heard, and the score of that."""

    speaker: str
    said: str
    heard: str
    score: float


def hear(model: Model, path: Path, label: str, thin: str, channel: int | None = None) -> Outcome:
    """The outcome of one clip: the mean of its channels, or one of them.

    Raises
    ------
    AudioError : a clip that cannot be used.
    """
    scores = model.predict(audio.load(path, model.sample_rate, channel), thin=thin)
    heard = max(scores, key=scores.__getitem__)
    return Outcome(speaker_of(path), label, heard, scores[heard])


def speaker_of(path: Path) -> str:
    """What stands before `_nohash_` in the name, as in Speech Commands; elsewhere each clip is a speaker of its own."""
    speaker, mark, _ = path.name.partition("_nohash_")
    return speaker if mark else str(path)


def summary(outcomes: Sequence[Outcome], labels: Sequence[str]) -> dict[str, Any]:
    """The figures of `kwsrt eval --json`, fractions of 1.

    accuracy and its 95 % `interval`; clips and speakers; per_class, the recall of each class that has clips;
    calibration_error; confusion, {said: {heard: clips}}.
    """
    counts = Counter((outcome.said, outcome.heard) for outcome in outcomes)
    rows = {said: {heard: counts[said, heard] for heard in labels} for said in labels}
    confusion = {said: row for said, row in rows.items() if any(row.values())}
    return {
        "accuracy": sum(row[said] for said, row in confusion.items()) / len(outcomes),
        "interval": interval(outcomes),
        "clips": len(outcomes),
        "speakers": len({outcome.speaker for outcome in outcomes}),
        "calibration_error": calibration_error(outcomes),
        "per_class": {said: row[said] / sum(row.values()) for said, row in confusion.items()},
        "confusion": confusion,
    }


def interval(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """95 % interval of the accuracy by a bootstrap over speakers, whose clips stay together."""
    return interval_of_mean(
        [outcome.said == outcome.heard for outcome in outcomes], [outcome.speaker for outcome in outcomes]
    )


def interval_of_mean(values: Sequence[float], speakers: Sequence[str]) -> tuple[float, float]:
    """95 % interval of the mean of `values`, one a clip, by a bootstrap over the clips' speakers.

    The same every time, in whatever order the clips come."""
    number = {speaker: i for i, speaker in enumerate(sorted(set(speakers)))}
    clips, total = np.zeros(len(number)), np.zeros(len(number))
    for value, speaker in zip(values, speakers, strict=True):
        clips[number[speaker]] += 1
        total[number[speaker]] += value
    rng = np.random.default_rng(0)
    means = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(len(number), size=len(number))
        means.append(total[chosen].sum() / clips[chosen].sum())
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def calibration_error(outcomes: Sequence[Outcome]) -> float:
    """Expected calibration error of the best score: how far, on average, it is from the share of right answers.

    Over 15 bins of equal width, weighted by their clips (Guo et al., "On Calibration of Modern Neural Networks", 2017).
    """
    score = np.array([outcome.score for outcome in outcomes])
    right = np.array([outcome.said == outcome.heard for outcome in outcomes], np.float64)
    bins = np.minimum((score * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return float(np.abs(np.bincount(bins, right - score)).sum() / len(score))
