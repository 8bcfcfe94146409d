"""What a model makes of clips and streams, kept so that any detector can be tried on it later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

import kwsrt
from kwsrt.scores import Scores

from .material import Recording, Utterance
from .scenes import Said, Scene, as_int16

#: a detection belongs to a word if its time lies no further from the word's sound than so many seconds
NEAR = 0.5
#: a detection belongs to an utterance up to so many seconds after its end
LATE = 0.5


@dataclass(frozen=True)
class Listener:
    """A model at a thinning level."""

    model: kwsrt.Model
    thin: str

    @property
    def keywords(self) -> list[str]:
        """Its labels that can be detected."""
        return [label for label in self.model.labels if not label.startswith("_")]

    def scores(self, samples: NDArray[Any]) -> Scores:
        """Of a stream that hears these samples alone."""
        return self.model.stream(thin=self.thin).push(samples)


@dataclass(frozen=True)
class Track:
    """The scores of a stream, its seconds, the words said in it, and the utterances of a long recording."""

    name: str
    seconds: float
    scores: Scores
    said: tuple[Said, ...] = ()
    utterances: tuple[Utterance, ...] = ()


@dataclass(frozen=True)
class Heard:
    """What a detector made of streams of words: each word said with whether it was found, and the false detections,
    (label, how it came about): "another" word was said, the word was found already ("again"), nothing was said there
    ("pause")."""

    words: list[tuple[Said, bool]]
    false: list[tuple[str, str]]


def of_scene(listener: Listener, scene: Scene) -> Track:
    """The track of a stream of words."""
    seconds = len(scene.samples) / listener.model.sample_rate
    return Track(scene.name, seconds, listener.scores(scene.samples), scene.said)


def of_recording(listener: Listener, recording: Recording) -> Track:
    """The track of a long recording."""
    seconds = len(recording.samples) / listener.model.sample_rate
    scores = listener.scores(as_int16(recording.samples))
    return Track(recording.name, seconds, scores, utterances=recording.utterances)


def judge(tracks: Iterable[Track], detector: Callable[[], kwsrt.Detector]) -> Heard:
    """Words found and false detections in streams of words, with a new detector for each.

    A detection belongs to the word that its time is in, or nearest to, within NEAR seconds."""
    words: list[tuple[Said, bool]] = []
    false: list[tuple[str, str]] = []
    for track in tracks:
        found = [False] * len(track.said)
        for event in detector().push(track.scores):
            away = [max(said.start - event.time, event.time - said.end, 0.0) for said in track.said]
            nearest = min(range(len(away)), key=away.__getitem__, default=None)
            if nearest is None or away[nearest] > NEAR:
                false.append((event.label, "pause"))
            elif track.said[nearest].label != event.label:
                false.append((event.label, "another"))
            elif found[nearest]:
                false.append((event.label, "again"))
            else:
                found[nearest] = True
        words += zip(track.said, found, strict=True)
    return Heard(words, false)


def alarms(tracks: Iterable[Track], detector: Callable[[], kwsrt.Detector]) -> Counter[str]:
    """Detections by label, with a new detector for each track."""
    return Counter(event.label for track in tracks for event in detector().push(track.scores))


def in_utterances(tracks: Sequence[Track], detector: Callable[[], kwsrt.Detector],
                  keywords: Sequence[str]) -> tuple[list[tuple[str, str, bool]], Counter[str]]:  # fmt: skip
    """Of words in running speech, (word, speaker, whether it was detected) for each time one is said, and false
    detections by label.

    Where in its utterance a word lies is not known: as many detections of it as times it is said count as right."""
    spoken: list[tuple[str, str, bool]] = []
    false: Counter[str] = Counter()
    for track in tracks:
        events = detector().push(track.scores)
        begun = [piece.start for piece in track.utterances]
        for i, piece in enumerate(track.utterances):
            until = begun[i + 1] if i + 1 < len(begun) else piece.end + LATE
            since = piece.start if i else 0.0
            heard = Counter(event.label for event in events if since <= event.time < until)
            for word in keywords:
                times = piece.words.count(word)
                spoken += [(word, track.name, n < heard[word]) for n in range(times)]
                false[word] += max(0, heard[word] - times)
    return spoken, false
