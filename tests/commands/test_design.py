"""``xnas design``: what is asked, printed and written, and how the designs come to be trained."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pandas as pd
import pytest

from xnas_ray import client as clients
from xnas_ray.service.designs import DESIGNS
from xnas_ray.service.store_access import LocalStore
from xnas_ray.spec import SearchSpec
from xnas_ray.store import SearchRow, StoreWriter, new_search_id

CHILD = new_search_id(1_800_000_000)


def design(flops: float | None, rank: int, **changes: Any) -> dict[str, Any]:
    near = [{"trial": 3, "architecture": "c", "distance": 0.5, "measured": 90.25}]
    return {
        "budget": {"flops": flops, "params": None},
        "rank": rank,
        "architecture": f"arch-{rank}",
        "recipe": {},
        "genotype": [0, 0, 0, 0, 0, rank],
        "predicted": 93.5,
        "std": 0.25,
        "flops": 1200,
        "params": 40,
        "trial": None,
        "measured": None,
        "neighbours": near,
        **changes,
    }


@pytest.fixture
def asked(monkeypatch):
    """Queries that were asked; the answer is made up."""
    found: list[dict[str, Any]] = []

    def answered(store: LocalStore, search_id: str, query: dict[str, Any]) -> dict[str, Any]:
        found.append(query)
        return {
            "search_id": search_id,
            "objective": {"name": "val_accuracy", "maximize": True, "unit": "%"},
            "epoch": 7,
            "labels": 12,
            "members": query["members"],
            "held_out": {"folds": 5, "spearman": 0.876, "error": 0.5, "baseline": 1.25},
            "warnings": ["12 trials are few"],
            "designs": [
                row for f in query["flops"] or [None] for row in (design(f, 1), design(f, 2, trial=4, measured=92.0))
            ],
        }

    monkeypatch.setattr(LocalStore, "design", answered)
    return found


def test_budgets_are_a_list_and_each_is_printed(xnas, archive, asked):
    printed = xnas(
        "design",
        archive.finished,
        "--flops",
        "2e3,3e3",
        "--flops",
        "4e3",
        "--params",
        50,
        "--top",
        2,
        "--root",
        archive.root,
    )
    assert printed.code == 0 and printed.err == "warning: 12 trials are few\n"
    (query,) = asked
    assert (query["flops"], query["params"], query["top"], query["neighbours"]) == ([2e3, 3e3, 4e3], 50.0, 2, 3)
    lines = printed.out.splitlines()
    assert lines[0] == f"val_accuracy after epoch 7, predicted from 12 trials of search {archive.finished}"
    assert "rank correlation 0.88, mean error 0.5 % (1.25 % when their mean is guessed)" in lines[1]
    assert [line for line in lines if line.startswith("at most")] == [f"at most {n},000 FLOPs" for n in (2, 3, 4)]
    assert lines[4].split() == ["predicted", "+-", "FLOPs", "params", "trial", "measured", "nearest", "architecture"]
    assert lines[5].split() == ["93.5", "0.25", "1200", "40", "3:", "90.25", "(0.5)", "arch-1"]
    assert lines[6].split() == ["93.5", "0.25", "1200", "40", "4", "92", "3:", "90.25", "(0.5)", "arch-2"]


def test_json_is_the_answer(xnas, archive, asked):
    shown = json.loads(xnas("design", archive.finished, "--json", "--root", archive.root).out)
    assert asked[0]["flops"] == [] and shown["submitted"] is None
    assert shown["designs"][0]["budget"] == {"flops": None, "params": None} and shown["held_out"]["spearman"] == 0.876


def test_written_as_a_table(xnas, archive, asked, tmp_path):
    for suffix, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        path = tmp_path / f"designs.{suffix}"
        printed = xnas("design", archive.finished, "--flops", "2e3", "--out", path, "--root", archive.root)
        assert printed.code == 0 and f"wrote 2 designs to {path}" in printed.err
        frame = read(path)
        assert frame["architecture"].tolist() == ["arch-1", "arch-2"] and frame["budget_flops"].tolist() == [2e3] * 2
        assert frame["trial"].isna().tolist() == [True, False] and frame["neighbour_1_measured"].tolist() == [90.25] * 2
    path = tmp_path / "designs.json"
    assert xnas("design", archive.finished, "--out", path, "--root", archive.root).code == 0
    assert json.loads(path.read_text())["labels"] == 12


def test_from_the_stored_trials(xnas, designable):
    """The real thing, with recipes; nothing is made up."""
    printed = xnas("design", "latest", "--flops", "200e3", "--members", 1, "--top", 2, "--root", designable)
    assert printed.code == 0, printed.err
    lines = printed.out.splitlines()
    assert "after epoch 4, predicted from 60 trials" in lines[0] and lines[3] == "at most 200,000 FLOPs"
    assert lines[4].split()[-2:] == ["architecture", "recipe"] and ", dropout=0." in lines[5] and len(lines) == 7


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--flops", "many"), "is no list of numbers"),
        (("--flops", "-1"), "flops: must be above 0"),
        (("--params", "0"), "params: must be above 0"),
        (("--out", "designs.txt"), "does not tell its format"),
        (("--top", "0"), "top"),
    ],
)
def test_mistakes(xnas, archive, asked, arguments, told):
    printed = xnas("design", archive.finished, *arguments, "--root", archive.root)
    assert printed.code == 2 and told in printed.err and asked == []


# ---- trained ---------------------------------------------------------------------------------------------------------


def test_a_running_service_is_given_them(xnas, archive, asked, fake_head, monkeypatch):
    monkeypatch.setattr("xnas_ray.service.archive.living_writer", lambda root: "process 1")
    fake_head.answers["submit"] = CHILD
    printed = xnas(
        "design", archive.finished, "--flops", "2e3", "--submit", "--seeds", 2, "--workers", 3, "--root", archive.root
    )
    assert printed.code == 0 and f"xnas watch {CHILD}" in printed.err
    (call,) = fake_head.calls
    spec = SearchSpec.from_mapping(call[2])
    assert (spec.controller.name, spec.parent, spec.budget.trials) == (DESIGNS, archive.finished, 4)
    assert spec.resources.workers == 3 and call[4].startswith("designs-")


@pytest.fixture
def own(archive, fake_head, monkeypatch, tmp_path):
    """A copy of the archive; whoever submits designs finds them trained, by a service that is started here."""
    import shutil

    root = tmp_path / "store"
    shutil.copytree(archive.root, root)
    fake_head.root, fake_head.started, fake_head.ends = root, [], "finished"

    def submit(protocol: int, spec: dict[str, Any], task_hash: str, key: str) -> str:
        written(root, spec, task_hash, key, fake_head.ends)
        return CHILD

    @contextlib.contextmanager
    def local(folder, **settings):
        settings.pop("on_start")()
        fake_head.started.append(settings)
        client = clients.Client(folder, service=fake_head)
        yield client
        client.stop_service()

    fake_head.answers["submit"] = submit
    monkeypatch.setattr(clients, "local_client", local)
    return fake_head


def written(root, spec: dict[str, Any], task_hash: str, key: str, state: str) -> None:
    """Write a search of designs."""
    whole = SearchSpec.from_mapping({**spec, "seed": 0, "fidelity": 1}).to_json()
    card = {"spec": whole, "task": "toy", "task_hash": task_hash, "space": "nasbench201", "objectives": []}
    with StoreWriter.open(root) as writer:
        for at, one in ((1.0, "queued"), (2.0, state)):
            place = {"epoch": writer.epoch, "seq": writer.next_seq(), "at": 1_800_000_000 + at}
            first = {"spec": json.dumps(card), "idempotency_key": key, "name": "d"} if one == "queued" else {}
            writer.append(SearchRow(search_id=CHILD, state=one, reason="", **place, **first))


def test_without_a_service_they_are_trained_here_and_once(xnas, archive, asked, own):
    line = ("design", archive.finished, "--flops", "2e3", "--submit", "--workers", 1, "--json", "--root", own.root)
    printed = xnas(*line)
    assert printed.code == 0, printed.err
    assert own.started == [{"workers": 1, "cpus": 1.0, "only": ()}]
    assert [call[0] for call in own.calls] == ["submit", "stop"] and f"xnas best {CHILD}" in printed.err
    assert json.loads(printed.out[printed.out.index("{\n") :])["submitted"] == CHILD
    again = xnas(*line)
    assert again.code == 0 and len(own.started) == 1, "asked again, nothing is trained again"
    assert json.loads(again.out)["submitted"] == CHILD


def test_what_was_interrupted_goes_on(xnas, archive, asked, own):
    handle = clients.Client(own.root).handle(archive.finished)
    spec, key = handle.designs_spec(handle.design(2e3))
    written(own.root, spec.to_json(), handle.card()["task_hash"], key, "running")
    own.answers["status"] = lambda one: [{**handle.stored_status(), "state": "paused"}]
    own.answers["wait"] = lambda one, seconds: handle.stored_status()
    printed = xnas("design", archive.finished, "--flops", "2e3", "--submit", "--root", own.root)
    assert printed.code == 0, printed.err
    calls = [call[0] for call in own.calls]
    assert own.started[0]["only"] == (CHILD,) and "resume" in calls and "submit" not in calls


def test_trainings_that_do_not_finish(xnas, archive, asked, own):
    own.ends = "cancelled"
    printed = xnas("design", archive.finished, "--flops", "2e3", "--submit", "--root", own.root)
    assert printed.code == 1 and "did not finish: cancelled" in printed.err
