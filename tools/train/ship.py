"""From a finished checkpoint to what a user gets: the packed file, its card and the picture of its confusion."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from tools import card, convert, silence_clips

from . import data
from .folders import scan

SILENCE_CLIPS = 200


def evaluation_list(root: Path, out: Path, labels: list[str]) -> Path:
    """A text file of the clips that a card is measured on: those of the validation split that a model with such labels
    can name or call unknown, and where it knows `_silence_`, cuts of background noise."""
    clips = scan(root, labels)["validation"]
    listed = [path for word, path in clips if data.UNKNOWN in labels or word in labels]
    if data.SILENCE in labels:
        if not (root / data.SILENCE).is_dir():
            silence_clips.write_clips(root, SILENCE_CLIPS, 1)
        listed += sorted((root / data.SILENCE).glob("*.wav"))
    file = out / "evaluation_list.txt"
    lines = [f"{path.relative_to(root).as_posix()}\n" for path in listed]
    file.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    return file


def ship(checkpoint: Path, model: Path, root: Path, labels: list[str], negatives: list[Path]) -> None:
    """Pack `checkpoint` as `model` (.kws) and write its card.

    Accuracy is measured on the validation split of the folder `root`, false accepts on `negatives`.

    KwsrtError where the checkpoint cannot be packed, OSError where files cannot be read or written."""
    report = io.StringIO()
    with contextlib.redirect_stdout(report):
        convert.run(convert.parser().parse_args([str(checkpoint), str(model)]))
    listed = evaluation_list(root, checkpoint.parent, labels)
    text = card.card(model, root, listed, report.getvalue().strip(), negatives)
    model.with_suffix(".md").write_text(text, encoding="utf-8")
