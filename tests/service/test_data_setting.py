"""What a search asks of its task's ``load_data()``: checked at submit, loaded by workers, part of training seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xnas_ray.errors import DataMissingError, ObjectiveError, SpecError, TaskError
from xnas_ray.explain import wordnet
from xnas_ray.randomness import training_seed
from xnas_ray.service.host import OpenSearch
from xnas_ray.service.resolve import Search, open_search, resolve
from xnas_ray.service.task_runner import TaskRunner
from xnas_ray.spec import SearchSpec
from xnas_ray.tasks.bundle import bundle_task

LOAD_DATA = """
import torch

from xnas_ray.tasks.base import Data, Split


def load_data(*, samples: int = 8, classes: str = "dog cat crane"):
    names = classes.split()
    labels = torch.arange(samples) % len(names)
    split = Split(torch.zeros(samples, 1, 4, 4), labels)
    return Data(split, split, split, classes=names)
"""
PROBLEM = """
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.base import Problem

problem = Problem(space=NASBench201(channels=4, cells_per_stage=1, stages=1))
"""
SMALL = Path(__file__).parents[1] / "explain" / "small_wordnet"


@pytest.fixture
def task(tmp_path) -> Path:
    folder = tmp_path / "animals"
    folder.mkdir()
    (folder / "load_data.py").write_text(LOAD_DATA)
    (folder / "problem.py").write_text(PROBLEM)
    return folder


def resolved(root: Path, task: Path, **spec: Any) -> Search:
    given = SearchSpec.from_mapping({"task": str(task), "seed": 1, **spec})
    return resolve(root, given, bundle_task(task, root).hash)


def test_networks_have_the_outputs_that_the_data_ask_for(root, task):
    search = resolved(root, task, data={"classes": "a b c d e"})
    assert search.shape.outputs == 5
    assert open_search(root, search.card()).spec.data == {"classes": "a b c d e"}


def test_workers_load_what_the_search_asks_for(root, task):
    runner = TaskRunner(root, gpus=0, settings={}, card=lambda search_id: {})
    few, many = (resolved(root, task, data={"samples": samples}) for samples in (6, 9))
    assert [len(runner._load(search).train) for search in (few, many, few)] == [6, 9, 6]
    assert len(runner._load(resolved(root, task)).train) == 8


def test_trainings_on_other_data_have_other_seeds(root, task):
    def seed(**data: Any) -> int:
        proposal = OpenSearch(resolved(root, task, data=data)).propose()
        assert proposal is not None
        return proposal.train_seed

    assert seed() == seed(), "nothing asked is the same as before there was such a setting"
    assert len({seed(), seed(samples=9), seed(samples=10)}) == 3
    text = ("hash", "space", "key", {"lr": 0.1}, 0)
    assert training_seed(0, *text) == training_seed(0, *text, {}) != training_seed(0, *text, {"samples": 8})


def test_what_load_data_does_not_take_is_refused_at_submit(root, task):
    with pytest.raises(TaskError, match="Valid: samples, classes") as caught:
        resolved(root, task, data={"sample": 9})
    assert caught.value.field == "data"
    (task / "load_data.py").unlink()
    (task / "problem.py").write_text(PROBLEM.replace("stages=1)", "stages=1), evaluate=print"))
    with pytest.raises(SpecError, match=r"no load_data\(\)"):
        resolved(root, task, data={"samples": 9})


def test_weights_that_cannot_be_found_are_refused_at_submit(root, task, tmp_path, monkeypatch):
    monkeypatch.delenv("XNAS_DATA", raising=False)
    monkeypatch.setenv("WNSEARCHDIR", str(SMALL))
    weighted = {"objectives": ["val_accuracy", "introspectability_weighted"]}
    with pytest.raises(ObjectiveError, match="'crane' has 2 meanings"):
        resolved(root, task, **weighted)
    found = resolved(root, task, data={"classes": "dog cat car"}, **weighted)
    assert [goal.name for goal in found.goals] == weighted["objectives"]
    other = {"objective_params": {"introspectability_weighted": {"measure": "wup"}}}
    assert resolved(root, task, data={"classes": "dog cat car"}, **weighted, **other).objectives[1].similarity == "wup"
    monkeypatch.delenv("WNSEARCHDIR")
    monkeypatch.setattr(wordnet, "DEBIAN", tmp_path)
    with pytest.raises(DataMissingError, match="wordnet-base"):
        resolved(root, task, data={"classes": "dog cat car"}, **weighted)


def test_a_file_of_similarities_travels_with_the_task(root, task):
    (task / "weights.csv").write_text("class,dog,cat\ndog,1,0.5\ncat,0.5,1\n")
    text = 'stages=1), class_similarities=Path(__file__).with_name("weights.csv")'
    (task / "problem.py").write_text("from pathlib import Path\n" + PROBLEM.replace("stages=1)", text))
    search = resolved(
        root, task, data={"classes": "cat dog"}, objectives=["val_accuracy", "introspectability_weighted_mean"]
    )
    path = search.task.problem.class_similarities
    assert isinstance(path, Path) and path.is_relative_to(root), "the copy in the store, not the original"
    with pytest.raises(ObjectiveError, match="about other classes"):
        resolved(root, task, data={"classes": "cat cow"}, objectives=["introspectability_weighted"])
