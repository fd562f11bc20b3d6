"""Gangs: all workers of one job at once, on nodes that are cleared for it while the rest of the cluster goes on."""

from __future__ import annotations

from dataclasses import dataclass, field

from xnas_ray import messages as m
from xnas_ray.messages import SearchState
from xnas_ray.scheduler.alarms import AlarmKind
from xnas_ray.scheduler.core import Core
from xnas_ray.scheduler.nodes import Node, Shape, Worker, WorkerState
from xnas_ray.scheduler.records import GangState, Search
from xnas_ray.scheduler.searches import Searches
from xnas_ray.scheduler.workers import Workers


@dataclass(slots=True)
class Reservation:
    """Places of a gang on chosen nodes.

    Attributes:
        places: number of workers by node.
        hurry_s: when patience with what runs there is over.
        held: what the job holds once it runs: the node and its share of each GPU, one entry a worker.
        started_s: when the job was started, None before.
    """

    places: dict[str, int]
    hurry_s: float
    held: list[tuple[Node, tuple[tuple[int, float], ...]]] = field(default_factory=list)
    started_s: float | None = None


class Gangs:
    """Reserves, clears and holds the places of gang-scheduled jobs."""

    def __init__(self, core: Core, searches: Searches, workers: Workers) -> None:
        """Work on the shared state."""
        self.core = core
        self.searches = searches
        self.workers = workers
        self.reservations: dict[str, Reservation] = {}

    def plan(self) -> None:
        """Give up places that nobody wants, reserve for gangs that wait, start those whose places are free."""
        for search_id, reservation in list(self.reservations.items()):
            if reservation.started_s is None and self._broken(self.core.searches[search_id], reservation):
                self._release(search_id)
        for search in self.core.running.values():
            if search.gang != GangState.WAITING or search.state != SearchState.RUNNING:
                continue
            if search.gang_tried == self.core.pool.version:
                continue  # nothing that matters has changed since the last look
            if search.search_id not in self.reservations:
                self._reserve(search)
            if search.search_id in self.reservations:
                self._start(search)
            search.gang_tried = self.core.pool.version

    def _broken(self, search: Search, reservation: Reservation) -> bool:
        nodes = self.core.pool.nodes
        unusable = any(n not in nodes or nodes[n].claimed_by != search.search_id for n in reservation.places)
        return unusable or search.state != SearchState.RUNNING or search.gang != GangState.WAITING

    def _reserve(self, search: Search) -> None:
        """Choose the nodes on which the fewest trials are in the way, and drain what is in the way there."""
        pool, shape, count = self.core.pool, search.shape, search.config.gang_workers
        offers = []
        for node in pool.nodes.values():
            if node.draining or node.claimed_by is not None:
                continue
            workers = pool.workers_of(node)
            places = node.after(workers).places(shape, count)
            if places:
                busy = sum(1 for w in workers if w.trials)
                offers.append((busy / places, -places, node.node_id, places))
        chosen: dict[str, int] = {}
        missing = count
        for _, _, node_id, places in sorted(offers):
            if missing:
                chosen[node_id] = min(places, missing)
                missing -= chosen[node_id]
        if missing:
            return
        hurry_s = self.core.now_s + self.core.config.gang_patience_s
        self.reservations[search.search_id] = Reservation(chosen, hurry_s)
        self.core.alarms.set(hurry_s, AlarmKind.GANG, search.search_id)
        for node_id, places in chosen.items():
            node = pool.nodes[node_id]
            pool.claim(node, search.search_id, places)
            for worker in self._in_the_way(node, shape, places):
                self.workers.drain(worker)

    def _in_the_way(self, node: Node, shape: Shape, places: int) -> list[Worker]:
        """The fewest workers, those that are leaving and the idle ones first, without which the places are free."""
        gone: list[Worker] = []
        everybody = self.core.pool.workers_of(node)
        for worker in sorted(everybody, key=lambda w: (w.stays, len(w.trials), w.worker_id)):
            if worker.stays and node.after(gone).places(shape, places) >= places:
                break
            gone.append(worker)
        return [w for w in gone if w.stays]

    def _start(self, search: Search) -> None:
        reservation, pool = self.reservations[search.search_id], self.core.pool
        places = [(pool.nodes[node_id], count) for node_id, count in reservation.places.items()]
        if any(node.places(search.shape, count) < count for node, count in places):
            return
        for node, count in places:
            reservation.held.extend((node, node.take(search.shape)) for _ in range(count))
            pool.unclaim(node)
        reservation.started_s = self.core.now_s
        search.gang = GangState.RUNNING
        search.gpus_begin(len(reservation.held) * search.config.gpus, self.core.now_s)
        self.core.tell(m.StartGang(search.search_id, tuple(sorted(reservation.places.items()))))

    def hurry(self, search_id: str) -> None:
        """Patience is over: what still runs on the reserved nodes checkpoints and goes back to the queue."""
        reservation = self.reservations.get(search_id)
        if reservation is None or reservation.started_s is not None or reservation.hurry_s > self.core.now_s:
            return
        for node_id in reservation.places:
            node = self.core.pool.nodes.get(node_id)
            for worker in self.core.pool.workers_of(node) if node is not None else ():
                if worker.state == WorkerState.DRAINING:
                    self.workers.checkpoint(worker)

    def leave(self, node_id: str) -> None:
        """A node is gone, or about to be: jobs that run there are ended, and wait for other places."""
        for search_id, reservation in self.reservations.items():
            if reservation.started_s is not None and node_id in reservation.places:
                self.searches.stop_gang(self.core.searches[search_id])

    def ended(self, event: m.GangEnded) -> None:
        """A job has ended: its time is charged and its places are free.

        One that was stopped without having finished waits again: for the end of a pause, or for a larger budget.
        """
        search = self.core.searches.get(event.search_id)
        if search is None or search.gang not in (GangState.RUNNING, GangState.STOPPING):
            self.core.stale(event.search_id)
            return
        reservation = self.reservations[search.search_id]
        assert reservation.started_s is not None
        seconds, workers = self.core.now_s - reservation.started_s, len(reservation.held)
        search.gpus_end(workers * search.config.gpus, reservation.started_s, seconds)
        search.virtual_s += self.core.fair.stride(search, self.core.pool.share(search.shape) * workers, seconds)
        self._release(search.search_id)
        stopped = search.gang == GangState.STOPPING
        search.gang = GangState.WAITING if stopped and not event.ok else GangState.DONE
        if not event.ok and not stopped:
            self.searches.end(search, SearchState.FAILED, event.reason)

    def _release(self, search_id: str) -> None:
        reservation = self.reservations.pop(search_id)
        shape = self.core.searches[search_id].shape
        for node, gpu in reservation.held:
            node.release(shape, gpu)
        for node_id in reservation.places:
            reserved = self.core.pool.nodes.get(node_id)
            if reserved is not None and reserved.claimed_by == search_id:
                self.core.pool.unclaim(reserved)
        self.core.pool.version += 1
