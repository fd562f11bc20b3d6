"""Tasks by name or path: where their folders are. Needs no torch, so that commands that only name a task are quick."""

from __future__ import annotations

import os
import re
from pathlib import Path

from xnas_ray.errors import TaskError, UnknownNameError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,3}")
_REPOSITORY = Path(__file__).resolve().parents[2]


def list_tasks() -> dict[str, Path]:
    """Folders of the tasks in ``./experiments`` and beside the package, by name."""
    found: dict[str, Path] = {}
    for root in reversed(_roots()):
        for depth in ("*", "*/*"):
            for problem in sorted(root.glob(f"{depth}/problem.py")):
                found[problem.parent.relative_to(root).as_posix()] = problem.parent
    return dict(sorted(found.items()))


def find_task(name: str | os.PathLike[str]) -> Path:
    """The folder of a task: a path to one, else ``./experiments/<name>``, else the one beside the package.

    Raises:
        UnknownNameError: there is none; lists what exists.
        TaskError: the folder exists but has no problem.py.
    """
    text = os.fspath(name)
    try:
        folder = Path(text).expanduser() if text.strip() and "\0" not in text else None
        if folder is not None and (folder / "problem.py").is_file():
            return folder.resolve()
        if NAME.fullmatch(text) and ".." not in text:
            for root in _roots():
                if (root / text / "problem.py").is_file():
                    return (root / text).resolve()
        is_folder = folder is not None and folder.is_dir()
    except (OSError, RuntimeError, ValueError):  # a name too long for a path, an unknown ~user
        is_folder = False
    if is_folder and os.sep in text:
        raise TaskError(
            f"{text} has no problem.py.",
            field="task",
            fix="A task is a folder with load_data.py, search_space.py and problem.py.",
        )
    raise UnknownNameError(
        f"there is no task {text[:200]!r}.",
        field="task",
        got=text,
        valid=list_tasks(),
        fix="Or give the path of a folder with load_data.py, search_space.py and problem.py.",
    )


def _roots() -> list[Path]:
    return [Path.cwd() / "experiments", _REPOSITORY / "experiments"]
