"""What the head remembers of each live search: its card, its proposals, its results on the way to the store."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xnas_ray.messages import (
    Attempt,
    Candidate,
    Failure,
    FailureKind,
    Outcome,
    SearchConfig,
    TrialStatus,
    WriteTerminal,
)
from xnas_ray.pareto import dominates
from xnas_ray.service.archive import RECENT
from xnas_ray.service.kept_files import OF_WEIGHTS
from xnas_ray.service.proposals import Proposal
from xnas_ray.service.ranking import DominatedVolume, satisfies_all, signed_objectives
from xnas_ray.service.reports import TrialResult
from xnas_ray.spec import SearchSpec
from xnas_ray.store.activations import ACTIVATIONS_FILE
from xnas_ray.store.layout import attempt_folder
from xnas_ray.store.replay import SearchReplay
from xnas_ray.store.rows import CurveRow, Position, TrialRow, curve_rows, trial_row
from xnas_ray.store.schema import METRIC_PREFIX

NEVER_REUSED = frozenset({"flops", "params", "latency_ms", "latency_table_ms"})
"""Measured or computed for each candidate itself, never copied from another trial."""


@dataclass
class LiveTrial:
    """A trial without a durable terminal row."""

    proposal: Proposal
    asked_at: float
    attempts: int = 0
    started_at: float | None = None
    worker: str | None = None
    node: str | None = None
    result: TrialResult | None = None
    arrived_s: float | None = None
    reused: Mapping[str, Any] | None = None
    told: Outcome | None = None
    position: Position | None = None
    curve_epochs: int = 0
    curve_attempt: Attempt | None = None
    curve: list[Mapping[str, float]] = field(default_factory=list)


@dataclass
class Best:
    """The best completed trial so far by the first objective, among those that satisfy the constraints."""

    trial: int
    value: float
    architecture: str
    metrics: Mapping[str, float]
    artifacts: str | None


class Book:
    """One live search.

    Args:
        search_id: its id.
        card: see ``resolve.Search.card``.
        derived: whether the job of a supernet search has ended: there are architectures to train now.
    """

    def __init__(self, search_id: str, card: Mapping[str, Any], *, derived: bool = False) -> None:
        """Nothing proposed yet."""
        self.search_id = search_id
        self.gang_workers = 0 if derived else int(card.get("gang", 0))
        self.card = card
        self.spec = SearchSpec.from_mapping(card["spec"])
        self.objectives: list[dict[str, Any]] = list(card["objectives"])
        self.live: dict[int, LiveTrial] = {}
        self.completed = 0
        self.failed = 0
        self.cancelled = 0
        self.reused = 0
        self.best: Best | None = None
        self.front: dict[int, tuple[tuple[float, ...], str | None]] = {}
        self.recent: deque[dict[str, Any]] = deque(maxlen=RECENT)
        self.executions = 0
        self.volume = DominatedVolume() if len(self.objectives) > 1 else None

    # ---- facts ------------------------------------------------------------------------------------------------------

    def config(self) -> SearchConfig:
        """What the scheduler needs of the specification."""
        spec = self.spec
        return SearchConfig(
            priority=spec.priority,
            trials=spec.budget.trials,
            gpu_hours=spec.budget.gpu_hours,
            wall_clock_s=spec.budget.wall_clock,
            hard=spec.budget.hard,
            cpus=spec.resources.cpus,
            gpus=spec.resources.gpus,
            max_workers=spec.resources.workers,
            retries=spec.retries,
            timeout_s=spec.timeout_s,
            gang_workers=self.gang_workers,
        )

    def signed(self, metrics: Mapping[str, float]) -> tuple[float, ...] | None:
        """Objectives with the sign that makes larger better; None when one is missing."""
        if any(o["name"] not in metrics for o in self.objectives):
            return None
        return signed_objectives(metrics, self.objectives)

    def feasible(self, metrics: Mapping[str, float]) -> bool:
        """Whether every constraint on a measured metric holds."""
        return satisfies_all(metrics, self.spec.constraints)

    def reusable_metrics(self, row: Mapping[str, Any], proposal: Proposal) -> dict[str, float] | None:
        """Metrics of an earlier trial for this candidate; None when one must be measured anew."""
        if row["schedule_epochs"] != proposal.candidate.schedule_epochs:
            return None
        columns = {k.removeprefix(METRIC_PREFIX): v for k, v in row.items() if k.startswith(METRIC_PREFIX)}
        known = {k: v for k, v in columns.items() if k not in NEVER_REUSED and v is not None}
        known |= proposal.costs
        return known if all(o["name"] in known for o in self.objectives) else None

    def restore(self, history: SearchReplay, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Take counters, the best trial, the front and the pending trials from the store.

        Args:
            history: the search, read back.
            records: its terminal rows, in the order of the tells.

        Returns:
            Files that are not needed any longer: those that an earlier service had no time to remove are among them.
        """
        superfluous: list[str] = []
        for record in records:
            superfluous += self.count(
                record["trial"],
                record["status"],
                record["metrics"],
                record["architecture"],
                record["artifacts"],
                duration_s=record["duration_s"],
                reused=record["reused_from"] is not None,
            )
        asked = {one.candidate.ask_number: one for one in history.asked}
        for pending in history.pending:
            one = asked[pending.trial]
            proposal = Proposal.from_note(one.candidate, one.told_through, one.detail)
            self.live[pending.trial] = LiveTrial(proposal, asked_at=one.at, attempts=pending.attempts)
        return superfluous

    # ---- an ended trial ---------------------------------------------------------------------------------------------

    def conclude(self, command: WriteTerminal, epoch: int, seq: int, now_at: float) -> tuple[TrialRow, list[CurveRow]]:
        """The terminal row of a trial and the part of its curve that is not written yet."""
        live = self.live[command.trial]
        result = live.result if live.result is not None and live.result.attempt == command.attempt else None
        outcome = self._outcome(command, live, result)
        live.told, live.position = outcome, (epoch, seq)
        row = trial_row(
            outcome,
            search_id=self.search_id,
            epoch=epoch,
            seq=seq,
            attempts=live.attempts,
            task=self.card["task"],
            task_hash=self.card["task_hash"],
            space=self.card["space"],
            key=live.proposal.key,
            architecture=live.proposal.architecture,
            recipe=live.proposal.recipe,
            train_seed=live.proposal.train_seed,
            asked_at=live.asked_at,
            finished_at=now_at,
            attempt=command.attempt,
            started_at=live.started_at,
            reused_from=f"{live.reused['search_id']}/{live.reused['trial']}"
            if command.reused and live.reused
            else None,
            worker=live.worker,
            node=live.node,
            environment=result.environment if result else "{}",
            artifacts=attempt_folder(self.search_id, command.trial, command.attempt)
            if result is not None and (result.weights or result.activations) and command.attempt
            else None,
        )
        curve = self._unwritten_curve(command, live, outcome) if command.attempt else []
        return row, curve

    def refuse(self, row: TrialRow, why: str) -> TrialRow:
        """The row of a trial whose result cannot be stored: it has failed, and its controller is told so."""
        live = self.live[row.trial]
        assert live.told is not None
        failure = Failure(FailureKind.INVALID, "StoreError", why)
        told = Outcome(row.trial, live.told.candidate, TrialStatus.FAILED, {}, (), live.told.cost_s, failure)
        live.told = told
        return dataclasses.replace(
            row,
            status=TrialStatus.FAILED,
            metrics={},
            failure_kind=failure.kind,
            failure_type=failure.type,
            failure_message=failure.message,
            failure_log=None,
            environment="{}",
        )

    def _unwritten_curve(self, command: WriteTerminal, live: LiveTrial, outcome: Outcome) -> list[CurveRow]:
        assert command.attempt is not None
        written = live.curve_epochs if live.curve_attempt == command.attempt else 0
        return curve_rows(self.search_id, command.trial, command.attempt, outcome.curve[written:])

    def _outcome(self, command: WriteTerminal, live: LiveTrial, result: TrialResult | None) -> Outcome:
        candidate: Candidate = live.proposal.candidate
        if command.status == TrialStatus.COMPLETED:
            if command.reused:
                assert live.reused is not None
                metrics = self.reusable_metrics(live.reused, live.proposal) or {}
                return Outcome(command.trial, candidate, command.status, metrics)
            assert result is not None
            metrics = {**live.proposal.costs, **result.metrics}
            curve = tuple(_finite(record) for record in result.curve)
            return Outcome(command.trial, candidate, command.status, metrics, curve, result.duration_s)
        failure = result.failure if result is not None and result.failure is not None else None
        if failure is None and command.failure is not None:
            failure = Failure(command.failure, "", command.reason)
        duration_s = result.duration_s if result else 0.0
        curve = tuple(_finite(record) for record in result.curve) if result else ()
        return Outcome(command.trial, candidate, command.status, {}, curve, duration_s, failure)

    def count(
        self,
        trial: int,
        status: str,
        metrics: Mapping[str, float],
        architecture: str,
        artifacts: str | None,
        *,
        duration_s: float,
        reused: bool,
    ) -> list[str]:
        """Count a durable terminal row; returns artifact files that need not be kept any longer, by their paths."""
        shown = {"trial": trial, "status": str(status), "metrics": dict(metrics), "architecture": architecture}
        self.recent.append({**shown, "duration_s": duration_s})
        if status == TrialStatus.FAILED:
            self.failed += 1
        elif status == TrialStatus.CANCELLED:
            self.cancelled += 1
        else:
            self.completed += 1
            self.reused += reused
            return self._rank(Best(trial, metrics.get(self.first, 0.0), architecture, dict(metrics), artifacts))
        return [f"{artifacts}/{name}" for name in (*OF_WEIGHTS, ACTIVATIONS_FILE)] if artifacts else []

    def _rank(self, new: Best) -> list[str]:
        """Place a completed trial; the files of those that it surpasses, or its own."""
        signed = self.signed(new.metrics) if self.feasible(new.metrics) else None
        if self.volume is not None and signed is not None:
            self.volume.add(signed)
        surpassed = {"best": self._rank_best(new, signed)}
        if "front" in (self.spec.keep_weights, self.spec.keep_activations):
            surpassed["front"] = self._rank_front(new, signed)
        kept = [(name, self.spec.keep_weights) for name in OF_WEIGHTS]
        kept.append((ACTIVATIONS_FILE, self.spec.keep_activations))
        return [f"{folder}/{name}" for name, keep in kept for folder in surpassed.get(keep, ())]

    def _rank_best(self, new: Best, signed: tuple[float, ...] | None) -> list[str]:
        if signed is None or (self.best is not None and signed[0] <= self.best_signed()):
            return [new.artifacts] if new.artifacts else []
        before, self.best = self.best, new
        return [before.artifacts] if before is not None and before.artifacts else []

    def _rank_front(self, new: Best, signed: tuple[float, ...] | None) -> list[str]:
        if signed is None or any(dominates(other, signed) for other, _ in self.front.values()):
            return [new.artifacts] if new.artifacts else []
        gone = [trial for trial, (other, _) in self.front.items() if dominates(signed, other)]
        superfluous = [folder for trial in gone if (folder := self.front.pop(trial)[1])]
        self.front[new.trial] = (signed, new.artifacts)
        return superfluous

    def front_points(self) -> tuple[tuple[float, ...], ...]:
        """The current front, larger is better; empty where no file is kept for it."""
        return tuple(point for point, _ in self.front.values())

    @property
    def first(self) -> str:
        """Name of the first objective."""
        return str(self.objectives[0]["name"])

    def limit_workers(self, count: int) -> None:
        """Another limit of workers, in this service alone."""
        resources = self.spec.resources.model_copy(update={"workers": count})
        self.spec = self.spec.model_copy(update={"resources": resources})

    def extend(self, changes: Mapping[str, Any]) -> None:
        """Larger budgets, in the specification too."""
        budget = self.spec.budget.model_copy(update=dict(changes))
        self.spec = self.spec.model_copy(update={"budget": budget})
        self.card = {**self.card, "spec": self.spec.to_json()}

    def best_signed(self) -> float:
        """The best value of the first objective, with the sign that makes larger better."""
        assert self.best is not None
        return self.best.value * (1 if self.objectives[0]["maximize"] else -1)

    def summary(self) -> str:
        """JSON text for the searches table: what ``xnas list`` shows."""
        best = None
        if self.best is not None:
            best = {
                "trial": self.best.trial,
                "value": self.best.value,
                "architecture": self.best.architecture,
                "objective": self.objectives[0]["name"],
            }
        counts = {
            "completed": self.completed,
            "failed": self.failed,
            "cancelled": self.cancelled,
            "reused": self.reused,
            "budget_trials": self.spec.budget.trials,
        }
        return json.dumps({**counts, "best": best})


def _finite(record: Mapping[str, float]) -> dict[str, float]:
    """A record of a curve without its NaN and infinite values."""
    return {name: value for name, value in record.items() if math.isfinite(value)}
