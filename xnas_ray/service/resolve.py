"""From a specification and a task to a search that can run: names become objects, missing settings get values."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xnas_ray.controllers.base import Controller, Goal, Horizon, Source
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.controllers.supernet import SupernetController
from xnas_ray.errors import GenotypeError, SpecError, TaskError, UnknownNameError
from xnas_ray.messages import Genotype
from xnas_ray.objectives.base import Objective, check_objectives
from xnas_ray.objectives.names import measured_name
from xnas_ray.objectives.network_tree import TaskTrees
from xnas_ray.objectives.registry import OBJECTIVES
from xnas_ray.registry import build
from xnas_ray.service import latency_tables, sources
from xnas_ray.service.teachers import take_teacher
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.constrained import ANALYTIC, LATENCY, ConstrainedSpace
from xnas_ray.spaces.genes import Gene
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.timed import TimedSpace
from xnas_ray.spec import SearchSpec, parse_constraint
from xnas_ray.store.layout import Layout
from xnas_ray.supernets.registry import check_settings
from xnas_ray.tasks.base import Data
from xnas_ray.tasks.loading import LoadedTask, import_bundle
from xnas_ray.training.recipe import Recipe
from xnas_ray.training.submission import submitted

CHECKED = ("dropout", "drop_path", "teacher", "tree_loss", "tree_hierarchy")
"""Settings of a recipe that need something of the network, or a file."""


@dataclass(frozen=True)
class Search:
    """A specification made real: what the controller host and the workers work with.

    Attributes:
        spec: complete: no setting is left to a default.
        task: the imported task folder.
        space: with analytic constraints applied.
        objectives: what is measured, in the order of the specification.
        shape: inputs and outputs of the networks.
        sources: finished searches from which the controller learns.
    """

    spec: SearchSpec
    task: LoadedTask
    space: Space
    objectives: tuple[Objective, ...]
    shape: DataShape
    sources: tuple[Source, ...] = ()

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The objectives as controllers see them."""
        return tuple(Goal(self.metric(o), o.direction == "max") for o in self.objectives)

    @property
    def trained_on(self) -> dict[str, Any]:
        """What else enters the seed of a training: its data; for finalists that it has all splits, and its GPUs.

        Parameters of objectives do too: trials of another meaning of a metric must not be reused. A latency table is
        none of them: what it says is looked up for every candidate anew.
        """
        spec = self.spec
        params = {name: given for name, given in spec.objective_params.items() if name != LATENCY}
        found = {**spec.data, **({"objective_params": params} if params else {})}
        if spec.measure_on == "test":
            found |= {"measure_on": "test", "gpus": max(1, int(spec.resources.gpus))}
        return found

    def metric(self, objective: Objective) -> str:
        """Name of the metric that an objective becomes: of the split that is measured."""
        return measured_name(objective.name, self.spec.measure_on)

    def controller(self) -> Controller:
        """A new controller of this search, without any knowledge."""
        assert self.spec.seed is not None and self.spec.fidelity is not None
        horizon = Horizon(
            fidelity=self.spec.fidelity,
            schedule_epochs=self.spec.schedule_epochs or self.spec.fidelity,
            shape=self.shape,
        )
        named = self.spec.controller
        kind = self.task.plugin(CONTROLLERS, named.name, "controller")
        controller = build(
            kind,
            {**self._constraints(kind), **named.params},
            self.space,
            self.goals,
            seed=self.spec.seed,
            horizon=horizon,
            what=f"controller {named.name!r}",
            field="controller",
        )
        if self.sources:
            controller.inherit(self.sources)
        return controller

    def _constraints(self, kind: type[Controller]) -> dict[str, Any]:
        """What a controller that models constraints is told: those on metrics that only training measures."""
        measured = [text for text in self.spec.constraints if parse_constraint(text)[0] not in ANALYTIC]
        takes = "constraints" in inspect.signature(kind).parameters
        return {"constraints": measured} if measured and takes else {}

    @property
    def first_architectures(self) -> list[Genotype]:
        """Canonical genotypes to evaluate before the controller is asked."""
        texts = (text for text in self.spec.warm_start if not sources.is_id(text))
        return [self.space.canonical(self.space.parse(text)) for text in texts]

    def card(self) -> dict[str, Any]:
        """What the head and the workers need to know, as JSON: the complete specification and its task."""
        return {
            "spec": self.spec.to_json(),
            "task": self.task.name,
            "task_hash": self.task.hash,
            "space": self.space_name,
            "objectives": [
                {"name": self.metric(o), "maximize": o.direction == "max", "unit": o.unit} for o in self.objectives
            ],
            "shape": {
                "inputs": [list(s) for s in self.shape.inputs],
                "outputs": self.shape.outputs,
                "kind": self.shape.kind,
            },
            **({"gang": self.gang_workers} if self.gang_workers else {}),
            **({"sources": [sources.as_json(source) for source in self.sources]} if self.sources else {}),
        }

    @property
    def gang_workers(self) -> int:
        """Workers that the search needs all at once, for the job that trains its supernets; 0 for other searches."""
        kind = self.task.plugin(CONTROLLERS, self.spec.controller.name, "controller")
        return (self.spec.resources.workers or 1) if issubclass(kind, SupernetController) else 0

    @property
    def space_name(self) -> str:
        """Name of the whole space, as the specification has it."""
        return self.spec.space.name if self.spec.space else self.space.unwrapped.name


