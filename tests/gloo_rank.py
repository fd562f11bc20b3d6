"""What scripts that are one of several ranks share; those that ``gloo_ranks`` runs can import it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from xnas_ray.training.ranks import ALONE, GroupRanks, Ranks


@contextlib.contextmanager
def joined(rank: int, size: int, folder: Path) -> Iterator[Ranks]:
    """One rank of so many, which meet in a folder; alone it is no group."""
    torch.set_num_threads(1)
    if size == 1:
        yield ALONE
        return
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=size)
    yield GroupRanks(torch.device("cpu"))
    torch.distributed.destroy_process_group()


def without_normalisation(module: nn.Module) -> None:
    """Take batch normalisation out of a network: it is computed over a rank's part of a batch."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.Identity())
        else:
            without_normalisation(child)
