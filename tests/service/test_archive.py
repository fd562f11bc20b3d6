from __future__ import annotations

import pytest

from xnas_ray.errors import SearchNotFoundError, StoreError
from xnas_ray.messages import SearchState
from xnas_ray.service import archive as archives
from xnas_ray.store import SearchRow, StoreWriter, new_search_id


def test_states(archive):
    assert archives.stored_state(archive.root, archive.finished) == SearchState.FINISHED
    assert archives.stored_state(archive.root, archive.unfinished) == SearchState.RUNNING
    with pytest.raises(SearchNotFoundError):
        archives.stored_state(archive.root, "01HF7YAT00K95CHD81T2FW3FZK")


def test_transitions(archive):
    found = archives.transitions(archive.root, archive.finished)
    assert [t["state"] for t in found] == ["queued", "running", "finished"]
    assert found[-1]["reason"] == "budget.trials is reached" and found[0]["at"] < found[1]["at"]


def test_status_has_the_keys_of_a_live_one(archive, live_status):
    status = archives.stored_status(archive.root, archive.finished)
    assert status.keys() == live_status.keys()
    for name in ("counts", "budget", "best"):
        assert status[name].keys() == live_status[name].keys()
    assert status["recent"][0].keys() == live_status["recent"][0].keys()


def test_status_counts(archive):
    status = archives.stored_status(archive.root, archive.finished)
    assert status["counts"] == dict(asked=12, queued=0, running=0, completed=11, failed=1, cancelled=0, reused=0)
    assert status["best"]["trial"] == archive.best and status["best"]["objective"] == "val_accuracy"
    assert status["executions"] == 12 and len(status["recent"]) == 10 and status["running_s"] > 0
    waiting = archives.stored_status(archive.root, archive.unfinished)["counts"]
    assert waiting["asked"] == 5 and waiting["queued"] == 2 and waiting["completed"] == 3
    assert archives.stored_status(archive.root, archive.cancelled)["best"] is None


def test_summary_of_an_unfinished_search(archive):
    summary = archives.stored_summary(archive.root, archive.unfinished)
    assert (summary["completed"], summary["failed"], summary["budget_trials"]) == (3, 0, 32)
    assert summary["best"]["objective"] == "val_accuracy"


def test_records_hold_only_the_metrics_that_were_measured(archive):
    records = archives.trial_records(archive.root, archive.finished)
    failed = next(r for r in records if r["status"] == "failed")
    assert failed["trial"] == 3 and failed["metrics"] == {} and failed["failure_type"] == "ValueError"
    assert all(set(r["metrics"]) == {"val_accuracy", "params", "flops"} for r in records if r is not failed)
    assert archives.trial_records(archive.root, archive.cancelled) == []


def test_best_trials(archive):
    found = archives.best_trials(archive.root, archive.finished)
    values = [one["metrics"]["val_accuracy"] for one in found]
    assert len(found) == 11 and values == sorted(values, reverse=True)
    assert [one["trial"] for one in archives.best_trials(archive.root, archive.finished, 1)] == [archive.best]
    front = [one for one in found if one["front"]]
    for one in front:
        for other in found:
            better = other["metrics"]["val_accuracy"] > values[0] or (
                other["metrics"]["val_accuracy"] >= one["metrics"]["val_accuracy"]
                and other["metrics"]["params"] < one["metrics"]["params"]
            )
            assert not better


def test_best_trials_satisfy_the_constraints(archive, monkeypatch):
    card = archives.stored_card(archive.root, archive.finished)
    all_found = archives.best_trials(archive.root, archive.finished)
    limit = sorted(one["metrics"]["params"] for one in all_found)[5]
    constrained = {**card, "spec": {**card["spec"], "constraints": [f"params <= {limit}"]}}
    monkeypatch.setattr(archives, "stored_card", lambda root, search_id: constrained)
    found = archives.best_trials(archive.root, archive.finished)
    assert 0 < len(found) < len(all_found) and all(one["metrics"]["params"] <= limit for one in found)


def test_a_search_without_a_specification(tmp_path):
    search_id = new_search_id(1_700_000_000.0)
    with StoreWriter.open(tmp_path) as writer:
        row = SearchRow(search_id=search_id, epoch=writer.epoch, seq=0, at=1.0, state="queued")
        writer.append(row)
    with pytest.raises(StoreError, match="without a specification"):
        archives.stored_card(tmp_path, search_id)


def test_living_writer(tmp_path):
    assert archives.living_writer(tmp_path) == ""
    with StoreWriter.open(tmp_path):
        assert archives.living_writer(tmp_path).startswith("process ")
    assert archives.living_writer(tmp_path) == ""


@pytest.mark.parametrize(("module", "absent"), [("archive", "torch ray"), ("head", "torch")])
def test_neither_archive_nor_head_need_torch(module, absent):
    import subprocess
    import sys

    code = f"import sys, xnas_ray.service.{module}; assert not set({absent.split()!r}) & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
