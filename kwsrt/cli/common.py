"""What the commands share: the parser, common options, error lines, progress."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from kwsrt.cli.output import described, report, say
from kwsrt.decision import Detection
from kwsrt.errors import OptionError
from kwsrt.model import DEFAULT_MODEL

T = TypeVar("T")
LONGEST = 1e9  # seconds, 31 years


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose descriptions are shown as written and whose errors take one line."""

    def __init__(self, *, prog: str | None = None, description: str | None = None, help: str | None = None) -> None:
        super().__init__(
            prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )

    def error(self, message: str) -> NoReturn:
        """Report wrong usage and exit with code 2."""
        report(f"{message}; see {self.prog} --help")
        sys.exit(2)

    def _print_message(self, message: str, file: Any = None) -> None:
        # For --help and --version. argparse itself would be silent about an output that fails.
        say(*message.rstrip("\n").split("\n"))


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """--device: a number, or a part of a name."""
    parser.add_argument(
        "--device",
        type=_device,
        metavar="DEVICE",
        help="number of a microphone, or a part of its name (kwsrt devices lists them)",
    )


def _device(text: str) -> int | str:
    return int(text) if text.isdecimal() and len(text) < 10 else text


def add_model_options(parser: argparse.ArgumentParser, thin: str = "full") -> None:
    """--model and --thin."""
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="MODEL",
        help=f"a .kws file, or the name of a bundled model (default: {DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--thin",
        default=thin,
        metavar="LEVEL",
        help="a thinning level of the model, full or such as half and quarter: faster, a little less "
        f"accurate; or auto: deeper ones only where a thinner one is not sure (default: {thin})",
    )


def add_detector_options(parser: argparse.ArgumentParser) -> None:
    """--threshold, --smoothing, --patience, --refractory, --debounce: those of Detector."""
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="SCORE",
        help="score that a word must reach, 0 to 1 (default: what the model declares)",
    )
    parser.add_argument(
        "--smoothing",
        type=int,
        metavar="N",
        help="decisions that a score is averaged over (default: what the model declares)",
    )
    parser.add_argument(
        "--patience", type=int, metavar="N", help="decisions in a row that it takes (default: what the model declares)"
    )
    parser.add_argument(
        "--refractory",
        type=float,
        metavar="S",
        help="seconds after a detection without another of the same word (default: 0.5)",
    )
    parser.add_argument(
        "--debounce",
        type=float,
        metavar="S",
        help="seconds below the threshold before a word may come again (default: 0)",
    )


def add_channel_option(parser: argparse.ArgumentParser) -> None:
    """--channel: of recordings."""
    parser.add_argument(
        "--channel",
        type=_channel,
        metavar="N",
        help="the channel to hear of recordings that have several, 0 is the first (default: the mean of all)",
    )


def _channel(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise argparse.ArgumentTypeError(f"expected the number of a channel, 0 for the first, not {text!r}")
    return int(text)


def detector_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was given of the detector's options."""
    names = ("threshold", "smoothing", "patience", "refractory", "debounce")
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def add_json_option(parser: argparse.ArgumentParser, what: str) -> None:
    """--json, whose output is `what`."""
    parser.add_argument("--json", action="store_true", help=f"print {what}, for programs")


def event_line(source: str, event: Detection, as_json: bool) -> str:
    """A detection as a line of output."""
    if as_json:
        return json.dumps({"file": source, **dataclasses.asdict(event)})
    return f"{event.time:7.2f} s  {event.label:<10} {event.score:.2f}"


def report_audio(name: str | Path, error: object) -> None:
    """Report what is wrong with a recording, with its name in front."""
    report(said if (said := described(error)).startswith(f"{Path(name)}: ") or name == "-" else f"{name}: {said}")


def check_range(option: str, value: float | None, low: float, high: float) -> None:
    """Make sure that an option that was given lies in its range.

    Raises
    ------
    OptionError : it does not, or is no number.
    """
    if value is not None and not low <= value <= high:
        raise OptionError(f"{option} {value:g}: expected {low:g} to {high:g}")


def check_seconds(seconds: float | None) -> None:
    """Make sure that --seconds, where it was given, is a time to record for.

    Raises
    ------
    OptionError : it is none.
    """
    if seconds is not None and not 0 < seconds <= LONGEST:
        raise OptionError(f"--seconds {seconds:g}: expected more than 0, and {LONGEST:g} at most")


def progress(items: Iterable[T], unit: str, total: int | None = None) -> Iterator[T]:
    """The items, with a progress bar on standard error where that is a terminal and tqdm is installed."""
    shown = items
    if sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ImportError:
            pass
        else:
            shown = tqdm(items, unit=unit, total=total, leave=False)
    yield from shown
