"""`kwsrt eval`: accuracy over a folder of labelled clips."""
import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import kwsrt
from kwsrt import audio
from kwsrt.cli.common import Parser, add_json_option, add_model_options, progress, report_audio
from kwsrt.errors import AudioError, OptionError

UNKNOWN, NOISE = "_unknown_", "_background_noise_"
SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
Counts = Counter[tuple[str, str]]  # clips by (true label, label heard)
HELP = "accuracy over a folder of clips, a folder a label"
DESCRIPTION = """\
Accuracy of a model over clips of about one second, in the layout of Google's Speech Commands: a folder a word, whose
name is the label. Words that the model does not know count as _unknown_; _background_noise_ is left out.
All clips are evaluated, unless --list names those to take.

examples:
  kwsrt eval clips/
  kwsrt eval speech_commands/ --list speech_commands/validation_list.txt --thin half
"""


def add_arguments(parser: Parser) -> None:
    """The command's arguments."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder that holds a folder for each label")
    parser.add_argument("--list", type=Path, metavar="FILE",
                        help="text file of the clips to evaluate, one a line, relative to DIR, as validation_list.txt")
    add_model_options(parser)
    add_json_option(parser, "one JSON object (accuracy, clips, per_class, confusion; fractions of 1)")


def run(arguments: argparse.Namespace) -> int:
    """0, or 2 when a clip could not be used; the others are still evaluated."""
    model = kwsrt.load(arguments.model)
    model.network.level_index(arguments.thin)
    clips = find_clips(arguments.folder, arguments.list, model.labels)
    counts: Counts = Counter()
    for path, label in progress(clips, "clip"):
        try:
            samples, rate = audio.read(path)
            scores = model.predict(samples, sample_rate=rate, thin=arguments.thin)
        except AudioError as error:
            report_audio(path, error)
            continue
        counts[label, max(scores, key=scores.__getitem__)] += 1
    if not counts:
        raise AudioError(f"{arguments.folder}: none of its clips could be used")
    result = summary(counts, model.labels)
    print(json.dumps(result) if arguments.json else _table(result, f"{model.name}, {arguments.thin}"))
    return 0 if counts.total() == len(clips) else 2


def find_clips(folder: Path, listed: Path | None, labels: tuple[str, ...]) -> list[tuple[Path, str]]:
    """Path and true label of every clip, in the order of their names; of those in the file `listed` if there is one.

    Raises
    ------
    AudioError : no such folder, no clip in it, or a word that the model can neither name nor call unknown.
    OptionError : a list that cannot be read.
    """
    if not folder.is_dir():
        raise AudioError(f"{folder}: no such folder; expected a folder that holds a folder for each label")
    if listed is None:
        paths = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES)
    else:
        try:
            paths = [folder / line.strip() for line in listed.read_text().splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"{listed}: cannot read the list: {error}") from None
    clips = [(path, path.parent.name if path.parent.name in labels else UNKNOWN) for path in paths
             if path.parent.name != NOISE]
    if not clips:
        raise AudioError(f"{folder}: no clips found; expected DIR/label/clip.wav")
    if UNKNOWN not in labels and (strange := sorted({path.parent.name for path, label in clips if label == UNKNOWN})):
        raise AudioError(f"{folder}: this model has no {UNKNOWN} class for {', '.join(strange)}: "
                         "use --list to leave them out")
    return clips


def summary(counts: Counts, labels: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy over all clips, number of clips, recall of each class that has clips, and {true: {predicted: clips}}."""
    rows = {true: {heard: counts[true, heard] for heard in labels} for true in labels}
    confusion = {true: row for true, row in rows.items() if any(row.values())}
    per_class = {true: row[true] / sum(row.values()) for true, row in confusion.items()}
    right = sum(row[true] for true, row in confusion.items())
    return {"accuracy": right / counts.total(), "clips": counts.total(), "per_class": per_class, "confusion": confusion}


def _table(result: dict[str, Any], of: str) -> str:
    """The confusion matrix with accuracies, aligned."""
    per_class, confusion = result["per_class"], result["confusion"]
    heard = list(next(iter(confusion.values())))
    rows = [["said / heard", *heard, "accuracy"]]
    rows += [[true, *(str(clips or ".") for clips in row.values()), f"{per_class[true]:.1%}"]
             for true, row in confusion.items()]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) if i else cell.ljust(width)
                       for i, (cell, width) in enumerate(zip(row, widths, strict=True))) for row in rows]
    return "\n".join([f"accuracy {result['accuracy']:.2%} over {result['clips']} clips ({of})", "", *lines])
