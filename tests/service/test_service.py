"""The whole service on a real Ray: searches side by side, requests, deaths and restarts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from xnas_ray.errors import SearchNotFoundError, SpecError, TaskError, TransitionError, UnknownNameError
from xnas_ray.service.bring_up import read_endpoint
from xnas_ray.service.remote import store_tag
from xnas_ray.service.verify import verify
from xnas_ray.store import load_trials
from xnas_ray.store.reader import load_log


def value(genotype: Any) -> float:
    """What the test tasks answer."""
    return float(sum(g * w for g, w in zip(genotype, (1, 2, 3, 5, 7, 11), strict=True)))


def process_of(kind: str, root: Path) -> list[psutil.Process]:
    """Processes of one kind of actor that belong to the service of a store."""
    names = {a["name"] for a in ray.util.list_named_actors(all_namespaces=True) if store_tag(root) in a["name"]}
    pids = []
    for name in names:
        if f"-{kind}-" in name:
            handle = ray.get_actor(name, namespace="xnas")
            pids.append(ray.get(handle.info.remote())["pid"] if kind == "head" else ray.get(handle.pid.remote()))
    return [psutil.Process(pid) for pid in pids]


def until(condition: Callable[[], Any], timeout_s: float = 60) -> Any:
    """Poll until something is true."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        try:
            if found := condition():
                return found
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            pass
        time.sleep(0.1)
    raise AssertionError("timed out")


def check_exactly_once(root: Path, search_id: str, trials: int) -> Any:
    """Every trial has one row with the right value, and every proposal can be derived again."""
    frame = load_trials(root, search_id)
    assert sorted(frame["trial"]) == list(range(trials))
    assert frame["key"].is_unique
    completed = frame[frame["status"] == "completed"]
    assert [value(g) for g in completed["genotype"]] == list(completed["metric_val_accuracy"])
    assert verify(root, search_id).mismatch is None
    return frame


def test_searches_side_by_side_share_by_priority_and_end_complete(shared_service) -> None:
    one, root = shared_service, shared_service.root
    big = one.submit("steps", budget={"trials": 150}, priority=3, seed=1, resources={"cpus": 1})
    small = one.submit(
        "steps", budget={"trials": 150}, priority=1, seed=2, controller="regularized_evolution", resources={"cpus": 1}
    )
    assert one.wait(big)["state"] == "finished"
    one.call("cancel", small)
    assert one.wait(small)["state"] == "cancelled"
    frame = check_exactly_once(root, big, 150)
    other = load_trials(root, small)
    first, last = frame["started_at"].quantile(0.1), frame["finished_at"].quantile(0.9)

    def seconds(rows: Any) -> float:
        inside = rows[(rows["started_at"] >= first) & (rows["finished_at"] <= last) & (rows["status"] == "completed")]
        return float(inside["duration_s"].sum())

    # A short run on whatever machine: experiments/performance/fair_share.py measures it.
    assert 3 * 0.6 < seconds(frame) / seconds(other) < 3 * 1.6
    assert set(other["status"]) <= {"completed", "cancelled"}
    assert read_endpoint(root)["epoch"] == one.call("info")["epoch"] == 1


def test_pause_resume_extend_reuse_and_idempotent_submit(shared_service) -> None:
    one, root = shared_service, shared_service.root
    search = one.submit("steps", budget={"trials": 1000}, key="again")
    assert one.submit("steps", budget={"trials": 1000}, key="again") == search
    until(lambda: one.status(search)["counts"]["completed"] >= 5)
    one.call("pause", search, True)
    until(lambda: one.status(search)["state"] == "paused" and one.status(search)["counts"]["running"] == 0)
    done = one.status(search)["counts"]["completed"]
    time.sleep(0.5)
    assert one.status(search)["counts"]["completed"] == done
    with pytest.raises(ray.exceptions.RayTaskError) as error:
        one.call("extend", search)
    assert "nothing to extend" in str(error.value)
    one.call("resume", search)
    until(lambda: one.status(search)["counts"]["completed"] > done)
    one.call("cancel", search)
    assert one.wait(search)["state"] == "cancelled"
    with pytest.raises(SearchNotFoundError):
        one.call("pause", search)

    short = one.submit("noop", budget={"trials": 10})
    one.wait(short)
    one.call("extend", short, 25)
    assert one.wait(short)["counts"]["completed"] == 25
    check_exactly_once(root, short, 25)
    again = one.submit("noop", budget={"trials": 5}, reuse="completed")
    final = one.wait(again)
    assert final["counts"]["reused"] == 25, "the same seed proposes what is known: reused trials cost no budget"
    frame = load_trials(root, again)
    reused = frame[frame["reused_from"].notna()]
    keys = {f"{row.search_id}/{row.trial}": row.key for row in load_trials(root).itertuples()}
    assert [keys[source] for source in reused["reused_from"]] == list(reused["key"]), "of whichever search has them"
    assert len(reused) == 25
    assert list(reused["metric_val_accuracy"]) == [value(g) for g in reused["genotype"]]
    assert reused["attempt"].isna().all() and (frame["reused_from"].isna()).sum() == 5
    with pytest.raises(TransitionError):
        one.call("extend", search, 10)


