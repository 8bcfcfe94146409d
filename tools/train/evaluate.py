"""Accuracy of checkpoints, float ones too, on the clips that `kwsrt eval` takes.

    python -m tools.train.evaluate CLIPS CHECKPOINT.pt [CHECKPOINT.pt ...]

prints a line for each: accuracy at every level, in percent. A packed file has `kwsrt eval`; the teacher that it came
from does not, and this is how to compare the two on the same clips.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

from kwsrt.cli.eval import find_clips
from kwsrt.frontend import FrontEnd

from . import data
from .checkpoints import load_model
from .measure import predict


def main(argv: list[str] | None = None) -> int:
    """Print the lines."""
    parser = argparse.ArgumentParser(prog="python -m tools.train.evaluate", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("clips", type=Path)
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT.pt")
    arguments = parser.parse_args(argv)
    for path in arguments.checkpoints:
        model, saved = load_model(path)
        frontend, labels = FrontEnd(**saved["frontend"]), saved["labels"]
        clips = find_clips(arguments.clips, None, tuple(labels))
        length = (model.config["frames"] - 1) * frontend.hop + frontend.window
        features = np.stack(
            [frontend.quantized(data.middle(sf.read(clip, dtype="int16")[0], length)) for clip, _ in clips]
        )
        label = torch.tensor([labels.index(said) for _, said in clips])
        accuracy = {
            level: (logits.argmax(1) == label).double().mean().item()
            for level, logits in predict(model, features, "cpu").items()
        }
        print(f"{path}: " + ", ".join(f"{level} {share:.2%}" for level, share in accuracy.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
