"""The experiment with tree supervision, on a network that is hardly trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from xnas_ray.objectives.decision_tree import TreeGap
from xnas_ray.tasks.loading import load_task
from xnas_ray.training.recipe import Recipe

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "reproduce" / "nbdt"


def test_a_row_has_every_column_and_its_tree(script):
    module, task = script("supervision"), load_task("digits")
    recipes = {name: Recipe.from_mapping(task.problem.recipe, recipe) for name, recipe in module.RECIPES.items()}
    assert [name for name, recipe in recipes.items() if not recipe.tree_loss] == ["labels alone"]
    data = task.load_data()
    plain = module.trained(task, data, {}, seed=0, epochs=1)
    along = module.trained(task, data, {"tree_loss": "soft", "tree_from": 0.0}, seed=0, epochs=1)
    assert len(along.targets) == len(data.test), "finalists are measured on the test split"
    network, soft, hard, gap, of_weights = module.measured(along)
    assert gap == pytest.approx(network - soft) and gap != of_weights and 0 <= hard <= 100
    assert of_weights == TreeGap(tree="induced").measure(along)
    assert module.measured(plain)[3] == module.measured(plain)[4], "without supervision there is one tree"
    text = module.line("some", [module.measured(plain), module.measured(along)])
    assert text.count("|") == module.HEADER.splitlines()[0].count("|")


def test_spreads_are_over_seeds(script):
    assert script("supervision").line("x", [(1.0, 4.0), (3.0, 4.0)]) == "| x | 2.00 ± 1.41 | 4.00 ± 0.00 |"
