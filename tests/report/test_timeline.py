"""Who trained what, when."""

from __future__ import annotations

import numpy as np
import pytest

from xnas_ray.report.timeline import counts, timeline


def test_trials_lie_on_their_workers(made):
    trials = [
        {"worker": "w-2", "node": "b", "start_s": 10.0, "end_s": 16.0, "duration_s": 6.0, "metrics": {"accuracy": 1.0}},
        {"worker": "w-1", "node": "b", "start_s": 10.0, "end_s": 14.0, "duration_s": 4.0},
        {"worker": "w-2", "node": "b", "start_s": 18.0, "end_s": 20.0, "duration_s": 2.0},
        {"worker": "w-2", "node": "a", "start_s": 1.0, "end_s": 2.0, "duration_s": 1.0},
        {"worker": None, "node": None, "start_s": None, "end_s": 30.0, "duration_s": 0.0, "status": "cancelled"},
    ]
    found = timeline(made(trials))
    assert [(w.node, w.name, w.trials) for w in found.workers] == [("a", "w-2", 1), ("b", "w-1", 1), ("b", "w-2", 2)]
    assert found.worker == (2, 1, 2, 0, -1)
    assert found.workers[2].busy == pytest.approx((6 + 2) / 10)
    assert np.array_equal(found.start_s, [10.0, 10.0, 18.0, 1.0, np.nan], equal_nan=True)
    assert found.end_s.tolist() == [16.0, 14.0, 20.0, 2.0, 30.0]


def test_a_worker_whose_node_is_not_known(made):
    rows = [
        {"worker": "w-1", "node": None, "environment": "{}"},
        {"worker": "w-1", "node": None, "environment": '{"host": "vm"}'},
        {"worker": "w-2", "node": None},
        {"worker": "w-3", "node": "0123456789abcdef", "environment": "{}"},
        {"worker": "w-4", "node": "0123456789abcdef", "environment": '{"host": "vm"}'},
    ]
    found = timeline(made(rows))
    assert [(w.node, w.name, w.trials) for w in found.workers] == [
        ("", "w-2", 1),
        ("01234567", "w-3", 1),
        ("vm", "w-1", 2),
        ("vm", "w-4", 1),
    ]


def test_attempts_that_came_to_nothing_and_trials_that_run(made):
    log = [
        {"trial": 0, "state": "asked", "at": 0.0},
        {"trial": 1, "state": "asked", "at": 0.0},
        {"trial": 2, "state": "asked", "at": 0.0},
        {"trial": 0, "state": "retrying", "at": 9.0, "duration_s": 4.0},
        {"trial": 0, "state": "running", "at": 10.0},
        {"trial": 1, "state": "running", "at": 10.0},
    ]
    trials = [{"metrics": {"accuracy": 1.0}}]
    found = timeline(made(trials, log=log, state="running"))
    assert found.earlier == ((0, 5.0, 9.0, "retrying"),)
    assert (found.asked, found.running) == (3, 1), "trial 0 has ended, trial 2 has not begun"
    assert timeline(made(trials, log=log, state="cancelled")).running == 0


def test_counts(made):
    trials = [{"metrics": {"accuracy": 1.0}}, {"metrics": {"accuracy": 1.0}, "reused_from": "x/0"}, {}]
    assert counts(made(trials)) == {"completed": 2, "failed": 1, "cancelled": 0, "reused": 1}
