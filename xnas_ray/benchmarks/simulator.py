"""A simulated cluster: searches over tables in seconds, driven by the service's own scheduler on a virtual clock."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from xnas_ray import messages as m
from xnas_ray.benchmarks.controller_process import MEASURED, ControllerProcess, Generations
from xnas_ray.benchmarks.table import DEFAULT_DURATION_S, TableEntry
from xnas_ray.benchmarks.virtual_clock import Clock, GroupCommit
from xnas_ray.controllers.base import Controller, Goal, Source
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.errors import GenotypeError, SpecError, TableError
from xnas_ray.messages import Candidate, Failure, FailureKind, Genotype, Outcome, SearchState, TrialStatus
from xnas_ray.scheduler import Scheduler, SchedulerConfig
from xnas_ray.spaces.base import Space

if TYPE_CHECKING:
    import pandas as pd

SEARCH_ID = "simulated"
NODE_ID = "simulated"
MODES = ("asynchronous", "generational")
GENERATION = 64

Mode = Literal["asynchronous", "generational"]


class SimulatedTask(Protocol):
    """What a simulation needs of a task; ``TabularTask`` is one.

    Attributes:
        space: what can be searched.
        goals: the objectives.
    """

    space: Space
    goals: tuple[Goal, ...]

    @property
    def report_names(self) -> tuple[str, ...]:
        """What is shown beside the objectives."""

    def lookup(self, genotype: Genotype) -> TableEntry:
        """What is known of an architecture; TableError or GenotypeError when nothing is."""

    def evaluate(self, candidate: Candidate) -> Outcome:
        """The outcome of a trial, whose ``cost_s`` is its duration; TableError or GenotypeError without one."""


@dataclass(frozen=True, slots=True)
class SimulationCost:
    """What the service takes of the virtual time; by default nothing.

    Attributes:
        ask_s: seconds that a proposal takes its controller, which makes one at a time; ``"measured"`` charges the CPU
            seconds that proposals and tells really take on this machine, so two runs differ by their noise.
        commit_s: seconds of a commit to the store; rows that come during a commit wait for it and share the next one.
    """

    ask_s: float | Literal["measured"] = 0.0
    commit_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse times that are negative or no numbers."""
        if self.ask_s != MEASURED:
            _check_seconds("cost.ask_s", self.ask_s, f"seconds of at least 0 or {MEASURED!r}")
        _check_seconds("cost.commit_s", self.commit_s, "seconds of at least 0")


def simulate(
    controller: str,
    task: SimulatedTask,
    trials: int = 150,
    workers: int = 8,
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
    *,
    space: Space | None = None,
    cost: SimulationCost | None = None,
    mode: Mode = "asynchronous",
    generation: int = GENERATION,
    config: SchedulerConfig | None = None,
    sources: Sequence[Source] = (),
) -> pd.DataFrame:
    """Run a search on a simulated cluster.

    Nothing waits for anything: a worker whose trial ends gets the controller's next proposal, and trials that end at
    the same time do so in trial order, each told before the proposal for its worker is made. The same arguments give
    the same frame, unless CPU time is measured.

    Args:
        controller: registered name, or ``"package.module:Class"``.
        task: the table (see ``TabularTask``).
        trials: finished trials, failed ones included; fewer when the space is exhausted.
        workers: simulated workers.
        seed: of the controller.
        params: parameters of the controller.
        space: what to search, by default the task's: ``task.restricted()`` where the table is not complete.
        cost: virtual time of proposals and commits.
        mode: ``"generational"`` puts a barrier behind every ``generation`` proposals: they are made with what earlier
            generations found, and all of them end before the next begins.
        generation: proposals between two barriers.
        config: of the scheduler; by default a worker holds one trial and no number of failures pauses the search.
            Leases are not simulated: every worker lives.
        sources: finished searches from which the controller learns.

    Returns:
        A row a trial in order of completion: ``trial``, ``genotype``, ``architecture``, the objectives (NaN in a trial
        that failed), the task's report columns, ``asked_at_s`` (when it was proposed), ``finished_at_s`` and
        ``worker`` (from 0).

    Raises:
        SpecError: an argument is out of range.
        UnknownNameError: no such controller or parameter.
        TableError: the search paused because ``config.failures_in_a_row`` trials failed.
    """
    if mode not in MODES:
        raise SpecError(f"there is no mode {mode!r}.", field="mode", got=mode, valid=MODES)
    made = CONTROLLERS.create(controller, params or {}, space or task.space, task.goals, field="controller", seed=seed)
    if sources:
        made.inherit(sources)
    simulation = Simulation(
        made,
        task,
        trials=trials,
        workers=workers,
        cost=cost,
        generation=generation if mode == "generational" else None,
        config=config,
    )
    simulation.run()
    return simulation.frame()


