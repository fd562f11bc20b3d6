"""What crosses a boundary: candidates, outcomes, and the events and commands of the scheduler.

All are frozen dataclasses with a JSON round trip (``message_to_json``, ``message_from_json``), so that a process of
another version, a log file or a test can read them. The scheduler sees ids only: architectures, metrics and logs stay
with whoever drives it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import operator
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from xnas_ray.errors import ProtocolError

PROTOCOL_VERSION = 1

Genotype = tuple[int, ...]
"""One option index per choice of a space."""

Attempt = tuple[int, int]
"""(epoch of the writer that dispatched it, how many attempts of this trial came before); ordered."""


class TrialStatus(StrEnum):
    """How a trial ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class SearchState(StrEnum):
    """Where a search stands; ``extend`` reopens a finished one."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    DRAINING = "draining"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether no trial of the search runs or will run."""
        return self in (SearchState.FINISHED, SearchState.CANCELLED, SearchState.FAILED)


class FailureKind(StrEnum):
    """Why an attempt failed, which decides whether it is tried again."""

    EXCEPTION = "exception"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    NAN = "nan"
    INVALID = "invalid"
    WORKER_DIED = "worker_died"
    NODE_DIED = "node_died"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"

    @property
    def infrastructure(self) -> bool:
        """Whether the machine, not the candidate, is to blame: retried without spending the search's ``retries``."""
        return self in (FailureKind.WORKER_DIED, FailureKind.NODE_DIED)

    @property
    def deterministic(self) -> bool:
        """Whether another attempt would end the same way: never retried."""
        return self in (FailureKind.NAN, FailureKind.INVALID)


class Message:
    """Base of everything that crosses a boundary."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Cost(Message):
    """What a network costs, known without training it.

    Attributes:
        flops: multiply-accumulate operations of one forward pass of one sample (convolutions and linear layers).
        params: number of trainable parameters.
        latency_table_ms: of a forward pass by a latency table; None where there is none.
    """

    flops: int
    params: int
    latency_table_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate(Message):
    """What a controller proposes: an architecture, how to train it and how long.

    Attributes:
        ask_number: counts the proposals of one search from 0; the trial's number.
        genotype: canonical member of its key class.
        recipe: settings that differ from the search's recipe (JSON values), empty for architecture-only spaces.
        fidelity: epochs to train.
        schedule_epochs: epochs over which the learning-rate schedule stretches, at least ``fidelity``.
        replicate: which repetition of the same training this is; enters the training seed.
        origin: where it came from (``parents``, ``stage``, ``generation`` …), JSON values; stored and given back by
            ``adopt``.
    """

    ask_number: int
    genotype: Genotype
    recipe: Mapping[str, Any] = field(default_factory=dict)
    fidelity: int = 1
    schedule_epochs: int = 1
    replicate: int = 0
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Bring the values into the one form that JSON gives back, and check the numbers."""
        for name in ("ask_number", "fidelity", "schedule_epochs", "replicate"):
            object.__setattr__(self, name, operator.index(getattr(self, name)))
        object.__setattr__(self, "genotype", tuple(operator.index(i) for i in self.genotype))
        for name in ("recipe", "origin"):
            object.__setattr__(self, name, json.loads(json.dumps(dict(getattr(self, name)), allow_nan=False)))
        if self.ask_number < 0 or self.fidelity < 1 or self.schedule_epochs < self.fidelity or self.replicate < 0:
            raise ValueError(f"candidate numbers out of range: {self}")


@dataclass(frozen=True, slots=True)
class Failure(Message):
    """Why an attempt failed.

    Attributes:
        kind: decides whether it is retried.
        type: name of the exception's class.
        message: its text.
        log: the last lines that the trial logged, with the traceback.
    """

    kind: FailureKind
    type: str = ""
    message: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True)
class Outcome(Message):
    """How a trial ended, as the store keeps it and the controller is told it.

    Attributes:
        trial: number of the trial in its search.
        candidate: what was evaluated.
        status: completed, failed or cancelled.
        metrics: finite values by objective or metric name; empty unless completed.
        curve: one mapping an epoch, finite values (``epoch``, ``train_loss``, ``val_accuracy`` …).
        cost_s: seconds of worker time of the successful attempt.
        failure: set unless completed.
    """

    trial: int
    candidate: Candidate
    status: TrialStatus
    metrics: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[Mapping[str, float], ...] = ()
    cost_s: float = 0.0
    failure: Failure | None = None

    def __post_init__(self) -> None:
        """Refuse NaN and infinite values: controllers never see them."""
        if self.status == TrialStatus.COMPLETED and self.failure is not None:
            raise ValueError("a completed trial has no failure")
        values = [*self.metrics.items(), ("cost_s", self.cost_s), *(p for record in self.curve for p in record.items())]
        bad = sorted({name for name, value in values if not math.isfinite(value)})
        if bad:
            raise ValueError(f"metrics must be finite, got {bad}; report a failure of kind 'nan' instead")


