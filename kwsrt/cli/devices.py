"""`kwsrt devices`: the microphones of this machine."""

import argparse
import json

import kwsrt
from kwsrt.cli.common import Parser, add_json_option
from kwsrt.cli.output import say

HELP = "list the microphones of this machine"
DESCRIPTION = """\
Lists the inputs that PortAudio finds: number, name, channels and sample rate; the default one has a star. `kwsrt
listen` and `kwsrt record` take the number, or a part of the name, as --device.
"""


def add_arguments(parser: Parser) -> None:
    """The command's arguments."""
    add_json_option(parser, "one JSON object a line (index, name, channels, sample_rate, default)")


def run(arguments: argparse.Namespace) -> int:
    """0."""
    found = kwsrt.devices()
    for device in found:
        if arguments.json:
            say(json.dumps(device))
        else:
            star = "*" if device["default"] else " "
            say(
                f"{star} {device['index']:3}  {device['name']}  ({device['channels']} channels, "
                f"{device['sample_rate']} Hz)"
            )
    if not found:
        raise kwsrt.MicrophoneError("no microphone found")
    return 0
