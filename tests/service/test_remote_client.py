"""From outside on a real Ray: over HTTP, with plug-ins of one's own, past the death of the head, through the spool."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import psutil
import pytest

from xnas_ray.client import Client
from xnas_ray.errors import SearchNotFoundError, SpecError, TransitionError, XnasError
from xnas_ray.service.bring_up import read_endpoint
from xnas_ray.service.connection import RemoteHead
from xnas_ray.service.spool import REFUSED, SPOOL

PROBLEM = """
import time

from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.base import Problem

from .weights import WEIGHTS


def evaluate(space, candidate, recipe, seed, context):
    time.sleep(0.05)
    return {"depth": float(sum(g * w for g, w in zip(candidate.genotype, WEIGHTS)))}


problem = Problem(evaluate=evaluate, shape=DataShape(((3, 32, 32),), 10), space=NASBench201())
"""
PARTS = """
import pandas as pd

from xnas_ray.controllers.random_search import RandomSearch
from xnas_ray.objectives.base import Objective
from xnas_ray.spaces.nasbench201 import NASBench201


class Cells(NASBench201):
    def __init__(self):
        super().__init__(channels=4, cells_per_stage=1, stages=1)


class Depth(Objective):
    name, direction, unit = "depth", "max", ""


class Told(RandomSearch):
    def _learn(self, outcome):
        self.told = [*getattr(self, "told", []), outcome.trial]

    def explain(self):
        return {"told": pd.DataFrame({"trial": sorted(getattr(self, "told", []))})}
