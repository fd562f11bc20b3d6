"""Files of a store that nobody needs any more: found first, removed when asked."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnas_ray.messages import SearchState
from xnas_ray.service.archive import best_trials, living_writer, trial_records
from xnas_ray.service.kept_files import OF_WEIGHTS
from xnas_ray.service.latency_tables import kept_hash
from xnas_ray.service.log_files import LOGS
from xnas_ray.service.teachers import UNFINISHED, teachers_in
from xnas_ray.store.activations import ACTIVATIONS_FILE
from xnas_ray.store.compaction import KEEP_S
from xnas_ray.store.fence import current_writer
from xnas_ray.store.ids import is_search_id
from xnas_ray.store.layout import Layout, supernet_folder
from xnas_ray.store.parts import PartFile, list_parts
from xnas_ray.store.reader import last_of, search_rows
from xnas_ray.store.writer import StoreWriter
from xnas_ray.training.checkpoint import CHECKPOINT_NAME

YOUNG_S = 3600.0
"""What is younger may belong to a search that is being submitted."""

LOGS_BYTES = 256 * 2**20
"""Log lines of ended searches that stay, those of the newest searches first."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """One file or folder.

    Attributes:
        path: what would be removed.
        bytes: its size.
        reason: why nobody needs it.
        replaced: a part whose rows are in a larger one; only the store's writer may delete it.
    """

    path: Path
    bytes: int
    reason: str
    replaced: bool = False


def find_leftovers(root: Path | str, now_s: float | None = None, *, logs_bytes: int = LOGS_BYTES) -> list[Leftover]:
    """Everything in a store that can go.

    Artifacts of ended searches that their ``keep_weights`` and ``keep_activations`` do not want, their log lines where
    there are many, temporary files of writers that ended, task bundles that no search or Slurm job uses, latency tables
    and teachers of no search, and parts that compaction replaced at least ten minutes ago. Unfinished searches keep
    everything.

    Args:
        root: folder of the store.
        now_s: UNIX seconds, by default the clock's.
        logs_bytes: log lines of ended searches that stay in all; the oldest searches lose theirs first.

    Raises:
        StoreError: a part is damaged.
    """
    layout, now = Layout(root), time.time() if now_s is None else now_s
    searches = search_rows(layout)
    found: list[Leftover] = []
    for search_id, rows in searches.items():
        text = last_of(rows, "spec")
        if text is not None and rows[-1]["state"] in _ENDED:
            found += _artifacts(layout, search_id, json.loads(text)["spec"])
    found += _orphans(layout, set(searches), now)
    found += _logs(layout, searches, now, logs_bytes)
    used = {_task_hash(rows) for rows in searches.values()} | _awaited(layout)
    found += _bundles(layout, used, now)
    found += _latency_tables(layout, {_table_hash(rows) for rows in searches.values()}, now)
    found += _teachers(layout, searches, now)
    found += _temporary(layout)
    found += _replaced_parts(layout, now)
    return found


_ENDED = frozenset(str(state) for state in SearchState if state.ended)


def remove(root: Path | str, leftovers: list[Leftover]) -> list[str]:
    """Remove what ``find_leftovers`` found; returns what could not be removed, and why."""
    problems: list[str] = []
    for one in leftovers:
        if not one.replaced:
            problems += _attempt(_delete, one.path)
    for folder in {one.path.parent for one in leftovers if not one.replaced}:
        _remove_empty(folder, Layout(root).root)
    if any(one.replaced for one in leftovers) and not living_writer(root):
        with StoreWriter.open(root) as writer:
            problems += writer.compact().problems
    return problems


def _attempt(action: Callable[[Path], None], path: Path) -> list[str]:
    try:
        action(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{path}: {error.strerror or error}"]
    return []


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove folders that became empty, upwards, the store's own tables excepted."""
    while folder.parent not in (root, folder) and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


# ---- what is found --------------------------------------------------------------------------------------------------


def _artifacts(layout: Layout, search_id: str, spec: dict[str, Any]) -> Iterator[Leftover]:
    """Attempt folders of an ended search: those of kept trials lose what is not kept of them, the others go."""
    top = layout.root / "artifacts" / search_id
    if not top.is_dir():
        return
    policies = {"keep_weights": spec["keep_weights"], "keep_activations": spec.get("keep_activations", "none")}
    kept = {name: _kept(layout, search_id, policy) for name, policy in policies.items()}
    supernets = layout.root / supernet_folder(search_id)
    if supernets.is_dir() and spec["keep_weights"] != "all":
        yield Leftover(supernets, _size(supernets), f"keep_weights = {spec['keep_weights']}")
    for attempt in sorted(top.glob("*/*-*")):
        of = layout.relative(attempt)
        if not any(of in folders for folders in kept.values()):
            yield Leftover(attempt, _size(attempt), f"keep_weights = {spec['keep_weights']}")
            continue
        files = [(CHECKPOINT_NAME, "checkpoint of an ended search")]
        kinds = [*((file, "keep_weights") for file in OF_WEIGHTS), (ACTIVATIONS_FILE, "keep_activations")]
        for file, name in kinds:
            if of not in kept[name]:
                files.append((file, f"{name} = {policies[name]}"))
        for file, reason in files:
            if (attempt / file).is_file():
                yield Leftover(attempt / file, _size(attempt / file), reason)


