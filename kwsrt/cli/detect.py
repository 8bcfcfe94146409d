"""`kwsrt detect`: the keywords in recordings or in a live stream, with their times."""
import argparse
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

import kwsrt
from kwsrt.cli.common import (
    Parser,
    add_detector_options,
    add_json_option,
    add_model_options,
    detector_options,
    event_line,
    report_audio,
)
from kwsrt.cli.output import note, say
from kwsrt.errors import AudioError

HELP = "print the keywords in recordings or in a live stream"
DESCRIPTION = """\
Prints the keywords heard, one a line: seconds from the start, the word, and a score from 0 to 1.

examples:
  kwsrt detect recording.wav
  kwsrt detect --threshold 0.9 *.wav
  arecord -q -f S16_LE -r 16000 -t raw | kwsrt detect -
"""


def add_arguments(parser: Parser) -> None:
    """The command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE",
                        help="a recording: WAV, or with soundfile installed FLAC, Ogg, Opus, MP3; any sample rate; "
                             "- reads raw 16 kHz 16-bit little-endian mono samples from standard input")
    add_model_options(parser)
    add_detector_options(parser)
    add_json_option(parser, "one JSON object a line (file, label, score, time, start, end)")


def run(arguments: argparse.Namespace) -> int:
    """0, or 2 when a recording could not be read; the others are still heard."""
    model = kwsrt.load(arguments.model)
    failed = False
    for name in arguments.files:
        source = _standard_input() if name == "-" else Path(name)
        try:
            events = kwsrt.detect(source, model=model, thin=arguments.thin, **detector_options(arguments))
            if len(arguments.files) > 1 and not arguments.json:
                say(f"{name}:")
            heard = None
            for heard in events:
                say(event_line(name, heard, arguments.json))
            if heard is None and not arguments.json:
                note(f"no keyword heard in {name}")
        except (AudioError, MemoryError) as error:
            failed = True
            report_audio(name, error)
    return 2 if failed else 0


def _standard_input() -> Iterator[NDArray[np.int16]]:
    """Samples as they arrive, int16 (n,)."""
    kept, empty = b"", True
    source = cast(io.BufferedReader, sys.stdin.buffer)
    while data := source.read1(1 << 16):
        if empty and data[:4] in (b"RIFF", b"fLaC", b"OggS"):
            raise AudioError("standard input is an audio file, - takes raw samples: pass the file's name instead")
        empty = False
        data = kept + data
        whole = len(data) & ~1  # a read may end in the middle of a sample
        kept = data[whole:]
        yield np.frombuffer(data[:whole], "<i2")
    if empty:
        raise AudioError("standard input is empty: expected raw 16 kHz 16-bit mono samples")
