"""The specification of a search: the one shape behind TOML files, the Python client and the command line.

Only shape is checked here (types, ranges, unknown keys); names of tasks, spaces, controllers and objectives are
resolved by the service, which knows what is installed.
"""

from __future__ import annotations

import json
import re
import tomllib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field, field_validator

from xnas_ray.errors import SpecError

CONSTRAINT = re.compile(r"^\s*([A-Za-z_][A-Za-z0-9_.]*)\s*(<=|>=|<|>)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*$")
Number = int | float

FINALISTS = "xnas_ray.controllers.finalists:Finalists"
"""The one controller whose trials may be measured on the test split: it selects nothing."""


class Part(BaseModel):
    """Base of all parts: unknown keys are refused, values do not change after construction."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Named(Part):
    """A plug-in and its parameters: ``{name = "nasbench201", params = {channels = 8}}``."""

    name: str = Field(min_length=1, description="registered name, or 'package.module:Class'")
    params: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of its constructor")


class Budget(Part):
    """When a search ends; at least one limit."""

    trials: int | None = Field(None, ge=1, description="finished trials, failed ones included, reused ones not")
    gpu_hours: float | None = Field(None, gt=0, description="GPU hours over every attempt")
    wall_clock: float | None = Field(None, gt=0, description="seconds in state running, over restarts")
    hard: bool = Field(False, description="stop running trials too when a limit is reached")


class Resources(Part):
    """What one worker of this search holds, and how many may work on it at once."""

    cpus: float = Field(1.0, gt=0, description="CPUs of one worker")
    gpus: float = Field(0.0, ge=0, description="GPUs of one worker, fractions such as 0.25 share one GPU")
    workers: int | None = Field(None, ge=1, description="most workers at once; default: all that fit")

    @field_validator("gpus")
    @classmethod
    def _whole_or_fraction(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("above 1 it must be a whole number")
        return value


class SearchSpec(Part):
    """Everything that defines a search. Precedence of values: flag > TOML > problem.py > default."""

    schema_version: Literal[1] = Field(1, description="version of this format")
    name: str = Field("", max_length=120, description="a label for people")
    task: str = Field(min_length=1, description="name of a task in experiments/, or the path of a task folder")
    data: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of the task's load_data()")
    space: Named | None = Field(None, description="search space; default: the task's")
    controller: Named = Field(Named(name="random_search"), description="who proposes")
    objectives: tuple[str, ...] = Field((), description="what is optimised, the first the most important")
    objective_params: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="keyword arguments of an objective, by its name in objectives"
    )
    constraints: tuple[str, ...] = Field((), description="such as 'flops <= 50e6': checked before training")
    recipe: dict[str, Any] = Field(default_factory=dict, description="training settings that differ from the task's")
    fidelity: int | None = Field(None, ge=1, description="epochs of every candidate; default: the task's")
    schedule_epochs: int | None = Field(None, ge=1, description="epochs that the schedule spans; default: fidelity")
    budget: Budget = Field(Budget(trials=32), description="when the search ends")
    resources: Resources = Field(Resources(), description="what one worker holds")
    reuse: Literal["none", "completed"] = Field("none", description="take equal finished trials from the store")
    keep_weights: Literal["none", "best", "front", "all"] = Field("best", description="whose weights are kept")
    keep_activations: Literal["none", "front", "all"] = Field(
        "none", description="whose class-mean activations are kept, where introspectability is measured"
    )
    retries: int = Field(1, ge=0, le=100, description="extra attempts after an exception, out of memory or a timeout")
    timeout_s: float | None = Field(None, gt=0, description="longest that an attempt may take, in seconds")
    max_trials_per_worker: int | None = Field(None, ge=1, description="replace a worker after that many trials")
    priority: float = Field(1.0, gt=0, le=1e6, description="weight of the fair share between searches")
    seed: int | None = Field(None, ge=0, lt=2**63, description="of the controller; drawn at submit when missing")
    train_seed: int = Field(0, ge=0, lt=2**63, description="of the training of every candidate")
    report_test: bool = Field(False, description="measure every candidate on the test split (tables only)")
    measure_on: Literal["validation", "test"] = Field(
        "validation", description="'test' trains on both other splits; what `xnas finalize` sets, never a search"
    )
    parent: str | None = Field(
        None, description="search that these come from; `xnas finalize` and `xnas design` set it"
    )
    warm_start: tuple[str, ...] = Field(
        (), description="architectures to evaluate first; ids of finished searches to learn from"
    )

    @field_validator("constraints")
    @classmethod
    def _readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_constraint(text)
        return value

    @field_validator("objectives")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names an objective twice")
        return value

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> SearchSpec:
        if self.budget.trials is None and self.budget.gpu_hours is None and self.budget.wall_clock is None:
            raise ValueError("budget: give at least one of trials, gpu_hours, wall_clock")
        if self.schedule_epochs is not None and self.fidelity is not None and self.schedule_epochs < self.fidelity:
            raise ValueError("schedule_epochs: must be at least fidelity")
        if self.measure_on == "test" and self.controller.name != FINALISTS:
            raise ValueError("measure_on: a search must not select on the test split; use `xnas finalize`")
        return self

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> SearchSpec:
        """A specification from nested mappings; ``overrides`` are dotted names, as flags give them.

        Raises:
            SpecError: the first problem, with the field, the valid keys and the nearest spelling.
        """
        merged = _copy(data)
        for dotted, value in (overrides or {}).items():
            _assign(merged, dotted, value)
        for part in ("space", "controller"):
            if isinstance(merged.get(part), str):
                merged[part] = {"name": merged[part]}
        try:
            return cls.model_validate(merged)
        except pydantic.ValidationError as error:
            raise _spec_error(error) from None

    @classmethod
    def from_toml(cls, path: Path, overrides: Mapping[str, Any] | None = None) -> SearchSpec:
        """A specification from a TOML file.

        Raises:
            SpecError: the file is missing, is not TOML, or its content is not a specification.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise SpecError(f"there is no file {path}.", fix="Give the path of a TOML file.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"cannot read {path}: {error}.", fix="It must be a UTF-8 text file.") from None
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"{path} is not valid TOML: {error}.", fix="See docs/spec.md for an example.") from None
        return cls.from_mapping(data, overrides)

    def to_json(self) -> dict[str, Any]:
        """The specification as a JSON object; ``from_mapping`` reads it back."""
        return self.model_dump(mode="json")


