"""Where everything lies below the root of a store; no path made here leaves the root."""

from __future__ import annotations

import re
from pathlib import Path

from xnas_ray.errors import StoreError
from xnas_ray.messages import Attempt
from xnas_ray.store.ids import is_search_id

SEARCH_PREFIX = "search_id="
EXPLANATIONS = "explanations"
TEACHERS = "teachers"
PARTITIONED = ("trials", "log", "curves")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")
_HASH = re.compile(r"[0-9a-f]{8,128}")


class Layout:
    """Paths of a store.

    Args:
        root: the store's folder; it need not exist.
    """

    def __init__(self, root: Path | str) -> None:
        """Make the root absolute."""
        self.root = Path(root).absolute()

    # ---- tables ---------------------------------------------------------------------------------------------------

    def table(self, table: str, search_id: str | None = None) -> Path:
        """The folder of one table's parts: ``searches``, ``trials``, ``log``, ``curves`` or ``explanations/<kind>``.

        Args:
            table: name of the table.
            search_id: whose partition; None for ``searches``, or for the folder above the partitions.

        Raises:
            StoreError: a malformed id or explanation kind.
        """
        family, _, kind = table.partition("/")
        folder = self.root / family / check_kind(kind) if family == EXPLANATIONS else self.root / table
        return folder if search_id is None else folder / f"{SEARCH_PREFIX}{check_search_id(search_id)}"

    def search_ids(self, table: str) -> list[str]:
        """Searches that have rows in a partitioned table, sorted by time."""
        folder = self.table(table)
        names = [path.name.removeprefix(SEARCH_PREFIX) for path in folder.glob(f"{SEARCH_PREFIX}*")]
        return sorted(name for name in names if is_search_id(name))

    def explanation_kinds(self) -> list[str]:
        """Kinds of explanations that the store has, sorted."""
        folder = self.root / EXPLANATIONS
        return sorted(path.name for path in folder.glob("*") if _KIND.fullmatch(path.name))

    def folders(self, search_id: str | None = None) -> list[tuple[str, Path]]:
        """Folders of parts with the names of their tables: those of one search, or every one of the store."""
        tables = [*PARTITIONED, *(f"{EXPLANATIONS}/{kind}" for kind in self.explanation_kinds())]
        if search_id is not None:
            return [(table, self.table(table, search_id)) for table in tables]
        found = [(table, self.table(table, one)) for table in tables for one in self.search_ids(table)]
        return [*found, ("searches", self.table("searches"))]

    # ---- files ----------------------------------------------------------------------------------------------------

    def artifacts(self, search_id: str, trial: int, attempt: Attempt) -> Path:
        """Where an attempt of a trial keeps its files; the only place that workers write."""
        return self.root / attempt_folder(search_id, trial, attempt)

    def task(self, task_hash: str) -> Path:
        """The copied code of a task."""
        if not _HASH.fullmatch(task_hash):
            raise StoreError("a task hash is 8 to 128 hexadecimal digits.", field="task_hash", got=task_hash)
        return self.root / "tasks" / task_hash

    def latency_table(self, table_hash: str) -> Path:
        """The copy of a latency table."""
        if not _HASH.fullmatch(table_hash):
            raise StoreError("a table's hash is 8 to 128 hexadecimal digits.", field="table", got=table_hash)
        return self.latency_tables / f"{table_hash}.json"

    @property
    def latency_tables(self) -> Path:
        """Copies of the tables in which searches look latencies up."""
        return self.root / "latency_tables"

    @property
    def teachers(self) -> Path:
        """Copies of the networks that candidates learn from, each in a folder named by the hash of its content."""
        return self.root / TEACHERS

    def relative(self, path: Path | str) -> str:
        """How a row names a file of the store: relative to the root, with ``/``.

        Raises:
            StoreError: the path lies outside the root (symbolic links followed).
        """
        inside = (self.root / path).resolve()
        if not inside.is_relative_to(self.root.resolve()):
            raise StoreError(f"{path} lies outside the store {self.root}.", field="artifacts")
        return inside.relative_to(self.root.resolve()).as_posix()

    def inside(self, relative: str) -> Path:
        """The file that a row names; the opposite of ``relative``, with the same check."""
        return self.root / self.relative(relative)

    # ---- the writer -----------------------------------------------------------------------------------------------

    @property
    def writers(self) -> Path:
        """One file a writer epoch."""
        return self.root / "writer"

    def writer_file(self, epoch: int) -> Path:
        """Who writes, or wrote, as ``epoch``."""
        return self.writers / f"{epoch}.json"

    @property
    def temporary(self) -> Path:
        """Beside the tables, because DuckDB and polars fail on a table's folder with anything else in it."""
        return self.root / "_tmp"

    def temporary_of(self, epoch: int) -> Path:
        """Where the writer of that epoch makes its parts before it renames them into place."""
        return self.temporary / str(epoch)


def check_search_id(search_id: str) -> str:
    """The id itself if it is a ULID.

    Raises:
        StoreError: anything else, ``..`` and ``/`` included.
    """
    if not isinstance(search_id, str) or not is_search_id(search_id):
        raise StoreError(f"{search_id!r} is not a search id.", field="search_id", fix="An id is a ULID, 26 characters.")
    return search_id


def supernet_folder(search_id: str) -> str:
    """Folder of what a search's supernets leave while they are trained, relative to the store.

    Raises:
        StoreError: a malformed id.
    """
    return f"artifacts/{check_search_id(search_id)}/supernets"


def attempt_folder(search_id: str, trial: int, attempt: Attempt) -> str:
    """Folder of an attempt's files, relative to the store.

    Raises:
        StoreError: a malformed id, or a negative number.
    """
    epoch, number = (int(part) for part in attempt)
    if int(trial) < 0 or epoch < 0 or number < 0:
        raise StoreError(f"trial {trial} and attempt {attempt} must not be negative.", field="attempt")
    return f"artifacts/{check_search_id(search_id)}/{int(trial)}/{epoch}-{number}"


def check_kind(kind: str) -> str:
    """The kind of explanation itself if it can name a folder.

    Raises:
        StoreError: anything but lower-case letters, digits and underscores.
    """
    if not _KIND.fullmatch(kind):
        raise StoreError(
            f"{kind!r} cannot name explanations.",
            field="kind",
            fix="Use lower-case letters, digits and underscores, a letter first, at most 64 characters.",
        )
    return kind
