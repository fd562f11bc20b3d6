from __future__ import annotations

import json
import os
import shutil
import time

import pytest

from xnas_ray.service import leftovers
from xnas_ray.service.archive import stored_card
from xnas_ray.service.leftovers import YOUNG_S, find_leftovers, remove
from xnas_ray.store import Layout, StoreWriter, new_search_id
from xnas_ray.store.compaction import KEEP_S
from xnas_ray.store.layout import supernet_folder
from xnas_ray.store.reader import load_trials


@pytest.fixture
def store(archive, tmp_path):
    root = tmp_path / "store"
    shutil.copytree(archive.root, root)
    return Layout(root)


def put(folder, *names: str, size: int = 10) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x" * size)


def found(store, **given) -> set[str]:
    return {str(one.path.relative_to(store.root)) for one in find_leftovers(store.root, **given)}


def keeping(store, archive, monkeypatch, **spec) -> None:
    """Let the finished search have other settings."""
    card = stored_card(store.root, archive.finished)
    real = leftovers.search_rows

    def rows(layout):
        changed = real(layout)
        text = json.dumps({**card, "spec": {**card["spec"], **spec}})
        changed[archive.finished] = [{**row, "spec": text} for row in changed[archive.finished]]
        return changed

    monkeypatch.setattr(leftovers, "search_rows", rows)


def test_a_clean_store(store):
    assert find_leftovers(store.root) == []


def test_artifacts_of_an_ended_search(store, archive):
    best = store.artifacts(archive.finished, archive.best, (1, 0))
    put(best, "checkpoint.pt")
    put(store.artifacts(archive.finished, archive.best, (1, 1)), "weights.pt")
    put(store.artifacts(archive.finished, 2, (1, 0)), "weights.pt", "activations.npy")
    put(store.artifacts(archive.unfinished, 3, (1, 0)), "checkpoint.pt", "weights.pt")
    prefix = f"artifacts/{archive.finished}"
    expected = {f"{prefix}/{archive.best}/1-0/checkpoint.pt", f"{prefix}/{archive.best}/1-1", f"{prefix}/2/1-0"}
    assert found(store) == expected
    one = next(x for x in find_leftovers(store.root) if x.path.name == "1-0")
    assert one.bytes == 20 and one.reason == "keep_weights = best"
    assert remove(store.root, find_leftovers(store.root)) == []
    assert found(store) == set() and (best / "weights.pt").exists()
    assert not (store.root / prefix / "2").exists()
    assert store.artifacts(archive.unfinished, 3, (1, 0)).exists()


@pytest.mark.parametrize("keep", ["best", "all"])
def test_supernets_of_an_ended_search(store, archive, monkeypatch, keep):
    shutil.rmtree(store.root / "artifacts")
    for search_id in (archive.finished, archive.unfinished):
        put(store.root / supernet_folder(search_id) / "0", "checkpoint.pt")
    keeping(store, archive, monkeypatch, keep_weights=keep)
    assert found(store) == ({f"artifacts/{archive.finished}/supernets"} if keep == "best" else set())


@pytest.mark.parametrize("keep", ["none", "best", "front", "all"])
def test_keep_weights(store, archive, monkeypatch, keep):
    from xnas_ray.service.archive import best_trials

    ranked = best_trials(store.root, archive.finished)
    for trial in range(12):
        put(store.artifacts(archive.finished, trial, (1, 0)), "weights.pt")
    keeping(store, archive, monkeypatch, keep_weights=keep)
    kept = {
        "none": set(),
        "best": {archive.best},
        "front": {one["trial"] for one in ranked if one["front"]},
        "all": set(range(12)) - {3},
    }[keep]
    assert found(store) == {f"artifacts/{archive.finished}/{n}/1-0" for n in set(range(12)) - kept}


@pytest.mark.parametrize(("weights", "activations"), [("best", "all"), ("all", "none"), ("none", "front")])
def test_weights_and_activations_go_each_by_its_own(store, archive, monkeypatch, weights, activations):
    from xnas_ray.service.archive import best_trials

    shutil.rmtree(store.root / "artifacts")
    for trial in range(12):
        put(store.artifacts(archive.finished, trial, (1, 0)), "weights.pt", "decision_tree.npz", "activations.npz")
    keeping(store, archive, monkeypatch, keep_weights=weights, keep_activations=activations)
    assert remove(store.root, find_leftovers(store.root)) == [] and found(store) == set()
    front = {one["trial"] for one in best_trials(store.root, archive.finished) if one["front"]}
    wanted = {"none": set(), "best": {archive.best}, "front": front, "all": set(range(12)) - {3}}
    for name, keep in (("weights.pt", weights), ("decision_tree.npz", weights), ("activations.npz", activations)):
        left = (store.root / "artifacts" / archive.finished).glob(f"*/1-0/{name}")
        assert {int(path.parts[-3]) for path in left} == wanted[keep]


