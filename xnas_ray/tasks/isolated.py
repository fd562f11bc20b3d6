"""Import of task folders under names of their own, so that two tasks, or two versions of one, never mix."""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from xnas_ray.errors import TaskError, XnasError
from xnas_ray.tasks.bundle import Snapshot

PREFIX = "xnas_task_"
_LOCK = threading.RLock()


class _Loader(importlib.abc.SourceLoader):
    """Compiles the bytes that were hashed, never a cache or a file that changed since."""

    def __init__(self, path: Path, source: bytes) -> None:
        self.path, self.source = str(path), source

    def get_filename(self, fullname: str) -> str:
        return self.path

    def get_data(self, path: str | bytes) -> bytes:
        return self.source if path == self.path else Path(str(path)).read_bytes()


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of imported tasks, ``xnas_task_<hash>`` and below, and nothing else."""

    def __init__(self) -> None:
        self.packages: dict[str, tuple[Path, Mapping[str, bytes]]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, *rest = fullname.split(".")
        if package not in self.packages:
            return None
        folder, files = self.packages[package]
        stem = "/".join(rest)
        init = f"{stem}/__init__.py" if stem else "__init__.py"
        if init in files or not stem or any(name.startswith(f"{stem}/") for name in files):
            loader = _Loader(folder / init, files.get(init, b""))
            return importlib.util.spec_from_loader(fullname, loader, origin=str(folder / init), is_package=True)
        if f"{stem}.py" in files:
            loader = _Loader(folder / f"{stem}.py", files[f"{stem}.py"])
            return importlib.util.spec_from_file_location(fullname, folder / f"{stem}.py", loader=loader)
        return None


_FINDER = _Finder()


def import_modules(snapshot: Snapshot, names: Sequence[str]) -> dict[str, ModuleType]:
    """Import modules of a task as ``xnas_task_<hash>.<name>``; names that the task does not have are left out.

    Files of the task import each other relatively: ``from .helpers import x``. A task that was imported before is not
    executed again.

    Raises:
        TaskError: a file raises or is not Python; names the file, the line and the fix.
    """
    package = PREFIX + snapshot.hash
    present = [name for name in names if f"{name}.py" in snapshot.files]
    with _LOCK:
        if _FINDER not in sys.meta_path:
            sys.meta_path.append(_FINDER)
        if package not in _FINDER.packages:
            python = {name: source for name, source in snapshot.files.items() if name.endswith(".py")}
            _FINDER.packages[package] = (snapshot.folder, python)
        try:
            with user_code(snapshot, "importing"):
                return {name: importlib.import_module(f"{package}.{name.replace('/', '.')}") for name in present}
        except BaseException:
            _forget(package)
            raise


def _forget(package: str) -> None:
    _FINDER.packages.pop(package, None)
    for name in [n for n in sys.modules if n == package or n.startswith(package + ".")]:
        del sys.modules[name]


@contextlib.contextmanager
def user_code(snapshot: Snapshot, doing: str) -> Iterator[None]:
    """Turn whatever a task's own code raises into a TaskError that names file, line and fix.

    Errors of this package (missing data, unknown names) pass through: they say what to do already.
    """
    try:
        yield
    except (XnasError, KeyboardInterrupt):
        raise
    except (MemoryError, GeneratorExit):
        raise
    except BaseException as error:
        where = _location(error, snapshot.folder)
        at = f"{snapshot.name}/{where[0]} line {where[1]}: " if where else ""
        raise TaskError(
            f"{at}{type(error).__name__}: {_text(error)} (while {doing}).",
            field=f"task {snapshot.name}",
            fix=_fix(error, snapshot),
        ) from error


def _text(error: BaseException) -> str:
    return str(error.msg) if isinstance(error, SyntaxError) else str(error)


def _location(error: BaseException, folder: Path) -> tuple[str, int] | None:
    """The innermost line of the task's own files."""
    places = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno or 0))
    for filename, line in reversed(places):
        path = Path(filename)
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix(), line
    return None


def _fix(error: BaseException, snapshot: Snapshot) -> str:
    if isinstance(error, SyntaxError):
        return "Correct the syntax of that line."
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.split(".")[0]
        if f"{top}.py" in snapshot.files or any(name.startswith(f"{top}/") for name in snapshot.files):
            return f"Files of a task import each other relatively: write 'from . import {top}'."
        if top.startswith(PREFIX):
            return "The task folder has no such file."
        return f"Install {top!r} on every machine that trains."
    if isinstance(error, SystemExit):
        return "A task file must not end the process: keep scripts behind 'if __name__ == \"__main__\":'."
    return "Correct that line."
