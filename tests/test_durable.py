"""A file takes its place whole, or what was there stays and nothing lies beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from xnas_ray import durable
from xnas_ray.durable import sync_path, whole_file


def test_a_file_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / "deep" / "file"
    with whole_file(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    with whole_file(path) as file:
        file.write(b"newer")
        assert path.read_bytes() == b"new"
    assert path.read_bytes() == b"newer" and [one.name for one in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("call", ["fsync", "write", "replace"])
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    owner = {"fsync": durable.os, "replace": Path}.get(call)
    if owner is not None:
        monkeypatch.setattr(owner, call, full)
    with pytest.raises(OSError, match="No space"), whole_file(path) as file:
        file.write(b"half")
        if call == "write":
            full()
    assert path.read_bytes() == b"old" and [one.name for one in tmp_path.iterdir()] == ["file"]


def test_names_of_a_folder_and_bytes_of_a_file_are_waited_for(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"1")
    waited = []
    monkeypatch.setattr(durable.os, "fsync", waited.append)
    sync_path(tmp_path)
    sync_path(tmp_path / "file")
    assert len(waited) == 2
    with pytest.raises(FileNotFoundError):
        sync_path(tmp_path / "absent")
    with whole_file(tmp_path / "other") as file:
        own = file.fileno()
    assert own in waited[2:3] and len(waited) == 4, "the bytes first, then the name"
