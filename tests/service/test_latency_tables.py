"""A search with a latency table: the table goes into the store, the space knows latencies, controllers keep to them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from xnas_ray.controllers.base import Controller
from xnas_ray.errors import SpecError, TableError, UnknownNameError
from xnas_ray.messages import Candidate, Outcome, TrialStatus
from xnas_ray.objectives.evaluate import evaluate_candidate
from xnas_ray.objectives.registry import create_objectives
from xnas_ray.service.host import OpenSearch
from xnas_ray.service.latency_tables import kept_hash, refuse_paths
from xnas_ray.service.proposals import Proposal
from xnas_ray.service.resolve import Search, open_search, resolve
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.fbnetv3 import FBNetV3
from xnas_ray.spaces.latency_table import Conditions, LatencyTable
from xnas_ray.spaces.operators import operators_of
from xnas_ray.spaces.timed import TimedSpace
from xnas_ray.spec import SearchSpec
from xnas_ray.tasks.base import Data, Problem, Split
from xnas_ray.tasks.bundle import bundle_task
from xnas_ray.training.context import LocalContext

PROBLEM = '''"""Looked-up networks: their accuracy is made up."""

from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.fbnetv3 import FBNetV3
from xnas_ray.tasks.base import Problem


def evaluate(*, space, candidate, **_):
    return {"val_accuracy": 50.0 + sum(candidate.genotype)}


problem = Problem(
    space=FBNetV3(preset="digits"), shape=DataShape(((1, 8, 8),), 10), evaluate=evaluate, objectives=("val_accuracy",)
)
'''
SPACE, SHAPE = FBNetV3(preset="digits"), DataShape(((1, 8, 8),), 10)
CONDITIONS = Conditions("a phone", "cpu", 1, "wall", 1, 31, 5, "2.13.0", "fbnetv3", SPACE.params, SHAPE)
MOST = 14.0
LIMIT = f"latency_table_ms <= {MOST}"


@pytest.fixture
def task(tmp_path: Path) -> Path:
    folder = tmp_path / "looked_up"
    folder.mkdir()
    (folder / "problem.py").write_text(PROBLEM)
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Blocks take longer the larger they are: networks from 5 to 20 ms."""
    every = operators_of(SPACE, SPACE.covering() or (), SHAPE)
    times = {key: 0.5 + 0.01 * sum(int(word[1:]) for word in key.split() if word[1:].isdigit()) for key in every}
    LatencyTable(CONDITIONS, times).save(tmp_path / "phone.json")
    return tmp_path / "phone.json"


Resolved = Callable[..., Search]


@pytest.fixture
def resolved(root: Path, task: Path, table: Path) -> Resolved:
    def make(**spec: Any) -> Search:
        params = {"latency_table_ms": {"table": str(table)}}
        given = {"task": str(task), "seed": 3, "objective_params": params, **spec}
        return resolve(root, SearchSpec.from_mapping(given), bundle_task(task, root).hash)

    return make


def test_the_store_keeps_the_table(resolved: Resolved, root: Path, table: Path):
    search = resolved(objectives=["val_accuracy", "latency_table_ms"])
    found = LatencyTable.load(table)
    kept = root / "latency_tables" / f"{found.hash}.json"
    assert kept.read_bytes() == table.read_bytes()
    name = search.spec.objective_params["latency_table_ms"]["table"]
    assert name == f"{table}@{found.hash}"
    assert kept_hash(search.card()["spec"]) == found.hash

    table.unlink()
    again = open_search(root, json.loads(json.dumps(search.card())))
    proposal = OpenSearch(again).propose()
    assert proposal is not None
    assert proposal.latency_table_ms == search.space.cost(proposal.candidate.genotype, SHAPE).latency_table_ms
    # A search that comes from this one, such as that of its finalists, names the table as it does.
    child = resolved(objective_params=search.spec.objective_params, constraints=[LIMIT])
    assert child.spec.objective_params == search.spec.objective_params
    kept.write_text("{}")
    with pytest.raises(TableError, match="not what its name says"):
        open_search(root, search.card())


def test_a_file_with_other_content_than_its_hash(resolved: Resolved, root: Path, table: Path):
    name = resolved(constraints=[LIMIT]).spec.objective_params["latency_table_ms"]["table"]
    shutil.rmtree(root / "latency_tables")
    resolved(constraints=[LIMIT], objective_params={"latency_table_ms": {"table": name}})
    shutil.rmtree(root / "latency_tables")
    LatencyTable(CONDITIONS, {"another": 1.0}).save(table)
    with pytest.raises(TableError, match="other content"):
        resolved(constraints=[LIMIT], objective_params={"latency_table_ms": {"table": name}})


def test_a_table_of_the_task_travels_with_it(resolved: Resolved, root: Path, task: Path, table: Path):
    (task / "data").mkdir()
    table.rename(task / "data" / "phone.json")
    search = resolved(constraints=[LIMIT], objective_params={"latency_table_ms": {"table": "data/phone.json"}})
    (task / "data" / "phone.json").unlink()
    again = open_search(root, search.card())
    genotype = OpenSearch(again).propose().candidate.genotype
    assert again.space.cost(genotype, SHAPE).latency_table_ms <= MOST
    assert not (root / "latency_tables").exists()
    with pytest.raises(SpecError, match="outside"):
        resolved(constraints=[LIMIT], objective_params={"latency_table_ms": {"table": "../phone.json"}})


