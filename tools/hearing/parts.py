"""The tests: what a model makes of held-out words, noises, single words in streams, and running speech.

Each part is a function from listeners and data to {listener's name: its figures}; figures are Share and Rate, in
nested dicts. `show` turns them into tables, `plain` into JSON.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tools.train import heldout

from . import material, scenes
from .figures import Rate, Share, mean_of, share, table
from .listening import Listener, Track, alarms, in_utterances, judge, of_recording, of_scene
from .material import Clip, Noise

#: RMS of the noises that are to be silence, dB below full scale
LEVELS = range(-70, -5, 8)
UNKNOWN, SILENCE = "_unknown_", "_silence_"
#: (name, dB between words and noise) of the streams of single words
CONDITIONS: tuple[tuple[str, float | None], ...] = (("quiet", None), ("20 dB", 20.0), ("10 dB", 10.0))
READ, WORDS_IN_SPEECH, ORDERS = heldout.SPEECH
#: clips of a word that is no command, in a stream of such
OTHERS_PER_WORD = 40


@dataclass
class Data:
    """What all listeners hear, read once. seed : of what is drawn; short : a part of everything, for a first look."""

    root: Path
    seed: int = 1
    short: bool = False
    clips: list[Clip] = field(init=False)
    voices: list[Clip] = field(init=False)
    noises: list[Noise] = field(init=False)

    def __post_init__(self) -> None:
        self.clips = material.clips(self.root, "speech_commands", material.is_tested)
        self.voices = material.clips(self.root, "voices/kokoro", lambda row: row["split"] == heldout.VOICES
                                     or heldout.is_held_out_word(row["word"]))  # fmt: skip
        self.noises = material.noises(self.root)
        if self.short:
            self.clips, self.voices = self.clips[::4], self.voices[::4]

    def spoken(self, keywords: Sequence[str]) -> list[Clip]:
        """The clips of these words."""
        return [clip for clip in self.clips if clip.word in keywords]

    def others(self, keywords: Sequence[str]) -> list[Clip]:
        """The clips of all other words."""
        return [clip for clip in self.clips if clip.word not in keywords]


def words_and_clips(listener: Listener, data: Data) -> dict[str, Any]:
    """(a) Held-out words as `_unknown_`, and each class of the clips of the validation split."""
    keywords = listener.keywords
    heard = _named(listener, data.clips)
    voices = _named(listener, data.voices)
    classes = {word: share((clip.speaker, name == word) for clip, name in heard if clip.word == word)
               for word in keywords}  # fmt: skip
    result: dict[str, Any] = {
        "classes": classes,
        "commands": mean_of(list(classes.values())),
        "commands, synthetic voices": _right(voices, lambda word: word in keywords and word),
    }
    if UNKNOWN in listener.model.labels:
        strangers = [(clip, name) for clip, name in heard if heldout.is_held_out_word(clip.word)]
        result["held-out words"] = _right(strangers, lambda _: UNKNOWN)
        result["by word"] = {word: _right([one for one in strangers if one[0].word == word], lambda _: UNKNOWN)
                             for word in sorted(heldout.WORDS)}  # fmt: skip
        result["taken for"] = dict(Counter(name for _, name in strangers if name != UNKNOWN).most_common())
        result["other words of the validation split"] = _right(
            heard, lambda word: word not in keywords and not heldout.is_held_out_word(word) and UNKNOWN
        )
        result["held-out words, synthetic voices"] = _right(
            voices, lambda word: heldout.is_held_out_word(word) and UNKNOWN
        )
        result["other words, synthetic voices"] = _right(
            voices, lambda word: word not in keywords and not heldout.is_held_out_word(word) and UNKNOWN
        )
    return result


def _named(listener: Listener, clips: Sequence[Clip]) -> list[tuple[Clip, str]]:
    """Each clip with the label of its best score."""
    heard = listener.model.predict([clip.samples for clip in clips], sample_rate=material.RATE, thin=listener.thin)
    return [(clip, max(scores, key=scores.__getitem__)) for clip, scores in zip(clips, heard, strict=True)]


def _right(heard: Sequence[tuple[Clip, str]], wanted: Any) -> Share:
    """The share of clips whose label is the wanted one; `wanted` gives it for a word, something false to leave out."""
    return share((clip.speaker, name == wanted(clip.word)) for clip, name in heard if wanted(clip.word))


def noise(listener: Listener, data: Data) -> dict[str, Any]:
    """(b) Noise as `_silence_`, at every level, and what else it is taken for."""
    if SILENCE not in listener.model.labels:
        return {}
    taken: Counter[str] = Counter()
    kinds: dict[str, dict[str, Share]] = {}
    everything: defaultdict[int, list[tuple[str, bool]]] = defaultdict(list)
    real = {one.kind for one in data.noises}
    made = scenes.generated(data.seed)
    for kind in [*sorted(real), *(one.kind for one in made)]:
        recordings = [one for one in [*data.noises, *made] if one.kind == kind]
        cuts = [(one.source, cut) for one in recordings for cut in scenes.windows(one)]
        row, all_levels = {}, []
        for level in LEVELS:
            sounds = [scenes.as_int16(cut * scenes.gain(level)) for _, cut in cuts]
            heard = [max(scores, key=scores.__getitem__) for scores in
                     listener.model.predict(sounds, sample_rate=material.RATE, thin=listener.thin)]  # fmt: skip
            right = [(source, name == SILENCE) for (source, _), name in zip(cuts, heard, strict=True)]
            taken.update(name for name in heard if name != SILENCE)
            row[str(level)] = share(right)
            all_levels += right
            if kind in real:
                everything[level] += right
        kinds[kind] = {**row, "all": share(all_levels)}
    pooled = [one for level in LEVELS for one in everything[level]]
    return {"recordings": share(pooled),
            "levels": {str(level): share(everything[level]) for level in LEVELS},
            "generated": mean_of([kinds[one.kind]["all"] for one in made]),
            "kinds": kinds, "taken for": dict(taken.most_common())}  # fmt: skip


def word_tracks(listener: Listener, data: Data, speakers: Any = None) -> dict[str, list[Track]]:
    """Streams of single commands under each of CONDITIONS, and one of other words in quiet ("other words").

    speakers : whether a speaker takes part; None: all do."""

    def kept(clips: list[Clip]) -> list[Clip]:
        return clips if speakers is None else [clip for clip in clips if speakers(clip.speaker)]

    words, _ = scenes.chosen(kept(data.spoken(listener.keywords)), seed=data.seed)
    others, _ = scenes.chosen(kept(data.others(listener.keywords)), OTHERS_PER_WORD, data.seed)
    plan = [(name, words, snr) for name, snr in CONDITIONS] + [("other words", others, None)]
    return {name: [of_scene(listener, scene) for scene in scenes.streams(these, data.noises, snr, data.seed)]
            for name, these, snr in plan}  # fmt: skip


def single_words(tracks: Mapping[str, Sequence[Track]], detector: Any, keywords: Sequence[str]) -> dict[str, Any]:
    """(c) Single words with pauses: found, missed, and false ones per 100 words."""
    result: dict[str, Any] = {}
    for name, several in tracks.items():
        heard = judge(several, detector)
        hundreds = len(heard.words) / 100
        figures: dict[str, Any] = {"false per 100": Rate(len(heard.false), hundreds),
                                   "how": dict(Counter(how for _, how in heard.false)),
                                   "false by word": dict(Counter(label for label, _ in heard.false))}  # fmt: skip
        if name != "other words":
            figures["found"] = share((said.speaker, found) for said, found in heard.words)
            figures["missed"] = sum(not found for _, found in heard.words)
            figures["by word"] = {word: share((said.speaker, found) for said, found in heard.words
                                              if said.label == word) for word in keywords}  # fmt: skip
        result[name] = figures
    return result


def speech_tracks(listener: Listener, data: Data, folder: str) -> list[Track]:
    """The tracks of a folder of long recordings."""
    tracks = []
    for recording in material.speech(data.root, folder):
        samples = recording.samples[: len(recording.samples) // (8 if data.short else 1)]
        until = len(samples) / material.RATE
        pieces = tuple(piece for piece in recording.utterances if piece.end <= until)
        tracks.append(of_recording(listener, material.Recording(recording.name, samples, pieces)))
    return tracks


def running_speech(tracks: Sequence[Track], detector: Any, keywords: Sequence[str]) -> dict[str, Any]:
    """(d) False alarms an hour, all and by word, where no command is said by itself."""
    heard, hours = alarms(tracks, detector), sum(track.seconds for track in tracks) / 3600
    return {"false alarms an hour": Rate(sum(heard.values()), hours),
            "by word": {word: Rate(heard[word], hours) for word in keywords}}  # fmt: skip


def words_in_speech(tracks: Sequence[Track], detector: Any, keywords: Sequence[str]) -> dict[str, Any]:
    """(e) Commands that are words of sentences: how many are detected, and false detections an hour."""
    spoken, false = in_utterances(tracks, detector, keywords)
    hours = sum(track.seconds for track in tracks) / 3600
    return {"detected": share((speaker, found) for _, speaker, found in spoken),
            "by word": {word: share((speaker, found) for one, speaker, found in spoken if one == word)
                        for word in keywords},
            "false an hour": Rate(sum(false.values()), hours),
            "false by word": {word: Rate(false[word], hours) for word in keywords}}  # fmt: skip


def expected(figures: Mapping[str, Any]) -> dict[str, Any]:
    """What parts (a) and (b) expect of recordings that are not here: twelve classes, each of the same weight."""
    strangers, silence = figures["a"].get("held-out words"), figures["b"].get("recordings")
    return mean_of([*figures["a"]["classes"].values(), *filter(None, (strangers, silence))])


def everything(listener: Listener, data: Data) -> dict[str, Any]:
    """All parts of one listener, by their letters."""
    keywords, detector = listener.keywords, listener.model.detector
    streams = word_tracks(listener, data)
    read, orders, sentences = (speech_tracks(listener, data, folder) for folder in (READ, ORDERS, WORDS_IN_SPEECH))
    figures = {
        "a": words_and_clips(listener, data),
        "b": noise(listener, data),
        "c": single_words(streams, detector, keywords),
        "d": {"read speech": running_speech(read, detector, keywords),
              "coffee orders": running_speech(orders, detector, keywords)},
        "e": words_in_speech(sentences, detector, keywords),
    }  # fmt: skip
    return {"twelve classes": expected(figures), **figures}


def plain(figures: Any) -> Any:
    """Figures as JSON has them."""
    if isinstance(figures, (Share, Rate)):
        return figures.summary()
    if isinstance(figures, Mapping):
        return {str(key): plain(value) for key, value in figures.items()}
    return figures


def show(figures: Mapping[str, Any]) -> str:
    """Figures as tables."""
    a, b, c, d, e = (figures[letter] for letter in "abcde")
    words = list(a["classes"])
    lines = [table("(a) clips, right", [["", "right"], *_rows(
        {**{f"all {len(words)} commands, mean": a["commands"]}, **a["classes"],
         **{key: a[key] for key in a if isinstance(a[key], Share)},
         **{f"  {word}": one for word, one in a.get("by word", {}).items()}})])]  # fmt: skip
    if a.get("taken for"):
        lines.append("held-out words are taken for: " + _counts(a["taken for"]))
    lines.append(f"expected over all classes, each of the same weight: {_mean(figures['twelve classes'])}")
    if b:
        rows = [["% right at dBFS", *LEVELS, "all"]]
        for kind, one in {**b["kinds"], "recordings": {**b["levels"], "all": b["recordings"]}}.items():
            values = [one[str(level)] for level in LEVELS]
            rows.append([kind, *(f"{100 * value.value:.0f}" for value in values), str(one["all"])])
        lines += ["", table("(b) noise as _silence_", rows), "taken for: " + _counts(b["taken for"]),
                  f"generated ones, mean: {_mean(b['generated'])}"]  # fmt: skip
    names = [name for name in c if "found" in c[name]]
    rows = [["found", *names], ["all", *(c[name]["found"] for name in names)]]
    rows += [[word, *(f"{100 * c[name]['by word'][word].value:.1f} %" for name in names)] for word in words]
    rows.append(["missed", *(c[name]["missed"] for name in names)])
    rows.append(["false per 100", *(c[name]["false per 100"] for name in names)])
    lines += ["", table("(c) single words with pauses, by the model's own detector", rows)]
    lines += [f"false, {name}: {_counts(one['how'])}; {_counts(one['false by word'])}" for name, one in c.items()]
    if "other words" in c:
        lines.append(f"other words, false per 100: {c['other words']['false per 100']}")
    rows = [["false alarms an hour", *d], ["all", *(one["false alarms an hour"] for one in d.values())]]
    rows += [[word, *(f"{one['by word'][word].value:.1f}" for one in d.values())] for word in words]
    lines += ["", table("(d) running speech without commands (the orders hold some)", rows)]
    rows = [["", "detected", "false an hour"], ["all", e["detected"], e["false an hour"]]]
    rows += [[word, f"{e['by word'][word].hits} of {e['by word'][word].of}", f"{e['false by word'][word].value:.1f}"]
             for word in words]  # fmt: skip
    lines += ["", table("(e) commands as words of read sentences", rows)]
    return "\n".join(lines)


def _rows(figures: Mapping[str, Any]) -> list[list[str]]:
    return [[name, str(one) if isinstance(one, Share) else _mean(one)] for name, one in figures.items()]


def _mean(one: Mapping[str, Any]) -> str:
    if one["share"] is None or np.isnan(one["share"]):
        return "-"
    return f"{100 * one['share']:.1f} % ({100 * one['low']:.1f} to {100 * one['high']:.1f})"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
