"""``xnas finalize``: which service trains, what is asked of it, what is printed, and that it goes on."""

from __future__ import annotations

import contextlib
import json
import shutil
from typing import Any

import pandas as pd
import pytest

from xnas_ray import client as clients
from xnas_ray.service import distilled
from xnas_ray.service.distilled import side_by_side
from xnas_ray.service.finalists import key_of
from xnas_ray.spec import FINALISTS, SearchSpec
from xnas_ray.store import SearchRow, StoreWriter, new_search_id

CHILD, STUDENTS = new_search_id(1_800_000_000), new_search_id(1_800_000_100)
FOUND = pd.DataFrame(
    {
        "trial": [4, 2],
        "architecture": ["four", "two"],
        "seeds": [2, 1],
        "failed": [0, 1],
        "searched_val_accuracy": [91.0, 90.0],
        "searched_params": [100.0, 50.0],
        "test_accuracy": [90.25, 88.0],
        "test_accuracy_std": [0.5, float("nan")],
        "params": [100.0, 50.0],
        "params_std": [0.0, float("nan")],
    }
)


@pytest.fixture
def store(archive, fake_head, monkeypatch, tmp_path):
    """A copy of the archive; whoever submits finalists finds them trained, by a service that is started here."""
    root = tmp_path / "store"
    shutil.copytree(archive.root, root)
    fake_head.root, fake_head.started = root, []

    def submit(protocol: int, spec: dict[str, Any], task_hash: str, key: str) -> str:
        taught = bool(spec["recipe"].get("teacher"))
        finished(root, spec, task_hash, key, search_id=STUDENTS if taught else CHILD)
        return STUDENTS if taught else CHILD

    @contextlib.contextmanager
    def local(folder, **settings):
        settings.pop("on_start")()
        fake_head.started.append(settings)
        client = clients.Client(folder, service=fake_head)
        yield client
        client.stop_service()

    fake_head.answers["submit"] = submit
    monkeypatch.setattr(clients, "local_client", local)
    monkeypatch.setattr(clients.SearchHandle, "finalists", shown)
    return fake_head


def shown(handle: clients.SearchHandle, *, beside: clients.SearchHandle | None = None) -> pd.DataFrame:
    """What was found; students are a point better."""
    if beside is None:
        return FOUND
    assert (handle.id, beside.id) == (STUDENTS, CHILD)
    return side_by_side(FOUND, FOUND.assign(test_accuracy=FOUND["test_accuracy"] + 1), teacher=2)


def finished(
    root, spec: dict[str, Any], task_hash: str, key: str, state: str = "finished", search_id: str = CHILD
) -> None:
    """Write a search of finalists."""
    whole = SearchSpec.from_mapping({**spec, "seed": 0, "fidelity": 1}).to_json()
    card = {"spec": whole, "task": "toy", "task_hash": task_hash, "space": "nasbench201", "objectives": []}
    with StoreWriter.open(root) as writer:
        for at, one in ((1.0, "queued"), (2.0, state)):
            place = {"epoch": writer.epoch, "seq": writer.next_seq(), "at": 1_800_000_000 + at}
            first = {"spec": json.dumps(card), "idempotency_key": key, "name": "f"} if one == "queued" else {}
            writer.append(SearchRow(search_id=search_id, state=one, reason="", **place, **first))


def test_trained_here_from_start_to_end(xnas, archive, store):
    printed = xnas("finalize", archive.finished, "--seeds", 2, "--top", 2, "--workers", 1, "--root", store.root)
    assert printed.code == 0, printed.err
    assert store.started == [{"workers": 1, "cpus": 1.0, "only": ()}]
    assert [call[0] for call in store.calls] == ["submit", "stop"]
    spec = SearchSpec.from_mapping(store.calls[0][2])
    assert (spec.controller.name, spec.parent, spec.budget.trials) == (FINALISTS, archive.finished, 4)
    assert store.calls[0][4] == key_of(spec)
    lines = printed.out.splitlines()
    assert CHILD in lines[-4] and lines[-3].split()[:3] == ["trial", "searched", "val_accuracy"]
    assert lines[-2].split() == ["4", "91", "100", "90.25", "±", "0.5", "2", "four"]
    assert lines[-1].split() == ["2", "90", "50", "88", "1", "1", "two"], "one seed has no spread"


