"""What a worker writes for a trial: weights and activations, where the search wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from xnas_ray.errors import SpecError, StoreError
from xnas_ray.messages import Candidate
from xnas_ray.service.reports import Assignment
from xnas_ray.service.resolve import resolve
from xnas_ray.service.task_runner import TaskRunner
from xnas_ray.service.trial_worker import AttemptContext
from xnas_ray.spec import SearchSpec
from xnas_ray.store import new_search_id
from xnas_ray.store.layout import attempt_folder
from xnas_ray.store.tree_samples import read_tree_samples
from xnas_ray.tasks.bundle import bundle_task
from xnas_ray.training.checkpoint import CheckpointError

TRAINED = Path(__file__).parents[1] / "system" / "tasks" / "trained"
SEARCH = new_search_id(1_700_000_000)
BETTER = ((1000.0, 10.0),)
"""A front that dominates everything."""


def prepared(
    root: Path, *, front: tuple[tuple[float, ...], ...] = (), **spec: Any
) -> tuple[TaskRunner, dict[str, Any], Assignment]:
    """A worker's runner, the card of a search, and the assignment of its first trial."""
    given = SearchSpec.from_mapping({"task": str(TRAINED), "seed": 3, **spec})
    card = resolve(root, given, bundle_task(TRAINED, root).hash).card()
    folder = attempt_folder(SEARCH, 0, (1, 0))
    assignment = Assignment(
        SEARCH,
        0,
        (1, 0),
        Candidate(0, (1, 0, 0), fidelity=2, schedule_epochs=2),
        1,
        folder,
        keep_weights=given.keep_weights != "none",
        keep_activations=given.keep_activations != "none",
        front=front,
    )
    return TaskRunner(root, gpus=0, settings={}, card=lambda search_id: card), card, assignment


def run(root: Path, **given: Any) -> tuple[Any, dict[str, Path]]:
    """The result of one trial of a search, and the files that it left."""
    runner, _, assignment = prepared(root, **given)
    return _run(root, runner, assignment)


def _run(root: Path, runner: TaskRunner, assignment: Assignment) -> tuple[Any, dict[str, Path]]:
    folder = root / assignment.artifacts
    result = runner.run(assignment, AttemptContext(folder, None, lambda record: None, 30.0))
    return result, {path.name: path for path in folder.glob("*")}


def test_weights_and_activations(root):
    result, files = run(root, keep_weights="front", keep_activations="front")
    assert result.weights and result.activations and set(files) == {"weights.pt", "activations.npz"}
    with np.load(files["activations.npz"], allow_pickle=False) as found:
        layers = [found[name].astype(np.float64) for name in found.files if name.startswith("layers/")]
        assert len(found["classes"]) == 2
    score = result.metrics["introspectability"]
    assert pdist(np.concatenate(layers, axis=1), metric="cosine").mean() == pytest.approx(score, abs=1e-5)
    assert all(torch.isfinite(w).all() for w in torch.load(files["weights.pt"], weights_only=True).values())


def test_samples_of_the_decision_tree(root):
    """They come and go with the weights, and the table that is stored numbers the nodes as they do."""
    objectives = ["val_accuracy", "nbdt_gap"]
    result, files = run(root, keep_weights="front", objectives=objectives)
    assert result.weights and set(files) == {"weights.pt", "decision_tree.npz"}
    found, table = read_tree_samples(files["decision_tree.npz"]), result.tables["decision_tree"]
    assert found.classes == ("negative", "positive") and found.reach.shape[1] == len(table)
    assert set(found.node.tolist()) <= set(table["node"])
    assert run(root / "other", front=BETTER, keep_weights="front", objectives=objectives)[1] == {}


@pytest.mark.parametrize(
    ("weights", "activations", "expected"),
    [
        ("front", "front", set()),
        ("all", "front", {"weights.pt"}),
        ("front", "all", {"activations.npz"}),
        ("all", "none", {"weights.pt"}),
        ("none", "none", set()),
    ],
)
def test_nothing_is_written_for_what_the_front_dominates(root, weights, activations, expected):
    result, files = run(root, front=BETTER, keep_weights=weights, keep_activations=activations)
    assert set(files) == expected
    assert (result.weights, result.activations) == ("weights.pt" in expected, "activations.npz" in expected)


def test_activations_need_somebody_who_looks_at_them(root, archive):
    with pytest.raises(SpecError, match="keep_activations: there are no activations"):
        run(root, keep_activations="front", objectives=["val_accuracy", "flops"])
    given = SearchSpec.from_mapping(
        {"task": str(archive.task), "keep_activations": "all", "objectives": ["introspectability"]}
    )
    with pytest.raises(SpecError, match="no network is trained"):
        resolve(root, given, bundle_task(archive.task, root).hash)


def test_finalists_are_measured_on_the_test_split_alone(root):
    from xnas_ray.spec import FINALISTS

    controller = {"name": FINALISTS, "params": {"candidates": [{"trial": 0, "genotype": [1, 0, 0]}]}}
    result, _ = run(root, controller=controller, measure_on="test", keep_weights="best")
    assert {"test_accuracy", "introspectability"} <= set(result.metrics) and result.weights
    assert not [name for name in result.metrics if name.startswith("val_")]


def test_stored_weights_are_measured_as_the_training_measured_them(root):
    from xnas_ray.spec import FINALISTS

    controller = {"name": FINALISTS, "params": {"candidates": [{"trial": 0, "genotype": [1, 0, 0]}]}}
    runner, card, assignment = prepared(root, controller=controller, measure_on="test", keep_weights="best")
    result, files = _run(root, runner, assignment)
    measured = runner.measure_test(card, assignment)
    assert set(measured) == {"test_accuracy", "test_loss"}
    assert measured == {name: pytest.approx(result.metrics[name], rel=1e-6) for name in measured}
    files["weights.pt"].write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="cannot read the weights"):
        runner.measure_test(card, assignment)
    files["weights.pt"].unlink()
    with pytest.raises(StoreError, match=r"no weights are kept.*keep_weights"):
        runner.measure_test(card, assignment)
