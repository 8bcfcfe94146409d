"""How a model and its detector would do all day: false alarms an hour, words found, and how late.

Long recordings run through a stream once; every detector setting is then tried on the scores that were kept. Words are
mixed into the same recordings at a given signal-to-noise ratio, and looked for where they were put.
"""
from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwsrt import audio
from kwsrt.decision import Detection, Detector
from kwsrt.errors import AudioError, OptionError
from kwsrt.model import Model, load
from kwsrt.scores import Scores

# A detection belongs to a word if it fires between the word's start and so many seconds after its end.
LATEST = 1.0
# A word comes about every so many seconds.
SPACING = 4.0
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.993, 0.996)


@dataclass(frozen=True)
class Placed:
    """A word in a recording: its label, and where its sound starts and ends, in seconds."""

    label: str
    start: float
    end: float


@dataclass(frozen=True)
class Take:
    """A recording as the model heard it: alone (`placed` None) or with words mixed in, none where it is too short."""

    path: str
    seconds: float
    scores: Scores
    placed: list[Placed] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a detector made of the takes. false : detections per label where nothing was said, in `hours`; said, found :
    words per label; delays : seconds from the end of each word that was found to its detection."""

    hours: float
    false: dict[str, int]
    said: dict[str, int]
    found: dict[str, int]
    delays: list[float]

    @property
    def false_alarms_per_hour(self) -> float:
        """Over all labels."""
        return sum(self.false.values()) / self.hours if self.hours else 0.0

    @property
    def recall(self) -> float | None:
        """Share of the words that were found; None where none was said."""
        return sum(self.found.values()) / sum(self.said.values()) if sum(self.said.values()) else None

    def summary(self) -> dict[str, Any]:
        """The figures of `kwsrt simulate --json`."""
        count = sum(self.false.values())
        return {
            "hours": self.hours,
            "false_alarms": count,
            "false_alarms_per_hour": self.false_alarms_per_hour,
            "interval": [bound / self.hours for bound in poisson_interval(count)] if self.hours else None,
            "words": sum(self.said.values()),
            "recall": self.recall,
            "median_delay_s": statistics.median(self.delays) if self.delays else None,
            "per_label": {label: {"false_alarms": self.false[label], "words": self.said[label],
                                  "found": self.found[label]} for label in self.false},
        }


def levels_used(heard: Iterable[Take], levels: Sequence[str]) -> dict[str, float]:
    """Share of the decisions that each thinning level gave, and that the gate took for silence ("skipped")."""
    counts = np.zeros(len(levels) + 1, np.int64)
    for one in heard:
        counts += np.bincount(one.scores.thin.astype(np.int64) + 1, minlength=len(counts))
    shares = counts / max(1, counts.sum())
    return dict(zip(("skipped", *levels), shares.tolist(), strict=True))


def poisson_interval(count: int) -> tuple[float, float]:
    """95 % interval of the mean of a Poisson distribution of which `count` was seen (exact, by the chi-square)."""
    from scipy.stats import chi2

    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return float(low), float(chi2.ppf(0.975, 2 * count + 2) / 2)


def sounding(samples: NDArray[np.float32], rate: int) -> tuple[int, int]:
    """First and last sample of a clip's word: what is within 25 dB of its loudest 20 ms."""
    size = rate // 50
    blocks = samples[:len(samples) // size * size].reshape(-1, size)
    power = np.square(blocks, dtype=np.float64).mean(1)
    if not len(power) or not power.max():
        return 0, len(samples)
    loud = np.flatnonzero(power >= power.max() * 10 ** -2.5)
    return int(loud[0]) * size, int(loud[-1] + 1) * size


def mixed(background: NDArray[np.float32], clips: Iterator[tuple[str, NDArray[np.float32]]], rate: int, snr: float,
          random: np.random.Generator) -> tuple[NDArray[np.float32], list[Placed]]:
    """The background with a word about every four seconds, each `snr` dB above what lies under it.

    Both are measured over the word's sound; where the background is silent, the word keeps its level."""
    out, placed = background.copy(), []
    at = int(rate * random.uniform(1, SPACING / 2))
    while at + 2 * rate < len(out):
        label, clip = next(clips)
        first, last = sounding(clip, rate)
        under = float(np.square(out[at + first:at + last], dtype=np.float64).mean())
        word = float(np.square(clip[first:last], dtype=np.float64).mean())
        gain = (under * 10 ** (snr / 10) / word) ** 0.5 if under > 1e-8 and word > 0 else 1.0
        out[at:at + len(clip)] += np.float32(gain) * clip
        placed.append(Placed(label, (at + first) / rate, (at + last) / rate))
        at += int(rate * random.uniform(0.75 * SPACING, 1.25 * SPACING))
    return out / max(1.0, float(np.abs(out).max())), placed


@dataclass(frozen=True)
class Job:
    """What a process needs to make a take."""

    model: str
    path: Path
    thin: str
    gate: float | None
    clips: tuple[tuple[str, Path], ...] = ()
    snr: float = 10.0


_loaded: dict[str, Model] = {}


def take(job: Job) -> Take:
    """Run one recording through the model.

    Raises
    ------
    AudioError : a recording or clip that cannot be used.
    """
    if job.model not in _loaded:
        _loaded[job.model] = load(job.model)
    model = _loaded[job.model]
    try:
        samples = audio.prepare(*audio.read(job.path), model.sample_rate)
    except AudioError as error:
        said = str(error)
        raise AudioError(said if said.startswith(f"{job.path}: ") else f"{job.path}: {error}") from None
    placed: list[Placed] | None = None
    if job.clips:
        random = np.random.default_rng(len(samples))
        samples, placed = mixed(audio.as_float(samples), _words(job.clips, model, random), model.sample_rate, job.snr,
                                random)
    scores = model.stream(thin=job.thin, gate=job.gate).push(samples)
    return Take(str(job.path), len(samples) / model.sample_rate, scores, placed)


def _words(clips: Sequence[tuple[str, Path]], model: Model,
           random: np.random.Generator) -> Iterator[tuple[str, NDArray[np.float32]]]:
    while True:
        for index in random.permutation(len(clips)):
            label, path = clips[index]
            yield label, audio.as_float(audio.prepare(*audio.read(path), model.sample_rate))


def takes(jobs: Sequence[Job], processes: int) -> Iterator[Take]:
    """The takes of the jobs, in their order, made by several processes."""
    if processes <= 1 or len(jobs) <= 1:
        yield from map(take, jobs)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(take, jobs)


def judge(heard: Iterable[Take], labels: Sequence[str], detector: Callable[[], Detector]) -> Outcome:
    """What a new detector a take makes of them; in takes with words, detections that match none do not count."""
    keywords = [label for label in labels if not label.startswith("_")]
    false, said, found = (dict.fromkeys(keywords, 0) for _ in range(3))
    seconds, delays = 0.0, []
    for one in heard:
        events = detector().timed(one.scores)
        if one.placed is None:
            seconds += one.seconds
            for _, event in events:
                false[event.label] += 1
            continue
        for word in one.placed:
            said[word.label] += 1
            delay = _delay(word, events)
            if delay is not None:
                found[word.label] += 1
                delays.append(delay)
    return Outcome(seconds / 3600, false, said, found, delays)


def _delay(word: Placed, events: Iterable[tuple[float, Detection]]) -> float | None:
    """Seconds from the word's end to its detection; None if it has none."""
    for known, event in events:
        if event.label == word.label and word.start < known <= word.end + LATEST:
            return known - word.end
    return None


def curve(heard: Sequence[Take], labels: Sequence[str], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """An outcome's summary, which has each label, for each of THRESHOLDS; `settings` are the detector's others."""
    detectors = ((each, partial(Detector, labels, threshold=each, **settings)) for each in THRESHOLDS)
    return [{"threshold": each, **judge(heard, labels, detector).summary()} for each, detector in detectors]


def choose_thresholds(heard: Sequence[Take], labels: Sequence[str], rate: float,
                      settings: dict[str, Any]) -> dict[str, float]:
    """A threshold for each keyword so that together they fire at most `rate` times an hour where nothing is said.

    Where words are said, those that lose the fewest of them: all begin at the lowest threshold, and the step that is
    made next is the one that rids most false alarms for a word lost. Without words, one threshold for all.
    `settings` are the detector's others.

    Raises
    ------
    OptionError : none of THRESHOLDS is high enough.
    """
    keywords = [label for label in labels if not label.startswith("_")]
    detector = partial(Detector, labels, **settings)
    if not any(one.placed for one in heard):
        for threshold in THRESHOLDS:
            chosen = dict.fromkeys(keywords, threshold)
            if judge(heard, labels, partial(detector, threshold=chosen)).false_alarms_per_hour <= rate:
                return chosen
        raise OptionError(f"no threshold up to {THRESHOLDS[-1]} keeps false alarms at {rate:g} an hour")
    false, found = np.zeros((2, len(keywords), len(THRESHOLDS)))
    for i, label in enumerate(keywords):
        for j, threshold in enumerate(THRESHOLDS):
            outcome = judge(heard, labels, partial(detector, threshold={label: threshold}))
            false[i, j], found[i, j] = outcome.false[label], outcome.found[label]
    at = np.zeros(len(keywords), int)
    while True:
        chosen = {label: THRESHOLDS[j] for label, j in zip(keywords, at, strict=True)}
        if judge(heard, labels, partial(detector, threshold=chosen)).false_alarms_per_hour <= rate:
            return chosen
        steps = [((false[i, at[i]] - false[i, j] + 1e-3) / (found[i, at[i]] - found[i, j] + 0.1), -j, i)
                 for i in range(len(keywords)) for j in range(at[i] + 1, len(THRESHOLDS))]
        if not steps:
            raise OptionError(f"no thresholds up to {THRESHOLDS[-1]} keep false alarms at {rate:g} an hour")
        _, j, i = max(steps)
        at[i] = -j
