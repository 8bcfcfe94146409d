"""Which files of a folder are clips or recordings, and what label each has."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from kwsrt.errors import AudioError
from kwsrt.files import read_lines

UNKNOWN, NOISE = "_unknown_", "_background_noise_"
SUFFIXES = frozenset(
    (
        ".wav",
        ".wave",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".snd",
        ".caf",
        ".w64",
        ".rf64",
    )
)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is left alone: .cache, ._yes.wav and __MACOSX, as other programs make."""
    return name.startswith(".") or name == "__MACOSX"


def is_clip(path: Path) -> bool:
    """Whether a file found in a folder is a clip: not hidden, and named as audio is, in upper or lower case.

    Only the file's own name is looked at, and whether it is a file; a link that leads nowhere counts as one, so that
    it is reported when it is read.
    """
    return (
        not is_hidden(path.name)
        and path.suffix.lower() in SUFFIXES
        and (path.is_file() or (path.is_symlink() and not path.exists()))
    )


def clips_in(folder: Path) -> list[Path]:
    """The clips that lie in a folder itself, in the order of their names.

    Raises
    ------
    AudioError : a folder that cannot be read.
    """
    return sorted(path for path in _inside(folder) if is_clip(path))


def folders_in(folder: Path) -> list[Path]:
    """The folders that lie in a folder itself and are not hidden, in the order of their names.

    Raises
    ------
    AudioError : a folder that cannot be read.
    """
    return sorted(path for path in _inside(folder) if not is_hidden(path.name) and path.is_dir())


def clips_below(folder: Path) -> list[Path]:
    """The clips of a folder and of those inside it, at any depth, in the order of their paths.

    Raises
    ------
    AudioError : a folder that cannot be read.
    """
    found: list[Path] = []
    for inside, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not is_hidden(name)]
        found += filter(is_clip, (Path(inside, name) for name in names))
    return sorted(found)


def _refuse(error: OSError) -> NoReturn:
    raise AudioError(f"{error.filename}: cannot read the folder: {error.strerror or error}") from None


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        _refuse(error)


def recordings(given: Iterable[Path]) -> list[Path]:
    """Recordings named one by one, and those of folders at any depth, each once.

    Raises
    ------
    AudioError : a folder that cannot be read.
    """
    found: dict[Path, None] = {}
    for path in given:
        found |= dict.fromkeys(clips_below(path) if path.is_dir() else [path])
    return list(found)


def find_clips(folder: Path, listed: Path | None, labels: Iterable[str]) -> list[tuple[Path, str]]:
    """Path and true label of every clip DIR/label/clip.wav, in the order of their names; of those in the file `listed`
    if there is one. Words that are none of the labels are `_unknown_`; `_background_noise_` is left out.

    Raises
    ------
    AudioError : no such folder, no clip in it, or a word that the model can neither name nor call unknown.
    OptionError : a list that cannot be read.
    """
    known = frozenset(labels)
    if not folder.is_dir():
        raise AudioError(f"{folder}: no such folder; expected a folder that holds a folder for each label")
    if listed is None:
        paths = [path for inside in folders_in(folder) for path in clips_in(inside)]
    else:
        paths = [folder / line for line in read_lines(listed)]
    clips = [
        (path, path.parent.name if path.parent.name in known else UNKNOWN)
        for path in paths
        if path.parent.name != NOISE
    ]
    if not clips:
        raise AudioError(f"{folder}: no clips found; expected {os.path.join('DIR', 'label', 'clip.wav')}")
    if UNKNOWN not in known and (strange := sorted({path.parent.name for path, label in clips if label == UNKNOWN})):
        raise AudioError(
            f"{folder}: this model has no {UNKNOWN} class for {', '.join(strange)}: use --list to leave them out"
        )
    return clips
