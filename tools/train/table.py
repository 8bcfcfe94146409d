"""The ablation table of finished runs, as Markdown: python -m tools.train.table RUN [RUN ...]

A RUN is the --out folder of a call of tools.train.train; several are several seeds of the same config. A row is a
stage: its accuracy on the recorded validation clips at each level, mean over the seeds and, in brackets, their range;
what that is below the stage that it distils from or starts from; epochs, samples an epoch, and minutes of training.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch


def stages(run: Path) -> dict[str, dict[str, Any]]:
    """{stage: the "train" entry of its finished checkpoint}, in the order in which they were finished."""
    found = {}
    for path in sorted(run.glob("*.pt"), key=lambda path: path.stat().st_mtime):
        saved = torch.load(path, weights_only=True)
        # beside them lie .last, .resume and .suspects files
        if "." not in path.stem and isinstance(saved, dict) and saved.get("format") == "kwsrt-checkpoint":
            found[path.stem] = saved["train"]
    return found


def spread(values: list[float]) -> str:
    """Mean in percent and, of several values, their range."""
    mean = f"{100 * sum(values) / len(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ({100 * min(values):.2f} to {100 * max(values):.2f})"


def rows(runs: list[dict[str, dict[str, Any]]]) -> list[list[str]]:
    """The table's cells, its head first."""
    table = [["stage", "planes", "full", "half", "quarter", "below its teacher", "seeds", "epochs", "minutes"]]
    for name in dict.fromkeys(name for run in runs for name in run):
        same = [run for run in runs if name in run]
        recipe = same[0][name]["recipe"]
        parent = (*recipe["teachers"], recipe["init"], "")[0]
        levels = [level for level in ("full", "half", "quarter") if level in same[0][name]["validation"]]
        cells = [spread([run[name]["validation"][level] for run in same]) for level in levels]
        drops = [
            sum(run[parent]["validation"][level] - run[name]["validation"][level] for run in same) / len(same)
            for level in levels
            if all(parent in run and level in run[parent]["validation"] for run in same)
        ]
        minutes = sum(run[name]["seconds"] for run in same) / len(same) / 60
        table.append([
            name, str(recipe["planes"]), *cells, *[""] * (3 - len(cells)),
            " / ".join(f"{100 * drop:.2f}" for drop in drops), str(len(same)),
            f"{same[0][name]['epochs']} x {recipe['samples']}", f"{minutes:.0f}",
        ])  # fmt: skip
    return table


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.train.table", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    head, *body = rows([stages(run) for run in parser.parse_args(argv).runs])
    for row in [head, ["---"] * len(head), *body]:
        print("| " + " | ".join(row) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