# --------------------------------------------------------------------------------------------------------------------
# Scheduler: what it is told
# --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SearchConfig(Message):
    """The part of a search's specification that scheduling needs.

    Attributes:
        priority: weight of its fair share, above 0.
        trials: budget of counted trials (completed or failed, not reused), None = unlimited.
        gpu_hours: budget of GPU hours over every attempt, None = unlimited.
        wall_clock_s: budget of seconds in state running, over restarts, None = unlimited.
        hard: whether an exhausted budget stops running trials too.
        cpus: CPUs of one worker.
        gpus: GPUs of one worker, fractions allowed.
        max_workers: most workers used at once, None = all that fit.
        retries: extra attempts after failures that are neither deterministic nor the machine's fault.
        timeout_s: longest an attempt may take, None = for ever.
        gang_workers: above 0: the search is one job on that many workers at once.
    """

    priority: float = 1.0
    trials: int | None = None
    gpu_hours: float | None = None
    wall_clock_s: float | None = None
    hard: bool = False
    cpus: float = 1.0
    gpus: float = 0.0
    max_workers: int | None = None
    retries: int = 0
    timeout_s: float | None = None
    gang_workers: int = 0


@dataclass(frozen=True, slots=True)
class PendingTrial(Message):
    """A trial that was asked but had not ended when its service stopped.

    Attributes:
        trial: its number.
        attempts: attempts that were dispatched so far.
        failures: attempts that spent one of the search's ``retries``.
        infrastructure_failures: attempts that died with a worker or node.
    """

    trial: int
    attempts: int = 0
    failures: int = 0
    infrastructure_failures: int = 0


