"""`kwsrt listen`: keywords from the microphone, as they are said."""
import argparse
import collections
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
from kwsrt.audio import as_int16
from kwsrt.cli import view
from kwsrt.cli.common import (
    Parser,
    add_detector_options,
    add_device_option,
    add_json_option,
    add_model_options,
    detector_options,
    event_line,
    report,
)
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


def add_arguments(parser: Parser) -> None:
    """The command's arguments."""
    add_device_option(parser)
    add_model_options(parser, thin="auto")
    add_detector_options(parser)
    parser.add_argument("--seconds", type=float, metavar="N", help="stop after so many seconds of audio")
    parser.add_argument("--reconnect", action="store_true", help="wait for a device that disappeared, and go on")
    parser.add_argument("--save-detections", type=Path, metavar="DIR",
                        help="keep the two seconds around each detection there, as WAV files named by time and word")
    parser.add_argument("--on-detect", metavar="COMMAND",
                        help="a shell command to run for each detection, with KWSRT_LABEL, KWSRT_SCORE and KWSRT_TIME")
    add_json_option(parser, "one JSON object a line (file: the device, label, score, time, start, end)")


def run(arguments: argparse.Namespace) -> int:
    """0."""
    if arguments.seconds is not None and not arguments.seconds > 0:
        raise OptionError(f"--seconds {arguments.seconds:g}: expected more than 0")
    keeper = Keeper(arguments.save_detections) if arguments.save_detections else None
    live = not arguments.json and sys.stdout.isatty()
    commands: list[subprocess.Popen[bytes]] = []
    with kwsrt.listen(arguments.device, model=arguments.model, thin=arguments.thin, reconnect=arguments.reconnect,
                      **detector_options(arguments)) as listener, view.opened(listener, live) as shown:
        try:
            for step in _limited(listener, arguments.seconds):
                if keeper:
                    keeper.push(step, listener.model.sample_rate)
                for heard in step.detections:
                    if arguments.on_detect:
                        commands.append(_start(arguments.on_detect, heard))
                    if shown is None:
                        print(event_line(listener.microphone.name, heard, arguments.json), flush=True)
                if shown is not None:
                    shown.update(step)
                commands = [command for command in commands if command.poll() is None]
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


def _start(command: str, heard: kwsrt.Detection) -> subprocess.Popen[bytes]:
    said = {"KWSRT_LABEL": heard.label, "KWSRT_SCORE": f"{heard.score:.3f}", "KWSRT_TIME": f"{heard.time:.2f}"}
    return subprocess.Popen(command, shell=True, env={**os.environ, **said}, stdin=subprocess.DEVNULL)


def _report(listener: Listener) -> None:
    """What went wrong on the way, if anything did."""
    microphone = listener.microphone
    for count, what in ((microphone.overflows, "audio was lost because it came faster than it was read"),
                        (microphone.reconnections, "the device disappeared and came back"),
                        (listener.fallbacks, "the thinnest level took over because the machine was too busy")):
        if count:
            print(f"kwsrt: {what}: {count} time{'s' * (count > 1)}", file=sys.stderr)


class Keeper:
    """Writes the audio around detections into a folder."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"{folder}: cannot make the folder: {error.strerror or error}") from None
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
        path = self._folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{heard.time:09.2f}-{heard.label}.wav"
        try:
            wavfile.write(path, rate, held[start:start + round(KEPT * rate)])
        except OSError as error:  # a full disk is no reason to stop listening
            report(f"{path}: cannot write: {error.strerror or error}")
