"""What a step makes smaller: the loss of a batch, of its labels, along a tree, by a teacher, at an auxiliary head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, cast

from torch import Tensor, nn

from xnas_ray.errors import HierarchyError, SpecError
from xnas_ray.networks.decision_rules import Tree
from xnas_ray.spaces.base import DataShape
from xnas_ray.tasks.base import Problem
from xnas_ray.tasks.metrics import Loss, resolve_loss
from xnas_ray.training.distillation import distillation_loss
from xnas_ray.training.ranks import ALONE, Ranks
from xnas_ray.training.recipe import Recipe
from xnas_ray.training.tree_supervision import Kind, TreeSupervision, TreeUpdates, WeightSchedule

_AT_ONCE = TreeUpdates(0, 1, 1)


class TreeSource(Protocol):
    """Where a training has its trees from: whoever trains brings it, for explanations stand above trainings."""

    def tree(self, network: nn.Module) -> Tree:
        """The tree of a network as it is.

        Raises:
            HierarchyError: it has none.
        """
        ...

    def to_json(self, tree: Tree) -> dict[str, Any]:
        """One of its trees as numbers, texts, lists and mappings, for a checkpoint."""
        ...

    def from_json(self, graph: Mapping[str, Any]) -> Tree:
        """The same tree again, with its nodes in the same order."""
        ...


class BatchLoss:
    """The loss of a training.

    ``w teacher + (1 - w) labels``, w being ``distill_weight`` where there is a teacher, else 0. The part of the labels
    is that of the tree supervision where the recipe has one, and of mixed images that of both labels by their shares.
    An auxiliary head, of which no tree is made, learns from labels and teacher alone.

    Args:
        problem: gives the loss of the labels.
        recipe: gives all weights.
        shape: what the network gives out.
        model: the network as it is trained: trees are made of its weights, not of their average.
        epochs: of the schedule.
        trees: where trees come from, for recipes with a ``tree_loss``.
        ranks: the processes that share each batch.

    Raises:
        SpecError: the recipe asks for a tree, and the task has no classes or there is nowhere to have one from.
    """

    def __init__(
        self,
        problem: Problem,
        recipe: Recipe,
        shape: DataShape,
        model: nn.Module,
        epochs: int,
        trees: TreeSource | None,
        ranks: Ranks = ALONE,
    ) -> None:
        """Make what is needed; a tree is made where an epoch starts."""
        self.recipe, self.model, self.epochs, self.trees = recipe, model, epochs, trees
        self.labels = _labels_loss(problem, recipe)
        self.supervision = self._supervised(shape, ranks) if recipe.tree_loss else None

    def _supervised(self, shape: DataShape, ranks: Ranks) -> TreeSupervision:
        recipe, trees = self.recipe, self.trees
        check_has_classes(shape)
        if trees is None:
            raise SpecError(
                "nothing gives this training a tree.", field="recipe.tree_loss", fix="Train with evaluate_candidate()."
            )

        def build() -> Tree:
            with typed_tree_errors():
                return trees.tree(self.model)

        shares = {"start": recipe.tree_from, "until": recipe.tree_until, "every": recipe.tree_every}
        induced = recipe.tree_hierarchy == "induced"
        return TreeSupervision(
            None,
            kind=cast("Kind", recipe.tree_loss),
            tree_weight=WeightSchedule(recipe.tree_weight_start, recipe.tree_weight_end, recipe.tree_weight_power),
            label_weight=WeightSchedule(recipe.label_weight_start, recipe.label_weight_end, recipe.label_weight_power),
            legacy=recipe.tree_legacy,
            loss=self.labels,
            label_smoothing=recipe.label_smoothing,
            total=ranks.total if ranks.size > 1 else None,
            updates=TreeUpdates.in_schedule(self.epochs, **shares) if induced else _AT_ONCE,
            build=build,
        )

    def start_epoch(self, epoch: int, *, resumed: bool) -> None:
        """To be called before every epoch.

        Args:
            epoch: from 0.
            resumed: some of its batches were trained before.

        Raises:
            SpecError: a tree is due, and the network has none.
        """
        if self.supervision is not None:
            self.supervision.start_epoch(epoch, self.epochs, resumed=resumed)

    @property
    def tree(self) -> Tree | None:
        """What the network learns to decide along; None before the first tree and without tree supervision."""
        return self.supervision.tree if self.supervision is not None else None

    def state(self) -> dict[str, Any] | None:
        """The tree for a checkpoint, from which ``restore`` makes it again."""
        tree = self.tree
        return None if tree is None or self.trees is None else self.trees.to_json(tree)

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Take the tree of a checkpoint."""
        if state is not None and self.supervision is not None and self.trees is not None:
            self.supervision.tree = self.trees.from_json(state)

    def __call__(
        self,
        outputs: Tensor | tuple[Tensor, Tensor],
        targets: Tensor,
        mixed: tuple[Tensor, float] | None,
        taught: Tensor | None,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            outputs: ``B x K`` of the network; with an auxiliary head its outputs too.
            targets: of the samples.
            mixed: which sample of the batch each is mixed with, and the share of the first.
            taught: ``B x K`` of the teacher, who has seen the same augmented and mixed inputs, so that what it says
                needs no mixing (Beyer et al. 2022).
        """
        main = self.supervision or self.labels
        if not isinstance(outputs, tuple):
            return self._at_head(main, outputs, targets, mixed, taught)
        weight: Any = self.model.auxiliary_weight
        return self._at_head(main, outputs[0], targets, mixed, taught) + weight * self._at_head(
            self.labels, outputs[1], targets, mixed, taught
        )

    def _at_head(
        self,
        labels: Loss,
        outputs: Tensor,
        targets: Tensor,
        mixed: tuple[Tensor, float] | None,
        taught: Tensor | None,
    ) -> Tensor:
        loss = labels(outputs, targets)
        if mixed is not None:
            partners, share = mixed
            loss = share * loss + (1 - share) * labels(outputs, targets[partners])
        if taught is None:
            return loss
        share = self.recipe.distill_weight
        return share * distillation_loss(outputs, taught, self.recipe.distill_temperature) + (1 - share) * loss


def check_has_classes(shape: DataShape) -> None:
    """Refuse tree supervision of a task without classes.

    Raises:
        SpecError: the task is a regression.
    """
    if shape.kind != "classification":
        raise SpecError(
            "a tree decides between classes, this task has none.", field="recipe.tree_loss", fix="Set tree_loss = ''."
        )


@contextmanager
def typed_tree_errors() -> Iterator[None]:
    """A tree that cannot be had is a matter of the recipe.

    Raises:
        SpecError: in place of a ``HierarchyError``.
    """
    try:
        yield
    except HierarchyError as error:
        raise SpecError(
            f"there is no such tree: {error.message}",
            field="recipe.tree_hierarchy",
            valid=error.valid or None,
            fix="Choose the other tree_hierarchy, or set tree_loss = ''.",
        ) from None


def _labels_loss(problem: Problem, recipe: Recipe) -> Loss:
    loss = resolve_loss(problem.loss)
    if recipe.label_smoothing and problem.loss == "cross_entropy":
        return lambda outputs, targets: loss(outputs, targets, label_smoothing=recipe.label_smoothing)
    return loss
