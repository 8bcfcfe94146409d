"""How a packed model hears what training never heard: words, noises, single words in streams, running speech.

    python -m tools.hearing MODEL.kws [MODEL.kws ...] --data SHARED_DATA [--thin full half ...] [--json FILE]

Prints a table for each part, with 95 % intervals, at the settings of the model's own detector:

(a) held-out words as _unknown_, and the clips of the validation split by class
(b) held-out noise as _silence_, from -70 to -6 dBFS
(c) single words with pauses, in quiet and over noise: found, missed, false
(d) false alarms an hour in read speech and in coffee orders (in which people do say "no", "up" or "go" at times)
(e) the commands as words of read sentences

What is held out is written down in tools/train/heldout.py. Reading FLAC and Opus needs soundfile.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kwsrt

from . import parts
from .listening import Listener


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 0, or 2 after a one-line message."""
    parser = argparse.ArgumentParser(prog="python -m tools.hearing", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("models", nargs="+", metavar="MODEL", help="a .kws file, or the name of a bundled model")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the shared data")
    parser.add_argument("--thin", nargs="+", default=["full"], metavar="LEVEL", help="levels, or auto (default: full)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of words, pauses and noises (default: 1)")
    parser.add_argument("--short", action="store_true", help="a part of everything, for a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too; - for standard output")
    arguments = parser.parse_args(argv)
    result: dict[str, Any] = {}
    try:
        listeners = {f"{name} {thin}": Listener(model, thin) for name in arguments.models
                     for model in [kwsrt.load(name)] for thin in arguments.thin}  # fmt: skip
        for listener in listeners.values():
            listener.model.stream(thin=listener.thin)  # an unknown level is refused before anything is read
        data = parts.Data(arguments.data, arguments.seed, arguments.short)
        for name, listener in listeners.items():
            figures = parts.everything(listener, data)
            result[name] = parts.plain(figures)
            if str(arguments.json) != "-":
                print(f"\n== {name}\n{parts.show(figures)}", flush=True)
        if arguments.json:
            text = json.dumps(result, indent=1) + "\n"
            if str(arguments.json) == "-":
                sys.stdout.write(text)
            else:
                arguments.json.write_text(text)
    except (OSError, kwsrt.KwsrtError) as error:
        print(f"hearing: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
