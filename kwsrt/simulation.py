"""How a model and its detector would do all day: false alarms an hour, words found, and how late.

Long recordings run through a stream once; every detector setting is then tried on the scores that were kept. Words are
mixed into the same recordings at a given signal-to-noise ratio, and looked for where they were put.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwsrt import audio
from kwsrt.decision import Detection, Detector
from kwsrt.errors import AudioError, AudioWarning, OptionError
from kwsrt.mixing import LONGEST_WORD, Placed, mixed_in
from kwsrt.model import Model, load
from kwsrt.reading import Samples
from kwsrt.scores import Scores
from kwsrt.workers import shared

# A detection belongs to a word if it fires between the word's start and so many seconds after its end.
LATEST = 1.0
# Seconds of a recording that are heard at once: the scores of few pieces take less memory than those of many.
LEAST = 20
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.993, 0.996)


@dataclass(frozen=True)
class Take:
    """A recording as the model heard it: alone (`placed` None) or with words mixed in, none where it is too short.

    scores : of the whole, or of one piece after the other. warnings : what there is to know about the recording.
    """

    path: str
    seconds: float
    scores: Scores | tuple[Scores, ...]
    placed: list[Placed] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[Scores, ...]:
        """The scores, one piece after the other."""
        return self.scores if isinstance(self.scores, tuple) else (self.scores,)


@dataclass(frozen=True)
class LeftOut:
    """A recording that could not be used, and why."""

    path: str
    why: str


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
            "per_label": {
                label: {"false_alarms": self.false[label], "words": self.said[label], "found": self.found[label]}
                for label in self.false
            },
        }


def levels_used(heard: Iterable[Take], levels: Sequence[str]) -> dict[str, float]:
    """Share of the decisions that each thinning level gave, and that the gate took for silence ("skipped")."""
    counts = np.zeros(len(levels) + 1, np.int64)
    for part in (part for one in heard for part in one.parts):
        counts += np.bincount(part.thin.astype(np.int64) + 1, minlength=len(counts))
    shares = counts / max(1, counts.sum())
    return dict(zip(("skipped", *levels), shares.tolist(), strict=True))


def poisson_interval(count: int) -> tuple[float, float]:
    """95 % interval of the mean of a Poisson distribution of which `count` was seen (exact, by the chi-square)."""
    from scipy.stats import chi2

    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return float(low), float(chi2.ppf(0.975, 2 * count + 2) / 2)


@dataclass(frozen=True)
class Job:
    """What a process needs to make a take."""

    model: str
    path: Path
    thin: str
    gate: float | None
    clips: tuple[tuple[str, Path], ...] = ()
    snr: float = 10.0
    channel: int | None = None


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
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AudioWarning)
        made = _with_words(job, model) if job.clips else _alone(job, model)
    return replace(made, warnings=tuple(dict.fromkeys(str(one.message) for one in caught)))


def _pieces(job: Job, model: Model) -> Iterator[Samples]:
    return audio.pieces(job.path, model.sample_rate, job.channel)


def _gathered(pieces: Iterable[Samples], least: int) -> Iterator[Samples]:
    """The same samples in pieces of at least so many, but for the last."""
    some: list[Samples] = []
    for piece in pieces:
        some.append(piece)
        if sum(map(len, some)) >= least:
            yield np.concatenate(some)  # type: ignore[misc]
            some = []
    if some:
        yield np.concatenate(some)  # type: ignore[misc]


def _alone(job: Job, model: Model) -> Take:
    stream, scores, length = model.stream(thin=job.thin, gate=job.gate), [], 0
    for piece in _gathered(_pieces(job, model), LEAST * model.sample_rate):
        scores.append(stream.push(piece))
        length += len(piece)
    return Take(str(job.path), length / model.sample_rate, tuple(scores))


def _with_words(job: Job, model: Model) -> Take:
    """The recording is read several times, which takes less memory than to keep it: for its length, which says what the
    words are and where they lie, and, if it is too loud with them, for its peak."""
    if job.path.exists() and not job.path.is_file():
        raise AudioError(f"{job.path}: words are mixed only into files, which can be read twice")
    length = sum(map(len, _pieces(job, model)))
    peak, used = 1.0, 0.0
    while peak != used:
        used, stream, scores = peak, model.stream(thin=job.thin, gate=job.gate), []
        placed: list[Placed] = []
        random = np.random.default_rng(length)
        words = _words(job.clips, model, random)
        spoken = mixed_in(_pieces(job, model), length, words, model.sample_rate, job.snr, random, placed)
        for piece in _gathered(spoken, LEAST * model.sample_rate):
            peak = max(peak, float(np.abs(piece).max()))
            if peak == used:
                scores.append(stream.push(piece / used))
    return Take(str(job.path), length / model.sample_rate, tuple(scores), placed)


def _words(
    clips: Sequence[tuple[str, Path]], model: Model, random: np.random.Generator
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    while True:
        for index in random.permutation(len(clips)):
            label, path = clips[index]
            yield label, word(path, model.sample_rate)


def word(path: Path, rate: int) -> NDArray[np.float32]:
    """A clip of a word, float32 (n,) at `rate` Hz.

    Raises
    ------
    AudioError : a clip that cannot be used, or that is too long to be one word.
    """
    samples = audio.as_float(audio.load(path, rate))
    if len(samples) > LONGEST_WORD * rate:
        raise AudioError(f"{path}: {len(samples) / rate:.2f} s long; a word to mix in has at most {LONGEST_WORD:g} s")
    return samples


def takes(jobs: Sequence[Job], processes: int) -> Iterator[Take | LeftOut]:
    """The takes of the jobs, in their order, made by several processes.

    A recording that cannot be used is left out, and so is one whose process dies, for example for lack of memory: the
    others go on.

    Raises
    ------
    KwsrtError : a model, thinning level or gate that no recording can be heard with.

    Warns
    -----
    AudioWarning : as kwsrt.audio.pieces, once for each recording.
    """
    told: set[str] = set()
    for job, made in zip(jobs, shared(_attempt, jobs, processes), strict=True):
        for text in made.warnings if isinstance(made, Take) else ():
            if text not in told:
                warnings.warn(text, AudioWarning, stacklevel=2)
            told.add(text)
        yield made or LeftOut(str(job.path), "the process that heard it was ended from outside, or ran out of memory")


def _attempt(job: Job) -> Take | LeftOut:
    try:
        return take(job)
    except MemoryError:
        return LeftOut(str(job.path), "out of memory")
    except (AudioError, OSError) as error:
        return LeftOut(str(job.path), str(error).removeprefix(f"{job.path}: "))


def judge(heard: Iterable[Take], labels: Sequence[str], detector: Callable[[], Detector]) -> Outcome:
    """What a new detector a take makes of them; in takes with words, detections that match none do not count."""
    keywords = [label for label in labels if not label.startswith("_")]
    false, said, found = (dict.fromkeys(keywords, 0) for _ in range(3))
    seconds, delays = 0.0, []
    for one in heard:
        hearing = detector()
        events = [event for part in one.parts for event in hearing.timed(part)]
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


def choose_thresholds(
    heard: Sequence[Take], labels: Sequence[str], rate: float, settings: dict[str, Any]
) -> dict[str, float]:
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
        steps = [
            ((false[i, at[i]] - false[i, j] + 1e-3) / (found[i, at[i]] - found[i, j] + 0.1), -j, i)
            for i in range(len(keywords))
            for j in range(at[i] + 1, len(THRESHOLDS))
        ]
        if not steps:
            raise OptionError(f"no thresholds up to {THRESHOLDS[-1]} keep false alarms at {rate:g} an hour")
        _, j, i = max(steps)
        at[i] = -j
