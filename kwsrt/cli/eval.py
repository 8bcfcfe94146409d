"""`kwsrt eval`: accuracy over a folder of labelled clips."""

import argparse
import json
from pathlib import Path
from typing import Any

import kwsrt
from kwsrt.cli import picture
from kwsrt.cli.common import Parser, add_channel_option, add_json_option, add_model_options, progress, report_audio
from kwsrt.cli.output import note, say, shown
from kwsrt.clips import find_clips
from kwsrt.errors import AudioError
from kwsrt.evaluation import hear, summary

HELP = "accuracy over a folder of clips, a folder a label"
DESCRIPTION = """\
Accuracy of a model over clips of about one second, in the layout of Google's Speech Commands: a folder a word, whose
name is the label. Words that the model does not know count as _unknown_; _background_noise_ is left out.
All clips are evaluated, unless --list names those to take. The interval is a 95 % one, by a bootstrap over speakers
where names carry them (<speaker>_nohash_<n>.wav), else over clips; the calibration error is how far, on average, the
best score is from the share of right answers.
A clip that cannot be used is named and left out; the exit code is then 1.

examples:
  kwsrt eval clips/
  kwsrt eval speech_commands/ --list speech_commands/validation_list.txt --thin half
"""


def add_arguments(parser: Parser) -> None:
    """The command's arguments."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder that holds a folder for each label")
    parser.add_argument(
        "--list",
        type=Path,
        metavar="FILE",
        help="text file of the clips to evaluate, one a line, relative to DIR, as validation_list.txt",
    )
    add_channel_option(parser)
    add_model_options(parser)
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="write a picture of the confusion matrix (.png, .svg, .pdf); needs matplotlib",
    )
    add_json_option(
        parser,
        "one JSON object (accuracy, interval, clips, speakers, calibration_error, per_class, "
        "confusion; fractions of 1)",
    )


def run(arguments: argparse.Namespace) -> int:
    """0, or 1 when a clip could not be used; the others are still evaluated."""
    model = kwsrt.load(arguments.model)
    model.network.level_index(arguments.thin)
    if arguments.plot:
        picture.check(arguments.plot)
    clips = find_clips(arguments.folder, arguments.list, model.labels)
    outcomes = []
    for path, label in progress(clips, "clip"):
        try:
            outcomes.append(hear(model, path, label, arguments.thin, arguments.channel))
        except (AudioError, MemoryError, OSError) as error:
            report_audio(path, error)
    if not outcomes:
        raise AudioError(f"{arguments.folder}: none of its clips could be used")
    left_out = len(clips) - len(outcomes)
    if left_out:
        note(f"clips left out: {left_out}")
    result = summary(outcomes, model.labels)
    say(*[json.dumps(result)] if arguments.json else _table(result, f"{model.name}, {arguments.thin}"))
    if arguments.plot:
        title = f"{model.name}, {arguments.thin}: {result['accuracy']:.1%} of {result['clips']} clips"
        picture.draw_confusion(result, title, arguments.plot)
    return 1 if left_out else 0


def _table(result: dict[str, Any], of: str) -> list[str]:
    """The confusion matrix with accuracies, aligned."""
    per_class, confusion = result["per_class"], result["confusion"]
    heard = list(next(iter(confusion.values())))
    rows = [["said / heard", *map(shown, heard), "accuracy"]]
    rows += [
        [shown(true), *(str(clips or ".") for clips in row.values()), f"{per_class[true]:.1%}"]
        for true, row in confusion.items()
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    low, high = result["interval"]
    return [
        f"accuracy {result['accuracy']:.2%} over {result['clips']} clips ({of})",
        f"95 % interval {low:.2%} to {high:.2%}, bootstrap over {result['speakers']} speakers; "
        f"calibration error {result['calibration_error']:.2%}",
        "",
        *lines,
    ]
