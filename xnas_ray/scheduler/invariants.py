"""What must hold between two events, recounted from scratch: for tests, and to find out what went wrong."""

from __future__ import annotations

import math
from collections import Counter

from xnas_ray.messages import SearchState
from xnas_ray.scheduler.config import MAX_LINE
from xnas_ray.scheduler.core import HOLDS_SLOT, Core
from xnas_ray.scheduler.nodes import Node, Worker, WorkerState
from xnas_ray.scheduler.records import Door, GangState, Phase, Search
from xnas_ray.scheduler.scheduler import Scheduler

TOLERANCE = 1e-6


def check_invariants(scheduler: Scheduler) -> None:
    """Compare every counter, list and reservation with what it counts.

    Raises:
        AssertionError: something does not fit; the message names it.
    """
    core = scheduler._core
    for search in core.searches.values():
        _check_search(core, search)
    for worker in core.pool.workers.values():
        _check_worker(core, worker)
    held = _gang_places(scheduler)
    for node in core.pool.nodes.values():
        _check_node(core, node, held)
    _check_pool(core)
    _check_gangs(scheduler)


def _check_search(core: Core, search: Search) -> None:
    name = search.search_id
    phases = Counter(trial.phase for trial in search.trials.values())
    counted = {
        Phase.PROPOSED: search.proposed,
        Phase.QUEUED: search.queued,
        Phase.BACKOFF: search.backing_off,
        Phase.ASSIGNED: search.assigned,
    }
    for phase, count in counted.items():
        assert count == phases[phase], f"{name}: {count} trials counted as {phase}, there are {phases[phase]}"
    assert search.outstanding == len(search.asked_at), f"{name}: {search.outstanding} outstanding, {search.asked_at}"
    live = [t for t in search.trials.values() if not t.reusable and t.phase != Phase.REPORTED]
    assert search.unreused == len(live), f"{name}: {search.unreused} live trials counted, there are {len(live)}"
    assert all(t.number < search.next_trial for t in search.trials.values()), f"{name}: a trial beyond next_trial"
    queued = {number for _, number in search.ready}
    for trial in search.trials.values():
        assert trial.phase != Phase.QUEUED or trial.number in queued, f"{name}/{trial.number} is in no heap"
        if trial.phase == Phase.ASSIGNED:
            assert trial.attempt is not None and trial.attempts > 0, f"{name}/{trial.number} has no attempt"
            worker = core.pool.workers.get(trial.worker_id)
            assert worker is not None, f"{name}/{trial.number} is on {trial.worker_id!r}, which is gone"
            assert worker.trials.count((name, trial.number)) == 1, f"{name}/{trial.number} is not on its worker"
    holders = Counter(t.worker_id for t in search.trials.values() if t.phase == Phase.ASSIGNED)
    assert search.holders == dict(holders), f"{name}: holders {search.holders}, counted {dict(holders)}"
    _check_search_state(core, search)


def _check_search_state(core: Core, search: Search) -> None:
    name, state = search.search_id, search.state
    assert (name in core.running) == (state in HOLDS_SLOT), f"{name} is {state}, but listed otherwise"
    assert (name in core.queued) == (state == SearchState.QUEUED), f"{name} is {state}, but listed otherwise"
    if state.ended:
        assert not search.trials and not search.outstanding, f"{name} is {state} with live trials"
        assert search.controller == Door.CLOSED, f"{name} is {state} with a controller"
        assert search.gang not in (GangState.RUNNING, GangState.STOPPING), f"{name} is {state} with a gang"
    if search.ending is not None:
        assert state in (SearchState.DRAINING, search.ending), f"{name} is {state}, but ends as {search.ending}"
    if state == SearchState.DRAINING and core.open:
        waiting = [t.number for t in search.trials.values() if t.phase in (Phase.QUEUED, Phase.BACKOFF)]
        assert not waiting, f"{name} drains, but {waiting} wait"
    gpus = math.fsum(
        core.pool.workers[t.worker_id].shape[1]
        for t in search.trials.values()
        if t.phase == Phase.ASSIGNED and t.begun_s is not None
    )
    if search.gang in (GangState.RUNNING, GangState.STOPPING):
        gpus += search.config.gang_workers * search.config.gpus
    assert abs(search.gpu_rate - gpus) < TOLERANCE, f"{name}: {search.gpu_rate} GPUs counted, {gpus} run"


