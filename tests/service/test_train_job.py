"""Trainings by several processes: Ray Train with two gloo ranks on CPUs, as a worker with two GPUs starts it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from xnas_ray.client import Client
from xnas_ray.errors import NanLossError, StoppedError
from xnas_ray.service.archive import stored_state, weights_of
from xnas_ray.service.connection import RemoteHead
from xnas_ray.service.ranks_job import Group, _cause, run_ranks
from xnas_ray.store import Layout, load_trials

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_a_finalist_on_two_gpus(service, root):
    """The whole way, on pretended GPUs: the ranks find none and train on CPUs."""
    one = service(gpus_per_node=2)
    parent = one.submit("trained", budget={"trials": 2})
    assert one.wait(parent)["counts"]["completed"] == 2
    client = Client(root, service=RemoteHead(one.head))
    child = client.handle(parent).finalize(top=1, seeds=1, epochs=3, gpus=2)
    deadline_s = time.monotonic() + 240
    while not stored_state(root, child.id).ended and time.monotonic() < deadline_s:
        time.sleep(0.5)
    trial = load_trials(root, child.id).iloc[0]
    assert trial["status"] == "completed", trial["failure_log"]
    assert 0 <= trial["metric_test_accuracy"] <= 100 and 0 <= trial["metric_introspectability"] <= 2
    assert json.loads(trial["environment"])["ranks"] == 2
    curve = child.curves()
    whole = 2 * resolved_lr(child)
    assert curve[curve["metric"] == "lr"]["value"].max() <= whole < 1.5 * curve[curve["metric"] == "lr"]["value"].max()
    assert curve[curve["metric"] == "train_loss"]["epoch"].tolist() == [1, 2, 3]
    assert curve[curve["metric"] == "test_accuracy"]["epoch"].tolist() == [3]
    weights = weights_of(Layout(root), trial.to_dict())
    assert weights is not None and all(torch.isfinite(w).all() for w in torch.load(weights, weights_only=True).values())
    assert [path.name for path in weights.parent.iterdir()] == ["weights.pt"], "no checkpoint, nothing of Ray Train"
    assert (child.finalists()["seeds"] == 1).all()


def resolved_lr(child: Any) -> float:
    """The learning rate of one rank."""
    return float(child.card()["spec"]["recipe"]["lr"])


def fail(config: dict[str, Any]) -> None:
    """What a rank runs in the next test; the second one raises."""
    import torch

    from xnas_ray.errors import NanLossError

    if torch.distributed.get_rank() == 1:
        raise NanLossError("the loss is NaN.", field=config["field"])
    time.sleep(60)


def wait(config: dict[str, Any]) -> None:
    """What a rank runs that has to be stopped."""
    Path(config["begun"]).touch()
    time.sleep(600)


def test_what_a_rank_raises_and_how_a_job_is_stopped(ray_cluster, tmp_path):
    group = Group(2, False, {"CPU": 1})
    with pytest.raises(NanLossError, match="here: the loss is NaN"):
        run_ranks(fail, {"field": "here"}, group=group, scratch=tmp_path / "one")
    begun = tmp_path / "begun"
    with pytest.raises(StoppedError, match="last whole epoch"):
        run_ranks(
            wait,
            {"begun": str(begun)},
            group=group,
            scratch=tmp_path / "two",
            stop_requested=lambda: "cancel" if begun.exists() else "",
        )
    assert not (tmp_path / "one").exists() and not (tmp_path / "two").exists()


def test_epochs_are_heard_line_by_line(tmp_path):
    from xnas_ray.service.ranks_job import _SCRATCH, EPOCHS, _hear, say_epoch

    heard: list[Any] = []
    assert _hear(tmp_path, 0, heard.append) == 0
    say_epoch({_SCRATCH: str(tmp_path)}, {"epoch": 1.0, "train_loss": 0.5})
    with (tmp_path / EPOCHS).open("a") as file:
        file.write('{"epoch": 2.0, "trai')
    at = _hear(tmp_path, 0, heard.append)
    assert heard == [{"epoch": 1.0, "train_loss": 0.5}]
    with (tmp_path / EPOCHS).open("a") as file:
        file.write('n_loss": 0.25}\n')
    _hear(tmp_path, at, heard.append)
    assert heard[1:] == [{"epoch": 2.0, "train_loss": 0.25}]


def test_causes_are_found_under_every_wrapping():
    class Wrapped(Exception):
        def __init__(self, cause: Exception) -> None:
            self.cause = cause

    class Group(Exception):
        def __init__(self, failures: dict[int, Exception]) -> None:
            self.worker_failures = failures

    inner = ValueError("inner")
    assert _cause(Wrapped(Group({1: Wrapped(inner), 2: KeyError()}))) is inner
    assert _cause(inner) is inner
