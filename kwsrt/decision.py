"""From scores to events: which decisions are a keyword that was said."""
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwsrt.errors import OptionError
from kwsrt.scores import Scores

# Where in its window a word is when it is recognised: with the default smoothing a little after it was completed.
MIDDLE = 0.6
# A word's sound is what lies within this of its loudest frames, and above the middle between them and the background.
WORD_RANGE_DB = 20.0
# Stops close the mouth within a word: silences up to this many seconds do not end it.
LONGEST_CLOSURE = 0.13


@dataclass(frozen=True)
class Detection:
    """A keyword that was heard.

    label : the keyword. score : its smoothed score, 0 to 1. time : seconds from the start of the audio to about the
    middle of the word (six tenths into the window of the decision that recognised it). start, end : seconds, where its
    sound begins and ends as far as loudness tells, to the nearest decision; a word that is still going on ends now.
    """

    label: str
    score: float
    time: float
    start: float
    end: float

    def later(self, seconds: float) -> "Detection":
        """The same, on a clock that began so much earlier; no time is below 0."""
        moved = (round(max(0.0, value + seconds), 6) for value in (self.time, self.start, self.end))
        return Detection(self.label, self.score, *moved)


class Detector:
    """Turns the scores of a stream into detections, one for each word that was said.

    A keyword fires when its score, averaged over the last `smoothing` decisions, is the highest and at or above its
    threshold for `patience` decisions in a row. It is armed again once its score has stayed below the threshold for
    `debounce` seconds, and nothing fires within `refractory` seconds of the last detection. Labels that begin with an
    underscore (`_unknown_`, `_silence_`) never fire.

    Parameters
    ----------
    labels : of the scores. threshold : 0 to 1, one for all or {label: threshold} (labels left out never fire).
    smoothing, patience : decisions, 1 or more. refractory, debounce : seconds, 0 or more.

    Raises
    ------
    OptionError : a value outside its range, or a threshold for a label that the model does not have.
    """

    def __init__(self, labels: Sequence[str], *, threshold: float | Mapping[str, float] = 0.8, smoothing: int = 5,
                 patience: int = 3, refractory: float = 0.5, debounce: float = 0.0) -> None:
        keywords = [label for label in labels if not label.startswith("_")]
        limits = dict(threshold) if isinstance(threshold, Mapping) else dict.fromkeys(keywords, threshold)
        if unknown := sorted(set(limits) - set(keywords)):
            raise OptionError(f"threshold for {', '.join(unknown)}: the keywords of this model are "
                              f"{', '.join(keywords)}")
        for value in limits.values():
            if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)) or not 0 <= value <= 1:
                raise OptionError(f"threshold {value!r}: expected a number from 0 to 1")
        whole = all(isinstance(value, int) and value >= 1 for value in (smoothing, patience))
        if not whole or not all(0 <= seconds < float("inf") for seconds in (refractory, debounce)):
            raise OptionError("smoothing and patience are 1 decision or more, refractory and debounce 0 s or more")
        self._labels = list(labels)
        self._limits = np.array([limits.get(label, np.inf) for label in labels])
        self._smoothing, self._patience = smoothing, patience
        self._refractory, self._debounce = refractory, debounce
        self.reset()

    def reset(self) -> None:
        """Forget all scores and detections, as for a stream that begins anew."""
        self._recent: deque[NDArray[Any]] = deque(maxlen=self._smoothing)
        self._heard: deque[tuple[float, float]] = deque()
        self._run = 0
        self._leader = -1
        self._armed = np.ones(len(self._labels), bool)
        self._last_over = np.full(len(self._labels), -np.inf)
        self._last_fired = -np.inf

    def push(self, scores: Scores) -> list[Detection]:
        """Take the scores of the next decisions, in the order in which the stream returned them.

        Returns
        -------
        The detections that they complete, in the order of time; mostly none.
        """
        window = scores.window / scores.sample_rate
        found = []
        for row, end, loudness in zip(scores.values, scores.times.tolist(), scores.loudness.tolist(), strict=True):
            self._heard.append((end, loudness))
            while self._heard[0][0] <= end - window:
                self._heard.popleft()
            fired = self._update(row, end)
            if fired is not None:
                label, score = fired
                start, stop = _extent(self._heard, end - window)
                found.append(Detection(label, score, max(0.0, end - (1 - MIDDLE) * window), start, stop))
        return found

    def _update(self, row: NDArray[np.float32], time: float) -> tuple[str, float] | None:
        """The label and the score that fire with a decision whose window ends at `time`."""
        self._recent.append(row.astype(np.float64))
        smooth = np.sum(self._recent, axis=0) / self._smoothing
        best = int(np.argmax(smooth))
        over = bool(smooth[best] >= self._limits[best])
        self._run = self._run + 1 if over and best == self._leader else int(over)
        self._leader = best if over else -1
        below = smooth < self._limits
        self._last_over[~below] = time
        self._armed |= below & (time - self._last_over >= self._debounce)
        if self._run < self._patience or not self._armed[best] or time - self._last_fired < self._refractory:
            return None
        self._armed[best], self._last_fired = False, time
        return self._labels[best], float(smooth[best])


def _extent(heard: Sequence[tuple[float, float]] | deque[tuple[float, float]], earliest: float) -> tuple[float, float]:
    """Start and end, in seconds, of the sound around the loudest of the newest decisions.

    heard : (time, dB) of consecutive decisions, each the loudness of the sound since the one before."""
    times, levels = np.array(heard).T
    loudest = int(np.argmax(levels))
    background = np.quantile(levels, 0.2)
    limit = max(levels[loudest] - WORD_RANGE_DB, (levels[loudest] + background) / 2)
    loud = np.flatnonzero(levels >= limit)
    first = last = loudest
    for i in loud[loud > loudest]:
        if times[i] - times[last] <= LONGEST_CLOSURE:
            last = i
    for i in loud[loud < loudest][::-1]:
        if times[first] - times[i] <= LONGEST_CLOSURE:
            first = i
    return max(0.0, float(times[first - 1]) if first else earliest), float(times[last])
