"""Where in the sound a word lies: from how loud it is, and from the moment at which the score rose."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

# A word is what comes within so many dB of its loudest moment,
RANGE = 32.0
# and at least so much of the way from the background up to that moment. The background is this quantile of all levels.
CONTRAST, BACKGROUND = 0.25, 0.1
# No recording is as quiet as that: digital silence, dB. It says nothing of the background of the sound beside it; and
# sound of fewer seconds between digital silences was cut out to the word, and has no background.
DIGITAL_SILENCE, CUT_OUT = -90.0, 0.8
# Stops close the mouth within a word: silences up to this many seconds do not end it.
LONGEST_CLOSURE = 0.13
# Where sound goes on and on, the word is this many seconds around the place that the score tells.
LONGEST_WORD = 1.0
# A score rises so many seconds after a moment that lies within the word: a network that was trained on words in the
# middle of its window knows them about when they end.
RISE = 0.2
# So many dB must a sound be louder to be taken for the word if it is a second further from where the score says.
FAR = 60.0
# A word whose score has not fallen may be said again: of the second one, so many seconds must have been heard.
ENOUGH = 0.4


class Sound(NamedTuple):
    """The loudness of the newest moments: when each begins and ends, in seconds, and dB; (n,) each, in order."""

    begins: NDArray[np.float64]
    ends: NDArray[np.float64]
    levels: NDArray[np.float32]


def sound(moments: ArrayLike, levels: ArrayLike, first: int, count: int, sample_rate: int) -> Sound:
    """The moments from `first` to `count`, which begin and end at these samples: (n, 2)."""
    times = np.asarray(moments)[first:count] / sample_rate
    return Sound(times[:, 0], times[:, 1], np.asarray(levels)[first:count])


class Piece(NamedTuple):
    """A stretch of sound between silences: seconds, and the dB of its loudest moment."""

    start: float
    end: float
    level: float


def pieces(sound: Sound, since: float, after: float = -np.inf) -> list[Piece]:
    """The stretches of sound that are as loud as a word, against the loudest moment that ends later than `since`.

    Moments that begin before `after` are left out, unless nothing later is loud."""
    recent = int(np.argmax(sound.ends > since))
    loudest = recent + int(np.argmax(sound.levels[recent:]))
    loud = np.flatnonzero(sound.levels >= _limit(sound, loudest))
    later = loud[sound.begins[loud] >= after]
    found: list[list[int]] = []
    for i in later if len(later) else loud:
        if found and sound.begins[i] - sound.ends[found[-1][1]] <= LONGEST_CLOSURE:
            found[-1][1] = i
        else:
            found.append([i, i])
    return [
        Piece(float(sound.begins[first]), float(sound.ends[last]), float(sound.levels[first : last + 1].max()))
        for first, last in found
    ]


def _limit(sound: Sound, loudest: int) -> float:
    """The dB that tell the word whose loudest moment is given from what is around it."""
    peak = float(sound.levels[loudest])
    silent = sound.levels <= DIGITAL_SILENCE
    before, behind = np.flatnonzero(silent[:loudest]), np.flatnonzero(silent[loudest:])
    first = int(before[-1]) + 1 if len(before) else 0
    last = loudest + int(behind[0]) if len(behind) else len(silent)
    if last > first and sound.ends[last - 1] - sound.begins[first] < CUT_OUT:
        return peak - RANGE
    background = float(np.quantile(sound.levels[first : max(last, first + 1)], BACKGROUND))
    return max(peak - RANGE, background + CONTRAST * (peak - background))


def word(sound: Sound, since: float, before: float, rose: float, after: float) -> tuple[float, float]:
    """Start and end, in seconds, of the word that is recognised now.

    Parameters
    ----------
    since : the start of the window in which it is heard. rose : the decision at which the score became the highest.
        before : the one before that. after : the end of the last word; this one begins later if there is sound later.
    """
    earliest, latest = max(before - RISE, since), max(rose - RISE, since)
    found = [piece for piece in pieces(sound, since, after) if piece.end > since]
    if not found:  # loudness that is no number, or times too large for a double to tell apart
        return since, max(since, float(sound.ends[-1]))
    best = max(found, key=lambda piece: piece.level - FAR * max(piece.start - latest, earliest - piece.end, 0.0))
    if best.end - best.start <= LONGEST_WORD:
        return best.start, best.end
    start = min(max((earliest + latest - LONGEST_WORD) / 2, best.start), best.end - LONGEST_WORD)
    return start, start + LONGEST_WORD


def another(sound: Sound, since: float, ended: float) -> tuple[float, Piece | None]:
    """Whether something was said after a word whose sound had ended when it was recognised, or was still going on.

    Returns
    -------
    When that word ended, in seconds, and the sound that came after it; None if there is none, or not enough of it.
    """
    ended = max(ended, float(sound.begins[0]))  # what was going on then was going on before
    for piece in pieces(sound, since):
        if piece.start <= ended + LONGEST_CLOSURE:
            ended = max(ended, piece.end)
        elif piece.start <= sound.ends[-1] - ENOUGH:
            return ended, piece._replace(end=min(piece.end, piece.start + LONGEST_WORD))
        else:
            break
    return ended, None
