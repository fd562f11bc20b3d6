"""Task folders as one piece of bytes, for where client and service see no common folder: a gzipped tar.

What comes in is read in memory and never unpacked by the names it gives: only regular files with plain relative names
become part of a ``Snapshot``, under the limits of ``tasks.bundle``.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from xnas_ray.errors import TaskError
from xnas_ray.tasks.bundle import MAX_BYTES, MAX_FILES, Snapshot, belongs, content_hash

MAX_ARCHIVE_BYTES = MAX_BYTES + 2**20
"""Most bytes that are taken in, packed."""
_MAX_UNPACKED_BYTES = 2 * MAX_BYTES
"""Most bytes that an archive may unpack to, headers and what stays behind included."""
_MAX_NAME, _MAX_PART = 400, 200
_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, OverflowError, IndexError)


def pack(snapshot: Snapshot) -> bytes:
    """The files of a task as a gzipped tar; equal snapshots give equal bytes."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as unzipped, tarfile.open(fileobj=unzipped, mode="w") as tar:
        for name, content in snapshot.files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def unpack(data: bytes, name: str, expected_hash: str | None = None) -> Snapshot:
    """The task in a gzipped tar, such as ``pack`` or ``tar czf - -C FOLDER .`` makes one.

    What would stay behind of a folder stays behind here too (see ``snapshot_task``).

    Args:
        data: the archive.
        name: of the task.
        expected_hash: that its content must have; None takes any.

    Raises:
        TaskError: it is broken or too large, has links, devices or names that leave the folder, no problem.py, or
            another content than ``expected_hash`` says.
    """
    if not 0 < len(name) <= _MAX_PART or not name.isprintable():
        raise _refused("the task's name must have 1 to 200 printable characters.")
    try:
        with (
            gzip.GzipFile(fileobj=io.BytesIO(data)) as unzipped,
            tarfile.open(fileobj=_Limited(unzipped), mode="r|") as tar,  # type: ignore[call-overload]
        ):
            files = _files(tar)
    except _BROKEN as error:
        raise _refused(f"the archive cannot be read: {error}.") from None
    if "problem.py" not in files:
        raise _refused("the archive has no problem.py at its top.")
    snapshot = Snapshot(Path(name), name, content_hash(files), dict(sorted(files.items())))
    if expected_hash is not None and snapshot.hash != expected_hash:
        raise _refused(f"the content of the archive has the hash {snapshot.hash}, not {expected_hash}.")
    return snapshot


class _Limited:
    """A reader that refuses to unpack more than the limit: a small archive can hold any number of zeros."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self._left = _MAX_UNPACKED_BYTES

    def read(self, size: int) -> bytes:
        found = self._file.read(min(size, self._left + 1))
        self._left -= len(found)
        if self._left < 0:
            raise _refused(f"the archive unpacks to more than {_MAX_UNPACKED_BYTES // 2**20} MiB.")
        return found


def _files(tar: tarfile.TarFile) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    total = 0
    for member in tar:
        path = _checked(member)
        if member.isdir() or not belongs(path):
            continue
        total += member.size
        if total > MAX_BYTES or len(files) >= MAX_FILES:
            raise _refused(f"the task is too large: limit {MAX_BYTES // 2**20} MiB in {MAX_FILES} files.")
        if path.as_posix() in files:
            raise _refused(f"the archive has {path} twice.")
        content: Any = tar.extractfile(member)
        files[path.as_posix()] = content.read()
    for name in files:
        if any(str(above) in files for above in PurePosixPath(name).parents):
            raise _refused(f"{name} lies in what is a file.")
    return files


def _checked(member: tarfile.TarInfo) -> PurePosixPath:
    """The name of a member that is a regular file or a folder inside the task's."""
    name = member.name
    path = PurePosixPath(name)
    if not (member.isdir() or member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)) or member.issparse():
        raise _refused(f"{name!r} is neither a regular file nor a folder; links do not travel.")
    if not name.isprintable() or "\\" in name or len(name) > _MAX_NAME or any(len(p) > _MAX_PART for p in path.parts):
        raise _refused(f"the file name {name[:200]!r} is too long or has characters that no task needs.")
    if path.is_absolute() or ".." in path.parts:
        raise _refused(f"{name!r} lies outside the task's folder.")
    return path


def _refused(message: str) -> TaskError:
    fix = "Make it with: tar czf - -C FOLDER .  (FOLDER has load_data.py, search_space.py and problem.py)"
    return TaskError(message, field="task", fix=fix)