@dataclass(frozen=True, slots=True)
class SearchProgress(Message):
    """Where an earlier service left a search.

    Attributes:
        state: as the store had it: queued, running, paused, draining, or finished when it was extended.
        next_trial: one more than the highest trial number that is durable.
        counted: finished trials that count towards ``budget.trials``.
        gpu_s: GPU seconds spent so far.
        running_s: seconds in state running so far.
        pending: trials without a terminal row, in order.
        reason: why it was paused.
    """

    state: SearchState
    next_trial: int = 0
    counted: int = 0
    gpu_s: float = 0.0
    running_s: float = 0.0
    pending: tuple[PendingTrial, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Event(Message):
    """Something that happened; ``now_s`` is the only clock that the scheduler knows (monotonic seconds)."""

    now_s: float


@dataclass(frozen=True, slots=True)
class Tick(Event):
    """Time passed: timeouts, backoffs, leases and wall-clock budgets are looked at."""


@dataclass(frozen=True, slots=True)
class NodeJoined(Event):
    """A node offers ``cpus`` and ``gpus`` to workers."""

    node_id: str
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class NodeDraining(Event):
    """A node will leave: its workers finish, or checkpoint and move when ``checkpoint`` is set; none start there."""

    node_id: str
    checkpoint: bool = False


@dataclass(frozen=True, slots=True)
class NodeLeft(Event):
    """A node is gone with everything on it."""

    node_id: str


@dataclass(frozen=True, slots=True)
class WorkerReady(Event):
    """A started worker can take trials."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class WorkerAdopted(Event):
    """A worker of an earlier service was found alive; ``running`` is what it executes: (search, trial, attempt)."""

    worker_id: str
    node_id: str
    cpus: float
    gpus: float
    running: tuple[tuple[str, int, Attempt], ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerGone(Event):
    """A worker's process ended, asked or not."""

    worker_id: str
    reason: str = ""
    kind: FailureKind = FailureKind.WORKER_DIED


@dataclass(frozen=True, slots=True)
class WorkerBeat(Event):
    """A worker is alive: its lease is renewed."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class SearchSubmitted(Event):
    """A search enters the queue, new or (with ``progress``) restored."""

    search_id: str
    config: SearchConfig
    progress: SearchProgress | None = None


@dataclass(frozen=True, slots=True)
class PauseRequested(Event):
    """No new dispatch; running trials finish, or with ``at_once`` checkpoint and go back to the queue."""

    search_id: str
    reason: str = ""
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class ResumeRequested(Event):
    """A paused search goes on."""

    search_id: str


@dataclass(frozen=True, slots=True)
class CancelRequested(Event):
    """A search ends: running trials stop at the next batch; outcomes that are durable stand."""

    search_id: str


@dataclass(frozen=True, slots=True)
class ExtendRequested(Event):
    """New budgets; None leaves one as it is. Reopens a draining or finished search."""

    search_id: str
    trials: int | None = None
    gpu_hours: float | None = None
    wall_clock_s: float | None = None


@dataclass(frozen=True, slots=True)
class ControllerReady(Event):
    """The search's controller is constructed and has replayed every known trial."""

    search_id: str


@dataclass(frozen=True, slots=True)
class ControllerLost(Event):
    """The process that held the controller died; proposals that had not arrived are void."""

    search_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ControllerFailed(Event):
    """The controller raised: the search fails with this reason."""

    search_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Proposed(Event):
    """One of the asked-for proposals arrived; ``reusable``: the store has its result already."""

    search_id: str
    trial: int
    reusable: bool = False


@dataclass(frozen=True, slots=True)
class ProposalRefused(Event):
    """The controller had no candidate for one of the asked-for proposals (exhausted for now)."""

    search_id: str


@dataclass(frozen=True, slots=True)
class AskedDurable(Event):
    """The trial's ``asked`` row is on disk: it may be dispatched."""

    search_id: str
    trial: int


@dataclass(frozen=True, slots=True)
class TerminalDurable(Event):
    """The trial's terminal row is on disk: the controller may be told."""

    search_id: str
    trial: int


@dataclass(frozen=True, slots=True)
class TrialReported(Event):
    """An attempt ended on its worker.

    Attributes:
        worker_id: who ran it.
        search_id: its search.
        trial: its number.
        attempt: which attempt; reports of older ones are dropped.
        status: completed, failed or cancelled (stopped on request, checkpointed or not).
        duration_s: seconds measured by the worker.
        failure: kind of the failure unless completed.
        recycle: the worker wants to be replaced (memory growth, ``max_trials_per_worker``).
    """

    worker_id: str
    search_id: str
    trial: int
    attempt: Attempt
    status: TrialStatus
    duration_s: float
    failure: FailureKind | None = None
    recycle: bool = False


@dataclass(frozen=True, slots=True)
class GangEnded(Event):
    """A gang-scheduled job ended; its resources are free again. Without ``ok`` the search fails with ``reason``."""

    search_id: str
    ok: bool
    reason: str = ""


# --------------------------------------------------------------------------------------------------------------------
# Scheduler: what it orders
# --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command(Message):
    """Something the driver of the scheduler must do."""


@dataclass(frozen=True, slots=True)
class StartWorker(Command):
    """Start a worker of this shape on this node; answer WorkerReady or WorkerGone."""

    worker_id: str
    node_id: str
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class DrainWorker(Command):
    """The worker gets no further trial; StopWorker follows when it is empty."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class StopWorker(Command):
    """End an empty worker; answer WorkerGone."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class KillWorker(Command):
    """End a worker that hangs, with SIGKILL; answer WorkerGone."""

    worker_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class OpenController(Command):
    """Construct the search's controller and replay its rows; answer ControllerReady, Lost or Failed."""

    search_id: str


@dataclass(frozen=True, slots=True)
class CloseController(Command):
    """The search needs its controller no more."""

    search_id: str


@dataclass(frozen=True, slots=True)
class Propose(Command):
    """Ask the controller for ``count`` candidates; answer each with Proposed or ProposalRefused."""

    search_id: str
    count: int


@dataclass(frozen=True, slots=True)
class Tell(Command):
    """Tell the controller the outcome of a trial, whose row is durable."""

    search_id: str
    trial: int


@dataclass(frozen=True, slots=True)
class WriteAsked(Command):
    """Make the trial's ``asked`` row durable; answer AskedDurable."""

    search_id: str
    trial: int


@dataclass(frozen=True, slots=True)
class WriteTerminal(Command):
    """Make the trial's terminal row durable; answer TerminalDurable.

    Attributes:
        search_id: its search.
        trial: its number.
        attempt: the attempt whose report decides it, None when none was dispatched.
        status: how it ended.
        reused: the result comes from an earlier trial of the store.
        reason: why, unless completed.
        failure: kind of the last failure, for ends that no worker could report (time-outs, deaths).
    """

    search_id: str
    trial: int
    attempt: Attempt | None
    status: TrialStatus
    reused: bool = False
    reason: str = ""
    failure: FailureKind | None = None


@dataclass(frozen=True, slots=True)
class LogTrial(Command):
    """Note a transition that is not terminal (``running``, ``retrying``, ``requeued``), written lazily.

    Attributes:
        search_id: its search.
        trial: its number.
        attempt: which attempt.
        state: what it is now.
        worker_id: where the attempt runs or ran.
        failure: why the attempt ended, for ``retrying`` and ``requeued``.
        duration_s: seconds that the ended attempt took: they are charged, though the trial goes on.
        detail: for people.
    """

    search_id: str
    trial: int
    attempt: Attempt
    state: str
    worker_id: str = ""
    failure: FailureKind | None = None
    duration_s: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LogSearch(Command):
    """Note that a search changed its state."""

    search_id: str
    state: SearchState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Dispatch(Command):
    """Hand a trial to a worker, which executes its trials in this order."""

    worker_id: str
    search_id: str
    trial: int
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class StopTrial(Command):
    """Stop an attempt at its next batch, writing a checkpoint first if asked; answer TrialReported(cancelled)."""

    worker_id: str
    search_id: str
    trial: int
    attempt: Attempt
    checkpoint: bool


@dataclass(frozen=True, slots=True)
class StartGang(Command):
    """All resources of a gang are free: start its job; ``placement`` maps nodes to numbers of workers."""

    search_id: str
    placement: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class StopGang(Command):
    """End a gang's job (cancelled, or a hard budget); answer GangEnded."""

    search_id: str


# --------------------------------------------------------------------------------------------------------------------
# JSON
# --------------------------------------------------------------------------------------------------------------------

M = TypeVar("M", bound=Message)


def message_to_json(message: Message) -> dict[str, Any]:
    """A JSON object with the message's class under ``"$type"``; nested messages become plain objects."""
    return {"$type": type(message).__name__, "$version": PROTOCOL_VERSION, **_plain(message)}


def message_from_json(data: Mapping[str, Any]) -> Message:
    """The message that ``message_to_json`` wrote.

    Raises:
        ProtocolError: another protocol version, an unknown type or a missing or unknown field.
    """
    if data.get("$version") != PROTOCOL_VERSION:
        raise ProtocolError(
            f"this side speaks protocol {PROTOCOL_VERSION}, the other {data.get('$version')}.",
            fix="Install the same version of xnas-ray on both sides.",
        )
    kinds = _kinds()
    kind = kinds.get(str(data.get("$type")))
    if kind is None:
        raise ProtocolError("unknown message type", field="$type", got=data.get("$type"), valid=sorted(kinds))
    return _build(kind, {k: v for k, v in data.items() if k not in ("$type", "$version")})


@functools.cache
def _kinds() -> dict[str, type[Message]]:
    return {kind.__name__: kind for kind in _leaves(Message)}


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _leaves(kind: type[Message]) -> list[type[Message]]:
    found = [kind] if dataclasses.is_dataclass(kind) else []
    for child in kind.__subclasses__():
        found.extend(_leaves(child))
    return found


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, StrEnum):
        return str(value)
    return value


def _build(kind: type[M], data: Mapping[str, Any]) -> M:
    hints: dict[str, Any] = _hints(kind)  # type: ignore[arg-type]
    unknown = set(data) - set(hints)
    if unknown:
        raise ProtocolError(f"unknown fields {sorted(unknown)} in {kind.__name__}", valid=sorted(hints))
    try:
        return kind(**{name: _typed(hints[name], value) for name, value in data.items()})
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"malformed {kind.__name__}: {error}") from error


def _typed(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        (inner,) = [a for a in arguments if a is not type(None)]
        return _typed(inner, value)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return tuple(_typed(arguments[0], v) for v in value)
        return tuple(_typed(a, v) for a, v in zip(arguments, value, strict=True))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint(value)
    if isinstance(hint, type) and issubclass(hint, Message):
        return _build(hint, value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool) and type(value) is not hint:
        raise TypeError(f"expected {hint.__name__}, got {value!r}")
    return value
