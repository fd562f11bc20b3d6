"""Gangs: all workers of one job at once, on nodes that are cleared for it while the rest of the cluster goes on."""

from __future__ import annotations

from dataclasses import dataclass, field

from xnas_ray import messages as m
from xnas_ray.messages import SearchState
from xnas_ray.scheduler.alarms import AlarmKind
from xnas_ray.scheduler.core import Core
from xnas_ray.scheduler.lifecycle import Lifecycle
from xnas_ray.scheduler.records import Node, Search, Shape, Worker, WorkerState


@dataclass
class Reservation:
    """Places of a gang on chosen nodes; resources are held once the job runs."""

    places: dict[str, int]
    held: list[tuple[str, tuple[tuple[int, float], ...]]] = field(default_factory=list)
    started_s: float | None = None


class Gangs:
    """Reserves, clears and holds the places of gang-scheduled jobs."""

    def __init__(self, core: Core, lifecycle: Lifecycle) -> None:
        """Work on the shared state."""
        self.core = core
        self.lifecycle = lifecycle
        self.reservations: dict[str, Reservation] = {}

    def plan(self) -> None:
        """Reserve for gangs that wait, start those whose places are free, give up places that nobody wants."""
        for search_id in list(self.reservations):
            search = self.core.searches.get(search_id)
            if search is None or search.gang not in ("waiting", "running") or self._broken(search_id, search):
                self._release(search_id)
        for search in self.core.searches.values():
            if search.gang == "waiting" and search.state == SearchState.RUNNING:
                if search.search_id not in self.reservations:
                    self._reserve(search)
                self._start(search)

    def _broken(self, search_id: str, search: Search) -> bool:
        """Whether a reserved node has left, or the search no longer runs, before its job began."""
        waiting = search.gang == "waiting"
        gone = any(node not in self.core.pool.nodes for node in self.reservations[search_id].places)
        return waiting and (gone or search.state != SearchState.RUNNING)

    def _reserve(self, search: Search) -> None:
        shape, count = search.shape, search.config.gang_workers
        offers = []
        for node in self.core.pool.nodes.values():
            if node.draining or node.claimed_by is not None:
                continue
            places = node.after(self._workers(node)).places(shape, count)
            if places:
                busy = sum(1 for w in self._workers(node) if w.trials)
                offers.append((busy / places, -places, node.node_id, places))
        chosen: dict[str, int] = {}
        for _, _, node_id, places in sorted(offers):
            if sum(chosen.values()) < count:
                chosen[node_id] = min(places, count - sum(chosen.values()))
        if sum(chosen.values()) < count:
            return
        self.reservations[search.search_id] = Reservation(chosen)
        for node_id, places in chosen.items():
            node = self.core.pool.nodes[node_id]
            node.claimed_by = search.search_id
            for worker in self._victims(node, shape, places):
                self.lifecycle.drain_worker(worker)
        at_s = self.core.now_s + self.core.config.gang_patience_s
        self.core.alarms.set(at_s, AlarmKind.GANG, search.search_id)

    def _victims(self, node: Node, shape: Shape, places: int) -> list[Worker]:
        victims: list[Worker] = []
        for worker in sorted(self._workers(node), key=lambda w: (len(w.trials), w.worker_id)):
            if node.after(victims).places(shape, places) >= places:
                break
            victims.append(worker)
        return [w for w in victims if w.state in (WorkerState.STARTING, WorkerState.READY)]

    def _start(self, search: Search) -> None:
        reservation = self.reservations.get(search.search_id)
        if reservation is None:
            return
        nodes = self.core.pool.nodes
        if any(nodes[n].places(search.shape, count) < count for n, count in reservation.places.items()):
            return
        for node_id, count in reservation.places.items():
            for _ in range(count):
                reservation.held.append((node_id, nodes[node_id].take(search.shape)))
            nodes[node_id].claimed_by = None
        reservation.started_s = self.core.now_s
        search.gang = "running"
        self.core.pool.changed = True
        self.core.tell(m.StartGang(search.search_id, tuple(sorted(reservation.places.items()))))

    def hurry(self, search_id: str) -> None:
        """Patience is over: what still runs on the reserved nodes checkpoints and goes back to the queue."""
        reservation = self.reservations.get(search_id)
        if reservation is None or reservation.started_s is not None:
            return
        for node_id in reservation.places:
            for worker in self._workers(self.core.pool.nodes[node_id]):
                if worker.state == WorkerState.DRAINING:
                    for owner, number in list(worker.trials):
                        search = self.core.searches[owner]
                        self.lifecycle.stop(search, search.trials[number], checkpoint=True)

    def ended(self, search: Search) -> None:
        """A gang's job has ended: charge it and free its places."""
        reservation = self.reservations.get(search.search_id)
        if reservation is not None and reservation.started_s is not None:
            seconds = self.core.now_s - reservation.started_s
            workers = len(reservation.held)
            search.gpu_s += seconds * workers * search.config.gpus
            share = self.core.pool.share(search.shape) * workers
            search.virtual_s += self.core.fair.stride(search, share, seconds)
        self._release(search.search_id)

    def _release(self, search_id: str) -> None:
        reservation = self.reservations.pop(search_id, None)
        if reservation is None:
            return
        search = self.core.searches.get(search_id)
        for node_id, gpu in reservation.held:
            node = self.core.pool.nodes.get(node_id)
            if node is not None and search is not None:
                node.release(search.shape, gpu)
        for node in self.core.pool.nodes.values():
            if node.claimed_by == search_id:
                node.claimed_by = None
        self.core.pool.changed = True

    def _workers(self, node: Node) -> list[Worker]:
        return [self.core.pool.workers[w] for w in sorted(node.workers)]
