"""`kwsrt simulate`: false alarms an hour in long recordings, and how many of the words said into them are found."""

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import kwsrt
from kwsrt import audio, simulation
from kwsrt.cli import picture
from kwsrt.cli.common import (
    Parser,
    add_channel_option,
    add_detector_options,
    add_json_option,
    add_model_options,
    check_range,
    detector_options,
    progress,
    report_audio,
)
from kwsrt.cli.output import note, say
from kwsrt.clips import find_clips, recordings
from kwsrt.errors import AudioError, OptionError

HELP = "false alarms an hour in long recordings, and how many words mixed into them are found"
DESCRIPTION = """\
Hears long recordings in which no keyword is said, and counts detections. With --words, a folder of clips in the layout
of Speech Commands, each recording is heard again with a word about every four seconds, --snr dB above what lies under
it: the share that is found within a second, and the median delay from the end of the word. All cores work.
A recording or clip that cannot be used is named and left out; the exit code is then 1.

examples:
  kwsrt simulate night/*.flac
  kwsrt simulate recordings/ --words clips/ --snr 10 --thin auto
  kwsrt simulate recordings/ --words clips/ --plot tradeoff.png
"""

MOST_PROCESSES = 4096


def add_arguments(parser: Parser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "recordings",
        nargs="+",
        type=Path,
        metavar="FILE|DIR",
        help="long recordings without keywords, or folders that hold them, at any depth",
    )
    add_words_options(parser)
    add_model_options(parser)
    add_detector_options(parser)
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw false alarms against words missed for many thresholds; needs matplotlib",
    )
    add_json_option(
        parser,
        "one JSON object (hours, false_alarms, false_alarms_per_hour and its 95 %% interval, "
        "words, recall, median_delay_s, per_label, levels, curve)",
    )


def add_words_options(parser: Parser) -> None:
    """--channel, --gate, --words, --list, --snr and --processes."""
    add_channel_option(parser)
    parser.add_argument(
        "--gate",
        type=float,
        metavar="DB",
        help="dB below a full-scale sine under which nothing is heard, such as -70 (default: none)",
    )
    parser.add_argument("--words", type=Path, metavar="DIR", help="clips to mix in, a folder for each label")
    parser.add_argument("--list", type=Path, metavar="FILE", help="text file of the clips to use, as in kwsrt eval")
    parser.add_argument(
        "--snr",
        type=float,
        default=10.0,
        metavar="DB",
        help="level of the words over what lies under them (default: %(default)g)",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="that share the recordings (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """0, or 1 when a recording or a clip could not be used; the others are still heard."""
    if arguments.plot:
        picture.check(arguments.plot)
    model = kwsrt.load(arguments.model)
    settings = {"smoothing": model.smoothing, "patience": model.patience} | detector_options(arguments)
    detector = partial(model.detector, **settings)
    detector()  # wrong options are told before the work
    settings.pop("threshold", None)
    heard, left_out = takes(arguments, model)
    result = simulation.judge(heard, model.labels, detector).summary()
    result["levels"] = simulation.levels_used(heard, model.thin_levels)
    if arguments.json or arguments.plot:
        result["curve"] = simulation.curve(heard, model.labels, settings)
    say(*[json.dumps(result)] if arguments.json else _text(result, f"{model.name}, {arguments.thin}"))
    if arguments.plot:
        picture.draw_tradeoff(result["curve"], f"{model.name}, {arguments.thin}", arguments.plot)
    return 1 if left_out else 0


def takes(arguments: argparse.Namespace, model: kwsrt.Model) -> tuple[list[simulation.Take], int]:
    """Every recording as the model hears it, alone and, where there are words, with them; and how many recordings and
    clips were left out, each of which has been reported by its name.

    Raises
    ------
    AudioError : no recordings, none that can be used, or a folder that cannot be read. OptionError : words that are
    none of the model's, or an option outside its range. ThinError : an unknown level.
    """
    check_range("--processes", arguments.processes, 1, MOST_PROCESSES)
    check_range("--snr", arguments.snr, -100, 100)
    model.stream(thin=arguments.thin, gate=arguments.gate)  # wrong options are told before the work
    paths = recordings(arguments.recordings)
    if not paths:
        raise AudioError(f"no recordings found: {', '.join(map(str, arguments.recordings))}")
    audio.check_channel(arguments.channel)
    jobs = [
        simulation.Job(arguments.model, path, arguments.thin, arguments.gate, channel=arguments.channel)
        for path in paths
    ]
    left_out: set[str] = set()
    if arguments.words:
        clips = tuple(_words(arguments, model, left_out))
        jobs += [replace(job, clips=clips, snr=arguments.snr) for job in jobs]
    heard = []
    for made in progress(simulation.takes(jobs, arguments.processes), "recording", len(jobs)):
        if isinstance(made, simulation.Take):
            heard.append(made)
            continue
        if len(paths) == 1 and not heard:
            raise AudioError(f"{made.path}: {made.why}")
        if made.path not in left_out:
            report_audio(made.path, made.why)
        left_out.add(made.path)
    if all(made.placed is not None for made in heard):
        raise AudioError("none of the recordings could be used")
    if left_out:
        note(f"recordings and clips left out: {len(left_out)}")
    return heard, len(left_out)


def _words(arguments: argparse.Namespace, model: kwsrt.Model, left_out: set[str]) -> Iterator[tuple[str, Path]]:
    """Labels and paths of the words to mix in. Those that cannot be used are reported and added to `left_out`."""
    found = [
        (path, label)
        for path, label in find_clips(arguments.words, arguments.list, model.labels)
        if not label.startswith("_")
    ]
    if not found:
        raise OptionError(f"{arguments.words}: no clips of this model's keywords")
    bad = 0
    for path, label in progress(found, "clip"):
        try:
            simulation.word(path, model.sample_rate)
        except (AudioError, MemoryError, OSError) as error:
            report_audio(path, error)
            left_out.add(str(path))
            bad += 1
        else:
            yield label, path
    if bad == len(found):
        raise AudioError(f"{arguments.words}: none of its clips could be used")


def _text(result: dict[str, Any], title: str) -> list[str]:
    low, high = result["interval"]
    lines = [
        f"{title}, {result['hours']:.2f} hours",
        f"false alarms  {result['false_alarms_per_hour']:8.2f} an hour ({result['false_alarms']}; 95 % interval "
        f"{low:.2f} to {high:.2f})",
    ]
    if result["words"]:
        lines += [f"words found   {result['recall']:8.1%} of {result['words']}"]
    if result["median_delay_s"] is not None:
        lines += [f"delay         {result['median_delay_s']:8.2f} s after the end of the word (median)"]
    used = ", ".join(f"{level} {share:.1%}" for level, share in result["levels"].items() if share)
    lines += [f"decisions     {used}"]
    return lines + [
        f"  {label:<12} {row['false_alarms']:5} false"
        + (f", {row['found']} of {row['words']} found" if row["words"] else "")
        for label, row in result["per_label"].items()
    ]