def _kept(layout: Layout, search_id: str, keep: str) -> set[str]:
    """Folders, relative to the store, of the trials that a policy wants something of."""
    if keep == "none":
        return set()
    ranked = best_trials(layout.root, search_id)
    if keep == "best":
        ranked = ranked[:1]
    elif keep == "front":
        ranked = [one for one in ranked if one["front"]]
    trials = {one["trial"] for one in ranked}
    records = trial_records(layout.root, search_id)
    if keep == "all":
        trials |= {record["trial"] for record in records if record["status"] == "completed"}
    return {record["artifacts"] for record in records if record["trial"] in trials and record["artifacts"]}


def _orphans(layout: Layout, known: set[str], now_s: float) -> Iterator[Leftover]:
    for folder in sorted((layout.root / "artifacts").glob("*")):
        if is_search_id(folder.name) and folder.name not in known and _is_old(folder, now_s):
            yield Leftover(folder, _size(folder), "the store has no such search")


def _logs(
    layout: Layout, searches: dict[str, list[dict[str, Any]]], now_s: float, limit_bytes: int
) -> Iterator[Leftover]:
    """Log folders of ended searches, from the newest that ended to the oldest, once the limit is reached."""
    ended = [(rows[-1]["at"], search_id) for search_id, rows in searches.items() if rows[-1]["state"] in _ENDED]
    total = 0
    for _, search_id in sorted(ended, reverse=True):
        folder = layout.root / LOGS / search_id
        size = _size(folder) if folder.is_dir() else 0
        total += size
        if size and total > limit_bytes and _is_old(folder, now_s):
            yield Leftover(folder, size, f"log lines of ended searches beyond {limit_bytes / 2**20:g} MiB")
    for folder in sorted((layout.root / LOGS).glob("*")):
        if is_search_id(folder.name) and folder.name not in searches and _is_old(folder, now_s):
            yield Leftover(folder, _size(folder), "the store has no such search")


def _task_hash(rows: list[dict[str, Any]]) -> str:
    text = last_of(rows, "spec")
    return json.loads(text).get("task_hash", "") if text else ""


def _table_hash(rows: list[dict[str, Any]]) -> str:
    text = last_of(rows, "spec")
    return kept_hash(json.loads(text)["spec"]) if text else ""


def _awaited(layout: Layout) -> set[str]:
    """Task bundles of Slurm jobs: one that still waits submits its search when it starts."""
    found: set[str] = set()
    for path in (layout.root / "slurm").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found.add(json.loads(path.read_text(encoding="utf-8")).get("task_hash", ""))
    return found


def _bundles(layout: Layout, used: set[str], now_s: float) -> Iterator[Leftover]:
    for folder in sorted((layout.root / "tasks").glob("*")):
        if folder.name in used or not _is_old(folder, now_s):
            continue
        reason = "unfinished copy of a task" if folder.name.startswith(".") else "no search uses this task"
        yield Leftover(folder, _size(folder), reason)


def _latency_tables(layout: Layout, used: set[str], now_s: float) -> Iterator[Leftover]:
    for path in sorted(layout.latency_tables.glob("*")):
        if path.stem not in used and _is_old(path, now_s):
            yield Leftover(path, _size(path), "no search uses this latency table")


def _teachers(layout: Layout, searches: dict[str, list[dict[str, Any]]], now_s: float) -> Iterator[Leftover]:
    used = {one for rows in searches.values() for one in teachers_in(last_of(rows, "spec") or "")}
    for folder in sorted(layout.teachers.glob("*")):
        if folder.name in used or not _is_old(folder, now_s):
            continue
        reason = "unfinished copy of a teacher" if folder.name.startswith(UNFINISHED) else "no search has this teacher"
        yield Leftover(folder, _size(folder), reason)


def _temporary(layout: Layout) -> Iterator[Leftover]:
    """Folders of writers that ended; a living writer keeps its own."""
    writer = current_writer(layout)
    own = str(writer.epoch) if writer is not None and writer.holds(time.time()) else ""
    for folder in sorted(layout.temporary.glob("*")):
        if folder.name != own:
            yield Leftover(folder, _size(folder), "temporary files of a writer that ended")


def _replaced_parts(layout: Layout, now_s: float) -> Iterator[Leftover]:
    for _, folder in layout.folders():
        parts = set(list_parts(folder))
        for merged in [part for part in parts if part.level]:
            footer = PartFile(folder / str(merged)).footer
            if now_s - footer.compacted_at >= KEEP_S:
                for part in sorted(footer.replaces & parts):
                    path = folder / str(part)
                    yield Leftover(path, _size(path), "its rows are in a larger part", replaced=True)


def _is_old(path: Path, now_s: float) -> bool:
    try:
        return now_s - path.stat().st_mtime >= YOUNG_S
    except FileNotFoundError:
        return False


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; files that vanish count nothing."""
    total = 0
    for one in [path] if not path.is_dir() else path.rglob("*"):
        try:
            total += one.stat().st_size if one.is_file() else 0
        except FileNotFoundError:
            continue
    return total
