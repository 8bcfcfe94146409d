"""`kwsrt threshold`: the thresholds that a wanted number of false alarms an hour takes."""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import kwsrt
from kwsrt import files, simulation
from kwsrt import format as file_format
from kwsrt.cli.common import Parser, add_json_option, add_model_options, check_range
from kwsrt.cli.output import say
from kwsrt.cli.simulate import add_words_options, takes

MOST_ALARMS = 1e6  # an hour
HELP = "choose the threshold of each word for a wanted number of false alarms an hour"
DESCRIPTION = """\
Hears long recordings in which no keyword is said, as kwsrt simulate does, and chooses a threshold for each word so that
all of them together fire no more often than --rate. With --words, the thresholds are those that lose the fewest words;
without, one for all. --out writes them into the manifest of a copy of the model, which then uses them by itself.

example:
  kwsrt threshold recordings/ --words clips/ --rate 0.5 --out quiet.kws
"""


def add_arguments(parser: Parser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "recordings",
        nargs="+",
        type=Path,
        metavar="FILE|DIR",
        help="long recordings without keywords, or folders that hold them, at any depth",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=0.5,
        metavar="N",
        help="false alarms an hour, of all words together (default: %(default)g)",
    )
    add_words_options(parser)
    add_model_options(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="the model with these thresholds")
    add_json_option(parser, "one JSON object (threshold, and what kwsrt simulate says of it)")


def run(arguments: argparse.Namespace) -> int:
    """0, or 1 when a recording or a clip could not be used; the others are still heard."""
    check_range("--rate", arguments.rate, 0, MOST_ALARMS)
    if arguments.out:
        files.check_writable(arguments.out, replaces=file_format.MAGIC)
    model = kwsrt.load(arguments.model)
    heard, left_out = takes(arguments, model)
    settings = {"smoothing": model.smoothing, "patience": model.patience}
    chosen = simulation.choose_thresholds(heard, model.labels, arguments.rate, settings)
    outcome = simulation.judge(heard, model.labels, partial(model.detector, threshold=chosen))
    result = {"threshold": chosen, **outcome.summary()}
    say(*[json.dumps(result)] if arguments.json else _text(result))
    if arguments.out:
        data = file_format.write({**model.manifest, "threshold": chosen}, model.tensors)
        files.write(arguments.out, data, replaces=file_format.MAGIC)
    return 1 if left_out else 0


def _text(result: dict[str, Any]) -> list[str]:
    low, high = result["interval"]
    lines = [f"{label:<12} {value:.3f}" for label, value in result["threshold"].items()]
    lines += [
        f"false alarms {result['false_alarms_per_hour']:.2f} an hour, 95 % interval {low:.2f} to {high:.2f}, "
        f"in {result['hours']:.2f} hours"
    ]
    if result["words"]:
        lines += [f"words found  {result['recall']:.1%} of {result['words']}"]
    return lines