"""


@pytest.fixture
def task(tmp_path) -> Path:
    """A task whose space, objective and controller are its own."""
    folder = tmp_path / "elsewhere" / "mine"
    folder.mkdir(parents=True)
    (folder / "problem.py").write_text(PROBLEM)
    (folder / "parts.py").write_text(PARTS)
    (folder / "weights.py").write_text("WEIGHTS = (1, 2, 3, 5, 7, 11)\n")
    return folder


def spec(task: Path | str, **changes: Any) -> dict[str, Any]:
    given = {"task": str(task), "space": "parts:Cells", "controller": "parts:Told", "objectives": ["parts:Depth"]}
    return {**given, "seed": 5, "budget": {"trials": 6}, "resources": {"cpus": 1, "workers": 2}, **changes}


def far_client(root: Path, nowhere: Path) -> Client:
    """A client that sees nothing of the store but its token."""
    address = read_endpoint(root)["http"]
    return Client(nowhere, address=address, token=(root / "token").read_text())


def until(condition: Callable[[], Any], timeout_s: float = 150) -> Any:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("timed out")


def test_a_search_over_http_is_one_over_ray(shared_service, task, tmp_path) -> None:
    root = shared_service.root
    far, near = far_client(root, tmp_path), Client(root, service=RemoteHead(shared_service.head))
    there = far.submit(spec(task), idempotency_key="far")
    shutil.rmtree(task)  # nothing of it is needed any more: the code travelled
    here = near.handle(there.id)
    ended = there.wait(200)
    assert ended is not None and ended["state"] == "finished" and ended["counts"]["completed"] == 6
    assert ended == here.wait(1) == there.status() == here.status() == here.stored_status() == there.stored_status()
    pd.testing.assert_frame_equal(there.results(), here.results())
    pd.testing.assert_frame_equal(there.explanations("told"), here.explanations("told"))
    assert list(there.explanations("told")["trial"]) == list(range(6))
    assert there.best(3) == here.best(3) and there.card() == here.card() and there.transitions() == here.transitions()
    assert there.verify()["mismatch"] is None and there.verify() == here.verify()
    pd.testing.assert_frame_equal(far.searches(), near.searches())
    exported = there.export(ended["best"]["trial"], tmp_path / "winner")
    assert (exported / "task" / "parts.py").read_text() == PARTS
    assert sorted(p.name for p in here.export(0, tmp_path / "other").iterdir()) == sorted(
        p.name for p in exported.iterdir()
    )
    for wrong in ({"controller": "parts:Tolld"}, {"controller": "random_serch"}, {"seed": -1}):
        errors = []
        for client in (far, near):
            with pytest.raises(XnasError) as error:
                client.submit({"task": str(root / "tasks" / here.card()["task_hash"]), **spec(root)} | wrong)
            errors.append(error.value.__reduce__())
        assert errors[0] == errors[1]


def test_whatever_is_asked_over_http_the_head_stays_without_torch(shared_service, task, tmp_path) -> None:
    """It is what must survive everything: the libraries that networks need are loaded by processes beside it."""
    far = far_client(shared_service.root, tmp_path)
    handle = far.submit(spec(task))
    assert handle.wait(200)["state"] == "finished"
    far.report([handle.id], tmp_path / "report.html")
    handle.export(0, tmp_path / "winner")
    with pytest.raises(XnasError, match="motifs"):
        handle.explanations("motifs")
    assert handle.verify()["mismatch"] is None and handle.graphs(0)[1] and len(handle.explanations("told")) == 6
    head = psutil.Process(read_endpoint(shared_service.root)["pid"])
    loaded = {Path(one.path).name for one in head.memory_maps()}
    assert any(name.startswith("libarrow") for name in loaded), "that this is the process, and its libraries are seen"
    assert not {name for name in loaded if name.startswith("libtorch")}


def test_steering_over_http(shared_service, tmp_path) -> None:
    steps = Path(__file__).parents[1] / "system" / "tasks" / "steps"
    far = far_client(shared_service.root, tmp_path)
    handle = far.submit({"task": str(steps), "budget": {"trials": 5000}, "resources": {"cpus": 1, "workers": 2}})
    until(lambda: handle.status()["counts"]["completed"] >= 2)
    live = handle.status()
    assert live["state"] == "running" and handle.wait(0.1) is None
    handle.pause(at_once=True)
    assert handle.wait(60)["state"] == "paused"
    handle.extend(trials=6000)
    assert handle.card()["spec"]["budget"]["trials"] == 6000
    handle.resume()
    handle.cancel()
    assert handle.wait(60)["state"] == "cancelled"
    with pytest.raises(SearchNotFoundError):
        handle.pause()
    with pytest.raises(TransitionError):
        handle.extend(trials=7000)
    with pytest.raises(SpecError):
        handle.extend(trials=0)


def test_the_spool_of_a_running_service(shared_service, task, tmp_path) -> None:
    root = shared_service.root
    client = Client(root, service=RemoteHead(shared_service.head))
    handle = client.submit(spec(task), spool=True)
    bad = client.submit(spec(task, controller="no_such_controller"), spool=True)
    shutil.rmtree(task)
    until(lambda: not list((root / SPOOL).glob("*.search")))
    ended = handle.wait(200)
    assert ended is not None and ended["state"] == "finished" and len(handle.results()) == 6
    assert list(client.searches()["search_id"]).count(handle.id) == 1
    [refused] = client.spooled()
    assert refused["search_id"] == bad.id and "no_such_controller" in json.dumps(refused)
    assert "random_search" in (root / SPOOL / REFUSED / f"{bad.id}.txt").read_text()
    with pytest.raises(SearchNotFoundError):
        bad.status()


def test_a_client_over_http_outlives_the_head(service, root, tmp_path) -> None:
    steps = Path(__file__).parents[1] / "system" / "tasks" / "steps"
    spooled = Client(root).submit({"task": str(steps), "budget": {"trials": 3}}, spool=True)
    one = service()
    far = far_client(root, tmp_path)
    assert until(lambda: (root / SPOOL / f"{spooled.id}.search").exists() is False), "a starting service takes it"
    handle = far.submit({"task": str(steps), "budget": {"trials": 60}, "resources": {"cpus": 1, "workers": 2}})
    before = read_endpoint(root)
    until(lambda: handle.status()["counts"]["completed"] >= 3)
    psutil.Process(one.call("info")["pid"]).kill()
    ended = handle.wait(200)
    assert ended is not None and ended["state"] == "finished" and len(handle.results()) == 60
    after = read_endpoint(root)
    assert after["http"] == before["http"] and after["epoch"] == before["epoch"] + 1, "the same port again"
    assert far.handle(spooled.id).wait(60)["state"] == "finished"
    far.stop_service()
    until(lambda: not (root / "endpoint.json").exists())

    def silent() -> bool:
        try:
            return not httpx.get(before["http"] + "/health", timeout=5)
        except httpx.TransportError:
            return True

    until(silent)
