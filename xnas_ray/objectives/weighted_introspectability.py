"""Introspectability in which pairs of similar classes count more, as XNAS measures it on ImageNet."""

from __future__ import annotations

import os
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np

from xnas_ray.errors import ObjectiveError, UnknownNameError
from xnas_ray.explain.similarities import MEASURES, check_weights, class_similarities, read_matrix
from xnas_ray.objectives.introspectability import (
    LAYERS,
    MAX_SAMPLES,
    GroupBy,
    Introspectability,
    IntrospectabilityObjective,
)
from xnas_ray.objectives.registry import register_objective
from xnas_ray.tasks.base import Data, Problem
from xnas_ray.training.trained import TrainedCandidate

_FIELD = "Problem.class_similarities"
_FIX = "Let load_data() give Data(wnids=...), or give a file or a matrix of similarities."


@register_objective("introspectability_weighted")
class WeightedIntrospectability(IntrospectabilityObjective):
    """Mean over pairs of predicted classes of similarity times cosine distance (XNAS' ``activations-imagenet``).

    The similarities are the task's, ``Problem.class_similarities``; by default WordNet's path similarity of its
    classes. They enter the task's content hash. Values of different similarities do not compare; with path similarities
    they are a fraction of the plain ones (an eighth on ImageNet16-120).

    The tables are those of the plain objective, with the weights of the pairs; where a search has several of these
    objectives, they are those of the last one.

    Args:
        layers: sorts of modules whose outputs count.
        group_by: ``"predicted"`` or ``"label"``.
        max_samples: of the validation split, the first ones.
        measure: ``"path"``, ``"lch"`` or ``"wup"`` of WordNet, instead of what the task says.
    """

    name = "introspectability_weighted"
    normalised = False

    def __init__(
        self,
        *,
        layers: str = LAYERS,
        group_by: GroupBy = "predicted",
        max_samples: int = MAX_SAMPLES,
        measure: str | None = None,
    ) -> None:
        """Remember the parameters; all but ``measure`` are checked when something is measured."""
        super().__init__(layers=layers, group_by=group_by, max_samples=max_samples)
        if measure is not None and measure not in MEASURES:
            raise ObjectiveError(
                f"there is no measure {measure!r}.", field=f"{self.name}.measure", got=measure, valid=MEASURES
            )
        self.similarity = measure
        self._weights: weakref.WeakKeyDictionary[Data, np.ndarray] = weakref.WeakKeyDictionary()

    def check_data(self, problem: Problem, data: Data) -> None:
        """Refuse a task whose classes have no similarities.

        Raises:
            ObjectiveError: the file or matrix does not fit the classes, or they are no words with one meaning.
            DataMissingError: there is no WordNet on this machine.
        """
        chosen = problem if self.similarity is None else replace(problem, class_similarities=self.similarity)
        self._weights[data] = task_weights(chosen, data)

    def _introspect(self, trained: TrainedCandidate) -> Introspectability:
        found = super()._introspect(trained)
        if trained.data not in self._weights:
            self.check_data(trained.problem, trained.data)
        weights = self._weights[trained.data][np.ix_(found.classes, found.classes)]
        return replace(found, weights=weights, normalised=self.normalised)


@register_objective("introspectability_weighted_mean")
class WeightedMeanIntrospectability(WeightedIntrospectability):
    """The weighted mean: divided by the sum of the weights, so that values are distances of the size of the plain ones.

    Args:
        layers: sorts of modules whose outputs count.
        group_by: ``"predicted"`` or ``"label"``.
        max_samples: of the validation split, the first ones.
        measure: ``"path"``, ``"lch"`` or ``"wup"`` of WordNet, instead of what the task says.
    """

    name = "introspectability_weighted_mean"
    normalised = True


def task_weights(problem: Problem, data: Data) -> np.ndarray:
    """How alike the classes of a task are: float64, classes x classes, symmetric, from 0.

    Raises:
        ObjectiveError: the file or matrix does not fit the classes, or WordNet does not know them by their names.
        DataMissingError: there is no WordNet on this machine.
    """
    classes, given = data.classes, problem.class_similarities
    if classes is None:
        raise ObjectiveError("a regression has no classes.", field="objectives", fix="Name another objective.")
    if isinstance(given, os.PathLike):
        return read_matrix(Path(given), classes, *([data.wnids] if data.wnids else []))
    if not isinstance(given, str):
        return check_weights(given, len(classes), field=_FIELD)
    from xnas_ray.explain.wordnet import find_wordnet

    if data.wnids is None and all(name.isdigit() for name in classes):  # WordNet knows numerals, but not as labels
        raise ObjectiveError(
            "the classes are called by numbers, and nothing says what they are.", field=_FIELD, fix=_FIX
        )
    try:
        found = class_similarities(find_wordnet(), data.wnids or classes, classes, measures=(given,))
        return np.asarray(found.matrices[given])
    except UnknownNameError as error:
        raise ObjectiveError(
            f"WordNet cannot tell how alike the classes are: {error.message}",
            field=_FIELD,
            valid=error.valid or None,
            fix=_FIX,
        ) from None
