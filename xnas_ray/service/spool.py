"""The spool: searches that were submitted while no service ran, each one file, taken exactly once by the next one.

A client writes ``<store>/spool/<ULID>.search`` whole or not at all: one line of JSON (the specification and who wrote
it), then the task folder as ``tasks.archives.pack`` makes it. The ULID becomes the search's id and its idempotency key,
so that a head that dies between queueing a search and removing its file finds it queued. A bad one goes to
``spool/refused/`` with its error as text beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnas_ray.errors import ProtocolError, ServiceError, SpecError, StoreError, XnasError
from xnas_ray.messages import PROTOCOL_VERSION
from xnas_ray.service.trusted import read_trusted_bytes
from xnas_ray.service.users import current_user
from xnas_ray.store.files import Files, make_folders, write_whole
from xnas_ray.store.ids import is_search_id, new_search_id
from xnas_ray.tasks.archives import MAX_ARCHIVE_BYTES, pack, unpack
from xnas_ray.tasks.bundle import Snapshot, store_snapshot

log = logging.getLogger(__name__)

SPOOL, REFUSED, SUFFIX = "spool", "refused", ".search"
LOOK_S = 2.0
MAX_FILE_BYTES = MAX_ARCHIVE_BYTES + 2**20
MAX_TRIES = 3
"""How often a search is tried that fails for a reason that is none of ours."""
ABANDONED_S = 3600.0
"""Age of a half-written file whose writer is gone."""

Submit = Callable[[int, Mapping[str, Any], str, str, str], Awaitable[str]]
"""``Head.submit``: protocol, specification, task hash, idempotency key, search id."""


@dataclass(frozen=True)
class Spooled:
    """One file of the spool.

    Attributes:
        search_id: that the search gets.
        header: ``protocol``, ``spec``, ``task`` (name and hash), ``user``, ``host``, ``at`` (UNIX seconds).
        archive: the packed task folder.
    """

    search_id: str
    header: Mapping[str, Any]
    archive: bytes


# ---- clients ---------------------------------------------------------------------------------------------------------


def put(root: Path, spec: Mapping[str, Any], task: Snapshot, files: Files | None = None) -> str:
    """Leave a search for the next service of a store; returns the id that it gets.

    Args:
        root: folder of the store; made if there is none.
        spec: the checked specification, as JSON.
        task: its task folder.
        files: the system calls.

    Raises:
        StoreError: the file cannot be written; nothing was left.
    """
    files = files or Files()
    search_id = new_search_id(time.time())
    header = {
        "protocol": PROTOCOL_VERSION,
        "spec": spec,
        "task": {"name": task.name, "hash": task.hash},
        "user": current_user(),
        "host": socket.gethostname(),
        "at": time.time(),
    }
    data = json.dumps(header).encode() + b"\n" + pack(task)
    folder = root / SPOOL
    temporary = folder / f".{search_id}.part"
    try:
        root.mkdir(parents=True, exist_ok=True)
        make_folders(files, folder, root)
        write_whole(files, temporary, memoryview(data))
        files.rename(temporary, folder / f"{search_id}{SUFFIX}")
        files.sync_folder(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StoreError(f"cannot write {folder}: {error.strerror or error}.", field="spool") from error
    return search_id


def waiting(root: Path) -> list[dict[str, Any]]:
    """What is in the spool, the oldest first; the refused ones last.

    Keys: ``search_id``, ``state`` (``"spooled"`` or ``"refused"``), ``name``, ``task``, ``controller``, ``user``,
    ``at`` (UNIX seconds, None if unknown), ``reason`` (why it was refused).
    """
    found = []
    for state, folder in (("spooled", root / SPOOL), ("refused", root / SPOOL / REFUSED)):
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            header: Mapping[str, Any] = {}
            with contextlib.suppress(OSError, ValueError, RecursionError):
                header = _header(path)
            reason = ""
            with contextlib.suppress(OSError, ValueError):
                reason = path.with_suffix(".txt").read_text().strip() if state == REFUSED else ""
            spec = _mapping(header.get("spec"))
            found.append(
                {
                    "search_id": path.stem,
                    "state": state,
                    "name": str(spec.get("name") or ""),
                    "task": str(_mapping(header.get("task")).get("name") or ""),
                    "controller": str(_mapping(spec.get("controller")).get("name") or ""),
                    "user": str(header.get("user") or ""),
                    "at": header["at"] if isinstance(header.get("at"), (int, float)) else None,
                    "reason": reason,
                }
            )
    return found


def _header(path: Path) -> Mapping[str, Any]:
    if path.is_symlink() or not path.is_file():
        return {}
    with path.open("rb") as file:
        return _mapping(json.loads(file.readline(MAX_FILE_BYTES)))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


# ---- the head --------------------------------------------------------------------------------------------------------


def read(path: Path) -> Spooled:
    """A file of the spool.

    Raises:
        SpecError: it is malformed or too large.
        ServiceError: another user owns it, or others can write it: queueing a search is running its code.
        ProtocolError: a client of another version wrote it.
        OSError: it cannot be read.
    """
    if not is_search_id(path.stem):
        raise SpecError(f"{path.name} is not named after a search.", field="spool", fix="Use `xnas submit --spool`.")
    line, _, archive = read_trusted_bytes(path, MAX_FILE_BYTES).partition(b"\n")
    try:
        header = json.loads(line)
        protocol, _, _ = header["protocol"], header["spec"].items(), header["task"]["name"] + header["task"]["hash"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SpecError("the file is malformed.", field="spool", fix="Submit the search again.") from None
    if protocol != PROTOCOL_VERSION:
        raise ProtocolError(
            f"the service speaks protocol {PROTOCOL_VERSION}, the client that wrote this {protocol}.",
            fix="Install the same version of xnas-ray on both sides and submit the search again.",
        )
    return Spooled(path.stem, header, archive)


class Spool:
    """The head's side.

    Args:
        root: folder of the store.
        submit: queues a search; answers only when that is durable, and the same for the same key.
    """

    def __init__(self, root: Path, submit: Submit) -> None:
        """Take nothing yet."""
        self._root = root
        self._folder = root / SPOOL
        self._submit = submit
        self._tries: dict[str, int] = {}

    async def run(self) -> None:
        """Take what is there, and look again, until cancelled."""
        while True:
            try:
                await self.take_all()
            except Exception:
                log.exception("the spool cannot be read")
            await asyncio.sleep(LOOK_S)

    async def take_all(self) -> None:
        """Queue every search of the spool, the oldest first."""
        for path in await asyncio.to_thread(self._files):
            try:
                await self._take(path)
            except FileNotFoundError:
                continue
            except (XnasError, OSError) as error:
                await self._failed(path, error)
            except Exception as error:
                log.exception("the spooled search %s was not queued", path.stem)
                await self._failed(path, error)

    def _files(self) -> list[Path]:
        for path in self._folder.glob(".*.part"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED_S:
                    path.unlink()
        return sorted(self._folder.glob(f"*{SUFFIX}"))

    async def _take(self, path: Path) -> None:
        spooled = await asyncio.to_thread(read, path)
        task = spooled.header["task"]
        await asyncio.to_thread(self._store_task, spooled.archive, task["name"], task["hash"])
        search_id = spooled.search_id
        await self._submit(PROTOCOL_VERSION, spooled.header["spec"], task["hash"], search_id, search_id)
        await asyncio.to_thread(path.unlink, True)
        self._tries.pop(search_id, None)
        log.info("search %s was taken from the spool", search_id)

    def _store_task(self, archive: bytes, name: str, task_hash: str) -> None:
        store_snapshot(unpack(archive, name, task_hash), self._root)

    async def _failed(self, path: Path, error: Exception) -> None:
        """Refuse what is wrong in itself; what the service or the disk is to blame for is tried again."""
        passing = isinstance(error, (StoreError, OSError)) or (type(error) is ServiceError and not _untrusted(error))
        if passing or not isinstance(error, XnasError):
            tries = self._tries[path.stem] = self._tries.get(path.stem, 0) + 1
            if tries == 1:
                log.warning("the spooled search %s waits: %s", path.stem, error)
            if passing or tries < MAX_TRIES:
                return
        log.warning("the spooled search %s is refused: %s", path.stem, error)
        try:
            await asyncio.to_thread(refuse, path, str(error) or type(error).__name__)
            self._tries.pop(path.stem, None)
        except OSError as problem:
            log.warning("%s cannot be moved: %s", path, problem)


def _untrusted(error: XnasError) -> bool:
    """Whether ``trusted`` refused the file: it names the file as the field."""
    return bool(error.field and error.field.endswith(SUFFIX))


def refuse(path: Path, reason: str) -> None:
    """Move a file of the spool to ``refused/``, with the reason as text beside it.

    Raises:
        OSError: it cannot be moved.
    """
    folder = path.parent / REFUSED
    folder.mkdir(exist_ok=True)
    (folder / f"{path.stem}.txt").write_text(f"{reason}\n", encoding="utf-8")
    path.rename(folder / path.name)
