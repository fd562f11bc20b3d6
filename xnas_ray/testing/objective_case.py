"""What an objective must pass: inherit ``ObjectiveTestCase`` and give ``make_objective``."""

from __future__ import annotations

import copy
import math
import re
from typing import Any

import pytest
import torch

from xnas_ray.errors import ObjectiveError
from xnas_ray.objectives.base import Objective
from xnas_ray.testing.tiny import tiny_trained
from xnas_ray.training.trained import TrainedCandidate


class ObjectiveTestCase:
    """Conformance suite of objectives, for pytest.

    Attributes:
        deterministic: whether two measurements of one network give the same value; False for timings.
    """

    deterministic: bool = True

    def make_objective(self) -> Objective:
        """The objective under test."""
        raise NotImplementedError

    def make_trained(self, kind: str) -> TrainedCandidate:
        """A trained candidate of a ``"classification"`` or ``"regression"`` task; a small perceptron by default."""
        return tiny_trained(kind)

    def _fitting(self) -> TrainedCandidate:
        requires = self.make_objective().requires
        return self.make_trained("classification" if requires == "any" else requires)

    def test_is_described(self) -> None:
        """Name, direction, unit and kind are what tables and controllers can use."""
        objective = self.make_objective()
        assert re.fullmatch(r"[a-z][a-z0-9_]*", objective.name), "a metric's name: lower case, digits, underscores"
        assert not objective.name.startswith("test_"), "the test split is not for selection"
        assert objective.direction in ("max", "min")
        assert isinstance(objective.unit, str)
        assert objective.requires in ("any", "classification", "regression")

    def test_measures_a_finite_number(self) -> None:
        """The value of a trained network is a finite float."""
        value = self.make_objective().measure(self._fitting())
        assert isinstance(value, float)
        assert math.isfinite(value)

    def test_measures_the_same_twice(self) -> None:
        """Two measurements agree, unless they are timings."""
        trained = self._fitting()
        first, second = (self.make_objective().measure(trained) for _ in range(2))
        assert first == second or not self.deterministic

    def test_leaves_the_network_alone(self) -> None:
        """Weights, buffers, mode, gradients, metrics and random numbers are as before."""
        trained, objective = self._fitting(), self.make_objective()
        state, mode = copy.deepcopy(trained.model.state_dict()), trained.model.training
        metrics, random = dict(trained.metrics), torch.get_rng_state()
        objective.measure(trained)
        objective.tables(trained)
        assert all(torch.equal(value, state[name]) for name, value in trained.model.state_dict().items())
        assert trained.model.training == mode
        assert all(p.grad is None for p in trained.model.parameters())
        assert dict(trained.metrics) == metrics
        assert torch.equal(torch.get_rng_state(), random)

    def test_tables_are_frames(self) -> None:
        """Explanation tables are data frames by kind."""
        import pandas as pd

        trained, objective = self._fitting(), self.make_objective()
        objective.measure(trained)
        tables: Any = objective.tables(trained)
        assert all(isinstance(kind, str) and isinstance(table, pd.DataFrame) for kind, table in tables.items())

    def test_refuses_the_wrong_kind_of_task(self) -> None:
        """An objective of one kind of task refuses the other with a typed error."""
        objective = self.make_objective()
        for kind in ("classification", "regression"):
            shape = self.make_trained(kind).shape
            if objective.requires in ("any", kind):
                objective.check(shape)
            else:
                with pytest.raises(ObjectiveError, match=objective.name):
                    objective.check(shape)
