"""Folders of clips in the layout of Speech Commands: which files are clips, their splits, and which are broken."""

from __future__ import annotations

import hashlib
import multiprocessing
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwsrt import audio
from kwsrt.clips import SUFFIXES, clips_in, folders_in, is_hidden
from kwsrt.errors import AudioError, AudioWarning, OptionError
from kwsrt.evaluation import speaker_of
from kwsrt.files import read_lines

Array = NDArray[Any]
#: (word, path)
Clip = tuple[str, Path]
#: share of the speakers that validates where a folder has no validation_list.txt
HELD_OUT = 0.1
#: sound that no command of kwsrt takes for clips
FOREIGN = {".m4a", ".mp4", ".aac", ".wma", ".amr", ".webm", ".mka", ".3gp", ".ape", ".wv"}
LISTS = ("validation", "testing")


@dataclass
class Found:
    """What can be used of several folders: `clips`, {folder: {split: [(word, path), ...]}}; and what cannot, with the
    reason, {path: sentence}."""

    clips: dict[str, dict[str, list[Clip]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def read_audio(path: str | Path, rate: int) -> Array:
    """Samples of a recording as float32 [n] in -1..1 at `rate`, channels averaged. AudioError names the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)  # `faults` shows what there is to know
        return np.asarray(audio.as_float(audio.load(path, rate)))


def scan(root: str | Path, labels: Collection[str] | None = None) -> dict[str, list[Clip]]:
    """Clips of a folder by split: {"training" | "validation" | "testing": [(word, path), ...]}.

    The splits are the folder's validation_list.txt and testing_list.txt. Without the first, `held_out_clips` validate.
    AudioError if there is no clip, OptionError where validation_list.txt names none."""
    root = Path(root)
    clips = [(folder.name, path) for folder in word_folders(root) for path in clips_in(folder)]
    if not clips:
        raise AudioError(f"{root}: no clips found; expected FOLDER/word/clip.wav")
    listed: dict[str, str] = {}
    for split in LISTS:
        file = root / f"{split}_list.txt"
        if file.exists():
            listed.update((without_suffix(PurePosixPath(line.replace("\\", "/"))), split) for line in read_lines(file))
    splits: dict[str, list[Clip]] = {"training": [], "validation": [], "testing": []}
    for word, path in clips:
        splits[listed.get(without_suffix(PurePosixPath(word, path.name)), "training")].append((word, path))
    if not has_list(root):
        held = held_out_clips(splits["training"], labels)
        splits["validation"] = [clip for clip in splits["training"] if clip in held]
        splits["training"] = [clip for clip in splits["training"] if clip not in held]
    elif not splits["validation"]:
        raise OptionError(f"{root / 'validation_list.txt'} names no clip of the folder; expected lines like "
                          f"{clips[0][0]}/{clips[0][1].name}, or no such file: then a split is made")  # fmt: skip
    return splits


def without_suffix(path: PurePosixPath) -> str:
    """A clip's name as lists are searched for it: clips that were converted to another format are still found."""
    return str(path)[: -len(path.suffix)] if path.suffix.lower() in SUFFIXES else str(path)


def has_list(root: str | Path) -> bool:
    """Whether a folder says which of its clips validate."""
    return (Path(root) / "validation_list.txt").exists()


def word_folders(root: Path) -> list[Path]:
    """The folders that are named by their word. AudioError if there is no such folder as `root`."""
    if not root.is_dir():
        raise AudioError(f"{root}: no such folder; expected one that holds a folder of clips for each word")
    return [path for path in folders_in(root) if not path.name.startswith("_")]


def held_out_clips(clips: Sequence[Clip], labels: Collection[str] | None) -> set[Clip]:
    """The clips that validate where no list says so: all those of about a tenth of the speakers.

    A hash of the speaker's name chooses, so that the same speakers are chosen everywhere and always. Some of each word
    stays to train on, and of each of `labels` (None: of every word) some validates, where there are speakers enough.
    Where all was said by one speaker, clips are chosen as if each had its own."""
    for of_speakers in (True, False):
        groups: dict[str, list[Clip]] = {}
        for word, path in clips:
            speaker = speaker_of(path)
            named = of_speakers and speaker != str(path)  # a clip without a speaker's name is one by itself
            groups.setdefault(speaker if named else f"{word}/{path.name}", []).append((word, path))
        left, held, covered = Counter(word for word, _ in clips), set[Clip](), set[str]()
        for speaker in sorted(groups, key=lambda speaker: (place(speaker), speaker)):
            words = Counter(word for word, _ in groups[speaker])
            new = {word for word in words if labels is None or word in labels} - covered
            if (new or place(speaker) < HELD_OUT) and all(left[word] > count for word, count in words.items()):
                left -= words
                covered |= words.keys()
                held.update(groups[speaker])
        if held:
            return held
    return set()


def place(name: str) -> float:
    """Where a name's hash puts it, from 0 to 1; the same everywhere and always."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8]) / 2**64


def faults(paths: Iterable[Path], rate: int, workers: int) -> dict[str, str]:
    """{path: sentence} of the recordings that cannot be used; `workers` processes read them all."""
    files = list(paths)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
        found = pool.map(_fault, files, [rate] * len(files), chunksize=64)
        return {str(path): fault for path, fault in zip(files, found, strict=True) if fault}


def _fault(path: Path, rate: int) -> str:
    try:
        for _ in audio.pieces(path, rate):
            pass
    except AudioError as error:
        return str(error).removeprefix(f"{path}: ")
    return ""


def survey(
    roots: Sequence[str], labels: Sequence[str], wanted: Callable[[str], bool], others: Sequence[Path], rate: int,
    workers: int, log: Callable[[str], None],
) -> Found:  # fmt: skip
    """Read every clip of the folders `roots` whose word is `wanted`, and the recordings `others`: what can be used.

    Each keyword of `labels` must have clips to train on in one of the folders, and the first folder clips to validate
    on. AudioError otherwise, which names the label or folder."""
    found = Found()
    every = {root: scan(root, labels) for root in roots}
    for root in roots:
        found.left_out.update(
            (str(path), f"{path.suffix} files are not read; make it .wav or .flac")
            for folder in word_folders(Path(root))
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in FOREIGN and not is_hidden(path.name)
        )
        if not has_list(root):
            held, rest = (every[root][split] for split in ("validation", "training"))
            speakers = len({speaker_of(path) for _, path in held})
            log(f"{root} has no validation_list.txt: {len(held)} clips of {speakers} speakers, chosen by a hash of the "
                f"speaker's name, validate, {len(rest)} train")  # fmt: skip
    named = [path for splits in every.values() for clips in splits.values() for word, path in clips if wanted(word)]
    found.left_out.update(faults([*named, *others], rate, workers))
    for root, splits in every.items():
        found.clips[root] = {
            split: [(word, path) for word, path in clips if wanted(word) and str(path) not in found.left_out]
            for split, clips in splits.items()
        }
    first = roots[0]
    training = Counter(word for splits in found.clips.values() for word, _ in splits["training"])
    missing = [label for label in labels if not label.startswith("_") and not training[label]]
    if missing:
        raise AudioError(f"{first}: no clips to train on of the label{'s' * (len(missing) > 1)} {', '.join(missing)}"
                         + because(found, every, first, missing))  # fmt: skip
    if not found.clips[first]["validation"]:
        raise AudioError(f"{first}: no clips to validate on" + because(found, every, first, labels))
    return found


def because(found: Found, every: dict[str, dict[str, list[Clip]]], root: str, labels: Sequence[str]) -> str:
    """The rest of a sentence that says that clips of `labels` are missing."""
    bad = {path: why for path, why in found.left_out.items() if Path(path).parent.name in labels}
    if bad:
        path, why = next(iter(bad.items()))
        return f"; {len(bad)} cannot be used, such as {path}: {why}"
    apart = [split for split in LISTS for word, _ in every[root][split] if word in labels]
    if apart:
        return f"; all {len(apart)} of them are in other splits ({', '.join(sorted(set(apart)))})"
    words = sorted({word for clips in every[root].values() for word, _ in clips})
    return f"; its folders with clips: {', '.join(words)}"
