"""One writer a store: who writes is a file with a number, and a higher number shuts the lower ones out for good.

A writer takes the store by creating ``writer/<epoch>.json`` exclusively, one above the highest. It makes its parts in
``_tmp/<epoch>/`` and renames them into place; whoever takes over first renames the older ``_tmp`` folders away, so
that a rename which an old writer, paused or cut off, still tries afterwards finds nothing to move. Nothing of an old
writer can therefore appear in a table after ``take`` has returned in the new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from xnas_ray.errors import StoreFullError, StoreLockedError
from xnas_ray.store.files import Files, write_whole
from xnas_ray.store.layout import Layout
from xnas_ray.store.parts import list_parts

STALE_S = 30.0
"""A writer whose heartbeat is older counts as dead."""

_KEPT_RECORDS = 32
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Process:
    """A process as another one can recognise it.

    Attributes:
        host: name of the machine.
        pid: its number.
        started: clock ticks from boot to its start; a pid that was given again has another.
        boot_id: of the running kernel.
        pid_namespace: in which ``pid`` counts; a container's processes cannot be looked up from another.
    """

    host: str
    pid: int
    started: int | None
    boot_id: str | None
    pid_namespace: str | None

    @classmethod
    def current(cls) -> Process:
        """This process."""
        boot_id = namespace = None
        with contextlib.suppress(OSError):
            boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        with contextlib.suppress(OSError):
            namespace = str(Path("/proc/self/ns/pid").readlink())
        return cls(socket.gethostname(), os.getpid(), _start_ticks(os.getpid()), boot_id, namespace)

    def known_dead(self) -> bool:
        """Whether it certainly ended; False where that cannot be told from here."""
        here = Process.current()
        place = (here.host, here.boot_id, here.pid_namespace)
        if None in place or (self.host, self.boot_id, self.pid_namespace) != place:
            return False
        return _start_ticks(self.pid) != self.started


def _start_ticks(pid: int) -> int | None:
    """Field 22 of ``/proc/<pid>/stat``; None when there is no such process, or only its unreaped remains."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if after_name[0] in "ZX" else int(after_name[19])


@dataclass(frozen=True, slots=True)
class WriterRecord:
    """Who writes, or wrote, a store.

    Attributes:
        epoch: its number; the highest is the current one.
        process: which process, None while its file is being written.
        heartbeat_s: when it last said that it lives, UNIX seconds.
        closed: whether it gave the store back.
    """

    epoch: int
    process: Process | None
    heartbeat_s: float
    closed: bool

    def holds(self, now_s: float) -> bool:
        """Whether it must be taken for a living writer."""
        gone = self.closed or now_s - self.heartbeat_s >= STALE_S
        return not gone and not (self.process is not None and self.process.known_dead())


def current_writer(layout: Layout) -> WriterRecord | None:
    """The latest writer of a store, living or not; None if it never had one."""
    for epoch in sorted(_epochs(layout), reverse=True):
        with contextlib.suppress(FileNotFoundError):
            return _read(layout, epoch)
    return None


def _epochs(layout: Layout) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        stems = (name.removesuffix(".json") for name in os.listdir(layout.writers) if name.endswith(".json"))  # noqa: PTH208
        return [int(stem) for stem in stems if stem.isdecimal()]
    return []


def _highest_of_parts(layout: Layout) -> int:
    """The highest epoch that wrote a part: no epoch may come twice, even if somebody removed the writers' files."""
    return max((part.epoch for _, folder in layout.folders() for part in list_parts(folder)), default=0)


def _read(layout: Layout, epoch: int) -> WriterRecord:
    with layout.writer_file(epoch).open("rb") as file:  # opening makes NFS fetch the time of the heartbeat anew
        heartbeat_s = os.fstat(file.fileno()).st_mtime
        text = file.read()
    try:
        data = json.loads(text)
        return WriterRecord(epoch, Process(**data["process"]), heartbeat_s, bool(data["closed"]))
    except (ValueError, KeyError, TypeError):
        return WriterRecord(epoch, None, heartbeat_s, closed=False)


