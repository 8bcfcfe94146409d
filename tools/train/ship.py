"""From a finished checkpoint to what a user gets: the packed file, its card and the picture of its confusion."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from tools import card, convert, silence_clips

from . import data

SILENCE_CLIPS = 200


def evaluation_list(root: Path, out: Path) -> Path:
    """A text file of the clips that a card is measured on: the validation split, and `_silence_` cut for it."""
    if not (root / data.SILENCE).is_dir():
        silence_clips.write_clips(root, SILENCE_CLIPS, 1)
    listed = [line for line in (root / "validation_list.txt").read_text().splitlines() if line.strip()]
    listed += sorted(str(path.relative_to(root)) for path in (root / data.SILENCE).glob("*.wav"))
    file = out / "evaluation_list.txt"
    file.write_text("".join(f"{line}\n" for line in listed))
    return file


def ship(checkpoint: Path, model: Path, root: Path, negatives: list[Path]) -> None:
    """Pack `checkpoint` as `model` (.kws) and write its card.

    Accuracy is measured on the validation split of the folder `root`, false accepts on `negatives`.

    KwsrtError where the checkpoint cannot be packed, OSError where files cannot be read or written."""
    report = io.StringIO()
    with contextlib.redirect_stdout(report):
        convert.run(convert.parser().parse_args([str(checkpoint), str(model)]))
    listed = evaluation_list(root, checkpoint.parent)
    text = card.card(model, root, listed, report.getvalue().strip(), negatives)
    model.with_suffix(".md").write_text(text)
