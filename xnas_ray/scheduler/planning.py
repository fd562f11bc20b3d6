"""Who is served next: searches from the queue, trials to workers, proposals for places that will be free."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

from xnas_ray import messages as m
from xnas_ray.scheduler.core import Core
from xnas_ray.scheduler.fair_share import lowest
from xnas_ray.scheduler.nodes import EPSILON, Shape, Worker
from xnas_ray.scheduler.records import Door, Search
from xnas_ray.scheduler.searches import Searches
from xnas_ray.scheduler.trials import Trials

BUFFER_PER_WORKER = 64
FIRST_PATIENCE_S = 1.0
SLACK_S = 1e-6


class Planner:
    """Runs after every event and gives work to whoever is free."""

    def __init__(self, core: Core, trials: Trials, searches: Searches) -> None:
        """Work on the shared state."""
        self.core = core
        self.trials = trials
        self.searches = searches

    def plan(self) -> None:
        """Serve everybody who can be served now."""
        groups: dict[Shape, list[Search]] = {}
        for search in self.core.running.values():
            if search.dispatchable:
                groups.setdefault(search.shape, []).append(search)
        for shape, group in groups.items():
            self._fill_idle(shape, group)
            self._fill_partial(shape, group)
            self._ask(shape, [s for s in group if s.controller == Door.READY])

    # ---- searches ---------------------------------------------------------------------------------------------------

    def start_searches(self) -> None:
        """Let queued searches run while there are slots.

        Those that ran when an earlier service stopped go first, then the highest priority, then the first submitted.
        """
        core = self.core
        free = core.config.max_running_searches - len(core.running)
        if free > 0 and core.queued:
            line = sorted(core.queued.values(), key=lambda s: (not s.was_running, -s.config.priority, s.order))
            for search in line[:free]:
                self.searches.run(search)

    # ---- trials to workers ------------------------------------------------------------------------------------------

    def _fill_idle(self, shape: Shape, group: list[Search]) -> None:
        """Queued trials go to idle workers."""
        pool = self.core.pool
        idle = pool.idle.get(shape)
        while idle:
            waiting = [s for s in group if s.queued and s.may_use_another]
            search = self._next(waiting, group, len(idle), self._on_demand)
            if search is None:
                return
            self._serve(search, pool.workers[next(iter(idle))], group)

    def _fill_partial(self, shape: Shape, group: list[Search]) -> None:
        """A further trial behind short ones, of whatever search: otherwise a long one would never find a place."""
        pool = self.core.pool
        partial = pool.partial.get(shape)
        waiting = [s for s in group if s.queued] if partial else []
        while partial:
            search = self._next(waiting, group, len(partial), self._in_time)
            if search is None:
                return
            places = partial if search.may_use_another else (w for w in search.holders if w in partial)
            worker_id = next(iter(places), None)
            if worker_id is not None:
                self._serve(search, pool.workers[worker_id], group)
            if worker_id is None or not search.queued:
                waiting.remove(search)

    def _next(
        self, waiting: list[Search], group: list[Search], places: int, soon: Callable[[Search], float]
    ) -> Search | None:
        """Who of those with queued trials is served next: the lowest pass.

        None when all places belong to searches before it, which have nothing queued but ``soon`` will have as many.
        """
        search = lowest(waiting)
        if search is None or len(group) == 1:
            return search
        share = self.core.pool.share(search.shape)
        for other in group:
            if other.virtual_s < search.virtual_s and other not in waiting:
                turns = math.ceil((search.virtual_s - other.virtual_s) / self.core.fair.stride(other, share))
                places -= int(min(turns, soon(other)))
        return search if places > 0 else None

    def _on_demand(self, search: Search) -> float:
        """How many candidates a search would have at once if it were asked: an idle worker may wait for them."""
        return 0 if self._is_late(search) else self._obtainable(search)

    def _in_time(self, search: Search) -> float:
        """How many candidates a search would have before a short trial ends, behind which they could wait."""
        limit_s = self.core.config.prefetch_below_s
        in_time = search.ask_s is not None and search.ask_s < limit_s and self._asked_for_s(search) < limit_s
        return self._obtainable(search) if in_time else 0

    def _is_late(self, search: Search) -> bool:
        """Whether a worker should not wait for its next candidate: proposals take long, or just now they do."""
        return self._asked_for_s(search) + SLACK_S >= self._patience_s(search)

    def _patience_s(self, search: Search) -> float:
        """How long a worker may wait for a proposal: a part of a trial's time, not at all if proposals take longer."""
        if search.ask_s is None or search.trial_s is None:
            return FIRST_PATIENCE_S
        patience_s = self.core.config.buffer_waste * search.trial_s
        return patience_s if search.ask_s < patience_s else 0.0

    def _asked_for_s(self, search: Search) -> float:
        return self.core.now_s - search.asked_at[0][0] if search.asked_at else 0.0

    def late_s(self, search: Search) -> float:
        """When others will no longer leave places to a search that has not answered; infinite if that does not come."""
        when_s = search.asked_at[0][0] + self._patience_s(search) if search.asked_at else math.inf
        return when_s if when_s > self.core.now_s + SLACK_S else math.inf

    @staticmethod
    def _obtainable(search: Search) -> float:
        if search.controller != Door.READY:
            return 0
        more = search.outstanding + search.proposed + search.may_propose()
        limit = search.config.max_workers
        return more if limit is None else max(0, min(more, limit - len(search.holders)))

    def _serve(self, search: Search, worker: Worker, group: list[Search]) -> None:
        for other in group:
            behind = other.virtual_s < search.virtual_s and not (other.queued and other.may_use_another)
            if behind and not self._on_demand(other):
                self.core.fair.pass_over(other, search)
        self.trials.assign(search, search.pop(), worker)

    # ---- proposals --------------------------------------------------------------------------------------------------

    def _ask(self, shape: Shape, group: list[Search]) -> None:
        """Ask controllers for as many candidates as there are places for, plus a buffer where asking takes long."""
        if not group:
            return
        buffers = [self.buffer(search) for search in group]
        places = self._places(shape, group)
        if len(group) == 1 and group[0].coming >= places + buffers[0]:
            return
        claims = self._claims(places, group, shape)
        for search, claim, buffer in zip(group, claims, buffers, strict=True):
            count = int(min(claim + buffer - search.coming, search.may_propose()))
            if count > 0:
                search.outstanding += count
                search.asked_at.extend([(self.core.now_s, search.told)] * count)
                self.core.tell(m.Propose(search.search_id, count))

    def _places(self, shape: Shape, group: list[Search]) -> int:
        idle = self.core.pool.idle_count(shape)
        if any(self.trials.is_short(s) for s in group):
            return 2 * idle + self.core.pool.partial_count(shape)
        return idle

    def _claims(self, places: int, group: list[Search], shape: Shape) -> list[int]:
        """Share places among searches by their passes, to none more than it can fill; in the order of the group.

        A search whose candidates take long claims its part too, but others may fill it meanwhile.
        """
        limits = [self._can_fill(search) for search in group]
        if len(group) == 1:
            return [int(min(places, limits[0]))]
        if not places:
            return [0] * len(group)
        share = self.core.pool.share(shape)
        lines = [(s.virtual_s, self.core.fair.stride(s, share), limit) for s, limit in zip(group, limits, strict=True)]
        claims = allot(places, lines)
        late = [self._is_late(search) for search in group]
        if any(late):
            now = [
                (v, d, s.queued if is_late else limit)
                for s, (v, d, limit), is_late in zip(group, lines, late, strict=True)
            ]
            claims = [a if is_late else b for a, b, is_late in zip(claims, allot(places, now), late, strict=True)]
        return claims

    def _can_fill(self, search: Search) -> float:
        more = search.coming + search.may_propose()
        if search.config.max_workers is None:
            return more
        depth = 2 if self.trials.is_short(search) else 1
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


