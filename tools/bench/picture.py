"""The picture of accuracy against cost: kwsrt's levels, and the float network in every engine.

    python -m tools.bench.picture LATENCY.json CLIPS OUT.png --list FILE --float ACCURACY ...

LATENCY.json as latency.py writes it; CLIPS and FILE as `kwsrt eval` takes them; ACCURACY of the float network at each
level in the file's order, in percent (tools.train.evaluate prints it). Needs matplotlib.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import kwsrt
from kwsrt.cli.picture import check, write
from kwsrt.clips import find_clips
from kwsrt.evaluation import hear, summary
from tools.bench.engines import ENGINES, FORMS


def draw(result: dict[str, Any], ours: dict[str, float], floats: dict[str, float], path: Path) -> None:
    """Microseconds (logarithmic) against accuracy in percent, a line for each runtime through its levels."""
    from matplotlib.figure import Figure

    us = {name: times["median"] for name, times in result["us"].items()}
    lines = {
        f"kwsrt ({result['isa']}), {what}": [(us[f"kwsrt {way} {level}"], ours[level], level) for level in ours]
        for way, what in (("stream", "a decision of a stream, with its features"), ("window", "a whole window"))
    }
    for engine in ENGINES:
        lines[f"{engine}, float32"] = [
            (min(us[f"{engine} {form} {level}"] for form in FORMS), floats[level], level) for level in floats
        ]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, points in lines.items():
        axes.plot([x for x, _, _ in points], [y for _, y, _ in points], "o-", label=name)
        for x, y, level in points if name.startswith("kwsrt") else ():
            axes.annotate(level, (x, y), textcoords="offset points", xytext=(4, -12))
    axes.set_xscale("log")
    axes.set(
        xlabel=f"microseconds an inference, one thread of an {result['machine']}",
        ylabel="accuracy, %",
        title=f"{result['model']}: the same network, 1-bit and float32",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    write(figure, path)


def main() -> int:
    """0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("latency", type=Path)
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--list", type=Path, help="of the clips to evaluate")
    parser.add_argument("--float", type=float, nargs="+", required=True, metavar="ACCURACY")
    arguments = parser.parse_args()
    check(arguments.out)
    result = json.loads(arguments.latency.read_text())
    model = kwsrt.load(result["model"])
    found = find_clips(arguments.clips, arguments.list, model.labels)
    ours = {
        thin: 100 * summary([hear(model, clip, label, thin) for clip, label in found], model.labels)["accuracy"]
        for thin in model.thin_levels
    }
    draw(result, ours, dict(zip(model.thin_levels, arguments.float, strict=True)), arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
