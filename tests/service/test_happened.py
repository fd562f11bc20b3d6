from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.scheduler.nodes import WorkerState
from xnas_ray.scheduler.views import WorkerView
from xnas_ray.service.happened import OBSERVATIONS, Happened, Sampled


@given(st.integers(0, 3000))
def test_what_is_kept_is_bounded_and_evenly_spread(count):
    sampled = Sampled()
    for value in range(count):
        sampled.add(float(value))
    kept = sampled.values
    assert min(count, OBSERVATIONS) <= len(kept) < 2 * OBSERVATIONS
    assert len({b - a for a, b in itertools.pairwise(kept)}) <= 1
    assert not kept or (kept[0] == 0 and count - kept[-1] <= max(1, kept[1] - kept[0] if len(kept) > 1 else 1))


def test_only_ready_workers_count():
    def worker(state: WorkerState, *trials: tuple[str, int]) -> WorkerView:
        return WorkerView("w", "n", (1.0, 0.0), state, trials)

    happened = Happened()
    happened.look([worker(WorkerState.READY, ("s", 1)), worker(WorkerState.READY)])
    happened.look([worker(WorkerState.READY), worker(WorkerState.STARTING), worker(WorkerState.DRAINING, ("s", 1))])
    assert (happened.busy, happened.ready) == (1, 3)


def test_a_trial_without_a_result_has_no_lag():
    happened = Happened()
    happened.end("cancelled", None)
    happened.end("completed", 0.0)
    assert happened.ended == {"cancelled": 1, "completed": 1}
    assert len(happened.lags_s.values) == 1