def test_logs_of_ended_searches_beyond_a_limit(store, archive):
    for search in (archive.finished, archive.unfinished, archive.cancelled):
        put(store.root / "logs" / search, "w-1.jsonl", "head.jsonl", size=1000)
    put(store.root / "logs", "head.jsonl", size=10_000)
    later = time.time() + YOUNG_S + 1
    assert found(store, now_s=later) == set(), "few bytes stay"
    assert found(store, logs_bytes=0) == set(), "lines may still come to what is young"
    assert found(store, logs_bytes=0, now_s=later) == {f"logs/{archive.finished}", f"logs/{archive.cancelled}"}
    one = find_leftovers(store.root, logs_bytes=2500, now_s=later)
    listed = [(str(each.path.relative_to(store.root)), each.bytes) for each in one]
    assert listed == [(f"logs/{archive.cancelled}", 2000)], "that one ended first"
    assert "beyond" in one[0].reason
    assert remove(store.root, one) == [] and not one[0].path.exists()
    assert (store.root / "logs" / archive.unfinished).exists()


def test_logs_of_no_search(store):
    put(store.root / "logs" / new_search_id(1.0), "head.jsonl")
    assert len(found(store, now_s=time.time() + YOUNG_S + 1)) == 1 and found(store) == set()


def test_young_things_may_belong_to_a_new_search(store, archive):
    put(store.root / "artifacts" / new_search_id(1.0) / "0" / "1-0", "weights.pt")
    put(store.root / "tasks" / ("ab" * 16), "problem.py")
    put(store.root / "tasks" / ".incoming-x", "problem.py")
    assert found(store) == set()
    later = found(store, now_s=time.time() + YOUNG_S + 1)
    assert len(later) == 3 and f"tasks/{'ab' * 16}" in later
    used = stored_card(store.root, archive.finished)["task_hash"]
    assert f"tasks/{used}" not in later and store.task(used).exists()


def test_latency_tables_that_no_search_uses(store, archive, monkeypatch):
    used, unused = ("0" * 32, "1" * 32)
    put(store.root / "latency_tables", f"{used}.json", f"{unused}.json")
    params = {"latency_table_ms": {"table": f"/tables/phone.json@{used}"}}
    keeping(store, archive, monkeypatch, objective_params=params)
    assert not {name for name in found(store) if "latency" in name}
    later = found(store, now_s=time.time() + YOUNG_S + 1)
    assert {name for name in later if "latency" in name} == {f"latency_tables/{unused}.json"}


def test_temporary_files_of_ended_writers(store):
    put(store.temporary / "1", "part.tmp")
    put(store.temporary / "fenced-1-0", "part.tmp")
    assert found(store) == {"_tmp/1", "_tmp/fenced-1-0"}
    with StoreWriter.open(store.root) as writer:
        own = store.temporary_of(writer.epoch)
        put(own, "part.tmp")
        assert f"_tmp/{writer.epoch}" not in found(store)
    assert remove(store.root, find_leftovers(store.root)) == [] and found(store) == set()
    assert store.temporary.is_dir()


def test_replaced_parts_are_left_to_the_writer(store, archive):
    with StoreWriter.open(store.root, clock=lambda: time.time() - KEEP_S - 60) as writer:
        for _ in range(3):
            writer.append(_transition(archive, writer))
            writer.commit()
        writer.compact(whole=True)
    replaced = [one for one in find_leftovers(store.root) if one.replaced]
    assert replaced and all(one.path.parent.name in ("searches",) or "search_id" in str(one.path) for one in replaced)
    before = load_trials(store.root)
    with StoreWriter.open(store.root):
        assert remove(store.root, replaced) == []
        assert all(one.path.exists() for one in replaced)
    assert remove(store.root, replaced) == []
    assert not any(one.path.exists() for one in replaced)
    assert load_trials(store.root).equals(before)


def _transition(archive, writer):
    from xnas_ray.store import SearchRow

    place = {"epoch": writer.epoch, "seq": writer.next_seq(), "at": 1_700_001_000.0}
    return SearchRow(search_id=archive.finished, state="finished", reason="again", **place)


def test_what_cannot_be_removed_is_reported(store, archive, monkeypatch):
    put(store.artifacts(archive.finished, 2, (1, 0)), "weights.pt")
    listed = find_leftovers(store.root)

    def busy(path, *_, **__):
        raise OSError(16, os.strerror(16))

    monkeypatch.setattr(leftovers.shutil, "rmtree", busy)
    [problem] = remove(store.root, listed)
    assert problem.endswith("2/1-0: Device or resource busy")


def test_what_vanished_meanwhile_is_no_problem(store, archive):
    put(store.artifacts(archive.finished, 2, (1, 0)), "weights.pt")
    listed = find_leftovers(store.root)
    shutil.rmtree(store.artifacts(archive.finished, 2, (1, 0)))
    assert remove(store.root, listed) == []
