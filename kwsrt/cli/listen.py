"""`kwsrt listen`: keywords from the microphone, as they are said."""

import argparse
import collections
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kwsrt
from kwsrt import files
from kwsrt.audio import as_int16
from kwsrt.cli import view
from kwsrt.cli.common import (
    Parser,
    add_detector_options,
    add_device_option,
    add_json_option,
    add_model_options,
    check_seconds,
    detector_options,
    event_line,
)
from kwsrt.cli.output import described, note, report, say
from kwsrt.errors import OptionError
from kwsrt.listening import Listener, Step

HELP = "print the keywords that the microphone hears"
DESCRIPTION = """\
Hears keywords from the microphone until it is interrupted (Ctrl-C). In a terminal, with rich installed (pip install
rich), it shows the level, the scores and the last detections; otherwise a line for every keyword: seconds, word, score.

examples:
  kwsrt listen
  kwsrt listen --device usb --threshold 0.9 --json
  kwsrt listen --save-detections heard/ --on-detect 'echo $KWSRT_LABEL at $KWSRT_TIME'
"""
# What is kept of a detection: so many seconds, half of them after the middle of the word.
KEPT = 2.0
MOST_COMMANDS = 16  # of --on-detect, at once
LONGEST_NAME = 150  # bytes of a label in a file name, which may have 255


def add_arguments(parser: Parser) -> None:
    """The command's arguments."""
    add_device_option(parser)
    add_model_options(parser, thin="auto")
    add_detector_options(parser)
    parser.add_argument("--seconds", type=float, metavar="N", help="stop after so many seconds of audio")
    parser.add_argument("--reconnect", action="store_true", help="wait for a device that disappeared, and go on")
    parser.add_argument(
        "--save-detections",
        type=Path,
        metavar="DIR",
        help="keep the two seconds around each detection there, as WAV files named by time and word",
    )
    parser.add_argument(
        "--on-detect",
        metavar="COMMAND",
        help="a shell command to run for each detection, with KWSRT_LABEL, KWSRT_SCORE and KWSRT_TIME; "
        f"{MOST_COMMANDS} at once at most",
    )
    add_json_option(parser, "one JSON object a line (file: the device, label, score, time, start, end)")


def run(arguments: argparse.Namespace) -> int:
    """0."""
    check_seconds(arguments.seconds)
    keeper = Keeper(arguments.save_detections) if arguments.save_detections else None
    live = not arguments.json and sys.stdout.isatty()
    commands = Commands(arguments.on_detect) if arguments.on_detect else None
    with (
        kwsrt.listen(
            arguments.device,
            model=arguments.model,
            thin=arguments.thin,
            reconnect=arguments.reconnect,
            **detector_options(arguments),
        ) as listener,
        view.opened(listener, live) as shown,
    ):
        try:
            for step in _limited(listener, arguments.seconds):
                if keeper:
                    keeper.push(step, listener.model.sample_rate)
                for heard in step.detections:
                    if commands:
                        commands.start(heard)
                    if shown is None:
                        say(event_line(listener.microphone.name, heard, arguments.json))
                if shown is not None:
                    shown.update(step)
        except KeyboardInterrupt:
            pass
        finally:
            if keeper:
                keeper.close(listener.model.sample_rate)
        _report(listener)
    return 0


def _limited(listener: Listener, seconds: float | None) -> Iterator[Step]:
    """Steps until so many seconds of audio were heard."""
    heard = 0
    for step in listener.steps():
        yield step
        heard += len(step.samples)
        if seconds is not None and heard >= seconds * listener.model.sample_rate:
            return


def _report(listener: Listener) -> None:
    """What went wrong on the way, if anything did."""
    microphone = listener.microphone
    for count, what in (
        (microphone.overflows, "audio was lost because it came faster than it was read"),
        (microphone.reconnections, "the device disappeared and came back"),
        (listener.fallbacks, "the thinnest level took over because the machine was too busy"),
    ):
        if count:
            note(f"{what}: {count} time{'s' * (count > 1)}")


class Commands:
    """Runs a shell command for each detection. One that cannot be run is reported, and never ends the listening.

    Parameters
    ----------
    command : for the shell; what was heard is in its environment alone, so that no label becomes a part of it.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, heard: kwsrt.Detection) -> None:
        """Run it, unless so many run already that the machine is better left alone."""
        self._running = [command for command in self._running if command.poll() is None]
        if len(self._running) >= MOST_COMMANDS:
            report(
                f"--on-detect: {MOST_COMMANDS} commands run still; none is run for {heard.label!r} at "
                f"{heard.time:.2f} s"
            )
            return
        said = {"KWSRT_LABEL": heard.label, "KWSRT_SCORE": f"{heard.score:.3f}", "KWSRT_TIME": f"{heard.time:.2f}"}
        try:
            self._running.append(
                subprocess.Popen(self._command, shell=True, env={**os.environ, **said}, stdin=subprocess.DEVNULL)
            )
        except (OSError, ValueError, MemoryError) as error:  # ValueError: NUL, or text that is no text
            report(f"--on-detect: cannot run the command for {heard.label!r}: {described(error)}")


class Keeper:
    """Writes the audio around detections into a folder."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"{folder}: cannot make the folder: {error.strerror or error}") from None
        files.check_writable(folder / "detection.wav")
        self._folder = folder
        self._chunks: collections.deque[NDArray[Any]] = collections.deque()
        self._first = self._end = 0  # samples before the chunks that are held, and at their end
        self._waiting: list[kwsrt.Detection] = []

    def push(self, step: Step, rate: int) -> None:
        """Take a step, write what is complete."""
        self._chunks.append(step.samples)
        self._end += len(step.samples)
        self._waiting += step.detections
        while self._waiting and self._end >= (self._waiting[0].time + KEPT / 2) * rate:
            self._write(self._waiting.pop(0), rate)
        while self._end - self._first - len(self._chunks[0]) > 2 * KEPT * rate:
            self._first += len(self._chunks.popleft())

    def close(self, rate: int) -> None:
        """Write what is there of the last detections."""
        while self._waiting:
            self._write(self._waiting.pop(0), rate)

    def _write(self, heard: kwsrt.Detection, rate: int) -> None:
        from scipy.io import wavfile

        held = np.concatenate([as_int16(chunk) for chunk in self._chunks])
        start = max(0, round((heard.time - KEPT / 2) * rate) - self._first)
        path = self._folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{heard.time:09.2f}-{safe_name(heard.label)}.wav"
        wav = io.BytesIO()
        wavfile.write(wav, rate, held[start : start + round(KEPT * rate)])
        try:
            files.write(path, wav.getvalue())
        except (OptionError, UnicodeEncodeError) as error:  # a full disk is no reason to stop listening
            report(error)


def safe_name(label: str) -> str:
    """A label as a part of a file name: its letters and digits, and _ for everything else."""
    name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in label)
    return name.encode(errors="replace")[:LONGEST_NAME].decode(errors="ignore")
