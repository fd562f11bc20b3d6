"""Supernet searches in the queue: two gloo ranks by Ray Train on cleared places; a rank and the head are killed."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch

from xnas_ray.errors import SpecError, TaskError, UnknownNameError
from xnas_ray.service.archive import stored_state
from xnas_ray.service.verify import verify
from xnas_ray.store import load_explanations, load_trials
from xnas_ray.store.layout import supernet_folder
from xnas_ray.training.checkpoint import CHECKPOINT_NAME

DIGITS = Path(__file__).parents[2] / "experiments" / "digits"
SPACE = {"name": "nasbench201", "params": {"channels": 4, "cells_per_stage": 1, "stages": 1}}
EPOCHS = 25
SETTINGS = {"epochs": EPOCHS, "order": 1, "architecture_lr": 0.02, "batch_size": 128}
SEARCH = {
    "space": SPACE,
    "controller": {"name": "darts", "params": SETTINGS},
    "objectives": ["val_accuracy"],
    "fidelity": 1,
    "budget": {"trials": 3},
}


def until(condition: Callable[[], Any], timeout_s: float = 150.0) -> Any:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("timed out")


def workers_of(status: dict[str, Any]) -> set[str]:
    """Workers that hold trials of a search."""
    return {each["worker"] for each in status["running"]}


def epoch_of(service: Any, search_id: str) -> int:
    """The epoch that the job told last."""
    found = re.search(r"supernet \d+, epoch (\d+)", service.status(search_id)["reason"])
    return int(found.group(1)) if found else 0


def ranks() -> list[psutil.Process]:
    """Processes of jobs on the cluster of these tests."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # also one that nobody has reaped yet
            if "RayTrainWorker" in "".join(process.cmdline()):
                found.append(process)
    return found


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_job_clears_its_places_survives_a_rank_and_what_it_finds_is_trained(service, root):
    one = service()
    other = one.submit("steps", budget={"trials": 5000}, resources={"cpus": 1, "workers": 4})
    until(lambda: len(workers_of(one.status(other))) == 4)
    search_id = one.submit(str(DIGITS), **SEARCH)
    until(lambda: epoch_of(one, search_id) >= 3)
    meanwhile = one.status(other)
    assert len(workers_of(meanwhile)) <= 2, "two of four places are the job's"
    victim = max(ranks(), key=lambda p: p.create_time())
    reached = epoch_of(one, search_id)
    checkpoint = root / supernet_folder(search_id) / "0" / CHECKPOINT_NAME
    assert checkpoint.is_file()
    victim.kill()
    final = one.wait(search_id, 300)
    assert final["state"] == "finished" and final["counts"]["completed"] == 1, final
    assert one.status(other)["counts"]["completed"] > meanwhile["counts"]["completed"]
    curve = load_explanations(root, "supernet", search_id)
    losses = curve[curve["name"] == "train_loss"]
    assert losses["epoch"].tolist() == list(range(1, EPOCHS + 1)) and reached < EPOCHS
    assert losses["value"].iloc[-1] < losses["value"].iloc[0]
    assert {"entropy/1<-0", "p/1<-0/none", "architecture_loss"} <= set(curve["name"])
    [trial] = load_trials(root, search_id).to_dict("records")
    [found] = load_explanations(root, "discretization", search_id).to_dict("records")
    derived = load_explanations(root, "derived", search_id)
    assert found["method"] == "magnitude" and derived["evaluated_by"].tolist() == [0]
    assert derived["architecture"].tolist() == [trial["architecture"]]
    assert derived["val_accuracy"].tolist() == [trial["metric_val_accuracy"]]
    strengths = load_explanations(root, "strengths", search_id)
    assert len(strengths) == 30 and strengths["strength"].isna().sum() == 6
    assert strengths["chosen"].sum() == 6 and set(strengths["method"]) == {"magnitude"}
    assert set(strengths.loc[strengths["strength"].isna(), "option"]) == {"none"}
    found = verify(root, search_id)
    assert found.mismatch is None and found.equal == 1
    one.call("cancel", other)


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_the_next_head_goes_on_with_a_job_and_a_job_can_be_cancelled(service, root):
    one, others = service(), set(ray.util.placement_group_table())
    search_id = one.submit(str(DIGITS), **SEARCH)
    until(lambda: epoch_of(one, search_id) >= 3)
    reached = epoch_of(one, search_id)
    os.kill(one.call("info")["pid"], 9)
    told = until(lambda: _epoch_after_death(one, search_id))
    assert told >= reached, "its first words are of the epochs before"
    until(lambda: len(ranks()) >= 2)
    one.call("cancel", search_id)
    assert one.wait(search_id)["state"] == "cancelled"
    until(lambda: not ranks() and not places() - others)  # also those of the job that died with its head
    assert stored_state(root, search_id) == "cancelled"
    assert load_explanations(root, "supernet", search_id)["epoch"].max() < EPOCHS


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_job_that_is_paused_at_once_frees_its_places_and_goes_on_where_it_was(service, root):
    one, others = service(), set(ray.util.placement_group_table())
    search_id = one.submit(str(DIGITS), **SEARCH)
    until(lambda: epoch_of(one, search_id) >= 3)
    told = epoch_of(one, search_id)
    one.call("pause", search_id, True)
    until(lambda: one.status(search_id)["state"] == "paused" and not ranks())
    until(lambda: not places() - others)
    reached = trained_epochs(root, search_id)
    assert told <= reached < EPOCHS, "what was told is in the checkpoint"
    until(lambda: load_explanations(root, "supernet", search_id)["epoch"].max() >= told)  # and soon in the store
    one.call("resume", search_id)
    assert until(lambda: trained_epochs(root, search_id) - reached) > 0, "it does not begin anew"
    final = one.wait(search_id, 300)
    assert final["state"] == "finished" and final["counts"]["completed"] == 1, final
    curve = load_explanations(root, "supernet", search_id)
    assert curve[curve["name"] == "train_loss"]["epoch"].tolist() == list(range(1, EPOCHS + 1))


