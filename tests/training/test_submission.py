from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from xnas_ray.errors import SpecError
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.testing.tiny import TinySpace
from xnas_ray.training.distillation import Source, save_teacher
from xnas_ray.training.recipe import Recipe
from xnas_ray.training.submission import submitted

SPACE = NASBench201(cells_per_stage=1, channels=4, stages=1)
SHAPE = DataShape(((1, 8, 8),), 3)
GENOTYPE = (3, 1, 2, 0, 4, 3)


@pytest.mark.parametrize(
    "space",
    [SPACE, RestrictedSpace(SPACE, [GENOTYPE]), JointSpace(architecture=SPACE, recipe={"lr": [0.1, 0.2]})],
    ids=["whole", "a part", "joint"],
)
def test_rates_are_refused_before_anything_is_trained(space):
    recipe = Recipe(dropout=0.2)
    assert submitted(recipe, space, SHAPE) == recipe
    assert submitted(Recipe(), space, SHAPE) == Recipe()
    with pytest.raises(SpecError, match=r"recipe\.drop_path") as caught:
        submitted(Recipe(drop_path=0.2), space, SHAPE)
    assert "fbnetv2" in str(caught.value)


def test_a_teacher_is_stored_with_its_hash(tmp_path: Path):
    folder = save_teacher(tmp_path / "t", SPACE.build(GENOTYPE, SHAPE), SPACE, GENOTYPE, SHAPE)
    stored = submitted(Recipe(teacher=str(folder), dropout=0.1), SPACE, SHAPE)
    assert stored == Recipe(teacher=f"{folder}@{Source(folder).content_hash()}", dropout=0.1)
    with pytest.raises(SpecError, match=r"recipe\.teacher"):
        submitted(Recipe(teacher=str(tmp_path / "none")), SPACE, SHAPE)


def test_a_tree_needs_classes_and_a_last_layer(monkeypatch: pytest.MonkeyPatch):
    recipe = Recipe(tree_loss="soft")
    assert submitted(recipe, SPACE, SHAPE) == recipe
    with pytest.raises(SpecError, match=r"recipe\.tree_loss: .*this task has none"):
        submitted(recipe, TinySpace(), DataShape(((6,),), 1, "regression"))
    monkeypatch.setattr("xnas_ray.testing.tiny.build", lambda space, genotype, shape: nn.Flatten())
    with pytest.raises(SpecError, match=r"recipe\.tree_hierarchy: .*no linear layer"):
        submitted(recipe, TinySpace(), SHAPE)
    submitted(Recipe(tree_loss="soft", tree_hierarchy="wordnet"), TinySpace(), SHAPE)
