"""From scores to events: which decisions are a keyword that was said."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from kwsrt.arguments import number, shown, whole
from kwsrt.errors import OptionError, no_copy
from kwsrt.scores import Scores
from kwsrt.trigger import Trigger

# Where in its window a word is when it is recognised: with the default smoothing a little after it was completed.
MIDDLE = 0.6
# A word's sound is what lies within this of its loudest frames, and above the middle between them and the background.
WORD_RANGE_DB = 20.0
# Stops close the mouth within a word: silences up to this many seconds do not end it.
LONGEST_CLOSURE = 0.13
# Far more than is of use, two minutes of the bundled model, and little enough to keep and to average.
MOST_DECISIONS = 1000


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
    smoothing, patience : decisions, 1 to 1,000. refractory, debounce : seconds, 0 or more.

    Raises
    ------
    OptionError : a value outside its range, or a threshold for a label that the model does not have. UseError, of its
        methods : another thread is in a push. It cannot be copied either: make a new one.
    """

    def __init__(self, labels: Sequence[str], *, threshold: float | Mapping[str, float] = 0.8, smoothing: int = 5,
                 patience: int = 3, refractory: float = 0.5, debounce: float = 0.0) -> None:
        self._labels = _strings(labels)
        keywords = [label for label in self._labels if not label.startswith("_")]
        if isinstance(threshold, Mapping):
            limits = {label: number(value, f"threshold of {shown(label)}", 0, 1) for label, value in threshold.items()}
        else:
            limits = dict.fromkeys(keywords, number(threshold, "threshold", 0, 1))
        if unknown := [label for label in limits if label not in keywords]:
            raise OptionError(f"threshold for {', '.join(map(str, unknown))}: the keywords of this model are "
                              f"{', '.join(keywords)}")
        each = np.array([limits.get(label, np.inf) for label in self._labels], np.float64)
        self._trigger = Trigger(
            each, whole(smoothing, "smoothing", 1, MOST_DECISIONS), whole(patience, "patience", 1, MOST_DECISIONS),
            number(refractory, "refractory", 0, what="seconds, 0 or more"),
            number(debounce, "debounce", 0, what="seconds, 0 or more"))

    def __reduce__(self) -> NoReturn:
        raise no_copy(self, "make a new one, with Model.detector()")

    def reset(self) -> None:
        """Forget all scores and detections, as for a stream that begins anew."""
        self._trigger.reset()

    def push(self, scores: Scores) -> list[Detection]:
        """Take the scores of the next decisions, in the order in which the stream returned them.

        Returns
        -------
        The detections that they complete, in the order of time; mostly none.

        Raises
        ------
        OptionError : scores of another number of labels.
        """
        fired = self._trigger.push(scores)
        if not fired:
            return []
        window = scores.window / scores.sample_rate
        found = []
        for label, score, times, loudness in fired:
            end = float(times[-1])
            start, stop = _extent(times, loudness, max(0.0, end - window))
            found.append(Detection(self._labels[label], score, end - (1 - MIDDLE) * window, start, stop))
        return found


def _strings(labels: Sequence[str]) -> list[str]:
    try:
        strings = [] if isinstance(labels, str) else list(labels)
    except TypeError:
        strings = []
    if not strings or not all(isinstance(label, str) for label in strings):
        raise OptionError(f"labels are {shown(labels)}: expected strings, one or more")
    return strings


def _extent(times: NDArray[np.float64], levels: NDArray[np.float32], earliest: float) -> tuple[float, float]:
    """Start and end, in seconds, of the sound around the loudest of the newest decisions.

    times, levels : of consecutive decisions; each level (dB) is that of the sound since the decision before. earliest :
    what stands for the time of the decision before the first."""
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
    return float(times[first - 1]) if first else earliest, float(times[last])
