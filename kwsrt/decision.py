"""From scores to events: which decisions are a keyword that was said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from kwsrt.arguments import number, shown, whole
from kwsrt.errors import OptionError, no_copy, not_free
from kwsrt.scores import Scores
from kwsrt.trigger import Trigger

# Far more than is of use, two minutes of the bundled model, and little enough to keep and to average.
MOST_DECISIONS = 1000


@dataclass(frozen=True)
class Detection:
    """A keyword that was heard.

    label : the keyword. score : its smoothed score, 0 to 1. time : seconds from the start of the audio to the middle of
    the word, halfway from start to end. start, end : seconds, where the word's sound begins and ends. Which sound it is
    follows from when the score rose, its edges from how loud each frame is; a word that is still going on when it is
    recognised ends there. Clear words are placed to 0.15 s; in loud noise, or where sound goes on without a pause, by
    the score alone: one second around the place that it tells.
    """

    label: str
    score: float
    time: float
    start: float
    end: float

    def later(self, seconds: float, last: float = np.inf) -> "Detection":
        """The same, on a clock that began so much earlier; no time is below 0 or above `last`."""
        moved = (round(min(max(0.0, value + seconds), last), 6) for value in (self.time, self.start, self.end))
        return Detection(self.label, self.score, *moved)


class Detector:
    """Turns the scores of a stream into detections, one for each word that was said.

    A keyword fires when its score, averaged over the last `smoothing` decisions, is the highest and at or above its
    threshold for `patience` decisions in a row. It is armed again once its score has stayed below the threshold for
    `debounce` seconds, and it does not fire within `refractory` seconds of its own last detection; other keywords may.
    Labels that begin with an underscore (`_unknown_`, `_silence_`) never fire.

    Words may come close together. The score of a word stays high for about a second after it. If the same word is said
    again within that second, the score does not fall in between: then the sound tells the two apart. With a silence of
    0.4 s between them nearly all are reported, with 0.3 s two of three. Another word is heard if its score is highest
    for `smoothing` + `patience` - 1 decisions. With the bundled model and 0.3 s between two words nearly all are heard,
    with 0.2 s about half, and with less most are lost.

    A detector hears one stream. It begins anew where time goes back: after a `reset` of the stream, or with the first
    decision of another one. Scores from the midst of another stream are refused.

    Parameters
    ----------
    labels : of the scores. threshold : 0 to 1, one for all or {label: threshold} (labels left out never fire).
    smoothing, patience : decisions, 1 to 1,000. refractory, debounce : seconds, 0 or more.

    Raises
    ------
    OptionError : a value outside its range, or a threshold for a label that the model does not have. UseError, of its
        methods : another thread is in a push. It cannot be copied either: make a new one.
    """

    _made: Trigger | None = None  # None until __init__ has run

    def __init__(
        self,
        labels: Sequence[str],
        *,
        threshold: float | Mapping[str, float] = 0.8,
        smoothing: int = 5,
        patience: int = 3,
        refractory: float = 0.5,
        debounce: float = 0.0,
    ) -> None:
        self._labels = _strings(labels)
        keywords = [label for label in self._labels if not label.startswith("_")]
        if isinstance(threshold, Mapping):
            limits = {label: number(value, f"threshold of {shown(label)}", 0, 1) for label, value in threshold.items()}
        else:
            limits = dict.fromkeys(keywords, number(threshold, "threshold", 0, 1))
        if unknown := [label for label in limits if label not in keywords]:
            raise OptionError(
                f"threshold for {', '.join(map(str, unknown))}: the keywords of this model are {', '.join(keywords)}"
            )
        each = np.array([limits.get(label, np.inf) for label in self._labels], np.float64)
        self._made = Trigger(
            each,
            whole(smoothing, "smoothing", 1, MOST_DECISIONS),
            whole(patience, "patience", 1, MOST_DECISIONS),
            number(refractory, "refractory", 0, what="seconds, 0 or more"),
            number(debounce, "debounce", 0, what="seconds, 0 or more"),
        )

    def __reduce__(self) -> NoReturn:
        raise no_copy(self, "make a new one, with Model.detector()")

    @property
    def _trigger(self) -> Trigger:
        if self._made is None:
            raise not_free(self, in_use=False)
        return self._made

    def reset(self) -> None:
        """Forget all scores and detections; the next scores may be of any stream."""
        self._trigger.reset()

    def push(self, scores: Scores) -> list[Detection]:
        """Take the scores of the next decisions, in the order in which the stream returned them.

        Returns
        -------
        The detections that they complete, in the order in which they became known; mostly none.

        Raises
        ------
        OptionError : scores of another number of labels, or from the midst of another stream than those before.
        """
        fired = self._trigger.push(scores)
        return [self._detection(*one) for one in fired] if fired else []

    def timed(self, scores: Scores) -> list[tuple[float, Detection]]:
        """As `push`, each detection with the seconds at which it became known: the end of the decision that fired."""
        return [(one[2], self._detection(*one)) for one in self._trigger.push(scores)]

    def _detection(self, label: int, score: float, _: float, start: float, end: float) -> Detection:
        return Detection(self._labels[label], score, (start + end) / 2, start, end)


def _strings(labels: Sequence[str]) -> list[str]:
    try:
        strings = [] if isinstance(labels, str) else list(labels)
    except TypeError:
        strings = []
    if not strings or not all(isinstance(label, str) for label in strings):
        raise OptionError(f"labels are {shown(labels)}: expected strings, one or more")
    return strings