def open_search(root: Path, card: Mapping[str, Any]) -> Search:
    """The search of a card, its task imported from the store's bundle; nothing is loaded or measured again."""
    task = import_bundle(Layout(root).task(card["task_hash"]), card["task_hash"])
    shape = card["shape"]
    search = _assemble(
        root,
        SearchSpec.from_mapping(card["spec"]),
        task,
        DataShape(tuple(tuple(s) for s in shape["inputs"]), shape["outputs"], shape["kind"]),
    )
    return replace(search, sources=sources.from_json(card.get("sources", ())))


def resolve(root: Path, spec: SearchSpec, task_hash: str) -> Search:
    """Complete a specification: every name is looked up, every missing setting drawn from the task or a default.

    Raises:
        XnasError: a name is unknown, the task is broken, or settings contradict each other; the message names the
            field and the fix.
    """
    task = import_bundle(Layout(root).task(task_hash), task_hash)
    problem = task.problem
    if spec.data and not task.has_data:
        raise SpecError("the task has no load_data() that could take them.", field="data", fix="Remove them.")
    data = task.load_data(**spec.data) if task.has_data and (problem.shape is None or spec.data) else None
    shape = problem.shape or (data.data_shape if data is not None else None)
    if shape is None:
        raise TaskError("has neither load_data() nor Problem(shape=...).", field=f"task {task.name}")
    fidelity = spec.fidelity or problem.fidelity
    if spec.measure_on == "test":
        if problem.evaluate is not None:
            raise TaskError(
                "looks its candidates up, so they cannot be trained anew.",
                field=f"task {task.name}",
                fix="Only tasks with load_data() have finalists to train.",
            )
        fidelity = spec.fidelity or max(problem.fidelity, spec.schedule_epochs or 1)  # the whole of the schedule
    update = {
        "name": spec.name or f"{task.name} {spec.controller.name}",
        "objectives": tuple(spec.objectives) or tuple(problem.objectives),
        "fidelity": fidelity,
        "schedule_epochs": max(spec.schedule_epochs or fidelity, fidelity),
        "seed": secrets.randbits(32) if spec.seed is None else spec.seed,
        "recipe": Recipe.from_mapping(problem.recipe, spec.recipe).as_mapping(),
    }
    search = _assemble(root, latency_tables.pinned(root, spec.model_copy(update=update)), task, shape)
    _check_table(search)
    if data is not None:
        for objective in search.objectives:
            objective.check_data(problem, data)
    if problem.evaluate is None:
        search = _submitted(root, search, data)
    _check_genes(root, search, data)
    search = _with_sources(root, search)
    controller = search.controller()  # wrong parameters are refused here, not in a running service
    if isinstance(controller, SupernetController):
        _check_supernet(search, controller)
    for number, text in enumerate(search.spec.warm_start):
        try:
            if not sources.is_id(text):
                search.space.check(search.space.parse(text))
        except GenotypeError as error:
            raise SpecError(error.message, field=f"warm_start.{number}", fix=error.fix, valid=error.valid) from None
    return search


def _check_supernet(search: Search, controller: SupernetController) -> None:
    """A supernet search learns from data, and its settings fit the space."""
    if not search.task.has_data:
        raise TaskError(
            "has no load_data(): there is nothing that a supernet could learn from.", field=f"task {search.task.name}"
        )
    check_settings(controller.search, controller.settings, search.space.unwrapped, search.shape)


def _check_table(search: Search) -> None:
    """A latency table has every operator that the search may meet.

    Raises:
        TableError: it has not; says what is missing.
    """
    space = search.space
    while isinstance(space, ConstrainedSpace):
        space = space.space
    if isinstance(space, TimedSpace):
        space.check_table(search.shape)


def _assemble(root: Path, spec: SearchSpec, task: LoadedTask, shape: DataShape) -> Search:
    space = task.space(spec.space.name, spec.space.params) if spec.space else task.space()
    table = latency_tables.table_of(root, spec, task.folder)
    if table is not None:
        space = TimedSpace(space, table)
    analytic = [c for c in spec.constraints if parse_constraint(c)[0] in ANALYTIC]
    if analytic:
        space = ConstrainedSpace(space, analytic, shape)
    if not spec.objectives:
        raise SpecError("names no objective and the task neither.", field="objectives", valid=OBJECTIVES.names())
    objectives = _objectives(spec, task)
    check_objectives(objectives, shape)
    measured = {o.name for o in objectives} | set(ANALYTIC)
    for text in spec.constraints:
        if parse_constraint(text)[0] not in measured:
            raise SpecError(f"{text!r} is about something that is not measured.", field="constraints", valid=measured)
    _check_activations(spec, task, objectives)
    return Search(spec, task, space, objectives, shape)


