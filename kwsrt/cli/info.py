"""`kwsrt info`: what a model file says of itself, and whether it computes here what it should."""

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import kwsrt
from kwsrt.cli.common import Parser, add_json_option
from kwsrt.cli.output import report, say, shown
from kwsrt.model import DEFAULT_MODEL

HELP = "what a model file holds, and whether it computes correctly here"
DESCRIPTION = """\
What a model file holds: labels, front end, network, training data, licence and accuracy; and the instruction set that
runs it here. --verify hears a test signal, whose scores the file carries.

examples:
  kwsrt info
  kwsrt info my_words.kws --verify
"""


def add_arguments(parser: Parser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "model",
        nargs="?",
        default=DEFAULT_MODEL,
        metavar="MODEL",
        help=f"a .kws file, or the name of a bundled model (default: {DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="hear a test signal; exit code 1 when a score differs from the file's in any bit",
    )
    add_json_option(parser, "one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """0, or 1 when --verify finds a difference."""
    model = kwsrt.load(arguments.model)
    facts = describe(model)
    difference = model.verify() if arguments.verify else 0.0
    # A file's own scores may be no numbers, which JSON cannot say.
    told = difference if math.isfinite(difference) else None
    verification = {"verified": difference == 0, "difference": told} if arguments.verify else {}
    if arguments.json:
        say(json.dumps(facts | verification))
    else:
        say(*_lines(facts))
    if difference != 0:
        report(
            f"{arguments.model}: scores differ by up to {difference:.3g} on {model.isa}: do not trust this "
            "build here; try KWSRT_ISA=scalar, and report it"
        )
        return 1
    if arguments.verify and not arguments.json:
        say(f"verified: the test signal gives the file's scores on {model.isa}, to the bit")
    return 0


def describe(model: kwsrt.Model) -> dict[str, Any]:
    """Everything that is known of a model, the manifest first."""
    own = {
        "name": model.name,
        "size": model.size,
        "checksum": model.checksum,
        "isa": model.isa,
        "labels": list(model.labels),
        "thin_levels": list(model.thin_levels),
        "frontend": model.frontend.options,
    }
    return own | {key: value for key, value in model.manifest.items() if key not in own}


def _lines(facts: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    width = max((len(shown(key)) for key in facts), default=0)
    for name, value in facts.items():
        key = shown(name)
        if isinstance(value, Mapping):
            yield f"{indent}{key}"
            yield from _lines(value, indent + "  ")
        elif key == "size" and not indent:  # the file's; a manifest may have others
            yield f"{indent}{key:<{width}}  {value:,} bytes"
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{indent}{key:<{width}}  {text}"