class Fence:
    """This process's hold on a store.

    Attributes:
        epoch: its number.
    """

    def __init__(self, layout: Layout, epoch: int, clock: Clock, files: Files) -> None:
        """Used by ``take``."""
        self.epoch = epoch
        self._layout = layout
        self._clock = clock
        self._files = files

    @classmethod
    def take(cls, layout: Layout, *, take_over: bool, clock: Clock, files: Files) -> Fence:
        """Become the writer.

        Args:
            layout: of the store; its folders exist.
            take_over: also from a writer that seems alive.
            clock: UNIX seconds.
            files: system calls.

        Raises:
            StoreLockedError: another writer holds the store.
            OSError: the files cannot be made.
        """
        while True:
            holder = current_writer(layout)
            if holder is not None and not take_over and holder.holds(clock()):
                raise _locked(layout, holder, clock())
            fence = cls(layout, 1 + (holder.epoch if holder else _highest_of_parts(layout)), clock, files)
            with contextlib.suppress(FileExistsError):  # another one was faster: look again
                fence._claim()
                break
        try:
            fence._settle()
        except (OSError, StoreFullError):
            with contextlib.suppress(OSError):
                files.remove(layout.writer_file(fence.epoch))
            raise
        return fence

    def _claim(self) -> None:
        write_whole(self._files, self._layout.writer_file(self.epoch), self._record(closed=False))

    def _settle(self) -> None:
        """Make the claim durable, and shut the older writers out."""
        self._touch()
        self._files.sync_folder(self._layout.writers)
        self._files.make_folder(self._layout.temporary_of(self.epoch))
        self.verify()  # a taker who missed the new folder is seen here; one who comes later sees the folder
        self._shut_out_older()

    def _record(self, *, closed: bool) -> memoryview:
        record = {"process": asdict(Process.current()), "opened_at": self._clock(), "closed": closed}
        return memoryview(json.dumps(record, indent=1).encode())

    def _touch(self) -> None:
        now_s = self._clock()
        os.utime(self._layout.writer_file(self.epoch), (now_s, now_s))

    def _shut_out_older(self) -> None:
        """Move the folders away from which older writers could still rename parts, then clear up."""
        temporary = self._layout.temporary
        for path in sorted(temporary.iterdir()):
            if path.name.isdecimal() and int(path.name) < self.epoch:
                self._files.rename(path, temporary / f"fenced-{self.epoch}-{path.name}")
        for path in temporary.glob("fenced-*"):
            shutil.rmtree(path, ignore_errors=True)
        for epoch in _epochs(self._layout):
            if epoch < self.epoch - _KEPT_RECORDS:
                with contextlib.suppress(OSError):
                    self._layout.writer_file(epoch).unlink()

    def verify(self) -> None:
        """Nothing if this is still the writer.

        Raises:
            StoreLockedError: another one took over; this one must never write again.
            StoreFullError: that cannot be seen.
        """
        try:
            newer = max(_epochs(self._layout), default=0)
        except OSError as error:
            raise StoreFullError(f"cannot see who writes {self._layout.root}: {error}.", field="store") from error
        if newer > self.epoch:
            raise StoreLockedError(
                f"fenced: writer {self.epoch} of {self._layout.root} was replaced by writer {newer}.",
                fix="Go on with the service that took over; nothing that this one wrote before is lost.",
            )

    def heartbeat(self) -> None:
        """Say that this writer lives: the time stamp of its file, which also a full disk can take.

        Raises:
            StoreLockedError: another one took over.
            StoreFullError: the file cannot be touched.
        """
        self.verify()
        try:
            self._touch()
        except OSError as error:
            raise StoreFullError(f"cannot touch {self._layout.writer_file(self.epoch)}: {error}") from error

    def close(self) -> None:
        """Give the store back, so that the next writer need not wait.

        Raises:
            StoreLockedError: another one took over.
            OSError: the record cannot be written.
        """
        self.verify()
        folder = self._layout.temporary_of(self.epoch)
        fresh = folder / "closed.json"
        with contextlib.suppress(FileNotFoundError):  # an earlier try to close may have failed half-way
            self._files.remove(fresh)
        write_whole(self._files, fresh, self._record(closed=True))
        self._files.rename(fresh, self._layout.writer_file(self.epoch))
        with contextlib.suppress(OSError):
            folder.rmdir()


def _locked(layout: Layout, holder: WriterRecord, now_s: float) -> StoreLockedError:
    who = f"process {holder.process.pid} on {holder.process.host}" if holder.process else "a process that just started"
    age_s = max(0.0, now_s - holder.heartbeat_s)
    return StoreLockedError(
        f"{layout.root} is being written by {who} (writer {holder.epoch}, heartbeat {age_s:.0f} s ago).",
        field="store",
        fix=f"Stop that service; if it died, wait until its heartbeat is {STALE_S:.0f} s old, or use --take-over.",
    )