CONTROLLERS: dict[str, dict[str, Any]] = {
    "random_search": {},
    "regularized_evolution": {"population": 6, "sample": 3},
    "nsga2": {"population": 6},
    "nasbowl": {"initial": 4, "pool": 20},
    "nars": {"pool": 64, "bins": 4, "rounds": 1, "members": 1, "winners": 2, "early_stopping": False},
}


def told(controller: Controller, proposal: Proposal) -> None:
    candidate = proposal.candidate
    metrics = {"val_accuracy": 50.0 + sum(candidate.genotype), **proposal.costs}
    controller.tell(Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, metrics))


@pytest.mark.parametrize("name", CONTROLLERS)
def test_no_controller_proposes_what_is_slower(name: str, resolved: Resolved):
    search = resolved(
        controller={"name": name, "params": CONTROLLERS[name]},
        objectives=["val_accuracy", "latency_table_ms"],
        constraints=[LIMIT, "flops <= 1e6"],
    )
    opened, found = OpenSearch(search), []
    for _ in range(10):
        proposal = opened.propose()
        assert proposal is not None
        found.append(proposal.latency_table_ms)
        told(opened.controller, proposal)
    assert max(found) <= MOST and len(set(found)) > 1


def test_the_limit_leaves_something_out(resolved: Resolved):
    opened = OpenSearch(resolved(objectives=["latency_table_ms"]))
    assert max(opened.propose().latency_table_ms for _ in range(20)) > MOST


def test_trainings_are_the_same_with_and_without_a_table(resolved: Resolved):
    plain = OpenSearch(resolved(objective_params={})).propose()
    tabled = OpenSearch(resolved(objectives=["val_accuracy", "latency_table_ms"])).propose()
    assert (plain.key, plain.train_seed) == (tabled.key, tabled.train_seed)
    assert plain.costs == {name: tabled.costs[name] for name in ("flops", "params")}
    assert Proposal.from_note(tabled.candidate, (0, 0), tabled.note()).costs == tabled.costs
    assert "latency" not in plain.note()


def test_it_is_an_objective_of_tasks_that_look_up(resolved: Resolved):
    search = resolved(objectives=["val_accuracy", "latency_table_ms"])
    proposal = OpenSearch(search).propose()
    measured = evaluate_candidate(
        problem=search.task.problem,
        space=search.space,
        candidate=proposal.candidate,
        objectives=search.objectives,
        seed=1,
        context=LocalContext(),
    )
    assert measured.metrics["latency_table_ms"] == proposal.latency_table_ms
    assert search.goals[1].maximize is False


def test_it_is_an_objective_of_networks_that_are_trained(table: Path):
    split = Split(torch.rand(16, 1, 8, 8), torch.arange(16) % 10)
    space = TimedSpace(SPACE, LatencyTable.load(table))
    genotype = SPACE.canonical((0,) * len(SPACE.choices))
    measured = evaluate_candidate(
        problem=Problem(recipe={"batch_size": 8}),
        space=space,
        candidate=Candidate(0, genotype),
        objectives=create_objectives(["latency_table_ms"], {"latency_table_ms": {"table": str(table)}}),
        seed=1,
        context=LocalContext(),
        data=Data(split, split, split, classes=tuple("0123456789")),
    )
    assert measured.metrics["latency_table_ms"] == space.latencies([genotype], SHAPE)[0]


@pytest.mark.parametrize(
    ("spec", "error", "told"),
    [
        ({"constraints": [LIMIT], "objective_params": {}}, SpecError, "latency_table_ms.table: is missing"),
        ({"objectives": ["latency_table_ms"], "objective_params": {}}, SpecError, "xnas latency-table"),
        ({"constraints": [LIMIT], "objective_params": {"latency_table_ms": {"table": 3}}}, SpecError, "must be a text"),
        ({}, UnknownNameError, "is not measured"),
        ({"constraints": [LIMIT], "space": {"name": "darts"}}, SpecError, "not taken apart"),
        (
            {"constraints": [LIMIT], "objective_params": {"latency_table_ms": {"table": "/none/phone.json"}}},
            TableError,
            "cannot read",
        ),
        (
            {"constraints": [LIMIT], "space": {"name": "fbnetv3", "params": {"preset": "digits", "stem": 16}}},
            TableError,
            r"stem i1 o16 k3 s1 hswish 6x6 of 8x8.*more that the space can have.*xnas latency-table --space fbnetv3",
        ),
    ],
)
def test_mistakes_are_found_at_submit(resolved: Resolved, spec: dict[str, Any], error: type[Exception], told: str):
    with pytest.raises(error, match=told):
        resolved(**spec)


def test_paths_are_refused_over_http(root: Path):
    def spec(table: str) -> SearchSpec:
        params = {"latency_table_ms": {"table": table}}
        return SearchSpec.from_mapping({"task": "digits", "constraints": [LIMIT], "objective_params": params})

    for name in ("/tables/phone.json", "~/phone.json"):
        with pytest.raises(SpecError, match=r"task's folder, and name it data/NAME\.json"):
            refuse_paths(root, spec(name))
    refuse_paths(root, spec("data/phone.json"))
    refuse_paths(root, SearchSpec.from_mapping({"task": "digits"}))
    pinned = f"/tables/phone.json@{'0' * 32}"
    with pytest.raises(SpecError, match="not sent over HTTP"):
        refuse_paths(root, spec(pinned))
    (root / "latency_tables").mkdir()
    (root / "latency_tables" / f"{'0' * 32}.json").write_text("{}")
    refuse_paths(root, spec(pinned))  # such as that of finalists, whose parent has brought it
