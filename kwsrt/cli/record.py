"""`kwsrt record`: the microphone into a WAV file."""
import argparse
import contextlib
import sys
import wave
from pathlib import Path
from typing import BinaryIO

import kwsrt
from kwsrt.audio import as_int16
from kwsrt.cli.common import Parser, add_device_option
from kwsrt.errors import AudioError, OptionError

HELP = "record the microphone into a WAV file"
DESCRIPTION = """\
Records 16 kHz mono, as the models hear it, until it is interrupted (Ctrl-C) or --seconds have passed.

examples:
  kwsrt record room.wav --seconds 10
  kwsrt record --device usb yes.wav
"""
RATE = 16000


def add_arguments(parser: Parser) -> None:
    """The command's arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the WAV file; one that exists is left alone")
    add_device_option(parser)
    parser.add_argument("--seconds", type=float, metavar="N", help="stop after so many seconds")


def run(arguments: argparse.Namespace) -> int:
    """0."""
    if arguments.seconds is not None and not arguments.seconds > 0:
        raise OptionError(f"--seconds {arguments.seconds:g}: expected more than 0")
    count, most = 0, None if arguments.seconds is None else round(arguments.seconds * RATE)
    with (kwsrt.microphone(arguments.device, sample_rate=RATE) as microphone, _created(arguments.file) as file,
          wave.open(file, "wb") as out):
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        with contextlib.suppress(KeyboardInterrupt):
            for chunk in microphone:
                samples = as_int16(chunk)[:None if most is None else most - count]
                out.writeframes(samples.astype("<i2").tobytes())
                count += len(samples)
                if most is not None and count >= most:
                    break
    lost = f", audio lost {microphone.overflows} times" if microphone.overflows else ""
    print(f"kwsrt: {count / RATE:.2f} s in {arguments.file}{lost}", file=sys.stderr)
    return 0


def _created(path: Path) -> BinaryIO:
    try:
        return path.open("xb")
    except OSError as error:
        raise AudioError(f"{path}: cannot write: {error.strerror or error}") from None
