"""How many workers of which shape: they start where they fit, and make room where another shape lacks its share."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from xnas_ray import messages as m
from xnas_ray.scheduler.core import Core
from xnas_ray.scheduler.nodes import EPSILON, Node, Shape, Worker
from xnas_ray.scheduler.records import Search
from xnas_ray.scheduler.workers import Workers


@dataclass(slots=True)
class Want:
    """What the searches of one shape want.

    Attributes:
        useful: workers that they could use at once.
        weight: sum of their priorities.
        virtual_s: the lowest of their passes.
    """

    useful: float
    weight: float
    virtual_s: float


class Sizer:
    """Starts workers, and drains those that stand in the way of shapes with less than their share.

    Shares are dominant shares of the cluster over priorities (Ghodsi et al., "Dominant Resource Fairness", 2011). A
    shape may take the place of another's workers if these keep more than it had before: every step makes the smaller
    of both shares larger, so the division settles. Where a shape is too large ever to get a place that way, it gets a
    turn once the others are ``turn_s`` ahead.
    """

    def __init__(self, core: Core, workers: Workers) -> None:
        """Work on the shared state."""
        self.core = core
        self.workers = workers
        self._seen: tuple[object, ...] = ()

    def size(self) -> None:
        """Start workers where they are wanted and fit; make room where a shape lacks its share."""
        pool = self.core.pool
        wants = self._wants()
        if pool.claims:
            self._release_claims(wants)
        while True:
            lacking = [shape for shape in wants if self._lacks(shape, wants)]
            situation = self._situation(wants, lacking)
            if situation == self._seen:
                return
            self._seen = situation
            if lacking:
                self._start(lacking, wants)
                for shape in sorted(lacking, key=lambda s: (self._used(s) / wants[s].weight, s)):
                    self._make_room(shape, wants)

    def demand(self) -> dict[Shape, float]:
        """How many workers of each shape could have a trial at once, perhaps infinitely many."""
        return {shape: want.useful for shape, want in self._wants().items()}

    def _wants(self) -> dict[Shape, Want]:
        found: dict[Shape, Want] = {}
        for search in self.core.running.values():
            useful = self._useful(search)
            if useful > 0:
                want = found.get(search.shape)
                if want is None:
                    found[search.shape] = Want(useful, search.config.priority, search.virtual_s)
                else:
                    want.useful += useful
                    want.weight += search.config.priority
                    want.virtual_s = min(want.virtual_s, search.virtual_s)
        return found

    @staticmethod
    def _useful(search: Search) -> float:
        if not search.dispatchable:
            return 0
        count = search.assigned + search.coming + search.backing_off + search.may_propose()
        limit = search.config.max_workers
        return count if limit is None else min(count, limit)

    def _situation(self, wants: dict[Shape, Want], lacking: list[Shape]) -> tuple[object, ...]:
        """What decides who finds a place: as long as it is the same, whoever found none need not look again."""
        pool = self.core.pool
        spare = tuple(self._spare(shape, wants) for shape in pool.count)
        weights = tuple((shape, want.weight) for shape, want in wants.items())
        turns = tuple(shape for shape in lacking if not pool.count.get(shape, 0) and self._has_turn(shape, wants))
        return pool.version, spare, weights, tuple(lacking), turns

    def _lacks(self, shape: Shape, wants: dict[Shape, Want]) -> bool:
        return wants[shape].useful > self.core.pool.count.get(shape, 0)

    def _spare(self, shape: Shape, wants: dict[Shape, Want]) -> float:
        useful = wants[shape].useful if shape in wants else 0.0
        return max(0.0, self.core.pool.count.get(shape, 0) - useful)

    def _used(self, shape: Shape) -> float:
        pool = self.core.pool
        return (pool.count.get(shape, 0) + pool.claimed(shape)) * pool.share(shape)

    # ---- places that are free ---------------------------------------------------------------------------------------

    def _start(self, shapes: list[Shape], wants: dict[Shape, Want]) -> None:
        """Fill free places, the shape with the least of its share first, on the nodes with the fewest workers."""
        pool = self.core.pool
        nodes = pool.open_nodes(self.core.now_s)
        places = {shape: self._places(shape, nodes) for shape in shapes}
        line = [(self._used(shape) / wants[shape].weight, shape) for shape in shapes]
        heapq.heapify(line)
        while line:
            _, shape = heapq.heappop(line)
            node = self._next_place(shape, places[shape])
            if node is None or not self._lacks(shape, wants):
                continue
            worker = pool.start(node, shape, self.core.now_s)
            self.core.tell(m.StartWorker(worker.worker_id, node.node_id, *shape))
            heapq.heappush(places[shape], (len(node.workers), node.node_id))
            heapq.heappush(line, (self._used(shape) / wants[shape].weight, shape))

    @staticmethod
    def _places(shape: Shape, nodes: list[Node]) -> list[tuple[int, str]]:
        found = [(len(n.workers), n.node_id) for n in nodes if n.claimed_by in (None, shape) and n.fits(shape)]
        heapq.heapify(found)
        return found

    def _next_place(self, shape: Shape, places: list[tuple[int, str]]) -> Node | None:
        """The node for the next worker; entries of the heap may be older than the last start."""
        while places:
            workers, node_id = heapq.heappop(places)
            node = self.core.pool.nodes[node_id]
            if not node.fits(shape):
                continue
            if workers == len(node.workers):
                return node
            heapq.heappush(places, (len(node.workers), node_id))
        return None

    # ---- places that others have ------------------------------------------------------------------------------------

    def _make_room(self, shape: Shape, wants: dict[Shape, Want]) -> None:
        """Claim places, where they cost the fewest running trials, and drain the workers that hold them."""
        pool = self.core.pool
        offers = []
        for node in pool.open_nodes(self.core.now_s):
            if node.claimed_by in (None, shape) and node.could_hold(shape):
                victims = self._victims(node, shape, wants)
                if victims is not None:
                    offers.append((sum(1 for w in victims if w.trials), len(victims), node.node_id))
        for _, _, node_id in sorted(offers):
            node = pool.nodes[node_id]
            while wants[shape].useful > pool.count.get(shape, 0) + pool.claimed(shape):
                victims = self._victims(node, shape, wants)
                if victims is None:
                    break
                pool.claim(node, shape, 1)
                for worker in victims:
                    self.workers.drain(worker)

    def _victims(self, node: Node, shape: Shape, wants: dict[Shape, Want]) -> list[Worker] | None:
        """Workers without which one more place of this shape is free, None if it may not take it from them."""
        places = node.claimed_places + 1 if node.claimed_by == shape else 1
        here = self.core.pool.workers_of(node)
        gone = [w for w in here if not w.stays]
        if node.after(gone).places(shape, places) >= places:
            return []
        victims: list[Worker] = []
        removed: dict[Shape, int] = {}
        others = [w for w in here if w.stays and w.shape != shape]
        for worker in sorted(others, key=lambda w: (len(w.trials), w.worker_id)):
            if not self._may_take(worker, shape, wants, removed.get(worker.shape, 0)):
                continue
            removed[worker.shape] = removed.get(worker.shape, 0) + 1
            victims.append(worker)
            if node.after([*gone, *victims]).places(shape, places) >= places:
                return victims
        return None

    def _may_take(self, worker: Worker, shape: Shape, wants: dict[Shape, Want], removed: int) -> bool:
        other = worker.shape
        if self._spare(other, wants) > removed:
            return True
        mine = self._used(shape) / wants[shape].weight
        theirs = (self._used(other) - (removed + 1) * self.core.pool.share(other)) / wants[other].weight
        return theirs > mine + EPSILON or (
            self._used(shape) == 0 and wants[other].virtual_s > wants[shape].virtual_s + self.core.config.turn_s
        )

    def _has_turn(self, shape: Shape, wants: dict[Shape, Want]) -> bool:
        limit_s = wants[shape].virtual_s + self.core.config.turn_s
        return any(want.virtual_s > limit_s for other, want in wants.items() if other != shape)

    def _release_claims(self, wants: dict[Shape, Want]) -> None:
        """Give up places of shapes that have enough workers by now."""
        pool = self.core.pool
        for node_id in list(pool.claims):
            node = pool.nodes[node_id]
            if not isinstance(node.claimed_by, str):
                assert node.claimed_by is not None
                if node.claimed_by not in wants or not self._lacks(node.claimed_by, wants):
                    pool.unclaim(node)