def allot(places: int, lines: list[tuple[float, float, float]]) -> list[int]:
    """Serve the lowest pass, ``places`` times; but in time that does not grow with the number of places.

    Args:
        places: how many to give.
        lines: pass, stride and limit of each claimant; ties go to the first.

    Returns:
        How many each gets: as many as one by one, up to rounding of the passes.
    """
    given = [0.0] * len(lines)
    in_bulk = places - 2 * len(lines)
    if in_bulk > 0:
        level = _level(in_bulk, lines)
        given = [max(0.0, min(limit, math.floor((level - v) / stride))) for v, stride, limit in lines]
    left = places - sum(given)
    heap = [(v + given[i] * stride, i) for i, (v, stride, limit) in enumerate(lines) if given[i] < limit]
    heapq.heapify(heap)
    while left > 0 and heap:
        virtual_s, i = heap[0]
        given[i] += 1
        left -= 1
        if given[i] < lines[i][2]:
            heapq.heapreplace(heap, (virtual_s + lines[i][1], i))
        else:
            heapq.heappop(heap)
    return [int(g) for g in given]


def _level(places: float, lines: list[tuple[float, float, float]]) -> float:
    """The pass up to which claimants can be served with at most so many places (water filling)."""
    steps = sorted({v for v, _, _ in lines} | {v + stride * limit for v, stride, limit in lines if limit < math.inf})
    filled, before_s = 0.0, steps[0]
    for until_s in [*steps[1:], math.inf]:
        rate = sum(1 / stride for v, stride, limit in lines if v <= before_s < v + stride * limit)
        if rate and filled + (until_s - before_s) * rate >= places:
            return before_s + (places - filled) / rate
        if until_s < math.inf:
            filled += (until_s - before_s) * rate
            before_s = until_s
    return before_s
