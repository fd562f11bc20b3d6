"""What the performance experiments read off a run, on runs whose figures are known."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from xnas_ray.errors import DataMissingError
from xnas_ray.messages import Candidate
from xnas_ray.service.archive import stored_card
from xnas_ray.store.reader import list_searches
from xnas_ray.tasks.loading import load_task

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "performance"


def test_busy_share(script):
    share = script("utilisation").busy_share
    begun, ended = np.array([0.0, 0.0, 6.0]), np.array([4.0, 10.0, 20.0])
    assert share(begun, ended, workers=2, from_s=0.0, until_s=10.0) == pytest.approx((4 + 10 + 4) / 20)
    assert share(begun, ended, workers=3, from_s=5.0, until_s=6.0) == pytest.approx(1 / 3)


def test_draws_are_seeded(script):
    draw = script("utilisation").draw
    first = draw("lognormal", 2000, seed=1)
    assert (draw("lognormal", 2000, seed=1) == first).all()
    assert (draw("lognormal", 2000, seed=2) != first).all()
    assert 1600 < np.median(first) < 2000


def test_real_times_need_their_table(script, monkeypatch, tmp_path):
    utilisation = script("utilisation")
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    with pytest.raises(DataMissingError, match="--durations lognormal"):
        utilisation.draw("nasbench101", 10, seed=0)


def test_a_barrier_costs_what_the_slowest_makes_wait(script):
    utilisation = script("utilisation")
    durations_s = np.tile([100.0, 100.0, 100.0, 400.0], 10)
    free = utilisation.simulated("random_search", durations_s, workers=4, seed=0)
    barred = utilisation.simulated("random_search", durations_s, workers=4, seed=0, generation=4)
    assert free["busy"] > 0.99
    assert barred["busy"] == pytest.approx(700 / 1600, abs=0.01)


def test_steady_rate_and_costs(script):
    measuring = script("measuring")
    cpu = measuring.TreeCpu()
    cpu.times_at, cpu.seconds = [1000.0, 1100.0], [0.0, 50.0]
    ends_at = [1000.0 + i for i in range(20)] + [1019.0 + i / 2 for i in range(1, 81)]
    found = measuring.summary(ends_at, cpu, files=200, size_bytes=5000)
    assert found == pytest.approx({"rate": 2.0, "cpu_ms": 250.0, "files": 2.0, "bytes": 50.0, "trials": 100.0})
    with pytest.raises(ValueError, match="too few"):
        measuring.summary([1.0, 2.0], cpu, files=0, size_bytes=0)


def test_cpu_of_the_whole_tree(script):
    code = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\ntime.sleep(0.6)"
    with script("measuring").TreeCpu() as cpu:
        started_at = time.time()
        subprocess.run([sys.executable, "-c", code], check=True)
    assert 0.4 < cpu.between(started_at, time.time()) < 1.5
    assert np.all(np.diff(cpu.times_at) >= 0)


def test_made_tasks_sleep_by_trial(script, tmp_path):
    folder = script("made_task").make_task(tmp_path / "made", [0.0, 0.2])
    problem = load_task(folder).problem
    for number, least_s in ((0, 0.0), (1, 0.2), (3, 0.2)):
        started_s = time.perf_counter()
        found = problem.evaluate(
            space=problem.space, candidate=Candidate(number, (1, 0, 2, 0, 0, 4)), recipe=None, seed=0, context=None
        )
        assert time.perf_counter() - started_s >= least_s
        assert found == {"val_accuracy": 7.0}


def test_the_store_alone_counts_every_trial(script, monkeypatch):
    store_alone = script("store_alone")
    monkeypatch.setattr(store_alone, "CHUNK", 100)
    monkeypatch.setattr(store_alone, "WARM_TRIALS", 100)
    cost = store_alone.store_alone(300)
    assert len(cost.cpu_s) == len(cost.wall_s) == 3
    assert min(cost.cpu_s) > 0 and cost.files > 0 and cost.bytes > 0 and cost.replay_s > 0
    with pytest.raises(ValueError, match="at least 200"):
        store_alone.store_alone(199)


# ---- many clients ----------------------------------------------------------------------------------------------------


def history(begun: float, ended: float) -> list[tuple[str, float]]:
    return [("queued", 0.0), ("running", begun), ("finished", ended)]


def test_a_fair_queue(script):
    found = script("load").order([history(i, i + 2.0) for i in range(5)])
    assert found == {
        "overtaken": 0,
        "of_pairs": 10,
        "most_places": 0,
        "share": pytest.approx(1.0),
        "slowest_over_median": pytest.approx(1.0),
    }


def test_a_queue_that_is_jumped_and_a_search_that_starves(script):
    jumped = script("load").order([history(3, 4), history(1, 2), history(2, 3)])
    assert (jumped["overtaken"], jumped["of_pairs"], jumped["most_places"]) == (2, 3, 2)
    starved = script("load").order([history(i, i + 1.0) for i in range(3)] + [history(3, 13.0)])
    assert starved["share"] == pytest.approx(13**2 / (4 * 103))
    assert starved["slowest_over_median"] == pytest.approx(10.0)


def test_a_store_with_a_past_is_listed(script, tmp_path):
    load = script("load")
    task = script("made_task").make_task(tmp_path / "task", [0.0])
    load.fill(tmp_path / "store", 30, task)
    frame = list_searches(tmp_path / "store")
    assert len(frame) == 30 and set(frame["state"]) == {"finished"} and set(frame["summary_completed"]) == {20}
    assert stored_card(tmp_path / "store", frame["search_id"].iloc[-1])["spec"]["budget"]["trials"] == 20
    assert len(load.listings(tmp_path / "store", 3)) == 3
    again = load.histories(tmp_path / "store", set(frame["search_id"][:2]))
    assert [[state for state, _ in one] for one in again] == [["queued", "running", "finished"]] * 2


def test_every_target_counts(script, capsys):
    load = script("load")
    found = load.Rush([0.1] * 4, [0.1], [], ["a", "b"])
    fair = {"overtaken": 0, "of_pairs": 1, "most_places": 0, "share": 0.95, "slowest_over_median": 1.1}
    assert load.report(found, fair, [0.1] * 10, 3.0)
    assert not load.report(found, {**fair, "overtaken": 1}, [0.1] * 10, 3.0)
    assert not load.report(found, {**fair, "share": 0.5}, [0.1] * 10, 3.0)
    assert not load.report(found, fair, [0.1] * 9 + [0.9], 3.0)
    found.errors.append("submit 3: ServiceError")
    assert not load.report(found, fair, [0.1] * 10, 3.0)
    assert capsys.readouterr().out.count("MISSED") == 4


def test_both_ways_of_introspectability_are_the_same_number(script, monkeypatch):
    cost = script("introspectability_cost")
    monkeypatch.setattr(cost, "BATCH", 4)
    model, images, classes = cost.prepared("nor_conv_1x1", 10)
    classes = torch.arange(10)  # the definition as it is written there wants every class
    by_definition = cost.concatenated(model, images, classes)
    assert cost.hooked(model, images, classes) == pytest.approx(by_definition, abs=1e-6)
    [(plain_s, hooked_s)] = cost.measure_times("nor_conv_1x1", 4, 1)
    assert plain_s > 0 and hooked_s > 0


def test_both_ways_of_deciding_along_a_tree_are_the_same(script, monkeypatch, capsys):
    inference = script("tree_inference")
    monkeypatch.setattr(inference, "CLASSES", (4, 9))
    monkeypatch.setattr(inference, "BATCH", 5)
    for classes in inference.CLASSES:
        inference.compare(classes, 1)  # checks every pair before it measures
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert [(line[0], line[2]) for line in lines] == [
        ("| 4", "soft"),
        ("| 4", "gradient"),
        ("| 4", "hard"),
        ("| 9", "soft"),
        ("| 9", "hard"),
    ]
    assert all(float(line[3]) > 0 and float(line[4]) > 0 for line in lines)


def test_samples_of_a_tree_are_made_and_written(script):
    chosen_s, written_s, size = script("tree_samples").measure(4, 40, 8, 1)
    assert chosen_s >= 0 and written_s >= 0 and size > 31 * 8 * 8 * 3, "ten ambiguous ones and three of seven nodes"
