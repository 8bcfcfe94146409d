"""From a finished checkpoint to what a user gets: the packed file, its card and the picture of its confusion."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from tools import card, convert, silence_clips

from . import data

SILENCE_CLIPS = 200


def evaluation_list(root: Path, out: Path, labels: list[str]) -> Path:
    """A text file of the clips that a card is measured on: those of the validation split that a model with such labels
    can name or call unknown, and where it knows `_silence_`, cuts of background noise."""
    lines = (line.strip() for line in (root / "validation_list.txt").read_text().splitlines())
    listed = [line for line in lines if line and (data.UNKNOWN in labels or line.split("/")[0] in labels)]
    if data.SILENCE in labels:
        if not (root / data.SILENCE).is_dir():
            silence_clips.write_clips(root, SILENCE_CLIPS, 1)
        listed += sorted(str(path.relative_to(root)) for path in (root / data.SILENCE).glob("*.wav"))
    file = out / "evaluation_list.txt"
    file.write_text("".join(f"{line}\n" for line in listed))
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
    model.with_suffix(".md").write_text(text)
