"""How fast training is here: seconds for 20,000 clips at all three levels, features in memory.

    python -m tools.train.speed [--batch 256]
    torchrun --standalone --nproc-per-node 2 -m tools.train.speed

prints a line for the float and for the two-plane network, median and range over --rounds of a few steps each; the
plain PyTorch passes take turns with those of fused.c. Labels and features are random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import numpy as np
import torch

from . import fused
from .network import Network, default_config
from .recipe import Stage, loss_of, make_optimizer
from .sampling import augment, mixed
from .team import Team

CLIPS = 20_000
STEPS = 3


def seconds(model: Network, optimizer: torch.optim.Optimizer, stage: Stage, team: Team) -> float:
    """Seconds for CLIPS clips, from STEPS steps."""
    size = stage.batch // team.size
    random = torch.Generator().manual_seed(1)
    features = torch.randint(-100, 100, (4 * size, 40, 32), dtype=torch.int8, generator=random)
    label = torch.randint(0, 12, (size,), generator=random)
    team.wait()
    began = time.perf_counter()
    for _ in range(STEPS):
        chosen = torch.randint(0, len(features), (size,), generator=random)
        x = augment(features[chosen], torch.full((size,), 4.0), 32, random).to(team.device)
        x, target = mixed(x, label.to(team.device), 12, 0.0, np.random.default_rng(1))
        optimizer.zero_grad(set_to_none=True)
        loss_of(model(x), target, None, stage).backward()
        team.average(p.grad for p in model.parameters() if p.grad is not None)
        optimizer.step()
        model.clamp()
    team.wait()
    return (time.perf_counter() - began) / (STEPS * stage.batch) * CLIPS


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.train.speed", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--batch", type=int, default=256, help="over all processes (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    arguments = parser.parse_args(argv)
    team = Team()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // team.size))
    usable = fused.usable
    for planes in (0, 2):
        stage = Stage("speed", planes, 1, batch=arguments.batch)
        model = Network(default_config(planes), 12).to(team.device)
        if planes:
            model.calibrate(torch.randn(64, 32, 32) * 50)
        optimizer = make_optimizer(model.train(), stage)
        ways = {"plain PyTorch": lambda x: False, "fused.c": usable}
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(1 + arguments.rounds):
            for way, use in ways.items():
                fused.usable = use
                spent = seconds(model, optimizer, stage, team)
                taken[way] += [spent] if turn else []  # the first turn warms up
        for way, values in taken.items():
            if team.leads:
                print(f"planes {planes}, batch {arguments.batch}, {team.size} processes, {way}: "
                      f"{np.median(values):.1f} s ({min(values):.1f} to {max(values):.1f})", flush=True)  # fmt: skip
    fused.usable = usable
    team.leave()
    return 0


if __name__ == "__main__":
    sys.exit(main())
