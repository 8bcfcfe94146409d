"""The checkpoint format: a dict of plain values and float32 tensors that loads without pickled code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from tools.checkpoint_reader import read_checkpoint
from tools.folding import build_network

from .network import Network


def save(value: object, path: Path) -> None:
    """torch.save that leaves the old file or the new one, never half of one."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(unfinished, "wb") as fh:
        torch.save(value, fh)
        fh.flush()
        os.fsync(fh.fileno())
    os.replace(unfinished, path)


def checkpoint(model: Network, labels: list[str], frontend: dict[str, Any], train: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint in the format that tools/convert.py reads (plain values and float32 tensors)."""
    return {
        "format": "kwsrt-checkpoint",
        "version": 1,
        "network": model.config,
        "labels": list(labels),
        "frontend": dict(frontend),
        "state": {name: value.detach().float().cpu().clone() for name, value in model.state_dict().items()},
        "train": train,
    }


def load_model(path: Path, device: torch.device | str = "cpu") -> tuple[Network, dict[str, Any]]:
    """Network in evaluation mode and the checkpoint it came from. KwsrtError for a file that holds none."""
    saved = read_checkpoint(path, device)
    return build_network(saved).to(device), saved
