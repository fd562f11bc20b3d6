"""Who is served next: trials to workers, proposals for places that will be free, workers for shapes that are wanted."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable

from xnas_ray import messages as m
from xnas_ray.messages import SearchState
from xnas_ray.scheduler.core import Core
from xnas_ray.scheduler.fair_share import lowest
from xnas_ray.scheduler.lifecycle import Lifecycle
from xnas_ray.scheduler.records import EPSILON, Door, Node, Search, Shape, Worker, WorkerState

BUFFER_PER_WORKER = 16


class Planner:
    """Runs after every event and gives work to whoever is free."""

    def __init__(self, core: Core, lifecycle: Lifecycle) -> None:
        """Work on the shared state."""
        self.core = core
        self.lifecycle = lifecycle
        self._full: set[Shape] = set()

    def plan(self) -> None:
        """Serve everybody who can be served now."""
        self.start_searches()
        self.dispatch()
        self.ask()
        self.size()

    # ---- searches ---------------------------------------------------------------------------------------------------

    def start_searches(self) -> None:
        """Let queued searches run while there are slots: highest priority first, then in the order of submission."""
        free = self.core.config.max_running_searches - sum(1 for _ in self.core.running())
        if free <= 0:
            return
        queued = [s for s in self.core.searches.values() if s.state == SearchState.QUEUED]
        for search in sorted(queued, key=lambda s: (-s.config.priority, s.order))[:free]:
            self.lifecycle.run(search)

    # ---- trials to workers ------------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Give queued trials to idle workers, then one in advance to workers with short trials."""
        pool = self.core.pool
        for shape, idle in pool.idle.items():
            while idle:
                search = lowest(s for s in self._of(shape) if s.queued and self._may_use_another(s))
                if search is None:
                    break
                self.lifecycle.assign(search, search.pop(), pool.workers[next(iter(idle))])
        for shape, single in pool.single.items():
            while single:
                worker = pool.workers[next(iter(single))]
                search = lowest(
                    s
                    for s in self._of(shape)
                    if s.queued
                    and self.lifecycle.is_short(s)
                    and (worker.worker_id in s.holders or self._may_use_another(s))
                )
                if search is None:
                    break
                self.lifecycle.assign(search, search.pop(), worker)

    def _of(self, shape: Shape) -> Iterable[Search]:
        return (s for s in self.core.searches.values() if s.dispatchable and s.shape == shape)

    @staticmethod
    def _may_use_another(search: Search) -> bool:
        return search.config.max_workers is None or len(search.holders) < search.config.max_workers

    # ---- proposals --------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Ask controllers for as many candidates as there are places for, plus a buffer where asking takes long."""
        groups: dict[Shape, list[Search]] = {}
        for search in self.core.searches.values():
            if search.dispatchable and search.controller == Door.READY:
                groups.setdefault(search.shape, []).append(search)
        for shape, group in groups.items():
            places = self._places(shape, group)
            buffers = {s.search_id: self.buffer(s) for s in group}
            if sum(s.coming for s in group) >= places + sum(buffers.values()):
                continue
            claims = self._allot(places, group, shape)
            for search in group:
                wanted = claims[search.search_id] + buffers[search.search_id] - search.coming
                self._ask(search, min(wanted, search.headroom()))

    def _ask(self, search: Search, count: float) -> None:
        if count < 1 or search.exhausted:
            return
        search.outstanding += int(count)
        search.asked_at.extend([self.core.now_s] * int(count))
        self.core.fair.wake(search)
        self.core.tell(m.Propose(search.search_id, int(count)))

    def _places(self, shape: Shape, group: list[Search]) -> int:
        idle = self.core.pool.idle_count(shape)
        if any(self.lifecycle.is_short(s) for s in group):
            return 2 * idle + self.core.pool.single_count(shape)
        return idle

    def _allot(self, places: int, group: list[Search], shape: Shape) -> dict[str, int]:
        """Share free places among searches by their passes, none more than it can fill."""
        claims = {s.search_id: 0 for s in group}
        limits = {s.search_id: self._can_fill(s) for s in group}
        if len(group) == 1:
            only = group[0].search_id
            claims[only] = int(min(places, limits[only]))
            return claims
        share = self.core.pool.share(shape)
        line = [(s.virtual_s, s.order, s) for s in group if limits[s.search_id] > 0]
        heapq.heapify(line)
        while places > 0 and line:
            virtual_s, order, search = heapq.heappop(line)
            claims[search.search_id] += 1
            places -= 1
            if claims[search.search_id] < limits[search.search_id]:
                heapq.heappush(line, (virtual_s + self.core.fair.stride(search, share), order, search))
        return claims

    def _can_fill(self, search: Search) -> float:
        more = search.coming + (0 if search.exhausted else max(0.0, search.headroom()))
        if search.config.max_workers is None:
            return more
        depth = 2 if self.lifecycle.is_short(search) else 1
        return min(more, max(0, depth * search.config.max_workers - search.assigned))

    def buffer(self, search: Search) -> int:
        """Candidates to hold in advance: none when a worker that waits for one loses under 1 % of its time."""
        if search.ask_s is None or search.trial_s is None:
            return 0
        ratio = search.ask_s / max(search.trial_s, EPSILON)
        if ratio < self.core.config.buffer_waste:
            return 0
        workers = max(1, len(search.holders))
        return min(math.ceil(workers * ratio), BUFFER_PER_WORKER * workers)

    # ---- workers for shapes -----------------------------------------------------------------------------------------

    def size(self) -> None:
        """Start workers where they are wanted and fit; make room where a shape lacks its share."""
        pool = self.core.pool
        wanted = self.wanted()
        if pool.changed:
            self._full.clear()
            self._release_claims(wanted)
            pool.changed = False
        lacking = [s for s in wanted if wanted[s][0] > pool.count.get(s, 0) and s not in self._full]
        for shape in sorted(lacking, key=lambda s: (self._used(s) / wanted[s][1], s)):
            self._grow(shape, wanted)

    def wanted(self) -> dict[Shape, tuple[float, float]]:
        """For every shape: how many workers are useful, and the part of the cluster that it deserves."""
        found: dict[Shape, tuple[float, float]] = {}
        total = 0.0
        for search in self.core.searches.values():
            count = self._useful(search)
            if count > 0:
                before = found.get(search.shape, (0.0, 0.0))
                found[search.shape] = (before[0] + count, before[1] + search.config.priority)
                total += search.config.priority
        return {shape: (count, weight / total) for shape, (count, weight) in found.items()}

    @staticmethod
    def _useful(search: Search) -> float:
        if not search.dispatchable:
            return 0
        waiting = len(search.trials) - search.proposed - search.queued - search.assigned
        count = search.assigned + search.coming + waiting + (0 if search.exhausted else max(0.0, search.headroom()))
        limit = search.config.max_workers
        return count if limit is None else min(count, limit)

    def _used(self, shape: Shape) -> float:
        return self.core.pool.count.get(shape, 0) * self.core.pool.share(shape)

    def _grow(self, shape: Shape, wanted: dict[Shape, tuple[float, float]]) -> None:
        pool = self.core.pool
        while pool.count.get(shape, 0) < wanted[shape][0]:
            node = next(
                (n for n in pool.startable(self.core.now_s) if n.claimed_by in (None, shape) and n.fits(shape)), None
            )
            if node is None:
                if not self._make_room(shape, wanted):
                    self._full.add(shape)
                return
            if node.claimed_by == shape:
                node.claimed_by = None
            worker = pool.start(node, shape, self.core.now_s)
            self.core.tell(m.StartWorker(worker.worker_id, node.node_id, *shape))

    def _make_room(self, shape: Shape, wanted: dict[Shape, tuple[float, float]]) -> bool:
        """Drain workers of other shapes on the node that costs the least; False when there is nothing to do."""
        pool = self.core.pool
        if any(node.claimed_by == shape for node in pool.nodes.values()):
            return False
        may_interrupt = self._used(shape) + pool.share(shape) <= wanted[shape][1] + EPSILON
        best: tuple[int, int, str, list[Worker]] | None = None
        for node in pool.startable(self.core.now_s):
            if node.claimed_by is not None or not node.could_hold(shape):
                continue
            victims = self._victims(node, shape, wanted, may_interrupt)
            if victims is not None:
                offer = (sum(1 for w in victims if w.trials), len(victims), node.node_id, victims)
                best = offer if best is None or offer[:3] < best[:3] else best
        if best is None:
            return False
        pool.nodes[best[2]].claimed_by = shape
        for worker in best[3]:
            self.lifecycle.drain_worker(worker)
        return True

    def _victims(
        self, node: Node, shape: Shape, wanted: dict[Shape, tuple[float, float]], may_interrupt: bool
    ) -> list[Worker] | None:
        others = [self.core.pool.workers[w] for w in sorted(node.workers)]
        leaving = [w for w in others if w.state in (WorkerState.DRAINING, WorkerState.STOPPING)]
        others = [w for w in others if w.shape != shape and w not in leaving]
        allowed = [w for w in others if may_interrupt or self._is_superfluous(w, wanted)]
        victims: list[Worker] = []
        if node.after(leaving).fits(shape):
            return victims
        for worker in sorted(allowed, key=lambda w: (len(w.trials), w.worker_id)):
            victims.append(worker)
            if node.after([*leaving, *victims]).fits(shape):
                return victims
        return None

    def _is_superfluous(self, worker: Worker, wanted: dict[Shape, tuple[float, float]]) -> bool:
        useful = wanted.get(worker.shape, (0.0, 0.0))[0]
        return not worker.trials and useful < self.core.pool.count.get(worker.shape, 0)

    def _release_claims(self, wanted: dict[Shape, tuple[float, float]]) -> None:
        for node in self.core.pool.nodes.values():
            if isinstance(node.claimed_by, tuple):
                lacks = self.core.pool.count.get(node.claimed_by, 0) < wanted.get(node.claimed_by, (0.0, 0.0))[0]
                if not lacks:
                    node.claimed_by = None
