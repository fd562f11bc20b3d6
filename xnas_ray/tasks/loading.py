"""Tasks by name or path: found, imported isolated, and checked."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from xnas_ray.errors import TaskError, UnknownNameError
from xnas_ray.registry import Registry, build
from xnas_ray.spaces.base import Space
from xnas_ray.spaces.fixed import FixedSpace
from xnas_ray.spaces.joint import ARCHITECTURE, JointSpace, named_space
from xnas_ray.spaces.registry import SPACES
from xnas_ray.tasks.base import Data, Problem
from xnas_ray.tasks.bundle import Snapshot, snapshot_task
from xnas_ray.tasks.finding import find_task
from xnas_ray.tasks.isolated import import_modules, user_code

T = TypeVar("T")

FILES = ("load_data", "search_space", "problem")


@dataclass(frozen=True)
class LoadedTask:
    """A task whose files were imported.

    Attributes:
        name: name of its folder.
        hash: blake2b-16 hex of its content; its modules are ``xnas_task_<hash>.*``.
        problem: what is searched and how candidates are trained.
        folder: where its files are.
    """

    name: str
    hash: str
    problem: Problem
    folder: Path
    _snapshot: Snapshot = field(repr=False, compare=False)
    _load_data: Callable[..., object] | None = field(repr=False, compare=False, default=None)
    _create_search_space: Callable[..., object] | None = field(repr=False, compare=False, default=None)

    @property
    def has_data(self) -> bool:
        """Whether the task has a load_data.py; tasks that give ``Problem.evaluate`` may have none."""
        return self._load_data is not None

    def load_data(self, **params: Any) -> Data:
        """The task's data, on the CPU.

        Raises:
            TaskError: load_data.py raises, or does not give ``Data``.
            DataMissingError: the files are not on this machine.
        """
        if self._load_data is None:
            raise TaskError(f"task {self.name!r} has no load_data.py.", field="task")
        data = self._call(self._load_data, "load_data", params)
        if not isinstance(data, Data):
            raise self._wrong("load_data.py", "load_data() must return xnas_ray.tasks.base.Data", data)
        return data

    def create_search_space(self, **params: Any) -> Space:
        """The task's search space; ``params`` are those of its ``create_search_space``.

        Raises:
            TaskError: unknown parameters, search_space.py raises, or does not give a ``Space``.
        """
        if self._create_search_space is not None:
            space = self._call(self._create_search_space, "create_search_space", params)
            if not isinstance(space, Space):
                raise self._wrong("search_space.py", "create_search_space() must return a Space", space)
            return space
        if params:
            raise TaskError(
                f"task {self.name!r} has no search_space.py that takes parameters.",
                field="space.params",
                fix="Remove them, or name a registered space.",
            )
        if self.problem.space is None:
            raise TaskError(f"task {self.name!r} has no search space.", field="space")
        return self.problem.space

    def space(self, name: str = "task", params: Mapping[str, Any] | None = None, *, field: str = "space") -> Space:
        """A space by its name: ``"task"`` is the task's own, others as ``plugin`` finds them.

        The architectures of joint and fixed spaces are named in the same way; by default they are the task's.

        Raises:
            TaskError: the task's own space cannot be made.
            UnknownNameError: there is none of that name, or it does not take these parameters.
            SpecError: a parameter is out of range.
        """
        given = dict(params or {})
        if name == "task":
            return self.create_search_space(**given)
        kind = self.plugin(SPACES, name, field)
        if issubclass(kind, (FixedSpace, JointSpace)) and not isinstance(given.get("architecture"), Space):
            inner = named_space(given.get("architecture", "task"))
            given["architecture"] = self.space(*inner, field=ARCHITECTURE)
        return build(kind, given, what=f"space {name!r}", field=field)

    def makes(self, name: str, params: Mapping[str, Any]) -> bool:
        """Whether the task's folder is needed for the space of this name and these parameters."""
        if name in (FixedSpace.name, JointSpace.name):
            return self.makes(*named_space(params.get("architecture", "task")))
        return name == "task" or self.attribute(name) is not None

    def plugin(self, registry: Registry[T], name: str, field: str) -> type[T]:
        """A class by its name: one of the task's own folder first, else a registered or importable one.

        Raises:
            UnknownNameError: there is none, or it is no class.
            TaskError: the module in the task's folder fails.
        """
        own = self.attribute(name)
        if own is None:
            return registry.get(name, field=field)
        if not isinstance(own, type):
            raise UnknownNameError(f"{name!r} is not a class.", field=field)
        return own

    def attribute(self, name: str) -> Any:
        """What ``"module:Name"`` is in the task's folder; None when the folder has no such module.

        Plug-ins of a search lie beside its problem.py and travel with it: ``controller = "mine:MyController"``.

        Raises:
            TaskError: the module fails, or does not define the name.
        """
        module, _, attribute = name.partition(":")
        found = import_modules(self._snapshot, [module.replace(".", "/")]) if attribute else {}
        if not found:
            return None
        (imported,) = found.values()
        if not hasattr(imported, attribute):
            defined = [n for n in vars(imported) if not n.startswith("_")]
            raise TaskError(f"{self.name}/{module}.py does not define it.", field=name, got=attribute, valid=defined)
        return getattr(imported, attribute)

    def _call(self, function: Callable[..., object], name: str, params: dict[str, Any]) -> object:
        try:
            inspect.signature(function).bind(**params)
        except TypeError as error:
            raise TaskError(
                f"task {self.name!r}: {name}() does not take these parameters: {error}.",
                field="space.params" if name == "create_search_space" else "data",
                valid=inspect.signature(function).parameters,
            ) from None
        with user_code(self._snapshot, f"calling {name}()"):
            return function(**params)

    def _wrong(self, file: str, must: str, got: object) -> TaskError:
        return TaskError(f"{self.name}/{file}: {must}, got {type(got).__name__}.", field=f"task {self.name}")