def _check_worker(core: Core, worker: Worker) -> None:
    name = worker.worker_id
    node = core.pool.nodes.get(worker.node_id)
    assert node is not None and name in node.workers, f"{name} is on no node"
    for position, (search_id, number) in enumerate(worker.trials):
        trial = core.searches[search_id].trials.get(number)
        assert trial is not None and trial.phase == Phase.ASSIGNED, f"{name} holds {search_id}/{number}, which is not"
        assert trial.worker_id == name, f"{name} holds {search_id}/{number} of {trial.worker_id}"
        assert (trial.begun_s is not None) == (position == 0), f"{name}: {search_id}/{number} at {position} began wrong"
    assert worker.state != WorkerState.STARTING or not worker.trials, f"{name} starts with trials"
    assert not worker.killed or worker.state == WorkerState.STOPPING, f"{name} is killed but {worker.state}"
    idle = name in core.pool.idle.get(worker.shape, ())
    partial = name in core.pool.partial.get(worker.shape, ())
    ready = worker.state == WorkerState.READY
    assert idle == (ready and not worker.trials), f"{name} is wrongly {'idle' if idle else 'not idle'}"
    assert not partial or (ready and 0 < len(worker.trials) < MAX_LINE), f"{name} is listed with room for more"


def _gang_places(scheduler: Scheduler) -> dict[str, list[tuple[float, tuple[tuple[int, float], ...]]]]:
    held: dict[str, list[tuple[float, tuple[tuple[int, float], ...]]]] = {}
    for search_id, reservation in scheduler._gangs.reservations.items():
        cpus = scheduler._core.searches[search_id].config.cpus
        for node, gpu in reservation.held:
            if scheduler._core.pool.nodes.get(node.node_id) is node:
                held.setdefault(node.node_id, []).append((cpus, gpu))
    return held


def _check_node(core: Core, node: Node, gangs: dict[str, list[tuple[float, tuple[tuple[int, float], ...]]]]) -> None:
    here = [core.pool.workers[w] for w in node.workers]
    taken = [(w.shape[0], w.gpu) for w in here] + gangs.get(node.node_id, [])
    free_cpus = node.cpus - math.fsum(cpus for cpus, _ in taken)
    assert abs(node.free_cpus - free_cpus) < TOLERANCE, f"{node.node_id}: {node.free_cpus} CPUs free, not {free_cpus}"
    whole = Node.of(node.node_id, node.cpus, node.gpus).free_gpu
    for _, gpu in taken:
        for index, share in gpu:
            whole[index] -= share
    difference = [abs(a - b) for a, b in zip(node.free_gpu, whole, strict=True)]
    assert max(difference, default=0.0) < TOLERANCE, f"{node.node_id}: GPUs free {node.free_gpu}, not {whole}"
    assert min(whole, default=0.0) > -TOLERANCE, f"{node.node_id}: a GPU is given twice"
    assert (node.claimed_by is not None) == (node.node_id in core.pool.claims), f"{node.node_id}: claim not listed"
    assert (node.claimed_by is not None) == (node.claimed_places > 0), f"{node.node_id}: {node.claimed_places} places"
    assert not (node.draining and node.claimed_by), f"{node.node_id} drains and is claimed by {node.claimed_by}"


def _check_pool(core: Core) -> None:
    pool = core.pool
    count = Counter(w.shape for w in pool.workers.values() if w.stays)
    assert {s: n for s, n in pool.count.items() if n} == dict(count), f"workers counted {pool.count}, are {count}"
    for lists in (pool.idle, pool.partial):
        for shape, workers in lists.items():
            assert all(w in pool.workers and pool.workers[w].shape == shape for w in workers), f"{shape}: {workers}"
    assert set(pool.claims) <= set(pool.nodes), "a claim on a node that is gone"


def _check_gangs(scheduler: Scheduler) -> None:
    for search_id, reservation in scheduler._gangs.reservations.items():
        search = scheduler._core.searches[search_id]
        count = sum(reservation.places.values())
        assert count == search.config.gang_workers, f"{search_id}: {count} places reserved"
        runs = search.gang in (GangState.RUNNING, GangState.STOPPING)
        assert runs == (reservation.started_s is not None), f"{search_id}: gang {search.gang}, {reservation}"
    for search in scheduler._core.searches.values():
        if search.gang in (GangState.RUNNING, GangState.STOPPING):
            assert search.search_id in scheduler._gangs.reservations, f"{search.search_id}: a gang without places"
