"""What the decision tree of a trained network is worth: accuracies, entropies, agreement with WordNet.

The tree is the one that the network was trained along, else the one that its last layer holds (``network_tree``). It
decides on the outputs that every trial has of the validation split: nothing is trained, two samples run again to find
that layer, and all objectives share one tree.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

from xnas_ray.errors import HierarchyError, ObjectiveError, UnknownNameError
from xnas_ray.explain.hierarchy import Hierarchy, check_classes
from xnas_ray.explain.induced_hierarchy import LINKAGES
from xnas_ray.explain.tree_agreement import robinson_foulds, triples_agreement
from xnas_ray.objectives.base import Objective
from xnas_ray.objectives.network_tree import as_hierarchy, induced_tree, wordnet_tree
from xnas_ray.objectives.registry import register_objective
from xnas_ray.objectives.tree_outcome import EntropyOf, TreeOutcome
from xnas_ray.objectives.tree_samples import tree_samples
from xnas_ray.store.tree_samples import TreeSamples
from xnas_ray.tasks.base import Data, Problem
from xnas_ray.training.trained import TrainedCandidate

if TYPE_CHECKING:
    import pandas as pd

Which = Literal["trained", "induced"]

_FIX = "Let load_data() give Data(wnids=...), or name the classes by words with one meaning."


class DecisionTreeObjective(Objective):
    """Base of the objectives of this module: the tree of a candidate.

    Args:
        tree: ``"trained"``: the one that the recipe's tree supervision trained it along, where there is one and no
            other parameter asks for another; ``"induced"``: in any case the one of its weights as they are now.
        layer: name of the last layer; by default the last linear layer or convolution of one pixel that is called and
            has an output a class.
        linkage: of the clustering, see ``induced_hierarchy``.
        normalize: whether weights are normalized first.
    """

    requires = "classification"

    def __init__(
        self, *, tree: Which = "trained", layer: str | None = None, linkage: str = "ward", normalize: bool = True
    ) -> None:
        """Remember and check the parameters."""
        for name, value, valid in (("tree", tree, get_args(Which)), ("linkage", linkage, LINKAGES)):
            if value not in valid:
                raise ObjectiveError(f"there is no {value!r}.", field=f"{self.name}.{name}", got=value, valid=valid)
        self.tree, self.layer, self.linkage, self.normalize = tree, layer, linkage, normalize

    def check_data(self, problem: Problem, data: Data) -> None:
        """Refuse a task whose classes make no tree, before every one of its networks is trained for nothing.

        Raises:
            ObjectiveError: there is one class, or two have the same name; or none, as of a regression.
        """
        if data.classes is None:
            raise ObjectiveError("a regression has no classes.", field="objectives", fix="Name another objective.")
        try:
            check_classes(data.classes)
        except HierarchyError as error:
            raise ObjectiveError(
                f"there is no tree of the classes: {error.message}", field=f"{self.name}.classes", fix=error.fix
            ) from None

    def tables(self, trained: TrainedCandidate) -> Mapping[str, pd.DataFrame]:
        """``decision_tree``: see ``TreeOutcome.per_node``, with names of WordNet where the task has wnids."""
        return {"decision_tree": self.outcome(trained).per_node()}

    def outcome(self, trained: TrainedCandidate) -> TreeOutcome:
        """The tree of a candidate and its decisions on the validation split.

        Raises:
            ObjectiveError: the network has no last layer of a row a class, or its weights make no tree.
        """
        mine = _OUTCOMES.setdefault(trained, {})
        given = (self.layer, self.linkage, self.normalize)
        along = trained.tree if self.tree == "trained" and given == _DEFAULTS else None
        key = None if along is not None else given
        if key not in mine:
            tree = self._induced(trained) if along is None else as_hierarchy(along)
            mine[key] = TreeOutcome(tree, trained.outputs.float(), trained.targets)
        return mine[key]

    def samples(self, trained: TrainedCandidate) -> TreeSamples:
        """Validation samples that show what the tree does (see ``tree_samples``).

        Raises:
            ObjectiveError: as for ``outcome``.
        """
        return tree_samples(trained, self.outcome(trained))

    def _induced(self, trained: TrainedCandidate) -> Hierarchy:
        try:
            return induced_tree(
                trained.model,
                trained.data,
                trained.recipe,
                trained.device,
                layer=self.layer,
                linkage=self.linkage,
                normalize=self.normalize,
            )
        except HierarchyError as error:
            raise ObjectiveError(
                f"the network has no decision tree: {error.message}",
                field=f"{self.name}.{error.field}",
                valid=error.valid or None,
                fix=error.fix,
            ) from None


_DEFAULTS = (None, "ward", True)
_OUTCOMES: weakref.WeakKeyDictionary[TrainedCandidate, dict[tuple[str | None, str, bool] | None, TreeOutcome]] = (
    weakref.WeakKeyDictionary()
)
"""By parameters, None for the tree that it was trained along: objectives measure one candidate one after the other."""


@register_objective("val_nbdt_accuracy")
class TreeAccuracy(DecisionTreeObjective):
    """Percentage of validation samples that the network's decision tree predicts by soft inference (NBDT-S).

    Args:
        tree: ``"trained"`` along, where it was, or ``"induced"`` from its weights.
        layer: name of the last layer, where it shall not be searched.
        linkage: of the clustering.
        normalize: whether weights are normalized first.
    """

    name = "val_nbdt_accuracy"
    direction = "max"
    unit = "%"

    def measure(self, trained: TrainedCandidate) -> float:
        """From 0 to 100."""
        return self.outcome(trained).soft_accuracy


@register_objective("val_nbdt_hard_accuracy")
class HardTreeAccuracy(DecisionTreeObjective):
    """Percentage of validation samples that it predicts by hard inference (NBDT-H): a wrong turn is not mended.

    Args:
        tree: ``"trained"`` along, where it was, or ``"induced"`` from its weights.
        layer: name of the last layer, where it shall not be searched.
        linkage: of the clustering.
        normalize: whether weights are normalized first.
    """

    name = "val_nbdt_hard_accuracy"
    direction = "max"
    unit = "%"

    def measure(self, trained: TrainedCandidate) -> float:
        """From 0 to 100."""
        return self.outcome(trained).hard_accuracy


@register_objective("nbdt_gap")
class TreeGap(DecisionTreeObjective):
    """Percentage points that the network's accuracy is above that of its decision tree by soft inference.

    Negative where the tree predicts better.

    Args:
        tree: ``"trained"`` along, where it was, or ``"induced"`` from its weights.
        layer: name of the last layer, where it shall not be searched.
        linkage: of the clustering.
        normalize: whether weights are normalized first.
    """

    name = "nbdt_gap"
    direction = "min"
    unit = "%"

    def measure(self, trained: TrainedCandidate) -> float:
        """From -100 to 100."""
        found = self.outcome(trained)
        return found.network_accuracy - found.soft_accuracy


@register_objective("nbdt_path_entropy")
class PathEntropy(DecisionTreeObjective):
    """How unequally sure the decisions on the way of a sample are, by hard inference, the mean over samples.

    By default the thesis' path entropy (section 5.5), the largest less the smallest entropy on the way, which is large
    where a sample could be either of two classes; with ``of = "mean"`` the mean of the entropies.

    Args:
        of: ``"range"`` or ``"mean"``.
        tree: ``"trained"`` along, where it was, or ``"induced"`` from its weights.
        layer: name of the last layer, where it shall not be searched.
        linkage: of the clustering.
        normalize: whether weights are normalized first.
    """

    name = "nbdt_path_entropy"
    direction = "min"
    unit = "nats"

    def __init__(
        self,
        *,
        of: EntropyOf = "range",
        tree: Which = "trained",
        layer: str | None = None,
        linkage: str = "ward",
        normalize: bool = True,
    ) -> None:
        """Remember and check the parameters."""
        super().__init__(tree=tree, layer=layer, linkage=linkage, normalize=normalize)
        if of not in get_args(EntropyOf):
            raise ObjectiveError(f"there is no {of!r}.", field=f"{self.name}.of", got=of, valid=get_args(EntropyOf))
        self.of = of

    def measure(self, trained: TrainedCandidate) -> float:
        """From 0; of two classes, and so one decision, the range is 0."""
        return self.outcome(trained).path_entropy(self.of)


@register_objective("wordnet_agreement")
class WordNetAgreement(DecisionTreeObjective):
    """How far the tree divides the classes as WordNet does: see ``tree_agreement.triples_agreement``.

    Args:
        tree: ``"trained"`` along, where it was, or ``"induced"`` from its weights.
        layer: name of the last layer, where it shall not be searched.
        linkage: of the clustering.
        normalize: whether weights are normalized first.
    """

    name = "wordnet_agreement"
    direction = "max"
    unit = ""

    def __init__(
        self, *, tree: Which = "trained", layer: str | None = None, linkage: str = "ward", normalize: bool = True
    ) -> None:
        """Remember and check the parameters."""
        super().__init__(tree=tree, layer=layer, linkage=linkage, normalize=normalize)
        self._references: weakref.WeakKeyDictionary[Data, Hierarchy] = weakref.WeakKeyDictionary()

    def check_data(self, problem: Problem, data: Data) -> None:
        """Refuse a task whose classes WordNet does not know.

        Raises:
            ObjectiveError: the classes make no tree at all, are no words with one meaning, or kinds of each other's.
            DataMissingError: there is no WordNet on this machine.
        """
        super().check_data(problem, data)
        try:
            self._references[data] = wordnet_tree(data)
        except (UnknownNameError, HierarchyError) as error:
            raise ObjectiveError(
                f"WordNet has no tree of the classes: {error.message}",
                field=f"{self.name}.classes",
                valid=error.valid or None,
                fix=_FIX,
            ) from None

    def measure(self, trained: TrainedCandidate) -> float:
        """From 0 to 1; a random tree agrees on a third."""
        return triples_agreement(self.outcome(trained).hierarchy, self.reference(trained))

    def tables(self, trained: TrainedCandidate) -> Mapping[str, pd.DataFrame]:
        """The tree, and ``wordnet_agreement``: a row a measure, ``triples`` (this one) and ``robinson_foulds``."""
        import pandas as pd

        found, reference = self.outcome(trained).hierarchy, self.reference(trained)
        measures = {
            "triples": triples_agreement(found, reference),
            "robinson_foulds": robinson_foulds(found, reference),
        }
        frame = pd.DataFrame({"measure": list(measures), "value": list(measures.values())})
        return {**super().tables(trained), "wordnet_agreement": frame}

    def reference(self, trained: TrainedCandidate) -> Hierarchy:
        """WordNet's tree of the task's classes."""
        if trained.data not in self._references:
            self.check_data(trained.problem, trained.data)
        return self._references[trained.data]
