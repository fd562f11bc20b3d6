"""What a supernet learns from: the training split in two disjoint parts, in batches that every rank knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from xnas_ray.errors import SpecError
from xnas_ray.tasks.base import Split
from xnas_ray.training.augment import stream_seed
from xnas_ray.training.ranks import ALONE, Ranks

_PARTS = 11
_ORDER = 12
_FIXED = 13


@dataclass(frozen=True)
class Batch:
    """This rank's samples of one batch.

    Attributes:
        inputs: one tensor an input of the network.
        targets: of the samples.
        whole: samples of the batch, of all ranks together.
    """

    inputs: tuple[Tensor, ...]
    targets: Tensor
    whole: int


class SearchData:
    """The training split of a task, divided at random between weights and architecture.

    The validation split is left alone: the architectures that come out are trained from scratch and compared on it,
    and what had seen it before would look better than it is.

    Args:
        train: the training split, on the device where there is room for it.
        batch_size: samples of a batch, of all ranks together.
        seed: of the division and of every order.
        weight_share: share of the samples from which weights learn; the others are for the architecture.
        ranks: who shares each batch.
        device: where batches are used.

    Attributes:
        weight_indices: samples from which weights learn.
        architecture_indices: the others.

    Raises:
        SpecError: a part would be smaller than two samples a rank.
    """

    def __init__(
        self,
        train: Split,
        *,
        batch_size: int,
        seed: int,
        weight_share: float = 0.5,
        ranks: Ranks = ALONE,
        device: torch.device | str = "cpu",
    ) -> None:
        """Divide the samples."""
        self.train = train
        self.batch_size = batch_size
        self.seed = seed
        self.ranks = ranks
        self.device = torch.device(device)
        order = torch.randperm(len(train), generator=self._generator(_PARTS))
        self.weight_indices, self.architecture_indices = order.split(
            [cut := round(len(train) * weight_share), len(train) - cut]
        )
        smallest = min(len(self.weight_indices), len(self.architecture_indices), batch_size)
        if smallest < 2 * ranks.size:
            raise SpecError(
                f"{len(train)} samples in batches of {batch_size} leave a rank without two samples.",
                field="controller.params.batch_size",
            )

    def _generator(self, purpose: int, *counters: int) -> torch.Generator:
        return torch.Generator().manual_seed(stream_seed(self.seed, purpose, *counters))

    def batches(self, part: Tensor, epoch: int, purpose: int = 0) -> Iterator[Batch]:
        """Every sample of a part once, in the order of this epoch; a remainder that is too small is left out.

        Args:
            part: ``weight_indices`` or ``architecture_indices``.
            epoch: from 0.
            purpose: another number, another order.
        """
        order = part[torch.randperm(len(part), generator=self._generator(_ORDER, purpose, epoch))]
        for indices in order.split(self.batch_size):
            if len(indices) >= 2 * self.ranks.size or len(part) < self.batch_size:
                yield self._batch(indices)

    def steps(self, part: Tensor) -> int:
        """Batches of an epoch."""
        whole, rest = divmod(len(part), self.batch_size)
        return whole + (rest >= 2 * self.ranks.size or not whole)

    def fixed(self, part: Tensor, count: int, batch_size: int | None = None) -> list[Batch]:
        """The same batches at every call, for estimates that pass over them several times.

        They wrap around where the part is too small. The samples do not depend on the number of ranks.

        Args:
            part: ``weight_indices`` or ``architecture_indices``.
            count: of batches.
            batch_size: samples of one, of all ranks together; by default that of the search.
        """
        return [self._batch(indices) for indices in self._fixed(part, count, batch_size)]

    def dealt(self, part: Tensor, count: int, batch_size: int | None = None) -> list[Batch]:
        """The batches of ``fixed``, dealt out whole: this rank has every ``ranks.size``-th one.

        Batch normalisation sees whole batches, so that averages over all of them do not depend on the number of
        ranks. A rank may have none.

        Args:
            part: ``weight_indices`` or ``architecture_indices``.
            count: of batches, of all ranks together.
            batch_size: samples of one; by default that of the search.
        """
        fixed = self._fixed(part, count, batch_size)
        return [self._taken(indices, len(indices)) for indices in fixed[self.ranks.rank :: self.ranks.size]]

    def _fixed(self, part: Tensor, count: int, batch_size: int | None) -> Tensor:
        size = min(batch_size or self.batch_size, len(part))
        order = part[torch.randperm(len(part), generator=self._generator(_FIXED))]
        return order[torch.arange(count * size) % len(part)].reshape(count, size)

    def _batch(self, indices: Tensor) -> Batch:
        return self._taken(self.ranks.share(indices), len(indices))

    def _taken(self, own: Tensor, whole: int) -> Batch:
        taken = self.train.take(own.to(self.train.targets.device)).to(self.device)
        return Batch(taken.inputs, taken.targets, whole)
