from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from xnas_ray.errors import StoreFullError
from xnas_ray.store import load_log, load_trials
from xnas_ray.store.writer import StoreWriter


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(path: Path) -> None:
    """Take all the space that is left."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def test_a_full_disk_loses_nothing(make: SimpleNamespace, small_disk: Path) -> None:
    writer = StoreWriter.open(small_disk / "store")
    writer.append([make.submitted(writer), make.trial(writer, 0)])
    assert writer.commit() == 2
    fill(small_disk / "ballast")
    for n in range(1, 30):
        writer.append([make.asked(writer, n), make.trial(writer, n)])
        with pytest.raises(StoreFullError, match="No space left on device") as error:
            writer.commit()
        assert "nothing that was measured is lost" in str(error.value)
        assert writer.pending_rows() == 2 * n
    writer.heartbeat()  # still says that it lives
    assert load_trials(small_disk / "store")["trial"].tolist() == [0]
    with pytest.raises(StoreFullError):
        writer.close()

    (small_disk / "ballast").unlink()
    assert writer.commit() == 58
    writer.close()
    assert load_trials(small_disk / "store")["trial"].tolist() == list(range(30))
    assert load_log(small_disk / "store", make.search_id(0))["trial"].tolist() == list(range(1, 30))


def test_a_disk_that_fills_between_two_parts(make: SimpleNamespace, small_disk: Path) -> None:
    """Whatever fits is written once; the rest follows."""
    writer = StoreWriter.open(small_disk / "store")
    number = failures = 0
    while failures < 3:
        for search in range(3):
            log = os.urandom(30_000).hex()  # cannot be compressed much
            writer.append(make.trial(writer, number, search=search, status="failed", metrics={}, failure_log=log))
        number += 1
        try:
            writer.commit()
        except StoreFullError:
            failures += 1
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    writer.close()
    frame = load_trials(small_disk / "store", columns=["search_id", "trial"])
    assert len(frame) == 3 * number and not frame.duplicated().any()


def test_a_folder_that_became_read_only(make: SimpleNamespace, small_disk: Path) -> None:
    writer = StoreWriter.open(small_disk / "store")
    writer.append(make.trial(writer, 0))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for action in (writer.commit, writer.heartbeat):
        with pytest.raises(StoreFullError, match="Read-only"):
            action()
    with pytest.raises(StoreFullError, match="cannot open"):
        StoreWriter.open(small_disk / "store", take_over=True)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert writer.commit() == 1
    writer.close()
    assert load_trials(small_disk / "store")["trial"].tolist() == [0]
