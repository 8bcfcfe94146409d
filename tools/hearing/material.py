"""What is heard: clips, noises and long recordings of the shared data that training leaves alone (heldout.py)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwsrt import audio
from tools.train import heldout

Samples = NDArray[np.float32]
RATE = 16000
#: samples between the starts of two clips of a file
SLOT = 16000
#: recordings of a noise class that are heard, evenly chosen, so that no class outweighs the others
RECORDINGS_PER_CLASS = 10


@dataclass(frozen=True)
class Clip:
    """A spoken word: its samples at 16 kHz, within -1 and 1, and who said it."""

    word: str
    speaker: str
    samples: Samples


@dataclass(frozen=True)
class Noise:
    """A noise recording: its class and its own name."""

    kind: str
    source: str
    samples: Samples


@dataclass(frozen=True)
class Utterance:
    """A piece of a long recording, in seconds, and the words said in it (none where no text is known)."""

    start: float
    end: float
    words: tuple[str, ...]


@dataclass(frozen=True)
class Recording:
    """A long recording of one speaker, or of one order after another, with what is known of its parts."""

    name: str
    samples: Samples
    utterances: tuple[Utterance, ...]


def read(path: Path) -> Samples:
    """A file at 16 kHz as float32.

    Raises
    ------
    AudioError : a file that cannot be used.
    """
    return audio.as_float(audio.prepare(*audio.read(path), RATE))


def rows(path: Path) -> Iterator[dict[str, str]]:
    """The lines of a CSV file with a head.

    Raises
    ------
    FileNotFoundError : there is no such file.
    """
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def clips(root: Path, folder: str, wanted: Callable[[dict[str, str]], bool]) -> list[Clip]:
    """Those clips of `folder`/clips.csv (speech_commands, voices/kokoro) whose line is wanted, by word and name."""
    found, name, sound = [], "", np.empty(0, np.float32)
    for row in rows(root / folder / "clips.csv"):
        if not wanted(row):
            continue
        if row["file"] != name:
            name, sound = row["file"], read(root / row["file"])
        start = int(row["index"]) * SLOT
        samples = sound[start : start + int(row["samples"])].copy()
        found.append((row["word"], row["name"], Clip(row["word"], row["speaker"], samples)))
    return [clip for _, _, clip in sorted(found, key=lambda one: one[:2])]


def is_tested(row: dict[str, str]) -> bool:
    """Whether the tests may use a clip: by a speaker of the validation split, or of a rare word held out as a whole.

    Most clips of the well-filled words were said by speakers who train with other words: they are left out."""
    rare = {"follow", "learn", "visual"}
    return row["word"] != "other_words" and (row["split"] == heldout.VOICES or row["word"] in rare)


def noises(root: Path) -> list[Noise]:
    """The noise recordings held out, by class and name; at most RECORDINGS_PER_CLASS of a class."""
    found: list[Noise] = []
    for row in rows(root / "noise/esc10/clips.csv"):
        kind = heldout.noise_class(row["file"])
        if heldout.held_out_noise(kind):
            found.append(_cut(root, kind, row, int(row["index"]) * 5 * RATE, 5 * RATE))
    for listed in ("noise/esc50_free/esc50_free.csv", "noise/kitchen/kitchen.csv"):
        for row in rows(root / listed):
            if heldout.held_out_noise(row["source"]):
                kind = heldout.noise_class(row["source"])
                found.append(_cut(root, kind, row, int(row["start_sample"]), int(row["samples"])))
    for path in sorted((root / "speech_commands/_background_noise_").glob("*.flac")):
        if heldout.held_out_noise(path.name):
            found.append(Noise(path.stem, path.stem, read(path)))
    _read_once.clear()
    chosen = []
    for kind in sorted({one.kind for one in found}):
        of_kind = sorted((one for one in found if one.kind == kind), key=lambda one: one.source)
        chosen += of_kind[:: -(-len(of_kind) // RECORDINGS_PER_CLASS)]
    return chosen


_read_once: dict[str, Samples] = {}


def _cut(root: Path, kind: str, row: dict[str, str], start: int, length: int) -> Noise:
    if row["file"] not in _read_once:
        _read_once[row["file"]] = read(root / row["file"])
    return Noise(kind, row["source"], _read_once[row["file"]][start : start + length].copy())


def speech(root: Path, folder: str) -> Iterator[Recording]:
    """The long recordings of a folder below speech/, by file name, each with its utterances."""
    listed = sorted((root / "speech" / folder).glob("*.csv"))
    if not listed:
        raise FileNotFoundError(f"no list of utterances (*.csv) in {root / 'speech' / folder}")
    by_file: dict[str, list[dict[str, Any]]] = {}
    for row in rows(listed[0]):
        by_file.setdefault(row["file"], []).append(row)
    for name in sorted(by_file):
        pieces = []
        for row in by_file[name]:
            start, length = int(row["start_sample"]) / RATE, int(row["samples"]) / RATE
            pieces.append(Utterance(start, start + length, tuple(row.get("text", "").lower().split())))
        yield Recording(Path(name).stem, read(root / name), tuple(pieces))
