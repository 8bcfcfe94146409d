"""Accuracy of checkpoints, float ones too, on the clips that `kwsrt eval` takes.

    python -m tools.train.evaluate CLIPS CHECKPOINT.pt [CHECKPOINT.pt ...]

prints a line for each: accuracy at every level, and by how many points it is below the first (say, the teacher of the
others), with the 95 % interval of that by a bootstrap over speakers. A packed file has `kwsrt eval`; the teacher that
it came from does not, and this is how to compare the two on the same clips.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from kwsrt.clips import find_clips
from kwsrt.evaluation import interval_of_mean, speaker_of
from kwsrt.frontend import FrontEnd

from . import data
from .checkpoints import load_model
from .measure import predict


def right(path: Path, folder: Path) -> tuple[dict[str, data.Array], list[str]]:
    """Whether a checkpoint is right about each clip, {level: float64 [clips]}; and the speakers of the clips."""
    model, saved = load_model(path)
    frontend, labels = FrontEnd(**saved["frontend"]), saved["labels"]
    clips = find_clips(folder, None, tuple(labels))
    length = (model.config["frames"] - 1) * frontend.hop + frontend.window
    features = [data.heard(clip, frontend, length) for clip, _ in clips]
    said = torch.tensor([labels.index(label) for _, label in clips])
    logits = predict(model, np.stack(features), "cpu")
    found = {level: (values.argmax(1) == said).double().numpy() for level, values in logits.items()}
    return found, [speaker_of(clip) for clip, _ in clips]


def main(argv: list[str] | None = None) -> int:
    """Print the lines."""
    parser = argparse.ArgumentParser(prog="python -m tools.train.evaluate", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("clips", type=Path)
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT.pt")
    arguments = parser.parse_args(argv)
    first: dict[str, data.Array] = {}
    for path in arguments.checkpoints:
        found, speakers = right(path, arguments.clips)
        parts = []
        for level, values in found.items():
            text = f"{level} {values.mean():.2%}"
            if level in first:
                below = first[level] - values
                low, high = interval_of_mean(below.tolist(), speakers)
                text += f" ({100 * below.mean():.2f} below, {100 * low:.2f} to {100 * high:.2f})"
            parts.append(text)
        first = first or found
        print(f"{path}: " + ", ".join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
