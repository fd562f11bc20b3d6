"""Fixing a supernet's edges one after the other by what it loses without them (Wang et al., ICLR 2021)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xnas_ray.errors import SpecError
from xnas_ray.supernets.base import RelaxedSupernet
from xnas_ray.supernets.influence import without
from xnas_ray.supernets.search_data import Batch
from xnas_ray.tasks import metrics
from xnas_ray.training.augment import stream_seed
from xnas_ray.training.ranks import Ranks

_EDGES = 32
_NODES = 33


class Projection:
    """A supernet on its way to one architecture.

    Removed operations leave their edge's other weights as they are, as in the published code; an operation that stays
    alone gets the whole weight of its edge.

    Args:
        supernet: trained; its weights change if they are tuned.
        batches: this rank's whole batches, by which it is judged.
        loss: ``loss(outputs, targets)``, a mean over samples.
        ranks: who has the other batches.
        accuracy: whether to judge by accuracy, the loss deciding within less than one sample; else by the loss.
        tune: trains the weights between two decisions, see ``discretize.Tune``.

    Attributes:
        mixing: ``E x O``, with what has been decided.

    Raises:
        SpecError: accuracy is asked for and the targets are no classes.
    """

    def __init__(
        self,
        supernet: RelaxedSupernet,
        batches: Sequence[Batch],
        loss: metrics.Loss,
        ranks: Ranks,
        *,
        accuracy: bool = True,
        tune: Callable[[Tensor, int], None] | None = None,
    ) -> None:
        """Nothing is decided yet."""
        if accuracy and any(batch.targets.is_floating_point() for batch in batches):
            raise SpecError(
                "a regression has no accuracy.", field="controller.params.discretize.criterion", valid=["loss"]
            )
        self.supernet = supernet
        self.batches = batches
        self.loss = loss
        self.ranks = ranks
        self.accuracy = accuracy
        self.tune = tune
        self.mixing = supernet.mixing().detach().clone()
        self._tuned = 0

    def score(self, mixing: Tensor) -> float:
        """How good the supernet is with these mixing weights: percentage points, or minus the loss."""
        sums = torch.zeros(3, dtype=torch.float64, device=mixing.device)  # correct, loss, samples
        with torch.no_grad():
            for batch in self.batches:
                outputs, targets = self.supernet(*batch.inputs, mixing=mixing), batch.targets
                sums[1] += self.loss(outputs, targets).double() * len(targets)
                sums[2] += len(targets)
                if self.accuracy:
                    sums[0] += (outputs.argmax(1) == targets).sum()
        correct, loss, samples = self.ranks.total(sums).tolist()
        mean = loss / samples
        return 100 / samples * (correct - mean / (1 + mean)) if self.accuracy else -mean

    def choose_operations(self, candidates: Tensor, seed: int) -> Tensor:
        """Fix every edge to the operation whose removal hurts most.

        Args:
            candidates: ``E x O``, True for operations that may be taken.
            seed: of the order of the edges.

        Returns:
            What the score loses by removing each, ``E x O``, NaN for those that may not be taken.
        """
        losses = torch.full_like(self.mixing, torch.nan, dtype=torch.float64)
        order = _order(len(self.mixing), seed, _EDGES)
        for place, edge in enumerate(order):
            base = self.score(self.mixing)
            for operation in candidates[edge].nonzero()[:, 0].tolist():
                losses[edge, operation] = base - self.score(without(self.mixing, edge, operation))
            self._fix(edge, int(losses[edge].nan_to_num(-torch.inf).argmax()))
            if place + 1 < len(order):
                self._tune()
        return losses

    def choose_edges(self, losses: Tensor, taken: set[int], seed: int) -> Tensor:
        """At every node that keeps only some of its edges, leave those whose removal hurts most.

        Args:
            losses: of ``choose_operations``.
            taken: edges of the architecture that these losses speak for; at each node as many stay.
            seed: of the order of the nodes.

        Returns:
            The losses, with the rows of such nodes so moved that the largest is what removing the edge costs.
        """
        losses = losses.clone()
        index = {edge: i for i, edge in enumerate(self.supernet.edges)}
        nodes = [[index[edge] for edge in edges] for edges in self.supernet.nodes.values()]
        for node in (nodes[i] for i in _order(len(nodes), seed, _NODES)):
            keeps = len(taken.intersection(node))
            if keeps == len(node):
                continue
            self._tune()
            base = self.score(self.mixing)
            costs = {edge: base - self.score(self._cut([edge])) for edge in node}
            for edge, cost in costs.items():
                losses[edge] += cost - losses[edge].nan_to_num(-torch.inf).max()
            self.mixing = self._cut(sorted(node, key=lambda edge: -costs[edge])[keeps:])
        return losses

    def _fix(self, edge: int, operation: int) -> None:
        alone = torch.zeros_like(self.mixing[edge])
        alone[operation] = self.mixing[edge].sum()
        self.mixing = self.mixing.clone()  # who was given the old one may have kept it
        self.mixing[edge] = alone

    def _cut(self, edges: Sequence[int]) -> Tensor:
        cut = self.mixing.clone()
        cut[list(edges)] = 0
        return cut

    def _tune(self) -> None:
        if self.tune is not None:
            self.tune(self.mixing.clone(), self._tuned)
            self._tuned += 1


def _order(count: int, seed: int, purpose: int) -> list[int]:
    """A random order, on all machines the same."""
    generator = torch.Generator().manual_seed(stream_seed(seed, purpose))
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order