class Simulation:
    """One search on one simulated cluster; ``simulate`` says what is simulated.

    Args:
        controller: proposes; used up by the run.
        task: tells how trials end and how long they take.
        trials: budget.
        workers: simulated workers.
        cost: virtual time of proposals and commits.
        generation: proposals between two barriers, None without any.
        config: of the scheduler.

    Attributes:
        clock: the virtual time.

    Raises:
        SpecError: an argument is out of range.
    """

    def __init__(
        self,
        controller: Controller,
        task: SimulatedTask,
        *,
        trials: int,
        workers: int,
        cost: SimulationCost | None = None,
        generation: int | None = None,
        config: SchedulerConfig | None = None,
    ) -> None:
        """A cluster at second 0 on which nothing was submitted yet."""
        for name, value in (("trials", trials), ("workers", workers), ("generation", generation)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise SpecError(f"must be a whole number of at least 1, got {value!r}.", field=name)
        cost = cost or SimulationCost()
        config = config or SchedulerConfig(prefetch_below_s=0.0, failures_in_a_row=trials + 1)
        self.clock = Clock()
        self._task = task
        self._space = controller.space
        self._trials = trials
        self._workers = workers
        self._scheduler = Scheduler(dataclasses.replace(config, lease_s=None))
        self._commits = GroupCommit(self.clock, cost.commit_s)
        self._controller = ControllerProcess(
            self.clock, controller, cost.ask_s, None if generation is None else Generations(generation), self._answer
        )
        self._candidates: dict[int, Candidate] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._asked_at_s: dict[int, float] = {}
        self._worker_number: dict[str, int] = {}
        self._free_at_s: dict[str, float] = {}
        self._finished: list[tuple[int, float, int]] = []  # (trial, second, worker)
        self._state = SearchState.QUEUED
        self._reason = ""
        self._do: dict[type[m.Command], Callable[[Any], None]] = {
            m.StartWorker: self._start_worker,
            m.OpenController: lambda c: self._handle(m.ControllerReady(self.clock.now_s, c.search_id)),
            m.Propose: lambda c: self._controller.ask(c.count),
            m.Tell: lambda c: self._controller.tell(self._outcomes.pop(c.trial)),
            m.WriteAsked: lambda c: self._write(m.AskedDurable, c.trial),
            m.WriteTerminal: lambda c: self._write(m.TerminalDurable, c.trial),
            m.Dispatch: self._dispatch,
            m.LogSearch: self._log_search,
        }

    @property
    def controller_s(self) -> float:
        """Seconds of virtual time in which the controller was busy."""
        return self._controller.busy_s

    def run(self) -> None:
        """Run the search to its end.

        Raises:
            TableError: it paused because too many trials failed one after the other.
        """
        self._handle(m.NodeJoined(0.0, NODE_ID, float(self._workers), 0.0))
        self._handle(m.SearchSubmitted(0.0, SEARCH_ID, m.SearchConfig(trials=self._trials)))
        self._handle(m.Tick(0.0))
        self.clock.run()
        if not self._state.ended:
            raise TableError(
                f"the search paused after {len(self._finished)} trials: {self._reason}.",
                field="task",
                fix="Search task.restricted() where the table is not complete, or raise config.failures_in_a_row.",
            )

    def frame(self) -> pd.DataFrame:
        """The trials that have finished; ``simulate`` describes the columns."""
        import pandas as pd

        numbers = [trial for trial, _, _ in self._finished]
        genotypes = [self._candidates[n].genotype for n in numbers]
        entries = [self._entry(genotype) for genotype in genotypes]
        columns: dict[str, Any] = {
            "trial": pd.Series(numbers, dtype="int64"),
            "genotype": pd.Series(genotypes, dtype="object"),
            "architecture": pd.Series([self._space.format(g) for g in genotypes], dtype="str"),
        }
        for goal in self._task.goals:
            columns[goal.name] = pd.Series([e.metrics.get(goal.name, math.nan) for e in entries], dtype="float64")
        for name in self._task.report_names:
            columns[name] = pd.Series([e.report.get(name, math.nan) for e in entries], dtype="float64")
        columns["asked_at_s"] = pd.Series([self._asked_at_s[n] for n in numbers], dtype="float64")
        columns["finished_at_s"] = pd.Series([at_s for _, at_s, _ in self._finished], dtype="float64")
        columns["worker"] = pd.Series([worker for _, _, worker in self._finished], dtype="int64")
        return pd.DataFrame(columns)

    def _entry(self, genotype: Genotype) -> TableEntry:
        try:
            return self._task.lookup(genotype)
        except (TableError, GenotypeError):
            return TableEntry({})

    # ---- events and commands ----------------------------------------------------------------------------------------

    def _handle(self, event: m.Event) -> None:
        for command in self._scheduler.handle(event):
            action = self._do.get(type(command))
            if action is not None:  # the others log, or end what needs no end here
                action(command)

    def _write(self, kind: Callable[[float, str, int], m.Event], trial: int) -> None:
        self._commits.write(lambda: self._handle(kind(self.clock.now_s, SEARCH_ID, trial)))

    def _start_worker(self, command: m.StartWorker) -> None:
        worker_id = command.worker_id
        self._worker_number[worker_id] = len(self._worker_number)
        self.clock.at(self.clock.now_s, lambda: self._handle(m.WorkerReady(self.clock.now_s, worker_id)))

    def _answer(self, candidate: Candidate | None) -> None:
        now_s = self.clock.now_s
        if candidate is None:
            self._handle(m.ProposalRefused(now_s, SEARCH_ID))
            return
        self._candidates[candidate.ask_number] = candidate
        self._asked_at_s[candidate.ask_number] = now_s
        self._handle(m.Proposed(now_s, SEARCH_ID, candidate.ask_number))

    def _dispatch(self, command: m.Dispatch) -> None:
        outcome = self._evaluate(self._candidates[command.trial])
        starts_s = max(self.clock.now_s, self._free_at_s.get(command.worker_id, 0.0))
        ends_s = starts_s + outcome.cost_s
        self._free_at_s[command.worker_id] = ends_s
        self.clock.at(ends_s, lambda: self._report(command, outcome), rank=command.trial)

    def _evaluate(self, candidate: Candidate) -> Outcome:
        try:
            return self._task.evaluate(candidate)
        except (TableError, GenotypeError) as error:
            return Outcome(
                trial=candidate.ask_number,
                candidate=candidate,
                status=TrialStatus.FAILED,
                cost_s=DEFAULT_DURATION_S,
                failure=Failure(FailureKind.INVALID, type=type(error).__name__, message=str(error)),
            )

    def _report(self, command: m.Dispatch, outcome: Outcome) -> None:
        now_s = self.clock.now_s
        self._outcomes[command.trial] = outcome
        self._finished.append((command.trial, now_s, self._worker_number[command.worker_id]))
        self._handle(
            m.TrialReported(
                now_s,
                command.worker_id,
                SEARCH_ID,
                command.trial,
                command.attempt,
                outcome.status,
                outcome.cost_s,
                outcome.failure.kind if outcome.failure else None,
            )
        )

    def _log_search(self, command: m.LogSearch) -> None:
        self._state = command.state
        self._reason = command.reason


def _check_seconds(field: str, value: Any, wanted: str) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (math.isfinite(value) and value >= 0):
        raise SpecError(f"must be {wanted}, got {value!r}.", field=field)