def test_asked_again_nothing_is_trained(xnas, archive, store):
    first = xnas("finalize", archive.finished, "--root", store.root, "--json")
    store.calls.clear()
    again = xnas("finalize", archive.finished, "--root", store.root, "--json")
    assert store.calls == [] and len(store.started) == 1
    shown = json.loads(again.out)
    assert shown["search_id"] == CHILD and shown["finalists"][0]["test_accuracy"] == 90.25
    assert json.loads(first.out[first.out.index("{\n") :]) == shown


def test_what_was_interrupted_goes_on(xnas, archive, store):
    handle = clients.Client(store.root).handle(archive.finished)
    spec, key = handle.finalists_spec()
    finished(store.root, spec.to_json(), handle.card()["task_hash"], key, state="running")
    store.answers["status"] = lambda one: [{**handle.stored_status(), "state": "paused"}]
    store.answers["wait"] = lambda one, seconds: handle.stored_status()
    printed = xnas("finalize", archive.finished, "--root", store.root)
    assert printed.code == 0, printed.err
    calls = [call[0] for call in store.calls]
    assert store.started[0]["only"] == (CHILD,) and "resume" in calls and "submit" not in calls


def test_a_search_that_goes_on_has_finalists_so_far(xnas, archive, store):
    printed = xnas("finalize", archive.unfinished, "--root", store.root)
    assert printed.code == 0 and "finalists so far" in printed.err


def test_a_running_service_is_used(xnas, archive, store, monkeypatch):
    monkeypatch.setattr("xnas_ray.service.archive.living_writer", lambda root: "process 1")
    assert xnas("finalize", archive.finished, "--root", store.root).code == 0
    assert store.started == [] and [call[0] for call in store.calls] == ["submit"], "and it is left running"


def test_trainings_that_do_not_finish(xnas, archive, store):
    store.answers["submit"] = lambda *given: finished(store.root, *given[1:], state="cancelled") or CHILD
    printed = xnas("finalize", archive.finished, "--root", store.root)
    assert printed.code == 1 and "did not finish: cancelled" in printed.err


def test_written(xnas, archive, store, tmp_path, monkeypatch):
    rows = [
        {"trial": 0, "status": "completed", "origin": '{"finalist": 4}', "replicate": 1},
        {"trial": 1, "status": "failed", "origin": '{"finalist": 2}', "replicate": 1},
    ]
    exported = []
    monkeypatch.setattr(clients.SearchHandle, "results", lambda handle: pd.DataFrame(rows))
    monkeypatch.setattr(clients.SearchHandle, "export", lambda handle, trial, folder: exported.append((trial, folder)))
    out = tmp_path / "front"
    assert xnas("finalize", archive.finished, "--root", store.root, "--out", out).code == 0
    assert pd.read_csv(out / "finalists.csv")["test_accuracy"].tolist() == [90.25, 88.0]
    assert exported == [(0, out / "trial-4-seed-1")]
    again = xnas("finalize", archive.finished, "--root", store.root, "--out", out)
    assert again.code == 2 and "is not empty" in again.err, "before anything is trained"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--trials", "a,b"), "no list of trials"),
        (("--trials", "99"), "is no completed trial"),
        (("--seeds", "0"), "seeds"),
        (("--gpus", "1.5"), "whole number"),
    ],
)
def test_mistakes(xnas, archive, store, arguments, told):
    printed = xnas("finalize", archive.finished, "--root", store.root, *arguments)
    assert printed.code == 2 and told in printed.err and store.calls == []


# ---- distilled from the largest -------------------------------------------------------------------------------------


@pytest.fixture
def taught(store, monkeypatch):
    """The trainings of finalists have no rows here; the second search is made of the first one's card all the same."""
    real, asked = distilled.specification, []

    def specification(search_id, card, trials, searched, **given):
        asked.append(search_id)
        best = distilled.largest(card, searched)
        own = {"trial": [0], "origin": [json.dumps({"finalist": best})], "replicate": [1], "status": ["completed"]}
        return real(search_id, card, pd.DataFrame(own), searched, **given)

    monkeypatch.setattr(distilled, "specification", specification)
    return asked


