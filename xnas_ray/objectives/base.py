"""What an objective is: a number measured on a trained candidate, with a direction and a unit."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from xnas_ray.errors import ObjectiveError
from xnas_ray.messages import Cost
from xnas_ray.objectives.names import Direction
from xnas_ray.spaces.base import DataShape

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from xnas_ray.tasks.base import Data, Problem
    from xnas_ray.training.trained import TrainedCandidate

Kind = Literal["any", "classification", "regression"]
Activations = tuple[tuple[int, ...], Mapping[str, "np.ndarray"]]
"""Classes, and layers with a row a class."""


class Objective(ABC):
    """One number of a candidate, which becomes the metric of the same name.

    A subclass sets the four attributes and overrides ``measure``, or ``derive`` where the number follows from other
    metrics or from the analytic cost; then tasks that are not trained by this package have it too. Parameters are
    keywords of the constructor. Objectives leave the network as they found it.

    Attributes:
        name: also the metric's name.
        direction: ``"max"`` when larger is better, else ``"min"``.
        unit: of the value, ``""`` for a plain number.
        requires: the kind of task that it can be measured on.
        keep_activations: whether ``activations`` will be asked for after ``measure``; set by who measures.
    """

    name: ClassVar[str]
    direction: ClassVar[Direction]
    unit: ClassVar[str]
    requires: ClassVar[Kind] = "any"
    keep_activations = False

    def measure(self, trained: TrainedCandidate) -> float:
        """The value for a trained candidate.

        Raises:
            ObjectiveError: the task does not have what it needs.
        """
        value = self.derive(trained.metrics, trained.cost)
        if value is None:
            raise ObjectiveError(
                f"objective {self.name!r} finds no metric to read.",
                field="objectives",
                valid=sorted(trained.metrics),
                fix="Add the metric to Problem.metrics.",
            )
        return value

    def derive(self, metrics: Mapping[str, float], cost: Cost | None) -> float | None:
        """The value where it follows from metrics or from the analytic cost; None where it does not."""
        return metrics.get(self.name)

    def tables(self, trained: TrainedCandidate) -> Mapping[str, pd.DataFrame]:
        """Tables that explain the value, by kind; called after ``measure``. None by default."""
        return {}

    def activations(self, trained: TrainedCandidate) -> Activations | None:
        """What the network does for each class, of objectives that look at it; called after ``measure``.

        Returns:
            Numbers of the C classes, and by layer their C x D mean activations; None by default.
        """
        return None

    def check_data(self, problem: Problem, data: Data) -> None:  # noqa: B027 - most objectives need nothing
        """Refuse a task that lacks what the objective needs of its data; called once, before anything is trained.

        Raises:
            XnasError: what is missing.
        """

    def check(self, shape: DataShape) -> None:
        """Refuse a task of the wrong kind.

        Raises:
            ObjectiveError: names the kinds.
        """
        if self.requires not in ("any", shape.kind):
            raise ObjectiveError(
                f"objective {self.name!r} is for {self.requires} tasks; this task is a {shape.kind}.",
                field="objectives",
                fix=f"Choose objectives for a {shape.kind}, such as "
                + ("'val_accuracy'." if shape.kind == "classification" else "'val_mse' or 'val_r2'."),
            )


def check_objectives(objectives: Iterable[Objective], shape: DataShape) -> None:
    """Refuse objectives that a task cannot have.

    Raises:
        ObjectiveError: the first that does not fit.
    """
    for objective in objectives:
        objective.check(shape)