def parse_constraint(text: str) -> tuple[str, str, float]:
    """``"flops <= 50e6"`` as (name, operator, limit); ValueError when it does not read like that."""
    found = CONSTRAINT.match(text)
    if not found:
        raise ValueError(f"{text!r} is not a constraint; write it like 'flops <= 50e6'")
    return found[1], found[2], float(found[3])


def satisfies(value: float, operator: str, limit: float) -> bool:
    """Whether ``value operator limit`` holds."""
    return {"<=": value <= limit, ">=": value >= limit, "<": value < limit, ">": value > limit}[operator]


def spec_fields(model: type[BaseModel] = SearchSpec, prefix: str = "") -> list[tuple[str, str, Any, str]]:
    """Every setting as (dotted name, type in words, default, description): what flags and docs are made from."""
    rows: list[tuple[str, str, Any, str]] = []
    for name, info in model.model_fields.items():
        inner = _part_of(info.annotation)
        if inner is not None:
            rows.extend(spec_fields(inner, f"{prefix}{name}."))
        else:
            default = None if info.is_required() else info.get_default(call_default_factory=True)
            rows.append((prefix + name, _words(info.annotation), default, info.description or ""))
    return rows


def _part_of(annotation: Any) -> type[Part] | None:
    options = [annotation, *typing.get_args(annotation)]
    found = [a for a in options if isinstance(a, type) and issubclass(a, Part)]
    return found[0] if found else None


def _words(annotation: Any) -> str:
    if typing.get_origin(annotation) is Literal:
        return "|".join(str(a) for a in typing.get_args(annotation))
    arguments = [a for a in typing.get_args(annotation) if a is not type(None)]
    if typing.get_origin(annotation) in (dict, tuple):
        return {dict: "table", tuple: "list"}[typing.get_origin(annotation)]
    if arguments:
        return _words(arguments[0])
    names = {str: "text", int: "whole number", float: "number", bool: "true|false"}
    return names.get(annotation, str(annotation))


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _copy(v) for k, v in value.items()}
    return value


def _assign(target: dict[str, Any], dotted: str, value: Any) -> None:
    *path, last = dotted.split(".")
    for step in path:
        current = target.get(step)
        if isinstance(current, str):  # controller = "random_search" and a flag for controller.params.x
            current = {"name": current}
        target[step] = current if isinstance(current, dict) else {}
        target = target[step]
    target[last] = value


def _valid_keys(location: Iterable[Any]) -> list[str]:
    model: type[Part] | None = SearchSpec
    for step in location:
        info = model.model_fields.get(str(step)) if model else None
        model = _part_of(info.annotation) if info else None
    return list(model.model_fields) if model else []


def _spec_error(error: pydantic.ValidationError) -> SpecError:
    first = error.errors(include_url=False)[0]
    location = tuple(first["loc"])
    name = ".".join(str(step) for step in location) or None
    if first["type"] == "extra_forbidden":
        return SpecError("unknown key.", field=name, got=location[-1], valid=_valid_keys(location[:-1]))
    if first["type"] == "missing":
        return SpecError("is required.", field=name, fix="Add it to the TOML file or give it as a flag.")
    message = str(first["msg"]).removeprefix("Value error, ")
    shown = "" if isinstance(first["input"], (dict, BaseModel)) else f", got {first['input']!r}"
    help_text = next((d for n, _, _, d in spec_fields() if n == name), "")
    return SpecError(f"{message}{shown}.", field=name, fix=f"It is: {help_text}." if help_text else None)


def toml_value(value: Any) -> str:
    """A value as TOML writes it, nulls in tables left out; JSON writes numbers, texts and lists alike."""
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(k)} = {toml_value(v)}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value)
