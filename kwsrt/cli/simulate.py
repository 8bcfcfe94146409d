"""`kwsrt simulate`: false alarms an hour in long recordings, and how many of the words said into them are found."""
import argparse
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import kwsrt
from kwsrt import simulation
from kwsrt.cli import picture
from kwsrt.cli.common import (
    Parser,
    add_detector_options,
    add_json_option,
    add_model_options,
    detector_options,
    progress,
)
from kwsrt.clips import find_clips, recordings
from kwsrt.errors import AudioError, OptionError

HELP = "false alarms an hour in long recordings, and how many words mixed into them are found"
DESCRIPTION = """\
Hears long recordings in which no keyword is said, and counts detections. With --words, a folder of clips in the layout
of Speech Commands, each recording is heard again with a word about every four seconds, --snr dB above what lies under
it: the share that is found within a second, and the median delay from the end of the word. All cores work.

examples:
  kwsrt simulate night/*.flac
  kwsrt simulate recordings/ --words clips/ --snr 10 --thin auto
  kwsrt simulate recordings/ --words clips/ --plot tradeoff.png
"""


def add_arguments(parser: Parser) -> None:
    """The command's arguments."""
    parser.add_argument("recordings", nargs="+", type=Path, metavar="FILE|DIR",
                        help="long recordings without keywords, or folders that hold them, at any depth")
    add_words_options(parser)
    add_model_options(parser)
    add_detector_options(parser)
    parser.add_argument("--plot", type=Path, metavar="FILE",
                        help="draw false alarms against words missed for many thresholds; needs matplotlib")
    add_json_option(parser, "one JSON object (hours, false_alarms, false_alarms_per_hour and its 95 %% interval, "
                            "words, recall, median_delay_s, per_label, levels, curve)")


def add_words_options(parser: Parser) -> None:
    """--gate, --words, --list, --snr and --processes."""
    parser.add_argument("--gate", type=float, metavar="DB",
                        help="dB below a full-scale sine under which nothing is heard, such as -70 (default: none)")
    parser.add_argument("--words", type=Path, metavar="DIR", help="clips to mix in, a folder for each label")
    parser.add_argument("--list", type=Path, metavar="FILE", help="text file of the clips to use, as in kwsrt eval")
    parser.add_argument("--snr", type=float, default=10.0, metavar="DB",
                        help="level of the words over what lies under them (default: %(default)g)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="that share the recordings (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """0."""
    if arguments.plot:
        picture.check(arguments.plot)
    model = kwsrt.load(arguments.model)
    settings = {"smoothing": model.smoothing, "patience": model.patience} | detector_options(arguments)
    detector = partial(model.detector, **settings)
    detector()  # wrong options are told before the work
    settings.pop("threshold", None)
    heard = takes(arguments, model)
    result = simulation.judge(heard, model.labels, detector).summary()
    result["levels"] = simulation.levels_used(heard, model.thin_levels)
    if arguments.json or arguments.plot:
        result["curve"] = simulation.curve(heard, model.labels, settings)
    print(json.dumps(result) if arguments.json else _text(result, f"{model.name}, {arguments.thin}"))
    if arguments.plot:
        picture.draw_tradeoff(result["curve"], f"{model.name}, {arguments.thin}", arguments.plot)
    return 0


def takes(arguments: argparse.Namespace, model: kwsrt.Model) -> list[simulation.Take]:
    """Every recording as the model hears it, alone and, where there are words, with them.

    Raises
    ------
    AudioError : no recordings, or one that cannot be used. OptionError : words that are none of the model's.
    """
    paths = recordings(arguments.recordings)
    if not paths:
        raise AudioError(f"no recordings found: {', '.join(map(str, arguments.recordings))}")
    jobs = [simulation.Job(arguments.model, path, arguments.thin, arguments.gate) for path in paths]
    if arguments.words:
        clips = tuple((label, path) for path, label in find_clips(arguments.words, arguments.list, model.labels)
                      if not label.startswith("_"))
        if not clips:
            raise OptionError(f"{arguments.words}: no clips of this model's keywords")
        jobs += [replace(job, clips=clips, snr=arguments.snr) for job in jobs]
    return list(progress(simulation.takes(jobs, arguments.processes), "recording", len(jobs)))


def _text(result: dict[str, Any], title: str) -> str:
    low, high = result["interval"]
    lines = [f"{title}, {result['hours']:.2f} hours",
             f"false alarms  {result['false_alarms_per_hour']:8.2f} an hour ({result['false_alarms']}; 95 % interval "
             f"{low:.2f} to {high:.2f})"]
    if result["words"]:
        lines += [f"words found   {result['recall']:8.1%} of {result['words']}"]
    if result["median_delay_s"] is not None:
        lines += [f"delay         {result['median_delay_s']:8.2f} s after the end of the word (median)"]
    used = ", ".join(f"{level} {share:.1%}" for level, share in result["levels"].items() if share)
    lines += [f"decisions     {used}"]
    lines += [f"  {label:<12} {row['false_alarms']:5} false" +
              (f", {row['found']} of {row['words']} found" if row["words"] else "")
              for label, row in result["per_label"].items()]
    return "\n".join(lines)
