"""What the service tells Prometheus: how many trials stand where, how busy workers are, how good the results are.

The first half is pure: numbers from what the engine shows of itself. ``Monitor`` sets them in ``ray.util.metrics``
again and again, because Ray drops a gauge that was not set for 20 s: that ends the series of an ended search, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from xnas_ray.errors import TransitionError
from xnas_ray.messages import SearchState, TrialStatus
from xnas_ray.scheduler.nodes import WorkerState
from xnas_ray.scheduler.views import SearchView, WorkerView
from xnas_ray.service.happened import Happened
from xnas_ray.service.status import live_status

if TYPE_CHECKING:
    from xnas_ray.service.engine import Engine

log = logging.getLogger(__name__)

INTERVAL_S = 5.0
LOOK_S = 1.0
"""Between two looks at which workers are busy; the share is the mean of the looks of an interval."""

SHORT_ID = 10
"""Characters of a search's id that tell when it was submitted, to the millisecond."""

NAME_CHARS = 40
SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
SEARCH_TAGS = ("search", "name")
SEARCH_STATES = tuple(state for state in SearchState if not state.ended)
TRIAL_STATES = ("queued", "running", "completed", "failed", "cancelled", "reused")
WORKER_STATES = (WorkerState.STARTING.value, "idle", "busy", WorkerState.DRAINING.value, WorkerState.STOPPING.value)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: Prometheus sees it as ``ray_<name>``, a counter as ``ray_<name>_total``."""

    kind: str
    description: str
    tags: tuple[str, ...] = ()


METRICS: Mapping[str, Metric] = {
    "xnas_searches": Metric("gauge", "Live searches.", ("state",)),
    "xnas_workers": Metric("gauge", "Trial workers.", ("state",)),
    "xnas_worker_busy_share": Metric("gauge", "Share of the ready workers that held a trial, a mean over 5 s."),
    "xnas_queued_trials": Metric("gauge", "Trials of all searches that wait for a worker or for another attempt."),
    "xnas_finished_trials": Metric("counter", "Trials that ended since the head started.", ("status",)),
    "xnas_ask_seconds": Metric("histogram", "Time in which a controller answered one request for candidates."),
    "xnas_store_lag_seconds": Metric("histogram", "Time from the arrival of a result until it was durable."),
    "xnas_search_trials": Metric("gauge", "Trials of a search; reused ones are completed.", (*SEARCH_TAGS, "state")),
    "xnas_search_budget_trials": Metric("gauge", "Trials that a search may finish.", SEARCH_TAGS),
    "xnas_search_workers": Metric("gauge", "Workers that hold a trial of a search.", SEARCH_TAGS),
    "xnas_search_trial_seconds": Metric("gauge", "Recent duration of a trial.", SEARCH_TAGS),
    "xnas_search_ask_seconds": Metric("gauge", "Recent time from asking to a durable candidate.", SEARCH_TAGS),
    "xnas_search_best": Metric("gauge", "Best value of the first objective.", (*SEARCH_TAGS, "objective")),
    "xnas_search_hypervolume": Metric(
        "gauge", "Volume that the front dominates, the box of the first ten trials being 1.", SEARCH_TAGS
    ),
}


class Point(NamedTuple):
    """One number: the value of a gauge, what a counter grew by, or an observation of a histogram."""

    name: str
    value: float
    tags: tuple[str, ...] = ()


# ---- numbers --------------------------------------------------------------------------------------------------------


def service_points(
    states: Iterable[SearchState], queued: int, workers: Sequence[WorkerView], happened: Happened
) -> list[Point]:
    """Numbers of the whole service.

    Args:
        states: of all live searches.
        queued: trials of all of them that wait.
        workers: all workers.
        happened: since the last time.
    """
    searches = Counter(str(state) for state in states)
    at_work = Counter(_worker_state(worker) for worker in workers)
    points = [Point("xnas_searches", searches[str(state)], (str(state),)) for state in SEARCH_STATES]
    points += [Point("xnas_workers", at_work[state], (state,)) for state in WORKER_STATES]
    points.append(Point("xnas_worker_busy_share", happened.busy / happened.ready if happened.ready else 0.0))
    points.append(Point("xnas_queued_trials", queued))
    points += [
        Point("xnas_finished_trials", happened.ended[str(status)], (str(status),))
        for status in TrialStatus
        if happened.ended[str(status)]
    ]
    points += [Point("xnas_ask_seconds", value) for value in happened.asks_s.values]
    points += [Point("xnas_store_lag_seconds", value) for value in happened.lags_s.values]
    return points


def _worker_state(worker: WorkerView) -> str:
    if worker.state != WorkerState.READY:
        return worker.state.value
    return "busy" if worker.trials else "idle"


def search_points(label: tuple[str, str], status: Mapping[str, Any], hypervolume: float | None) -> list[Point]:
    """Numbers of one search.

    Args:
        label: its short id and its name, see ``search_label``.
        status: see ``archive.stored_status``; ``ask_s`` and ``trial_s`` may be missing.
        hypervolume: None for a search with one objective.
    """
    points = [Point("xnas_search_trials", status["counts"][state], (*label, state)) for state in TRIAL_STATES]
    values = {
        "budget_trials": status["budget"]["trials"],
        "workers": status["workers"],
        "trial_seconds": status.get("trial_s"),
        "ask_seconds": status.get("ask_s"),
        "hypervolume": hypervolume,
    }
    points += [Point(f"xnas_search_{name}", value, label) for name, value in values.items() if value is not None]
    if status["best"]:
        points.append(Point("xnas_search_best", status["best"]["value"], (*label, status["best"]["objective"])))
    return [point for point in points if math.isfinite(point.value)]


def search_label(search_id: str, name: str, taken: Iterable[str] = ()) -> tuple[str, str]:
    """Short id and name of a search as tags: bounded, and nothing in them can break out of a query or a page.

    Args:
        search_id: whole id.
        name: what its user called it, anything.
        taken: short ids that other searches have; the whole id is used where they would be the same.
    """
    short = search_id[:SHORT_ID]
    kept = "".join(c if c.isascii() and (c.isalnum() or c in " ._-") else "_" for c in name[:NAME_CHARS])
    return (search_id if short in taken else short), kept.strip()


# ---- Ray ------------------------------------------------------------------------------------------------------------


class RayMetrics:
    """Sets numbers in ``ray.util.metrics``, from a process that Ray started."""

    def __init__(self) -> None:
        """Register every metric."""
        from ray.util.metrics import Counter as RayCounter
        from ray.util.metrics import Gauge, Histogram

        self._set: dict[str, Any] = {}
        for name, metric in METRICS.items():
            if metric.kind == "gauge":
                self._set[name] = Gauge(name, metric.description, metric.tags).set
            elif metric.kind == "counter":
                self._set[name] = RayCounter(name, metric.description, metric.tags).inc
            else:
                self._set[name] = Histogram(name, metric.description, list(SECONDS), metric.tags).observe

    def publish(self, points: Iterable[Point]) -> None:
        """Set them; what leaves the process leaves it in the background."""
        for point in points:
            tags = dict(zip(METRICS[point.name].tags, point.tags, strict=True))
            self._set[point.name](float(point.value), tags or None)


class Monitor:
    """Publishes the numbers of an engine every five seconds; nothing that goes wrong here reaches the service.

    Args:
        engine: of the head.
        limit: most searches with series of their own: those that run first, then those that were submitted first.
        metrics: where the numbers go; made when first needed.
    """

    def __init__(self, engine: Engine, limit: int, metrics: RayMetrics | None = None) -> None:
        """Nothing is published before ``run``."""
        self._engine = engine
        self._limit = limit
        self._metrics = metrics
        self._labels: dict[str, tuple[str, str]] = {}

    async def run(self) -> None:
        """Look every second, publish every fifth, for ever."""
        looks = 0
        while True:
            await asyncio.sleep(LOOK_S)
            looks += 1
            self._engine.happened.look(self._engine.scheduler.workers())
            if looks % round(INTERVAL_S / LOOK_S) == 0:
                try:
                    await self.publish()
                except Exception:
                    log.warning("the metrics cannot be published", exc_info=True)

    async def publish(self) -> None:
        """Publish what happened since the last time and how everything stands."""
        engine = self._engine
        views = self._views()
        happened, engine.happened = engine.happened, Happened()
        queued = sum(view.queued + view.waiting for view in views.values())
        points = service_points((v.state for v in views.values()), queued, engine.scheduler.workers(), happened)
        shown = sorted(views, key=lambda one: views[one].state != SearchState.RUNNING)[: self._limit]
        self._labels = {one: label for one, label in self._labels.items() if one in views}
        for search_id in shown:
            book = engine.books.get(search_id)
            if book is None:  # it ended while a volume was computed
                continue
            volume = await asyncio.to_thread(book.volume.value) if book.volume else None
            status = {**live_status(engine, book), "ask_s": views[search_id].ask_s, "trial_s": views[search_id].trial_s}
            points += search_points(self._label(search_id, book.spec.name), status, volume)
        if self._metrics is None:
            self._metrics = RayMetrics()
        self._metrics.publish(points)

    def _views(self) -> dict[str, SearchView]:
        """The live searches; one that is being submitted is not known to the scheduler yet."""
        found = {}
        for search_id in self._engine.books:
            with contextlib.suppress(TransitionError):
                found[search_id] = self._engine.scheduler.search(search_id)
        return found

    def _label(self, search_id: str, name: str) -> tuple[str, str]:
        if search_id not in self._labels:
            taken = {short for short, _ in self._labels.values()}
            self._labels[search_id] = search_label(search_id, name, taken)
        return self._labels[search_id]