def _objectives(spec: SearchSpec, task: LoadedTask) -> tuple[Objective, ...]:
    """What is measured, with the parameters that the specification gives.

    Raises:
        UnknownNameError: no such objective, or it does not take a parameter; parameters of one that is not measured.
    """
    for name in spec.objective_params:
        # A constraint on the latency of a table needs the table; it is no objective for that.
        if name not in spec.objectives and not (name == LATENCY and latency_tables.looked_up(spec)):
            raise UnknownNameError(
                "is not measured.", field=f"objective_params.{name}", got=name, valid=spec.objectives
            )
    return tuple(
        build(
            task.plugin(OBJECTIVES, name, "objectives"),
            spec.objective_params.get(name, {}),
            what=f"objective {name!r}",
            field=f"objective_params.{name}",
        )
        for name in spec.objectives
    )


def _check_activations(spec: SearchSpec, task: LoadedTask, objectives: Sequence[Objective]) -> None:
    """Activations are kept while an objective looks at them, in a network that was trained here."""
    looks = any(type(objective).activations is not Objective.activations for objective in objectives)
    if spec.keep_activations != "none" and (task.problem.evaluate is not None or not looks):
        raise SpecError(
            "there are no activations: no objective looks at them, or no network is trained.",
            field="keep_activations",
            fix="Add the objective introspectability, on a task that trains its networks.",
        )


def _with_sources(root: Path, search: Search) -> Search:
    """Read the searches that ``warm_start`` names; their ids stand there in full from now on."""
    texts, found = list(search.spec.warm_start), []
    for number, text in enumerate(texts):
        if sources.is_id(text):
            found.append(sources.read_source(root, text, search.space, search.goals))
            texts[number] = found[-1].search_id
    spec = search.spec.model_copy(update={"warm_start": tuple(texts)})
    return replace(search, spec=spec, sources=tuple(found))


def _submitted(root: Path, search: Search, data: Data | None) -> Search:
    """What the recipe needs is there; from now on its teacher is this one, whatever will lie in its place.

    Raises:
        SpecError: see ``submitted``, ``take_teacher`` and ``TaskTrees``.
        StoreError: the teacher cannot be copied.
        DataMissingError: there is no WordNet for its tree.
    """
    recipe = take_teacher(root, Recipe.from_mapping(search.spec.recipe), search.shape)
    _check_networks(recipe, search, data)
    return replace(search, spec=search.spec.model_copy(update={"recipe": recipe.as_mapping()}))


def _check_networks(recipe: Recipe, search: Search, data: Data | None) -> None:
    """The networks can take what the recipe does with them, and the classes its tree, where they are known."""
    submitted(replace(recipe, teacher=""), search.space, search.shape)
    if data is not None:
        TaskTrees.of(recipe, data)


def _check_level(root: Path, settings: Recipe, search: Search, data: Data | None) -> None:
    """The networks can take it, and its teacher is there; being stored as it is written, it names the store's copy.

    Raises:
        SpecError: one of this is not so.
        StoreError: the teacher cannot be copied.
        DataMissingError: there is no WordNet for its tree.
    """
    _check_networks(settings, search, data)
    if settings.teacher == search.spec.recipe["teacher"]:  # is checked once
        return
    stored = take_teacher(root, settings, search.shape)
    if settings.teacher != stored.teacher:
        raise SpecError(
            "names a teacher otherwise than the store does.", field="recipe.teacher", fix=f"Write {stored.teacher!r}."
        )


def _level(gene: Gene, option: Any, genes: Sequence[Gene]) -> dict[str, Any]:
    """The setting of a level; of a tree with a loss that another gene may have, without which there is no tree."""
    losses = [loss for other in genes if other.name == "tree_loss" for loss in other.options if loss]
    loss = {"tree_loss": losses[0]} if gene.name == "tree_hierarchy" and losses else {}
    return {**loss, gene.name: option}


def _check_genes(root: Path, search: Search, data: Data | None) -> None:
    """Every level of every gene of a joint space must be a setting that the search's recipe can take.

    Raises:
        SpecError: naming the gene, and what is wrong with the setting.
    """
    whole = search.space.unwrapped
    while isinstance(whole, JointSpace):
        for gene in whole.recipes.genes:
            for option in gene.options:
                try:
                    settings = Recipe.from_mapping(search.spec.recipe, _level(gene, option, whole.recipes.genes))
                    if search.task.problem.evaluate is None and gene.name in CHECKED:
                        _check_level(root, settings, search, data)
                except SpecError as error:
                    raise SpecError(
                        error.message,
                        field=f"space.params.recipe.{gene.name}",
                        fix=error.fix,
                        valid=error.valid,
                        got=error.got,
                    ) from None
        whole = whole.architectures.unwrapped
