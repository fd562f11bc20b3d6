"""Processes that train one network together: each batch is shared out, and every step is that of the whole batch.

A training of one process is the case ``ALONE``. With several, every process runs the same code on its part of each
batch; gradients are averaged while they are computed (Li et al., VLDB 2020), so that all hold the same weights at all
times, and the first rank alone writes, measures and reports.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xnas_ray.errors import SpecError
from xnas_ray.training.recipe import Recipe


class Ranks:
    """One process, alone: nothing is shared.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
    """

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, measures and reports."""
        return self.rank == 0

    def scaled(self, recipe: Recipe) -> Recipe:
        """The recipe of the whole group: a batch of the recipe a rank, and a learning rate that grows like the batch.

        Linear scaling (Goyal et al., arXiv 1706.02677) expects some epochs of warm-up at large batches; the recipe's
        ``warmup_epochs`` stays what it is.
        """
        if self.size == 1:
            return recipe
        if recipe.batch_size < 2:
            raise SpecError("must be at least 2 where several GPUs share a batch.", field="recipe.batch_size")
        return dataclasses.replace(recipe, batch_size=recipe.batch_size * self.size, lr=recipe.lr * self.size)

    def prepare(self, model: nn.Module) -> nn.Module:
        """The network with what has to be computed over the whole batch; made before its optimizer."""
        return model

    def join(self, model: nn.Module) -> nn.Module:
        """The network as it is called in training; its parameters are those of ``model``."""
        return model

    def share(self, batch: Tensor) -> Tensor:
        """This rank's part of a batch of indices."""
        return batch

    def weight(self, own: int, whole: int) -> float:
        """What a mean over ``own`` samples is multiplied by, so that averaged gradients are those of ``whole``."""
        return 1.0

    def total(self, number: Tensor) -> Tensor:
        """The sum of a number over all ranks, in place."""
        return number

    def mean(self, tensors: Sequence[Tensor]) -> None:
        """Average tensors over all ranks, in place; the same shapes and types everywhere."""

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all ranks, in their order; of one shape."""
        return [tensor]


ALONE = Ranks()


class GroupRanks(Ranks):
    """The processes of torch's default process group, which somebody has set up (Ray Train, or ``torchrun``).

    On CUDA batch normalisation is computed over the whole batch (``SyncBatchNorm``). Torch has none for CPU tensors:
    there every rank normalises with its own part and keeps running statistics of its own, those of the first rank are
    sent to all before every step, and it is those that are measured and stored.

    Args:
        device: where this rank trains.

    Attributes:
        device: the same.
    """

    def __init__(self, device: torch.device) -> None:
        """Ask the group who this is."""
        self.rank = torch.distributed.get_rank()
        self.size = torch.distributed.get_world_size()
        self.device = device

    def prepare(self, model: nn.Module) -> nn.Module:
        """See ``Ranks.prepare``."""
        if self.size == 1 or self.device.type != "cuda":
            return model
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)

    def join(self, model: nn.Module) -> nn.Module:
        """See ``Ranks.join``; the weights of the first rank become everybody's."""
        trained = any(p.requires_grad for p in model.parameters())
        if self.size == 1 or not trained:
            return model
        on_cuda = self.device.type == "cuda"
        # Cells may have branches that reach no output; their parameters get no gradient, as in one process.
        return nn.parallel.DistributedDataParallel(
            model, device_ids=[self.device] if on_cuda else None, find_unused_parameters=True
        )

    def share(self, batch: Tensor) -> Tensor:
        """See ``Ranks.share``: consecutive parts, whose sizes differ by one at most."""
        return batch.tensor_split(self.size)[self.rank]

    def weight(self, own: int, whole: int) -> float:
        """See ``Ranks.weight``: the group averages over its ranks, whatever the sizes of their parts."""
        return own * self.size / whole

    def total(self, number: Tensor) -> Tensor:
        """See ``Ranks.total``."""
        torch.distributed.all_reduce(number)
        return number

    def mean(self, tensors: Sequence[Tensor]) -> None:
        """See ``Ranks.mean``: in one message, whatever their number."""
        if self.size == 1 or not tensors:
            return
        together = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(together)
        together /= self.size
        for tensor, part in zip(tensors, together.split([t.numel() for t in tensors]), strict=True):
            tensor.detach().copy_(part.view_as(tensor))

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """See ``Ranks.gather``."""
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        torch.distributed.all_gather(found, tensor.contiguous())
        return found