def load_task(name: str | os.PathLike[str]) -> LoadedTask:
    """Find and import a task.

    Raises:
        UnknownNameError: there is none.
        TaskError: it is incomplete or one of its files fails; names file, line and fix.
    """
    return _load(snapshot_task(find_task(name)))


def import_bundle(path: Path | str, hash: str) -> LoadedTask:
    """Import the task that ``bundle_task`` put at ``path``.

    Raises:
        TaskError: its content is not what ``hash`` says, or one of its files fails.
    """
    snapshot = snapshot_task(path)
    if snapshot.hash != hash:
        raise TaskError(
            f"the bundle {path} was changed: its content has the hash {snapshot.hash}, not {hash}.",
            field="task",
            fix="Delete that folder and submit the search again.",
        )
    return _load(snapshot)


def _load(snapshot: Snapshot) -> LoadedTask:
    modules = import_modules(snapshot, FILES)
    problem = getattr(modules["problem"], "problem", None)
    if not isinstance(problem, Problem):
        raise _missing(snapshot, "problem.py", "problem = Problem(...), an instance of xnas_ray.tasks.base.Problem")
    load_data = getattr(modules.get("load_data"), "load_data", None)
    create = getattr(modules.get("search_space"), "create_search_space", None)
    if "load_data" in modules and not callable(load_data):
        raise _missing(snapshot, "load_data.py", "load_data() -> Data")
    if "search_space" in modules and not callable(create):
        raise _missing(snapshot, "search_space.py", "create_search_space(**params) -> Space")
    if load_data is None and problem.evaluate is None:
        raise TaskError(
            f"task {snapshot.name!r} has no load_data.py.",
            field=f"task {snapshot.name}",
            fix="Write load_data.py with load_data() -> Data, or give Problem(evaluate=...).",
        )
    if create is None and problem.space is None:
        raise TaskError(
            f"task {snapshot.name!r} has no search_space.py.",
            field=f"task {snapshot.name}",
            fix="Write search_space.py with create_search_space() -> Space, or give Problem(space=...).",
        )
    return LoadedTask(snapshot.name, snapshot.hash, problem, snapshot.folder, snapshot, load_data, create)


def _missing(snapshot: Snapshot, file: str, what: str) -> TaskError:
    return TaskError(f"{snapshot.name}/{file} must define {what}.", field=f"task {snapshot.name}", fix="Add it.")
