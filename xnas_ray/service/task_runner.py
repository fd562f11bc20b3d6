"""Evaluates assignments in a worker: opens their search once, keeps its data, writes the weights that are wanted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xnas_ray.errors import StoreError
from xnas_ray.messages import TrialStatus
from xnas_ray.objectives.evaluate import Measured, evaluate_candidate
from xnas_ray.pareto import dominates
from xnas_ray.service.kept_files import keep_network, load_network, no_weights
from xnas_ray.service.reports import WEIGHTS_FILE, Assignment, TrialResult
from xnas_ray.service.resolve import Search, open_search
from xnas_ray.service.trial_worker import AttemptContext, environment_text
from xnas_ray.store.activations import ACTIVATIONS_FILE, write_activations
from xnas_ray.tasks.base import Data
from xnas_ray.tasks.resident import ResidentData
from xnas_ray.training.checkpoint import CHECKPOINT_NAME
from xnas_ray.training.device import limit_gpu_memory, limit_threads, select_device, warm_up

DATA_MEMORY_BYTES = 4 * 2**30


class TaskRunner:
    """The part of a worker that knows torch and tasks.

    Args:
        root: the store.
        gpus: GPUs of the worker.
        settings: ``data_memory_bytes``, ``threads``.
        card: gives the card of a search that is not open yet.
    """

    def __init__(
        self, root: Path, *, gpus: float, settings: Mapping[str, Any], card: Callable[[str], Mapping[str, Any]]
    ) -> None:
        """Choose the device; nothing is loaded yet."""
        self._root = root
        self._card = card
        self._device = select_device(gpus)
        limit_threads(int(settings.get("threads", 1)))
        limit_gpu_memory(gpus, self._device)
        warm_up(self._device)
        self._data = ResidentData(int(settings.get("data_memory_bytes", DATA_MEMORY_BYTES)))
        self._searches: dict[str, Search] = {}
        self._trials: dict[str, int] = {}
        self._environment = environment_text(str(self._device))

    def run(self, assignment: Assignment, context: AttemptContext) -> TrialResult:
        """Train or look up a candidate and measure its objectives."""
        search = self._open(assignment.search_id)
        if search.spec.measure_on == "test" and search.spec.resources.gpus > 1:
            return self._train_together(assignment, search, context)
        measured = evaluate_candidate(
            problem=search.task.problem,
            space=search.space,
            candidate=assignment.candidate,
            objectives=search.objectives,
            seed=assignment.train_seed,
            context=context,
            data=self._load(search),
            recipe=search.spec.recipe,
            device=self._device,
            report_test=search.spec.report_test,
            measure_on=search.spec.measure_on,
            teachers=self._root,
        )
        weights = self._keep_weights(assignment, search, measured, context.folder)
        activations = self._keep_activations(assignment, search, measured, context.folder)
        _discard_checkpoints(context.folder.parent)
        return TrialResult(
            assignment.search_id,
            assignment.trial,
            assignment.attempt,
            TrialStatus.COMPLETED,
            0.0,
            metrics=measured.metrics,
            curve=measured.curve,
            tables=measured.tables,
            environment=self._environment,
            weights=weights,
            activations=activations,
            recycle=self._worn(search, assignment.search_id),
        )

    def _train_together(self, assignment: Assignment, search: Search, context: AttemptContext) -> TrialResult:
        """Train on all GPUs of this worker at once."""
        from xnas_ray.service.ranks_job import Group
        from xnas_ray.service.train_job import train_together

        group = Group.beside(int(search.spec.resources.gpus), cuda=self._device.type == "cuda")
        result = train_together(self._root, search.card(), assignment, context, group)
        _discard_checkpoints(context.folder.parent)
        return dataclasses.replace(result, recycle=self._worn(search, assignment.search_id))

    def measure_test(self, card: Mapping[str, Any], assignment: Assignment) -> dict[str, float]:
        """Metrics of an architecture's stored weights on the test split, which no search ever selects on.

        Raises:
            StoreError: no weights are kept in the attempt's folder, or the task has no data.
            CheckpointError: the weights are damaged.
        """
        search = open_search(self._root, card)
        path = self._root / assignment.artifacts / WEIGHTS_FILE
        if not path.is_file():
            raise no_weights(assignment.search_id, assignment.trial)
        data = self._load(search)
        if data is None:
            raise StoreError(f"task {search.task.name} has no data to measure on.", field="task")
        candidate = assignment.candidate
        network, evaluate = load_network(search, candidate.genotype, candidate.recipe, path, self._device)
        return evaluate(network, data.test, "test")

    def _open(self, search_id: str) -> Search:
        if search_id not in self._searches:
            search = self._searches[search_id] = open_search(self._root, self._card(search_id))
            for objective in search.objectives:
                objective.keep_activations = search.spec.keep_activations != "none"
        return self._searches[search_id]

    def _load(self, search: Search) -> Data | None:
        return self._data.get(search.task, self._device, search.spec.data) if search.task.has_data else None

    def _worn(self, search: Search, search_id: str) -> bool:
        self._trials[search_id] = self._trials.get(search_id, 0) + 1
        limit = search.spec.max_trials_per_worker
        return limit is not None and sum(self._trials.values()) >= limit

    @staticmethod
    def _keep_weights(assignment: Assignment, search: Search, measured: Measured, folder: Path) -> bool:
        if not assignment.keep_weights or measured.trained is None:
            return False
        least = assignment.better_than
        if least is not None and search.goals[0].signed(measured.metrics) <= least:
            return False
        if search.spec.keep_weights == "front" and _surpassed(assignment, search, measured):
            return False
        keep_network(folder, measured.trained, search.objectives)
        return True

    @staticmethod
    def _keep_activations(assignment: Assignment, search: Search, measured: Measured, folder: Path) -> bool:
        if not assignment.keep_activations or measured.trained is None:
            return False
        if search.spec.keep_activations == "front" and _surpassed(assignment, search, measured):
            return False
        found = (objective.activations(measured.trained) for objective in search.objectives)
        for classes, layers in filter(None, found):
            write_activations(folder / ACTIVATIONS_FILE, classes, layers)
            return True
        return False


def _surpassed(assignment: Assignment, search: Search, measured: Measured) -> bool:
    """Whether the front, as it was when the trial began, dominates its objectives."""
    signed = tuple(goal.signed(measured.metrics) for goal in search.goals)
    return any(dominates(point, signed) for point in assignment.front)


def _discard_checkpoints(trial_folder: Path) -> None:
    """The trial is done: its checkpoints, of every attempt, serve nobody any more."""
    for path in trial_folder.glob(f"*-*/{CHECKPOINT_NAME}"):
        path.unlink(missing_ok=True)
