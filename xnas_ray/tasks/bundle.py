"""Task folders by content: what a search carries with it, so that it always runs the code it was submitted with."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from xnas_ray.durable import sync_path
from xnas_ray.errors import StoreError, StoreFullError, TaskError

MAX_BYTES = 16 * 2**20
MAX_FILES = 500
SUFFIXES = frozenset({".py", ".json", ".yaml", ".yml", ".txt", ".csv", ".cfg", ".ini", ".toml"})
DATA_FOLDER = "data"
NAME_FILE = ".task.json"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Snapshot:
    """The content of a task folder at one moment.

    Attributes:
        folder: where it was read.
        name: the task's name: its folder's, or the one that a bundle recorded.
        hash: blake2b-16 hex of names and contents.
        files: bytes by relative name with ``/``, sorted.
    """

    folder: Path
    name: str
    hash: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class BundleInfo:
    """A task folder in a store.

    Attributes:
        hash: blake2b-16 hex of names and contents.
        path: ``<store>/tasks/<hash>``.
        name: the task's name.
    """

    hash: str
    path: Path
    name: str


def snapshot_task(folder: Path | str) -> Snapshot:
    """Read what belongs to a task: its code and small texts, and everything below ``data/``.

    Hidden files, caches, other kinds of files and the TOML files at the top (searches on the task, not the task
    itself: adding one must not change the training seeds) stay behind.

    Raises:
        TaskError: it is not a folder with a problem.py, holds a symbolic link or an unprintable name, or is too large.
    """
    root = Path(folder).resolve()
    if not (root / "problem.py").is_file():
        raise TaskError(
            f"{folder} is not a task folder: it has no problem.py.",
            field="task",
            fix="A task is a folder with load_data.py, search_space.py and problem.py.",
        )
    files: dict[str, bytes] = {}
    total = 0
    for path in _members(root):
        total += path.stat().st_size
        if total > MAX_BYTES or len(files) >= MAX_FILES:
            raise TaskError(
                f"{root.name} is too large to travel with a search ({total / 2**20:.1f} MiB in {len(files) + 1} files; "
                f"limit {MAX_BYTES // 2**20} MiB in {MAX_FILES} files), at {path.relative_to(root)}.",
                field="task",
                fix="Keep large data outside the task folder, for example in the folder that XNAS_DATA names.",
            )
        files[path.relative_to(root).as_posix()] = _read(path)
    files = dict(sorted(files.items()))
    return Snapshot(folder=root, name=_name(root), hash=content_hash(files), files=files)


def content_hash(files: Mapping[str, bytes]) -> str:
    """blake2b-16 hex over length-prefixed names and contents, in the order of the names."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(files):
        for part in (name.encode(), files[name]):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


def bundle_task(folder: Path | str, store_root: Path | str) -> BundleInfo:
    """Copy a task folder to ``<store_root>/tasks/<hash>/``, whole or not at all; an equal bundle is kept as it is.

    Raises:
        TaskError: see ``snapshot_task``.
        StoreError: the store cannot be written.
    """
    return store_snapshot(snapshot_task(folder), store_root)


def store_snapshot(snapshot: Snapshot, store_root: Path | str) -> BundleInfo:
    """Write a snapshot to ``<store_root>/tasks/<hash>/``, whole or not at all; an equal bundle is kept as it is.

    Raises:
        StoreError: the store cannot be written.
    """
    target = Path(store_root).resolve() / "tasks" / snapshot.hash
    info = BundleInfo(hash=snapshot.hash, path=target, name=snapshot.name)
    if target.is_dir():
        return info
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".incoming-", dir=target.parent))
        try:
            _write(staging, snapshot)
            staging.chmod(0o755)
            _rename(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        kind = StoreFullError if error.errno in _FULL else StoreError
        fix = "Check the folder's space and rights."
        raise kind(f"cannot write the task bundle {target}: {error}.", fix=fix) from None
    return info


def _rename(staging: Path, target: Path) -> None:
    try:
        staging.rename(target)
    except OSError as error:
        if target.is_dir():  # somebody else was first with the same content
            return
        raise error
    sync_path(target.parent)


def _write(staging: Path, snapshot: Snapshot) -> None:
    contents = {**snapshot.files, NAME_FILE: json.dumps({"name": snapshot.name}).encode()}
    for name, content in contents.items():
        path = staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    for folder in {staging, *(p for p in staging.rglob("*") if p.is_dir())}:
        sync_path(folder)


def _members(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if not _ignored(f))
        names = sorted(name for name in names if not _ignored(name))
        for name in [*folders, *names]:
            _refuse(root, Path(folder) / name)
        for name in names:
            path = Path(folder) / name
            if belongs(path.relative_to(root)):
                yield path


def belongs(name: PurePath) -> bool:
    """Whether a file of this name, relative to the task's folder, is part of the task (see ``snapshot_task``)."""
    if any(_ignored(part) for part in name.parts):
        return False
    at_top = len(name.parts) == 1
    if at_top and name.suffix == ".toml":
        return False
    return name.suffix in SUFFIXES or (not at_top and name.parts[0] == DATA_FOLDER)


def _ignored(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__" or name.endswith((".pyc", "~"))


def _refuse(root: Path, path: Path) -> None:
    name = path.relative_to(root)
    if path.is_symlink():
        raise TaskError(
            f"{name} is a symbolic link, which would not travel with the search.",
            field="task",
            fix="Replace it by a copy, or read the data from the folder that XNAS_DATA names.",
        )
    if not str(name).isprintable():
        raise TaskError(f"the file name {str(name)!r} has unprintable characters.", field="task", fix="Rename it.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TaskError(f"cannot read {path}: {error}.", field="task", fix="Check its rights.") from None


def _name(root: Path) -> str:
    try:
        return str(json.loads((root / NAME_FILE).read_text())["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return root.name
