"""An independent model of the world that a scheduler drives: it obeys commands and objects to those that may not be.

It shares no code with the scheduler: it knows what really happened (which process holds what, which row is on the disk)
and checks every command against that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from xnas_ray import messages as m
from xnas_ray.messages import SearchState, TrialStatus

Held = tuple[str, int, m.Attempt]

LEGAL = {
    SearchState.QUEUED: {SearchState.RUNNING, SearchState.PAUSED, SearchState.DRAINING},
    SearchState.RUNNING: {SearchState.PAUSED, SearchState.DRAINING, SearchState.FINISHED},
    SearchState.PAUSED: {SearchState.QUEUED, SearchState.DRAINING},
    SearchState.DRAINING: {
        SearchState.RUNNING,
        SearchState.PAUSED,
        SearchState.FINISHED,
        SearchState.CANCELLED,
        SearchState.FAILED,
    },
    SearchState.FINISHED: {SearchState.QUEUED},
}


@dataclass
class TrialModel:
    """What is true of a trial."""

    reusable: bool = False
    asked: str = "writing"  # writing, durable
    terminal: m.WriteTerminal | None = None
    durable: bool = False
    told: int = 0
    attempts: set[m.Attempt] = field(default_factory=set)
    dispatched: int = 0
    live: m.Attempt | None = None
    worker: str = ""


@dataclass
class SearchModel:
    """What is true of a search."""

    config: m.SearchConfig
    most_trials: float
    state: SearchState = SearchState.QUEUED
    reason: str = ""
    cancelled: bool = False
    failed: bool = False
    controller: str = "closed"  # closed, opening, ready, lost
    outstanding: int = 0
    proposed: int = 0
    candidates: int = 10
    trials: dict[int, TrialModel] = field(default_factory=dict)
    gang: dict[str, int] = field(default_factory=dict)
    stopping_gang: bool = False

    @property
    def shape(self) -> tuple[float, float]:
        return self.config.cpus, self.config.gpus

    def counted(self) -> int:
        rows = [t.terminal for t in self.trials.values() if t.terminal is not None]
        return sum(r.status != TrialStatus.CANCELLED and not r.reused for r in rows)

    def live(self) -> int:
        return sum(t.terminal is None and not t.reusable for t in self.trials.values())


@dataclass
class WorkerModel:
    """A worker process."""

    node: str
    shape: tuple[float, float]
    state: str = "starting"  # starting, ready, draining, stopping; unknown: of an earlier service, to be killed
    adopted: bool = False
    line: list[Held] = field(default_factory=list)
    stops: dict[Held, bool] = field(default_factory=dict)


@dataclass
class NodeModel:
    """A machine."""

    cpus: float
    gpus: float
    draining: bool = False


class Model:
    """Obeys the scheduler and checks it.

    Args:
        max_line: trials that a worker may hold.
    """

    def __init__(self, max_line: int) -> None:
        self.max_line = max_line
        self.epoch = 1
        self.nodes: dict[str, NodeModel] = {}
        self.workers: dict[str, WorkerModel] = {}
        self.searches: dict[str, SearchModel] = {}
        self.used_worker_ids: set[str] = set()
        self.old_reports: list[m.TrialReported] = []
        self.event: m.Event | None = None
        self.genuine = False

    # ---- commands ---------------------------------------------------------------------------------------------------

    def obey(self, event: m.Event, commands: list[m.Command], *, genuine: bool = False) -> None:
        """Do what was ordered because of an event; a genuine report is of the attempt that was live."""
        self.event, self.genuine = event, genuine
        for command in commands:
            getattr(self, "_" + type(command).__name__)(command)
        self._check_capacity()

    def _StartWorker(self, c: m.StartWorker) -> None:
        assert c.worker_id not in self.used_worker_ids, f"{c.worker_id} is given twice"
        self.used_worker_ids.add(c.worker_id)
        assert c.node_id in self.nodes and not self.nodes[c.node_id].draining, f"{c} on a node that leaves"
        assert any(s.shape == (c.cpus, c.gpus) and s.state == SearchState.RUNNING for s in self.searches.values())
        self.workers[c.worker_id] = WorkerModel(c.node_id, (c.cpus, c.gpus))

    def _DrainWorker(self, c: m.DrainWorker) -> None:
        assert self.workers[c.worker_id].state == "ready"
        self.workers[c.worker_id].state = "draining"

    def _StopWorker(self, c: m.StopWorker) -> None:
        worker = self.workers[c.worker_id]
        assert worker.state == "draining" and not worker.line, f"{c}: {worker}"
        worker.state = "stopping"

    def _KillWorker(self, c: m.KillWorker) -> None:
        self.workers[c.worker_id].state = "stopping"

    def _OpenController(self, c: m.OpenController) -> None:
        search = self.searches[c.search_id]
        assert search.controller in ("closed", "lost"), f"{c}: it is {search.controller}"
        search.controller = "opening"

    def _CloseController(self, c: m.CloseController) -> None:
        search = self.searches[c.search_id]
        assert search.state.ended and search.controller != "closed", f"{c}: {search}"
        search.controller = "closed"

    def _Propose(self, c: m.Propose) -> None:
        search = self.searches[c.search_id]
        assert c.count > 0 and search.state == SearchState.RUNNING and search.controller == "ready", f"{c}: {search}"
        assert not search.gang, f"{c} beside the gang"
        search.outstanding += c.count
        if search.config.trials is not None:
            assert search.counted() + search.live() + search.outstanding <= search.config.trials, f"{c}: {search}"

    def _WriteAsked(self, c: m.WriteAsked) -> None:
        assert isinstance(self.event, m.Proposed) and self.event.trial == c.trial
        assert c.trial not in self.searches[c.search_id].trials
        self.searches[c.search_id].trials[c.trial] = TrialModel(self.event.reusable)

    def _WriteTerminal(self, c: m.WriteTerminal) -> None:
        search = self.searches[c.search_id]
        trial = search.trials[c.trial]
        assert trial.asked == "durable" and trial.terminal is None, f"{c}: {trial}"
        assert trial.live is None, f"{c}: attempt {trial.live} still runs on {trial.worker}"
        event = self.event
        if c.status == TrialStatus.COMPLETED:
            reported = self.genuine and isinstance(event, m.TrialReported) and event.status == TrialStatus.COMPLETED
            assert c.reused == trial.reusable and (trial.reusable or reported), f"{c} because of {event}"
        if c.status == TrialStatus.FAILED:
            assert not search.cancelled and not search.failed, f"{c} of a search that ends"
            assert c.attempt is not None and c.failure is not None
        if c.attempt is not None:
            assert c.attempt in trial.attempts
        trial.terminal = c
        assert search.counted() <= search.most_trials, f"{c}: {search.counted()} trials of {search.most_trials}"

    def _Tell(self, c: m.Tell) -> None:
        assert isinstance(self.event, m.TerminalDurable)
        assert (self.event.search_id, self.event.trial) == (c.search_id, c.trial)
        trial = self.searches[c.search_id].trials[c.trial]
        assert trial.durable and trial.told == 0, f"{c}: {trial}"
        trial.told += 1

    def _LogTrial(self, c: m.LogTrial) -> None:
        assert c.state in ("running", "retrying", "requeued")
        assert c.attempt in self.searches[c.search_id].trials[c.trial].attempts

    def _LogSearch(self, c: m.LogSearch) -> None:
        search = self.searches[c.search_id]
        assert c.state in LEGAL[search.state], f"{c.search_id}: from {search.state} to {c.state}"
        search.state, search.reason = c.state, c.reason
        if c.state.ended:
            assert all(t.durable and t.told == 1 for t in search.trials.values()), f"{c}: {search.trials}"
            assert search.outstanding == 0 and not search.gang
            expected = {SearchState.CANCELLED: search.cancelled, SearchState.FAILED: search.failed}
            assert expected.get(c.state, not (search.cancelled or search.failed)), f"{c}: {search}"

    def _Dispatch(self, c: m.Dispatch) -> None:
        search, worker = self.searches[c.search_id], self.workers[c.worker_id]
        trial = search.trials[c.trial]
        assert search.state == SearchState.RUNNING and not search.cancelled, f"{c}: the search is {search.state}"
        assert not search.gang, f"{c} beside the gang"
        assert trial.asked == "durable", f"{c}: its asked row is not on the disk"
        assert trial.terminal is None and not trial.reusable, f"{c}: it has ended"
        assert trial.live is None, f"{c}: attempt {trial.live} is live on {trial.worker}"
        assert c.attempt not in trial.attempts and c.attempt[0] == self.epoch
        assert all(c.attempt > a for a in trial.attempts), f"{c}: attempts {trial.attempts}"
        assert worker.state == "ready" and worker.shape == search.shape, f"{c}: {worker}"
        trial.attempts.add(c.attempt)
        trial.dispatched += 1
        trial.live, trial.worker = c.attempt, c.worker_id
        worker.line.append((c.search_id, c.trial, c.attempt))
        assert len(worker.line) <= self.max_line, f"{c}: {worker}"
        holders = {w for w, x in self.workers.items() if any(h[0] == c.search_id for h in x.line)}
        limit = search.config.max_workers
        adopted = sum(self.workers[w].adopted for w in holders)
        assert limit is None or len(holders) <= max(limit, adopted), f"{c}: {holders} hold trials"

    def _StopTrial(self, c: m.StopTrial) -> None:
        held = (c.search_id, c.trial, c.attempt)
        worker = self.workers[c.worker_id]
        assert held in worker.line, f"{c}: {worker}"
        worker.stops[held] = worker.stops.get(held, True) and c.checkpoint

    def _StartGang(self, c: m.StartGang) -> None:
        search = self.searches[c.search_id]
        assert not search.gang and search.state == SearchState.RUNNING
        assert sum(count for _, count in c.placement) == search.config.gang_workers
        assert not any(self.nodes[n].draining for n, _ in c.placement)
        search.gang = dict(c.placement)

    def _StopGang(self, c: m.StopGang) -> None:
        search = self.searches[c.search_id]
        assert search.gang and not search.stopping_gang
        search.stopping_gang = True

    def _check_capacity(self) -> None:
        """No node holds more than it has, adopted workers apart."""
        cpus: Counter[str] = Counter()
        gpus: Counter[str] = Counter()
        for worker in self.workers.values():
            if worker.state == "unknown":
                continue
            cpus[worker.node] += worker.shape[0]
            gpus[worker.node] += worker.shape[1]
        for search in self.searches.values():
            for node_id, count in search.gang.items():
                cpus[node_id] += count * search.shape[0]
                gpus[node_id] += count * search.shape[1]
        for node_id, node in self.nodes.items():
            assert cpus[node_id] <= node.cpus + 1e-9, f"{node_id}: {cpus[node_id]} CPUs of {node.cpus} are used"
            assert gpus[node_id] <= node.gpus + 1e-9, f"{node_id}: {gpus[node_id]} GPUs of {node.gpus} are used"

    # ---- facts ------------------------------------------------------------------------------------------------------

    def forget(self, worker_id: str) -> None:
        """A worker process is gone; what it held runs nowhere."""
        for held in list(self.workers[worker_id].line):
            self.release(worker_id, held)
        del self.workers[worker_id]

    def release(self, worker_id: str, held: Held) -> bool:
        """A worker has ended an attempt; whether it was the live one of its trial."""
        worker = self.workers[worker_id]
        worker.line.remove(held)
        worker.stops.pop(held, None)
        search = self.searches.get(held[0])
        trial = search.trials.get(held[1]) if search else None
        if trial is None or trial.live != held[2] or trial.worker != worker_id:
            return False
        trial.live, trial.worker = None, ""
        return True

    def writing(self, what: str) -> list[tuple[str, int]]:
        """Trials whose asked or terminal row is on its way to the disk."""
        return [
            (search_id, number)
            for search_id, search in self.searches.items()
            for number, trial in search.trials.items()
            if (trial.asked == "writing" if what == "asked" else trial.terminal is not None and not trial.durable)
        ]

    def repeated(self) -> list[tuple[str, int, TrialModel]]:
        """Trials of which another attempt than the first one runs."""
        return [
            (search_id, number, trial)
            for search_id, search in self.searches.items()
            for number, trial in search.trials.items()
            if trial.live is not None and trial.live != min(trial.attempts)
        ]

    def progress(self, search_id: str, attempts_logged: bool) -> m.SearchProgress:
        """What the disk tells of a search."""
        search = self.searches[search_id]
        asked = {n: t for n, t in search.trials.items() if t.asked == "durable"}
        rows = [t.terminal for t in asked.values() if t.durable and t.terminal is not None]
        return m.SearchProgress(
            state=search.state,
            next_trial=max(asked, default=-1) + 1,
            counted=sum(r.status != TrialStatus.CANCELLED and not r.reused for r in rows),
            reason=search.reason,
            pending=tuple(
                m.PendingTrial(n, t.dispatched if attempts_logged else 0)
                for n, t in sorted(asked.items())
                if not t.durable
            ),
        )

    def restart(self) -> None:
        """The service died: what was not on the disk never was; what the workers hold lives on."""
        self.epoch += 1
        ended = (SearchState.CANCELLED, SearchState.FAILED)
        self.searches = {s: x for s, x in self.searches.items() if x.state not in ended}
        for search in self.searches.values():
            if search.state in (SearchState.RUNNING, SearchState.DRAINING):
                search.state = SearchState.QUEUED
            search.failed = False
            search.trials = {n: t for n, t in search.trials.items() if t.asked == "durable"}
            search.proposed = max(search.trials, default=-1) + 1
            search.outstanding, search.controller = 0, "closed"
            search.gang, search.stopping_gang = {}, False
            for trial in search.trials.values():
                if trial.durable:
                    trial.told = 1
                else:
                    trial.terminal, trial.reusable, trial.told = None, False, 0
                    trial.live, trial.worker = None, ""

    def summary(self) -> dict[str, list[str]]:
        """For messages: what is left of each search."""
        left: dict[str, list[str]] = defaultdict(list)
        for search_id, search in self.searches.items():
            left[f"{search_id} {search.state} {search.controller}"] = [
                f"{n}: {t}" for n, t in search.trials.items() if not t.durable
            ]
        return dict(left)
