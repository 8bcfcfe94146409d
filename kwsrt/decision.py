"""From scores to events: which decisions are a keyword that was said."""
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwsrt.errors import OptionError


@dataclass(frozen=True)
class Detection:
    """A keyword that was heard.

    label : the keyword. score : its smoothed score, 0 to 1. time : seconds from the start of the audio to about the
    middle of the word (six tenths into the window of the decision that recognised it).
    """

    label: str
    score: float
    time: float


class Decider:
    """Turns the scores of consecutive decisions into detections.

    A keyword fires when its score, averaged over the last `smoothing` decisions, is the highest and at or above its
    threshold for `patience` decisions in a row. It is armed again once its score has fallen below the threshold, and
    nothing fires within `refractory` seconds of the last detection. Labels that begin with an underscore (`_unknown_`,
    `_silence_`) never fire.

    Parameters
    ----------
    labels : of the scores. threshold : 0 to 1, one for all or {label: threshold} (labels left out never fire).
    smoothing, patience : decisions, 1 or more. refractory : seconds, 0 or more.

    Raises
    ------
    OptionError : a value outside its range, or a threshold for a label that the model does not have.
    """

    def __init__(self, labels: Sequence[str], *, threshold: float | Mapping[str, float] = 0.8, smoothing: int = 5,
                 patience: int = 3, refractory: float = 0.5) -> None:
        keywords = [label for label in labels if not label.startswith("_")]
        limits = dict(threshold) if isinstance(threshold, Mapping) else dict.fromkeys(keywords, threshold)
        if unknown := sorted(set(limits) - set(keywords)):
            raise OptionError(f"threshold for {', '.join(unknown)}: the keywords of this model are "
                              f"{', '.join(keywords)}")
        for value in limits.values():
            if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)) or not 0 <= value <= 1:
                raise OptionError(f"threshold {value!r}: expected a number from 0 to 1")
        whole = all(isinstance(value, int) and value >= 1 for value in (smoothing, patience))
        if not whole or not 0 <= refractory < float("inf"):
            raise OptionError("smoothing and patience are 1 decision or more, refractory 0 seconds or more")
        self._labels = list(labels)
        self._limits = np.array([limits.get(label, np.inf) for label in labels])
        self._smoothing, self._patience, self._refractory = smoothing, patience, refractory
        self.reset()

    def reset(self) -> None:
        """Forget all scores and detections."""
        self._recent: deque[NDArray[Any]] = deque(maxlen=self._smoothing)
        self._run = 0
        self._leader = -1
        self._armed = np.ones(len(self._labels), bool)
        self._last_time = -np.inf

    def update(self, scores: NDArray[np.float32], time: float) -> Detection | None:
        """Take one decision.

        Parameters
        ----------
        scores : float32 (labels,). time : seconds, of its window.

        Returns
        -------
        The detection that this decision completes, or None.
        """
        self._recent.append(scores.astype(np.float64))
        smooth = np.sum(self._recent, axis=0) / self._smoothing
        best = int(np.argmax(smooth))
        over = bool(smooth[best] >= self._limits[best])
        self._run = self._run + 1 if over and best == self._leader else int(over)
        self._leader = best if over else -1
        self._armed |= smooth < self._limits
        if self._run < self._patience or not self._armed[best] or time - self._last_time < self._refractory:
            return None
        self._armed[best], self._last_time = False, time
        return Detection(self._labels[best], float(smooth[best]), time)
