"""The command line: `kwsrt`, or `python -m kwsrt`. One file a command; this one finds it and reports errors."""

from collections.abc import Sequence

import kwsrt
from kwsrt.cli import bench, detect, devices, eval, info, listen, record, simulate, threshold
from kwsrt.cli.common import Parser
from kwsrt.cli.output import guarded

DESCRIPTION = """\
Hears keywords in audio, on this machine alone, with a 1-bit neural network.
The bundled model knows: yes, no, up, down, left, right, on, off, stop, go.

examples:
  kwsrt detect recording.wav            what was said, and when
  kwsrt listen                          the same, live from the microphone
  kwsrt eval clips/                     accuracy over a folder of clips
  kwsrt bench                           how fast it runs here
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : arguments after the program's name; by default those of the process.

    Returns
    -------
    Exit code: 0, 1 (info --verify found a difference, or eval, simulate or threshold left something out), 2 (an
    error, reported as one line on standard error), 130 (interrupted), 141 (the reader of the output went away). Wrong
    usage, --help and --version raise SystemExit.
    """
    parser = Parser(prog="kwsrt", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"kwsrt {kwsrt.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (detect, listen, devices, record, eval, simulate, threshold, info, bench):
        name = command.__name__.rpartition(".")[2]
        added = commands.add_parser(name, help=command.HELP, description=command.DESCRIPTION)
        command.add_arguments(added)
        added.set_defaults(run=command.run)

    def work() -> int:
        arguments = parser.parse_args(argv)
        code: int = arguments.run(arguments)
        return code

    return guarded(work)
