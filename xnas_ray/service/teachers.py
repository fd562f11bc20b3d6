"""Teachers of searches: copied into the store at submit, named by their content, so that every worker has them.

A search may be taught by what a stored trial has learnt (``SEARCH/TRIAL``), by a folder of ``xnas export`` or by a file
of torchvision weights. Its recipe names the copy, ``teachers/<hash>@<hash>`` relative to the store: the same teacher
gives the same trainings, from wherever it came and wherever the store lies, and what becomes of the original is of no
concern to a search that goes on.
"""

from __future__ import annotations

import dataclasses
import errno
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xnas_ray.durable import sync_path
from xnas_ray.errors import SearchNotFoundError, SpecError, StoreError, StoreFullError
from xnas_ray.spaces.base import DataShape
from xnas_ray.store.layout import TEACHERS, Layout
from xnas_ray.store.reader import resolve_search_id
from xnas_ray.training.distillation import ARCHITECTURE, FIELD, TASK, WEIGHTS, Source, pinned
from xnas_ray.training.recipe import Recipe

UNFINISHED = ".incoming-"
_TRIAL = re.compile(r"(latest|[0-9A-Za-z]{4,26})/(\d+)")
_STORED = re.compile(rf"{TEACHERS}/([0-9a-f]{{32}})")
_FULL = (errno.ENOSPC, errno.EDQUOT)


def take_teacher(root: Path | str, recipe: Recipe, shape: DataShape) -> Recipe:
    """The recipe with its teacher checked, copied and named as the store names it; itself without a teacher.

    Args:
        root: folder of the store.
        recipe: resolved settings; ``teacher`` may also be ``SEARCH/TRIAL``, a trial whose weights the store keeps.
        shape: what the task's networks take in and give out.

    Raises:
        SpecError: there is no such trial, its weights were not kept, the path is relative, or the teacher cannot be
            used (see ``training.distillation.Teacher``).
        StoreError: the copy cannot be written.
    """
    if not recipe.teacher:
        return recipe
    layout, given = Layout(root), Source.parse(recipe.teacher)
    with _staging(layout) as staging:
        place = _place(layout, given, staging)
        try:
            found = Source.parse(pinned(dataclasses.replace(recipe, teacher=str(place)), shape).teacher)
        except SpecError as error:  # of an export that lives no longer than this call
            message = error.message.replace(str(place.path), str(given.path))
            raise SpecError(message, field=FIELD, fix=error.fix, valid=error.valid or None, got=error.got) from None
        folder = Path(TEACHERS) / found.hash
        if not (layout.root / folder).is_dir():
            _keep(found, staging / "copy", layout.root / folder)
    kept = dataclasses.replace(found, path=folder / WEIGHTS if found.model else folder)
    return dataclasses.replace(recipe, teacher=str(kept))


def teachers_in(text: str) -> set[str]:
    """Hashes of the stored teachers that a specification names, in its recipe or as levels of a gene."""
    return set(_STORED.findall(text))


def _place(layout: Layout, given: Source, staging: Path) -> Source:
    """Where the teacher is: a trial is exported, a copy lies in the store, anything else is where it says."""
    if given.path.parts[:1] == (TEACHERS,):
        return given.below(layout.root)
    trial = None if given.model else _TRIAL.fullmatch(str(given.path))
    if trial is None:
        return given
    return dataclasses.replace(given, path=_exported(layout.root, trial[1], int(trial[2]), staging / "trial"))


def _exported(root: Path, search: str, trial: int, folder: Path) -> Path:
    """A stored trial as ``xnas export`` writes it.

    Raises:
        SpecError: there is none, or its weights were not kept.
    """
    from xnas_ray.service.export import export_trial  # here: it opens searches, and whoever resolves one asks us

    try:
        search_id = resolve_search_id(root, search)
        export_trial(root, search_id, trial, folder)
    except (SearchNotFoundError, StoreError) as error:
        raise SpecError(error.message, field=FIELD, fix=error.fix, valid=error.valid or None, got=error.got) from None
    if not (folder / WEIGHTS).is_file():
        raise SpecError(
            f"no weights are kept of trial {search_id}/{trial}.",
            field=FIELD,
            fix="Search with keep_weights = 'best', 'front' or 'all', or train it with `xnas finalize`.",
        )
    return folder


# ---- the copy --------------------------------------------------------------------------------------------------------


@contextmanager
def _staging(layout: Layout) -> Iterator[Path]:
    """A folder beside the copies, for what is not whole yet."""
    try:
        layout.teachers.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=layout.teachers))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        kind = StoreFullError if error.errno in _FULL else StoreError
        raise kind(f"cannot write {layout.teachers}: {error}.", fix="Check the folder's space and rights.") from None


def _keep(found: Source, copy: Path, target: Path) -> None:
    """Copy what decides the outputs of a teacher, whole or not at all.

    Raises:
        SpecError: it was changed meanwhile.
        OSError: the copy cannot be written.
    """
    copy.mkdir()
    if found.model:
        shutil.copyfile(found.path, copy / WEIGHTS)
    else:
        for name in (ARCHITECTURE, WEIGHTS):
            shutil.copyfile(found.path / name, copy / name)
        if (found.path / TASK).is_dir():
            shutil.copytree(found.path / TASK, copy / TASK)
    copied = dataclasses.replace(found, path=copy / WEIGHTS if found.model else copy)
    if copied.content_hash() != found.hash:  # what is kept is what was checked
        raise SpecError(f"{found.path} was changed while it was copied.", field=FIELD, fix="Submit the search again.")
    for path in [*copy.rglob("*"), copy]:
        sync_path(path)
    try:
        copy.rename(target)
    except OSError:
        if not target.is_dir():  # else somebody was first with the same content
            raise
    sync_path(target.parent)