def places() -> set[str]:
    """Placement groups that hold resources."""
    groups = ray.util.placement_group_table().items()
    return {name for name, group in groups if group["state"] != "REMOVED"}


def trained_epochs(root: Path, search_id: str) -> int:
    """Epochs that the first supernet's checkpoint has."""
    content = torch.load(root / supernet_folder(search_id) / "0" / CHECKPOINT_NAME, weights_only=True)
    return content["state"]["epoch"]


def _epoch_after_death(service: Any, search_id: str) -> int:
    try:
        return epoch_of(service, search_id)
    except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
        return 0


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"epochs": 0}, SpecError, "epochs"),
        ({"order": 3}, SpecError, "controller.params.order"),
        ({"batch_size": 1}, SpecError, "controller.params.batch_size"),
        ({"weight_share": 1.0}, SpecError, "controller.params.weight_share"),
        ({"supernets": 0}, SpecError, "controller.params.supernets"),
        ({"epoch": 3}, UnknownNameError, "controller.params"),
        ({"discretize": ["magnitudes"]}, UnknownNameError, "discretize"),
    ],
)
def test_mistakes_are_named_where_the_search_is_submitted(root, change, error, named):
    from xnas_ray.service.resolve import resolve
    from xnas_ray.spec import SearchSpec
    from xnas_ray.tasks.bundle import bundle_task

    controller = {"name": "darts", "params": {**SETTINGS, **change}}
    spec = SearchSpec.from_mapping({**SEARCH, "task": "digits", "controller": controller})
    with pytest.raises(error) as raised:
        resolve(root, spec, bundle_task(DIGITS, root).hash)
    assert named in str(raised.value)


def test_a_supernet_needs_data_and_a_space_that_has_one(root):
    from xnas_ray.service.resolve import resolve
    from xnas_ray.spec import SearchSpec
    from xnas_ray.tasks.bundle import bundle_task

    tasks = Path(__file__).parents[1] / "system" / "tasks"
    for task, error, named in (("noop", TaskError, "load_data"), ("trained", UnknownNameError, "supernet")):
        spec = SearchSpec.from_mapping({"task": task, "controller": {"name": "darts", "params": {"order": 1}}})
        with pytest.raises(error, match=named):
            resolve(root, spec, bundle_task(tasks / task, root).hash)
