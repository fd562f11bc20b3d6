from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from xnas_ray.errors import StoreFullError, StoreLockedError
from xnas_ray.store.fence import Process, current_writer
from xnas_ray.store.files import Files
from xnas_ray.store.layout import Layout
from xnas_ray.store.writer import StoreWriter


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def files_of(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("part-*.parquet")}


def test_epochs_count_from_one_and_closing_frees_the_store(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        with StoreWriter.open(tmp_path) as writer:
            assert writer.epoch == epoch
    record = current_writer(Layout(tmp_path))
    assert record is not None and record.closed and record.process == Process.current()
    assert list((tmp_path / "_tmp").iterdir()) == []


def test_a_second_writer_is_told_who_holds_the_store(tmp_path: Path) -> None:
    clock = Clock()
    StoreWriter.open(tmp_path, clock=clock)
    clock.now_s += 12
    with pytest.raises(StoreLockedError) as error:
        StoreWriter.open(tmp_path, clock=clock)
    for part in (f"process {os.getpid()}", Process.current().host, "12 s ago", "--take-over"):
        assert part in str(error.value)
    assert [path.name for path in (tmp_path / "writer").iterdir()] == ["1.json"]


def test_a_heartbeat_keeps_the_store_and_a_stale_one_loses_it(make: SimpleNamespace, tmp_path: Path) -> None:
    clock = Clock()
    old = StoreWriter.open(tmp_path, clock=clock)
    for _ in range(4):
        clock.now_s += 20
        old.heartbeat()
    clock.now_s += 29
    with pytest.raises(StoreLockedError):
        StoreWriter.open(tmp_path, clock=clock)
    clock.now_s += 1
    assert StoreWriter.open(tmp_path, clock=clock).epoch == 2
    with pytest.raises(StoreLockedError, match="fenced"):
        old.heartbeat()
    with pytest.raises(StoreLockedError, match="fenced"):
        old.append(make.submitted(old))


def test_a_fenced_writer_never_writes_again(make: SimpleNamespace, tmp_path: Path) -> None:
    old = StoreWriter.open(tmp_path)
    old.append([make.submitted(old), make.trial(old, 0)])
    assert old.commit() == 2
    old.append(make.trial(old, 1))
    new = StoreWriter.open(tmp_path, take_over=True)
    before = files_of(tmp_path)
    for _ in range(2):
        with pytest.raises(StoreLockedError, match="fenced"):
            old.commit()
    for action in (old.heartbeat, old.compact, old.close, lambda: old.append(make.trial(old, 2))):
        with pytest.raises(StoreLockedError, match="fenced"):
            action()
    assert files_of(tmp_path) == before
    new.append(make.trial(new, 1))
    new.close()


class TakenOverAt(Files):
    """Another writer takes the store at one call of this one, after this one looked at the fence."""

    def __init__(self, root: Path, moment: str) -> None:
        self.root, self.moment, self.armed = root, moment, False
        self.other: StoreWriter | None = None

    def _act(self, moment: str) -> None:
        if self.armed and moment == self.moment and self.other is None:
            self.other = StoreWriter.open(self.root, take_over=True)

    def create(self, path: Path) -> int:
        self._act("create")
        return super().create(path)

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        self._act("sync")

    def rename(self, old: Path, new: Path) -> None:
        self._act("rename")
        super().rename(old, new)


@pytest.mark.parametrize("moment", ["create", "sync", "rename"])
def test_nothing_of_the_old_writer_appears_once_the_new_one_has_the_store(
    make: SimpleNamespace, tmp_path: Path, moment: str
) -> None:
    files = TakenOverAt(tmp_path, moment)
    old = StoreWriter.open(tmp_path, files=files)
    old.append(make.trial(old, 0))
    files.armed = True
    with pytest.raises(StoreLockedError, match="fenced"):
        old.commit()
    assert files.other is not None and files.other.epoch == 2
    assert files_of(tmp_path) == set()


def test_the_store_of_a_dead_process_is_free_at_once(tmp_path: Path) -> None:
    code = "import os, sys; from xnas_ray.store.writer import StoreWriter; StoreWriter.open(sys.argv[1]); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60).returncode == 9
    record = current_writer(Layout(tmp_path))
    assert record is not None and not record.closed
    assert StoreWriter.open(tmp_path).epoch == 2


def test_who_is_known_to_be_dead() -> None:
    here = Process.current()
    assert not here.known_dead()
    assert replace(here, started=(here.started or 0) + 1).known_dead()  # the pid was given again
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead = replace(here, pid=gone.pid)
    assert dead.known_dead()
    for elsewhere in ({"host": "other"}, {"boot_id": "other"}, {"pid_namespace": "other"}):
        assert not replace(dead, **elsewhere).known_dead()  # cannot be looked up from here
    assert not replace(dead, boot_id=None).known_dead()


def test_a_process_that_waits_to_be_reaped_is_dead() -> None:
    child = subprocess.Popen(["true"])
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert replace(Process.current(), pid=child.pid).known_dead()
    finally:
        child.wait()


def test_a_record_that_is_being_written_holds_the_store(tmp_path: Path) -> None:
    StoreWriter.open(tmp_path).close()
    (tmp_path / "writer" / "2.json").write_text('{"process": {"ho')
    with pytest.raises(StoreLockedError, match="just started"):
        StoreWriter.open(tmp_path)
    os.utime(tmp_path / "writer" / "2.json", (1.0, 1.0))
    assert StoreWriter.open(tmp_path).epoch == 3


def test_of_many_that_open_at_once_one_writes(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from xnas_ray.errors import StoreLockedError\n"
        "from xnas_ray.store.writer import StoreWriter\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "try: print(StoreWriter.open(sys.argv[1]).epoch, flush=True)\n"
        "except StoreLockedError: print('locked', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.stdout.readline().strip() for process in processes]
    for process in processes:
        process.communicate("end\n")
    assert sorted(answers) == ["1", "locked", "locked", "locked"]


def test_a_folder_that_cannot_be_made_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFullError, match="cannot open"):
        StoreWriter.open(tmp_path / "file" / "store")


def test_leftovers_of_older_writers_are_cleared(tmp_path: Path) -> None:
    StoreWriter.open(tmp_path)
    (tmp_path / "_tmp" / "1" / "part.tmp").write_text("half")
    (tmp_path / "_tmp" / "fenced-1-0").mkdir()
    StoreWriter.open(tmp_path, take_over=True)
    assert [path.name for path in (tmp_path / "_tmp").iterdir()] == ["2"]
    for _ in range(40):
        StoreWriter.open(tmp_path, take_over=True)
    epochs = sorted(int(path.stem) for path in (tmp_path / "writer").iterdir())
    assert epochs[-1] == 42 and len(epochs) == 33


def test_an_epoch_never_comes_twice(make: SimpleNamespace, tmp_path: Path) -> None:
    """Not even if somebody removes the folder of the writers: parts would overwrite each other."""
    for _ in range(2):
        with StoreWriter.open(tmp_path) as writer:
            writer.append(make.trial(writer, writer.epoch))
    shutil.rmtree(tmp_path / "writer")
    with StoreWriter.open(tmp_path) as writer:
        assert writer.epoch == 3


def test_a_writer_that_cannot_start_leaves_the_store_free(make: SimpleNamespace, tmp_path: Path) -> None:
    calls = make.FaultyFiles()
    StoreWriter.open(tmp_path / "clean", files=calls)
    for step in range(len(calls.calls)):
        root = tmp_path / str(step)
        with pytest.raises(StoreFullError, match="No space left"):
            StoreWriter.open(root, files=make.FaultyFiles(step))
        StoreWriter.open(root).close()