def distil(xnas, archive, store, *more: Any):
    return xnas("finalize", archive.finished, "--distill-from-largest", "--root", store.root, *more)


def test_two_searches_one_after_the_other_by_one_service(xnas, archive, store, taught):
    printed = distil(xnas, archive, store, "--workers", 1)
    assert printed.code == 0, printed.err
    assert len(store.started) == 1 and [call[0] for call in store.calls] == ["submit", "submit", "stop"]
    first, second = (SearchSpec.from_mapping(call[2]) for call in store.calls[:2])
    assert first.recipe.get("teacher", "") == "" and second.recipe["teacher"] == f"{CHILD}/0"
    assert first.controller == second.controller and second.parent == archive.finished
    assert second.resources.workers == 1 and store.calls[1][4] == key_of(second)
    lines = printed.out.splitlines()
    assert CHILD in lines[-4] and STUDENTS in lines[-4]
    assert lines[-3].split()[-5:] == ["distilled", "test_accuracy", "seeds", "failed", "architecture"]
    assert lines[-2].split() == ["4", "91", "100", "90.25", "±", "0.5", "91.25", "±", "0.5", "2", "+", "2", "four"]
    assert lines[-1].split() == ["2*", "90", "50", "88", "89", "1", "+", "1", "2", "two"]


def test_the_first_step_is_the_ordinary_one_and_is_not_repeated(xnas, archive, store, taught):
    assert xnas("finalize", archive.finished, "--root", store.root).code == 0
    store.calls.clear()
    assert distil(xnas, archive, store).code == 0
    (submitted,) = [call for call in store.calls if call[0] == "submit"]
    assert submitted[2]["recipe"]["teacher"] == f"{CHILD}/0", "the students alone"
    store.calls.clear()
    again = distil(xnas, archive, store, "--json")
    told = json.loads(again.out)
    assert store.calls == [] and len(store.started) == 2
    assert (told["search_id"], told["distilled_search_id"]) == (CHILD, STUDENTS)
    assert [one["teacher"] for one in told["finalists"]] == [False, True]
    assert told["finalists"][0]["distilled_test_accuracy"] == 91.25


def test_interrupted_in_its_second_step_it_goes_on_there(xnas, archive, store, taught):
    handle = clients.Client(store.root).handle(archive.finished)
    task_hash, (spec, key) = handle.card()["task_hash"], handle.finalists_spec(untaught=True)
    finished(store.root, spec.to_json(), task_hash, key)
    spec, key = clients.Client(store.root).handle(CHILD).distilled_spec()
    finished(store.root, spec.to_json(), task_hash, key, state="running", search_id=STUDENTS)
    store.answers["status"] = lambda one: [{**handle.stored_status(), "state": "paused"}]
    store.answers["wait"] = lambda one, seconds: handle.stored_status()
    printed = distil(xnas, archive, store)
    assert printed.code == 0, printed.err
    calls = [call[0] for call in store.calls]
    assert store.started[0]["only"] == (STUDENTS,) and "resume" in calls and "submit" not in calls


def test_nobody_is_taught_when_the_first_step_does_not_finish(xnas, archive, store, taught):
    store.answers["submit"] = lambda *given: finished(store.root, *given[1:], state="cancelled") or CHILD
    printed = distil(xnas, archive, store)
    assert printed.code == 1 and "did not finish: cancelled" in printed.err and taught == []


def test_students_are_written_beside_their_teachers(xnas, archive, store, taught, tmp_path, monkeypatch):
    rows = pd.DataFrame([{"trial": 0, "status": "completed", "origin": '{"finalist": 4}', "replicate": 1}])
    exported = []
    monkeypatch.setattr(clients.SearchHandle, "results", lambda handle: rows)
    monkeypatch.setattr(clients.SearchHandle, "export", lambda handle, trial, to: exported.append((handle.id, to.name)))
    assert distil(xnas, archive, store, "--out", tmp_path / "front").code == 0
    assert exported == [(CHILD, "trial-4-seed-1"), (STUDENTS, "trial-4-seed-1-distilled")]
    assert "distilled_test_accuracy" in pd.read_csv(tmp_path / "front" / "finalists.csv")
