"""`kwsrt detect`: the keywords in recordings or in a live stream, with their times."""

import argparse
import sys
from pathlib import Path

import kwsrt
from kwsrt.cli.common import (
    Parser,
    add_channel_option,
    add_detector_options,
    add_json_option,
    add_model_options,
    detector_options,
    event_line,
    report_audio,
)
from kwsrt.cli.output import note, say
from kwsrt.errors import AudioError
from kwsrt.reading import Recording, open_recording

HELP = "print the keywords in recordings or in a live stream"
DESCRIPTION = """\
Prints the keywords heard, one a line: seconds from the start, the word, and a score from 0 to 1.

examples:
  kwsrt detect recording.wav
  kwsrt detect --threshold 0.9 *.wav
  arecord -q -f S16_LE -r 16000 -t raw | kwsrt detect -
  curl -s https://example.org/talk.wav | kwsrt detect -
"""


def add_arguments(parser: Parser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="a recording or a pipe: WAV, or with soundfile installed FLAC, Ogg, Opus, MP3 and more; "
        "any sample rate, any length; - reads standard input, also raw 16 kHz 16-bit "
        "little-endian mono samples",
    )
    add_channel_option(parser)
    add_model_options(parser)
    add_detector_options(parser)
    add_json_option(parser, "one JSON object a line (file, label, score, time, start, end)")


def run(arguments: argparse.Namespace) -> int:
    """0, or 2 when a recording could not be read; the others are still heard."""
    model = kwsrt.load(arguments.model)
    failed = False
    for name in arguments.files:
        try:
            source: Recording | Path = _standard_input() if name == "-" else Path(name)
            events = kwsrt.detect(
                source, channel=arguments.channel, model=model, thin=arguments.thin, **detector_options(arguments)
            )
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


def _standard_input() -> Recording:
    """What comes through standard input."""
    return open_recording(sys.stdin.buffer, "standard input", raw=True)
