"""Losses by which a network learns to decide along a tree: tree supervision (Wan et al., NBDT, ICLR 2021).

``L = label_weight(t) CE(logits, y) + tree_weight(t) L_tree``. With log-probabilities ``log P_y``, sums along the path
to the label y:

- soft: ``-log P_y``, the mean over samples (equation 5.3 of the thesis);
- hard: the cross entropy of each inner node, the mean over the samples below it, then over the N nodes (equation 5.4).

The published package, ``legacy=True``, computes other things under these names. Its soft loss applies a cross entropy
to the probabilities, and so a second softmax: a perfect network still loses ``ln(1 + (K - 1) / e)``, and gradients are
much smaller. Its hard loss adds up the nodes on the way of each sample: ``2 / N`` times the mean of ``-log P_y``, which
up to the factor is the soft loss as the paper writes it; its weight is applied twice.

A smoothed label is shares of all classes, and so of the children of every node; both losses take it as such.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from xnas_ray.errors import HierarchyError
from xnas_ray.networks.decision_rules import DecisionRules, Tree
from xnas_ray.tasks.metrics import Loss

_ROUNDING = 1e-9

Kind = Literal["soft", "hard"]
Total = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class WeightSchedule:
    """A weight over a training: ``(1 - p^power) start + p^power end``, p the share of the epochs that are over.

    Attributes:
        start: at the first epoch.
        end: after the last one.
        power: above 1 the weight stays near ``start`` for longer.
    """

    start: float = 1.0
    end: float = 1.0
    power: float = 1.0

    def __post_init__(self) -> None:
        """Refuse powers for which it is no way from one end to the other."""
        if self.power <= 0:
            raise HierarchyError(f"must be above 0, got {self.power}.", field="power", fix="1 is linear.")

    def __call__(self, progress: float) -> float:
        """The weight where a share ``progress`` of the training is over."""
        gone = progress**self.power
        return (1 - gone) * self.start + gone * self.end


TREE_SMALL, TREE_LARGE = WeightSchedule(0.0, 0.5), WeightSchedule(0.0, 5.0)
"""Of the tree in the thesis (section 5.3), on CIFAR, and on TinyImageNet and ImageNet."""

LABELS_FADING = WeightSchedule(1.0, 0.0)
"""Of the labels there: decays linearly."""


@dataclass(frozen=True)
class TreeUpdates:
    """Epochs, from 0, at which a tree is made anew from the weights as they then are; the thesis' best (table 5.4).

    Attributes:
        start_epoch: of the first tree.
        end_epoch: before which the last one is made.
        every_epochs: between two.
    """

    start_epoch: int = 67
    end_epoch: int = 120
    every_epochs: int = 10

    def __post_init__(self) -> None:
        """Refuse a schedule with no tree."""
        if self.every_epochs < 1 or not 0 <= self.start_epoch < self.end_epoch:
            raise HierarchyError(f"{self} never makes a tree.", field="updates", fix="Let start_epoch be < end_epoch.")

    @classmethod
    def in_schedule(cls, epochs: int, *, start: float, until: float, every: float) -> TreeUpdates:
        """Of a schedule of so many epochs: where ``start <= epoch / epochs < until``, of these the first in any case.

        A schedule whose last epoch begins before ``start`` has no tree.

        Args:
            epochs: of the schedule.
            start: share of them that is over at the first tree.
            until: share before which the last one is made.
            every: share between two, an epoch at least.
        """
        first, end = (math.ceil(share * epochs - _ROUNDING) for share in (start, until))
        return cls(first, max(end, first + 1), max(1, round(every * epochs)))

    def due(self, epoch: int) -> bool:
        """Whether a tree is made before this epoch."""
        gone = epoch - self.start_epoch
        return gone >= 0 and epoch < self.end_epoch and gone % self.every_epochs == 0


def soft_tree_loss(
    rules: DecisionRules, logits: Tensor, targets: Tensor, *, legacy: bool = False, label_smoothing: float = 0.0
) -> Tensor:
    """Negative log-probability of the labels by soft inference, the mean over samples.

    Args:
        rules: of a tree over the K classes.
        logits: ``B x K``, the network's own, not what the rules made of them.
        targets: int64 ``B``.
        legacy: the cross entropy of the probabilities as if they were logits.
        label_smoothing: share of each label that is spread over all classes.
    """
    log_p = rules(logits)
    if legacy:
        return functional.cross_entropy(log_p.exp(), targets, label_smoothing=label_smoothing)
    return (1 - label_smoothing) * functional.nll_loss(log_p, targets) - label_smoothing * log_p.mean()


def hard_tree_loss(
    rules: DecisionRules,
    logits: Tensor,
    targets: Tensor,
    *,
    legacy: bool = False,
    label_smoothing: float = 0.0,
    total: Total | None = None,
) -> Tensor:
    """Cross entropies of the inner nodes: of each the mean over the samples below it, of these the mean over all N.

    A node that has no sample in the batch counts 0. Of a smoothed label the share that is below a node is.

    Args:
        rules: of a tree over the K classes.
        logits: ``B x K``, the network's own.
        targets: int64 ``B``.
        legacy: the sum over all samples and the nodes on their ways, times ``2 / (B N)``.
        label_smoothing: share of each label that is spread over all classes.
        total: where ranks share the batch, the sum over all of them: means are then over the whole batch's samples, and
            the mean of the ranks' losses, weighed by their samples, is the loss of the whole batch.
    """
    count, classes = len(rules.inner), logits.shape[1]
    if legacy:
        return 2 / count * soft_tree_loss(rules, logits, targets, label_smoothing=label_smoothing)
    log_p = rules.choices(logits)
    labels = functional.one_hot(targets, classes).to(log_p.dtype)
    shares = rules.shares((1 - label_smoothing) * labels + label_smoothing / classes)  # B x E
    none = torch.zeros(count, dtype=log_p.dtype, device=log_p.device)
    losses = none.index_add(0, rules.parent, -(shares * log_p).sum(dim=0))
    samples = none.index_add(0, rules.parent, shares.sum(dim=0))
    if total is not None:
        own = samples.new_tensor([len(targets)])
        whole = total(torch.cat([samples, own]))
        samples = whole[:-1] * own / whole[-1]
    return (losses / samples.where(samples > 0, 1.0)).mean()


class TreeSupervision:
    """The loss of a training with tree supervision; called like any loss, ``loss(logits, targets)``.

    Args:
        tree: over the classes; None where ``build`` gives the first one.
        kind: ``"soft"`` or ``"hard"``.
        tree_weight: of the loss of the tree over the training.
        label_weight: of the loss of the labels.
        legacy: as the published package computes it: a second softmax in the soft loss; in the hard one, beside another
            scale, the weight's start once more.
        loss: of the labels; what stands for the tree's too, until there is a tree.
        label_smoothing: share of each label that the tree's loss spreads over all classes; ``loss`` sees to its own.
        total: of ranks that share each batch, see ``hard_tree_loss``.
        updates: when ``build`` is asked for a tree; only with it.
        build: gives a tree from the network as it is.

    Attributes:
        rules: of the tree, None while there is none.
        progress: share of the training that is over; 1, as in the published package, where nobody says otherwise.

    Raises:
        HierarchyError: there is neither a tree nor a way to one, or ``kind`` is unknown.
    """

    def __init__(
        self,
        tree: Tree | None,
        *,
        kind: Kind = "soft",
        tree_weight: WeightSchedule = WeightSchedule(),
        label_weight: WeightSchedule = WeightSchedule(),
        legacy: bool = False,
        loss: Loss = functional.cross_entropy,
        label_smoothing: float = 0.0,
        total: Total | None = None,
        updates: TreeUpdates | None = None,
        build: Callable[[], Tree] | None = None,
    ) -> None:
        """Remember it; nothing is built."""
        if kind not in get_args(Kind):
            raise HierarchyError(f"there is no {kind!r}.", field="kind", got=kind, valid=get_args(Kind))
        if (updates is None) != (build is None) or (tree is None and build is None):
            raise HierarchyError(
                "needs a tree, or both updates and build.", field="tree", fix="Give updates and build."
            )
        self.kind, self.legacy, self.loss, self.label_smoothing = kind, legacy, loss, label_smoothing
        self.tree_weight, self.label_weight = tree_weight, label_weight
        self.total, self.updates, self.build = total, updates, build
        self.rules = None if tree is None else DecisionRules(tree)
        self.progress = 1.0

    @property
    def tree(self) -> Tree | None:
        """The tree as it is, to be stored with a checkpoint: weights of later epochs do not give it again."""
        return None if self.rules is None else self.rules.tree

    @tree.setter
    def tree(self, tree: Tree | None) -> None:
        self.rules = None if tree is None else DecisionRules(tree)

    def start_epoch(self, epoch: int, epochs: int, *, resumed: bool = False) -> None:
        """To be called before every epoch: moves the weights on, and makes a new tree where one is due.

        Args:
            epoch: from 0.
            epochs: of the whole training.
            resumed: the epoch goes on that had begun before, with the tree that it had.
        """
        self.progress = epoch / epochs
        if not resumed and self.updates is not None and self.build is not None and self.updates.due(epoch):
            self.rules = DecisionRules(self.build())

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            logits: ``B x K``.
            targets: int64 ``B``.
        """
        labels = self.loss(logits, targets)
        weight, label_weight = self.tree_weight(self.progress), self.label_weight(self.progress)
        if self.rules is None:
            return (label_weight + weight) * labels
        if self.kind == "hard" and self.legacy:
            weight *= self.tree_weight.start
        return label_weight * labels + weight * self._along(self.rules.to(logits.device), logits, targets)

    def _along(self, rules: DecisionRules, logits: Tensor, targets: Tensor) -> Tensor:
        legacy, smoothing = self.legacy, self.label_smoothing
        if self.kind == "soft":
            return soft_tree_loss(rules, logits, targets, legacy=legacy, label_smoothing=smoothing)
        return hard_tree_loss(rules, logits, targets, legacy=legacy, label_smoothing=smoothing, total=self.total)
