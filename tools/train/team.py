"""The processes that train together, started by torchrun, or the one that trains alone.

Each takes its part of every batch; gradients are averaged over gloo, which is on every machine, or nccl on GPUs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


class Team:
    """`rank` of `size` processes, and the torch `device` of this one."""

    def __init__(self) -> None:
        self.rank, self.size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        gpu = int(os.environ.get("LOCAL_RANK", "0"))
        self.device = torch.device("cuda", gpu) if torch.cuda.is_available() else torch.device("cpu")
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Put the mean over the processes into each tensor; one message for all of them."""
        if self.size == 1:
            return
        several = list(tensors)
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in several])
        dist.all_reduce(flat)
        flat /= self.size
        for tensor, part in zip(several, flat.split([tensor.numel() for tensor in several]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def leave(self) -> None:
        """At the end of the program."""
        if self.size > 1:
            dist.destroy_process_group()
