"""One candidate from proposal to metrics, whoever trains it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from xnas_ray.errors import NanLossError, ObjectiveError, TaskError
from xnas_ray.messages import Candidate
from xnas_ray.objectives.base import Objective, check_objectives
from xnas_ray.objectives.names import measured_name
from xnas_ray.objectives.network_tree import TaskTrees
from xnas_ray.spaces.base import Space
from xnas_ray.tasks.base import Data, Problem
from xnas_ray.training.context import Stop, TrialContext
from xnas_ray.training.distillation import located
from xnas_ray.training.loop import train_candidate
from xnas_ray.training.ranks import ALONE, Ranks
from xnas_ray.training.recipe import Recipe
from xnas_ray.training.trained import TrainedCandidate

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Measured:
    """What a trial found out.

    Attributes:
        metrics: finite values by name, every objective among them.
        curve: one record an epoch.
        tables: explanation tables of the objectives, by kind.
        trained: the network and its outputs; None for tasks that are not trained by this package.
    """

    metrics: dict[str, float]
    curve: tuple[Mapping[str, float], ...] = ()
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    trained: TrainedCandidate | None = None


def evaluate_candidate(
    *,
    problem: Problem,
    space: Space,
    candidate: Candidate,
    objectives: Sequence[Objective],
    seed: int,
    context: TrialContext,
    data: Data | None = None,
    recipe: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
    report_test: bool = False,
    measure_on: Literal["validation", "test"] = "validation",
    ranks: Ranks = ALONE,
    teachers: Path | None = None,
) -> Measured:
    """Train a candidate and measure the objectives, or let the problem's own ``evaluate`` do it.

    Args:
        problem: what is trained and how; its recipe comes first.
        space: where the genotype comes from.
        candidate: its recipe comes last.
        objectives: what is measured.
        seed: of the training.
        context: where to write, whom to tell, when to stop.
        data: of the task; None for problems with an ``evaluate``.
        recipe: the search's recipe, between the problem's and the candidate's.
        device: where to train.
        report_test: give metrics of the test split too (``test_*``); without it they are never in the result.
        measure_on: ``"test"`` trains on train and validation and measures the test split, once, after the last epoch:
            ``val_accuracy`` is then ``test_accuracy``. For finalists, never for selection.
        ranks: the processes that train the candidate together; the first one alone measures objectives.
        teachers: the folder below which a teacher with a relative path is.

    Raises:
        TrainingError: see ``train_candidate``; NanLossError also for a metric that is not finite.
        ObjectiveError: an objective cannot be measured on this task.
        TaskError: ``evaluate`` gives no mapping of numbers, or there are no data.
        SpecError: the recipe is malformed, or asks for a tree that the task or the network has not.
        DataMissingError: it asks for WordNet's tree, and there is no WordNet.
    """
    settings = Recipe.from_mapping(problem.recipe, recipe or {}, candidate.recipe)
    if problem.evaluate is not None:
        if measure_on == "test":
            raise TaskError("a look-up cannot be trained on more data.", field="Problem.evaluate")
        return _looked_up(problem, space, candidate, objectives, settings, seed, context, report_test)
    if data is None:
        raise TaskError("a problem without evaluate() needs data.", field="Problem.evaluate", fix="Add load_data.py.")
    check_objectives(objectives, data.data_shape)
    last = measure_on == "test"
    settings = located(settings, teachers) if teachers is not None else settings
    used = data.for_finalists() if last else data
    trained = train_candidate(
        space=space,
        problem=problem,
        data=used,
        candidate=candidate,
        recipe=ranks.scaled(settings),
        seed=seed,
        context=_OnTest(context) if last else context,
        device=device,
        report_test=report_test and not last,
        measure_once=last,
        ranks=ranks,
        trees=TaskTrees.of(settings, used, device),
    )
    metrics = dict(trained.metrics)
    if trained.peak_memory_bytes is not None:
        metrics["peak_memory_bytes"] = float(trained.peak_memory_bytes)
    tables: dict[str, pd.DataFrame] = {}
    for objective in objectives if ranks.first else ():
        metrics[objective.name] = _finite(objective.name, objective.measure(trained))
        tables.update(objective.tables(trained))
    metrics, *curve = (_renamed(record, measure_on) for record in (metrics, *trained.curve))
    return Measured(metrics=metrics, curve=tuple(curve), tables=tables, trained=trained)


def _renamed(record: Mapping[str, float], split: str) -> dict[str, float]:
    return {measured_name(name, split): value for name, value in record.items()}


def _looked_up(
    problem: Problem,
    space: Space,
    candidate: Candidate,
    objectives: Sequence[Objective],
    recipe: Recipe,
    seed: int,
    context: TrialContext,
    report_test: bool,
) -> Measured:
    assert problem.evaluate is not None
    if problem.shape is not None:
        check_objectives(objectives, problem.shape)
    recorder = _Recorder(context)
    found = problem.evaluate(space=space, candidate=candidate, recipe=recipe, seed=seed, context=recorder)
    if not isinstance(found, Mapping):
        raise TaskError(f"must return a mapping of metrics, got {type(found).__name__}.", field="Problem.evaluate")
    metrics = {str(name): _number(str(name), value) for name, value in found.items()}
    cost = space.cost(candidate.genotype, problem.shape) if problem.shape is not None else None
    for objective in objectives:
        value = objective.derive(metrics, cost)
        if value is None:
            raise ObjectiveError(
                f"Problem.evaluate gave no {objective.name!r}.",
                field="objectives",
                valid=sorted(metrics),
                fix="Return that metric; flops and params also follow from Problem.shape.",
            )
        metrics[objective.name] = _finite(objective.name, value)
    kept = {name: v for name, v in metrics.items() if report_test or not name.startswith("test_")}
    return Measured(metrics=kept, curve=tuple(recorder.records))


def _number(name: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TaskError(f"must be a number, got {value!r}.", field=f"Problem.evaluate.{name}") from None
    return _finite(name, number)


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise NanLossError(f"{name} is {value}.", field=name, fix="A metric must be a finite number.")
    return float(value)


class _Recorder:
    """A context that also keeps what passes through it."""

    def __init__(self, context: TrialContext) -> None:
        self._context = context
        self.records: list[dict[str, float]] = []

    @property
    def folder(self) -> Path | None:
        return self._context.folder

    @property
    def checkpoint_every_s(self) -> float:
        return self._context.checkpoint_every_s

    @property
    def resume_from(self) -> Path | None:
        return self._context.resume_from

    def report(self, record: Mapping[str, float]) -> None:
        self.records.append(dict(record))
        self._context.report(record)

    def stop_requested(self) -> Stop:
        return self._context.stop_requested()


class _OnTest(_Recorder):
    """A context that hears of the test split what is measured on it."""

    def report(self, record: Mapping[str, float]) -> None:
        super().report(_renamed(record, "test"))
