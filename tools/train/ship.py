"""From a finished checkpoint to what a user gets: the packed file, its card and the picture of its confusion."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection
from pathlib import Path

import kwsrt
from kwsrt import files
from kwsrt.clips import clips_in
from kwsrt.errors import AudioError
from tools import card, convert, silence_clips

from . import data
from .folders import scan

SILENCE_CLIPS = 200
# What is true of every card that is written here; a config's [about] may say more.
MEASURED_ON = {
    "clips": "the validation split of its data, by which training measured itself",
    "negatives": "training left out",
}


def evaluation_list(settings: data.DataConfig, out: Path, left_out: Collection[str] = ()) -> Path:
    """A text file of the clips that a card is measured on: those of the validation split that a model with such labels
    can name or call unknown, and where it knows `_silence_`, cuts of background noise, if there is some.

    What is `left_out` (paths of recordings that cannot be used) is not in it. The cuts are the folder's own `_silence_`
    or, where it has none, made in `out`."""
    root, labels = Path(settings.root), settings.labels
    clips = scan(root, labels)["validation"]
    listed = [path.relative_to(root) for word, path in clips if data.UNKNOWN in labels or word in labels]
    if data.SILENCE in labels:
        cuts = root / data.SILENCE
        if not cuts.is_dir():
            cuts = out.resolve() / data.SILENCE
            noises = [path for path in data.noise_files(settings) if str(path) not in left_out]
            with contextlib.suppress(AudioError):  # all too short to be cut: a card without silence
                silence_clips.write_clips(noises, cuts, SILENCE_CLIPS, 1)
        if cuts.is_dir():
            listed += [path.relative_to(root) if path.is_relative_to(root) else path for path in clips_in(cuts)]
    file = out / "evaluation_list.txt"
    lines = [f"{path.as_posix()}\n" for path in listed if str(root / path) not in left_out]
    file.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    return file


def ship(
    checkpoint: Path, model: Path, settings: data.DataConfig, negatives: list[Path], left_out: Collection[str] = ()
) -> None:
    """Pack `checkpoint` as `model` (.kws) and write its card.

    Accuracy is measured on the validation split of the folder `settings.root`, false accepts on `negatives`; without
    what is `left_out`.

    KwsrtError where the checkpoint cannot be packed, or files cannot be read or written."""
    report = io.StringIO()
    with contextlib.redirect_stdout(report):
        convert.run(convert.parser().parse_args([str(checkpoint), str(model)]))
    listed = evaluation_list(settings, checkpoint.parent, left_out)
    about = MEASURED_ON | card.told(kwsrt.load(model).manifest["training"])
    text = card.card(model, Path(settings.root), listed, report.getvalue().strip(), negatives, about)
    files.write(model.with_suffix(".md"), text)