def test_workers_may_share_gpus_and_gpu_hours_are_counted(shared_service) -> None:
    one = shared_service
    search = one.submit("steps", budget={"trials": 8}, resources={"cpus": 1, "gpus": 0.5, "workers": 2}, seed=9)
    final = one.wait(search)
    frame = load_trials(one.root, search)
    assert final["state"] == "finished" and frame["worker"].nunique() <= 2
    assert set(frame["node"]) <= {node["NodeID"] for node in ray.nodes()}
    assert final["gpu_s"] == pytest.approx(0.5 * frame["duration_s"].sum(), rel=0.05)
    small = one.submit("steps", budget={"gpu_hours": 1e-4}, resources={"cpus": 1, "gpus": 0.5, "workers": 2}, seed=10)
    spent = one.wait(small)
    assert spent["state"] == "finished" and "GPU hours" in spent["reason"]
    assert 0.36 <= spent["gpu_s"] < 1.0


def test_bad_candidates_fail_alone_and_workers_live_on(shared_service) -> None:
    one, root = shared_service, shared_service.root
    search = one.submit("moody", budget={"trials": 40}, retries=1, timeout_s=3.0, space={"name": "nasbench201"}, seed=3)
    seen = one.wait(search, 150)
    while seen["state"] == "paused":  # how often, and what has failed by then, depends on who was faster
        assert "10 trials failed in a row" in seen["reason"]
        one.call("resume", search)
        seen = one.wait(search, 150)
    assert seen["state"] == "finished"
    frame = load_trials(root, search)
    assert len(frame) == 40 and {"exception", "nan", "out_of_memory"} <= set(frame["failure_kind"].dropna())
    raised = frame[frame["failure_kind"] == "exception"].iloc[0]
    assert raised["failure_type"] == "ZeroDivisionError"
    assert "a candidate that raises" in raised["failure_log"]
    assert raised["attempts"] == 2, "an exception is tried again once: retries = 1"
    assert (frame[frame["failure_kind"] == "nan"]["attempts"] == 1).all(), "a NaN would come again"


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"controller": "random_serch"}, UnknownNameError, "Did you mean 'random_search'"),
        ({"controller": {"name": "random_search", "params": {"size": 3}}}, UnknownNameError, "does not take these"),
        ({"objectives": ["val_acuracy"]}, UnknownNameError, "Did you mean 'val_accuracy'"),
        ({"space": {"name": "nasbench201", "params": {"channels": -1}}}, SpecError, "channels"),
        ({"space": "nasbench302"}, UnknownNameError, "Did you mean 'nasbench201'"),
        ({"recipe": {"lr": -1}}, SpecError, "lr"),
        ({"constraints": ["latency_ms <= 3"]}, SpecError, "not measured"),
        ({"warm_start": ["|nonsense|"]}, Exception, "nonsense"),
    ],
)
def test_a_bad_submission_is_refused_with_the_fix(shared_service, change, kind, text) -> None:
    with pytest.raises(kind, match=text.replace("(", r"\(").replace("|", r"\|")):
        shared_service.submit("noop", **change)


def test_deaths_of_worker_host_and_head_lose_nothing(service, root) -> None:
    one = service()
    search = one.submit("steps", budget={"trials": 120}, controller="regularized_evolution")
    until(lambda: one.status(search)["counts"]["completed"] >= 10)
    process_of("worker", root)[0].kill()
    until(lambda: one.status(search)["counts"]["completed"] >= 30)
    process_of("host", root)[0].kill()
    until(lambda: one.status(search)["counts"]["completed"] >= 50)
    before = {p.pid for p in process_of("worker", root)}
    process_of("head", root)[0].kill()
    until(lambda: one.status(search)["counts"]["completed"] >= 70)
    assert before & {p.pid for p in process_of("worker", root)}, "living workers are adopted, not replaced"
    assert one.wait(search)["state"] == "finished"
    frame = check_exactly_once(root, search, 120)
    assert set(frame["epoch"]) == {1, 2}
    log = load_log(root, search)
    assert (log["state"] == "retrying").sum() >= 1, "the killed worker's attempt is on record"


def test_a_second_service_is_refused_and_a_stopped_one_is_succeeded(service, root) -> None:
    from xnas_ray.errors import StoreLockedError
    from xnas_ray.service.bring_up import start_head

    one = service()
    search = one.submit("steps", budget={"trials": 60})
    with pytest.raises(StoreLockedError, match="xnas submit"):
        start_head(root)
    until(lambda: one.status(search)["counts"]["completed"] >= 5)
    one.call("stop", True)
    ray.kill(one.head, no_restart=True)
    assert len(load_trials(root, search)) < 60
    two = service()
    assert two.wait(search)["state"] == "finished"
    check_exactly_once(root, search, 60)
    assert two.call("info")["epoch"] == 2


def test_a_task_whose_code_is_broken_is_a_task_error(shared_service, tmp_path) -> None:
    from xnas_ray.spec import SearchSpec
    from xnas_ray.tasks.bundle import bundle_task

    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "problem.py").write_text("problem = 1 +\n")
    info = bundle_task(folder, shared_service.root)
    spec = SearchSpec.from_mapping({"task": "broken"}).to_json()
    with pytest.raises(TaskError, match=r"problem\.py"):
        shared_service.call("submit", 1, spec, info.hash, None)
