"""Task folders as archives: the way there and back, and what hostile ones meet."""

from __future__ import annotations

import contextlib
import gzip
import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.errors import TaskError
from xnas_ray.tasks import archives
from xnas_ray.tasks.archives import pack, unpack
from xnas_ray.tasks.bundle import MAX_BYTES, MAX_FILES, bundle_task, snapshot_task, store_snapshot
from xnas_ray.tasks.loading import import_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    task = tmp_path / "mine"
    (task / "data").mkdir(parents=True)
    (task / "problem.py").write_text("problem = 1\n")
    (task / "deep").mkdir()
    (task / "deep" / "plugin.py").write_text("x = 2\n")
    (task / "data" / "table.npz").write_bytes(bytes(range(256)))
    (task / "random_search.toml").write_text("task = '.'\n")
    (task / ".secret").write_text("stays")
    return task


def made(*members: tuple[str, bytes | None] | tarfile.TarInfo) -> bytes:
    """An archive with a problem.py and these members: a name with its content, or a header as it is."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for member in (("problem.py", b"problem = 1"), *members):
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                header = tarfile.TarInfo(member[0])
                header.size = len(member[1] or b"")
                tar.addfile(header, io.BytesIO(member[1] or b""))
    return packed.getvalue()


def header(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


def test_there_and_back(folder: Path) -> None:
    snapshot = snapshot_task(folder)
    found = unpack(pack(snapshot), "mine", snapshot.hash)
    assert (found.files, found.hash, found.name) == (snapshot.files, snapshot.hash, "mine")
    assert list(found.files) == ["data/table.npz", "deep/plugin.py", "problem.py"]
    assert pack(snapshot) == pack(found)


def test_what_tar_makes_of_the_folder_is_the_same_task(folder: Path) -> None:
    made_by_tar = subprocess.run(["tar", "czf", "-", "-C", folder, "."], capture_output=True, check=True).stdout
    assert unpack(made_by_tar, "mine").hash == snapshot_task(folder).hash


def test_a_stored_archive_is_the_bundle_of_the_folder(archive, tmp_path: Path) -> None:
    info = bundle_task(archive.task, tmp_path / "a")
    other = store_snapshot(unpack(pack(snapshot_task(archive.task)), "toy"), tmp_path / "b")
    assert (other.hash, other.name) == (info.hash, info.name)
    assert snapshot_task(other.path) == type(snapshot_task(info.path))(
        other.path, "toy", info.hash, snapshot_task(info.path).files
    )
    assert import_bundle(other.path, other.hash).problem.objectives == ("val_accuracy", "params")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (lambda: made(("../evil.py", b"")), "outside"),
        (lambda: made(("a/../../evil.py", b"")), "outside"),
        (lambda: made(("/etc/evil.py", b"")), "outside"),
        (lambda: made(("../.hidden", b"")), "outside"),
        (lambda: made(("..\\evil.py", b"")), "characters"),
        (lambda: made(("a\nb.py", b"")), "characters"),
        (lambda: made(("\u202eyp.py", b"")), "characters"),
        (lambda: made(("x" * 300 + ".py", b"")), "too long"),
        (lambda: made(header("a.py", tarfile.SYMTYPE, "/etc/passwd")), "links do not travel"),
        (lambda: made(header("a.py", tarfile.LNKTYPE, "problem.py")), "links do not travel"),
        (lambda: made(header(".ignored", tarfile.SYMTYPE, "/etc/passwd")), "links do not travel"),
        (lambda: made(header("a.py", tarfile.CHRTYPE)), "links do not travel"),
        (lambda: made(header("a.py", tarfile.FIFOTYPE)), "links do not travel"),
        (lambda: made(("problem.py", b"problem = 2")), "twice"),
        (lambda: made(("./problem.py", b"problem = 2")), "twice"),
        (lambda: made(("a.py", b""), ("a.py/b.py", b"")), "is a file"),
        (lambda: made(("zeros.txt", bytes(MAX_BYTES))), "too large"),
        (lambda: made(("zeros.bin", bytes(3 * MAX_BYTES))), "unpacks to more"),
        (lambda: made(*((f"{n}.py", b"") for n in range(MAX_FILES))), "too large"),
        (lambda: gzip.compress(b"\0" * 1024), "no problem.py"),
        (lambda: gzip.compress(b""), "cannot be read|no problem.py"),
        (lambda: b"", "cannot be read"),
        (lambda: b"PK\x03\x04 no tar", "cannot be read"),
        (lambda: made()[:40], "cannot be read"),
    ],
)
def test_hostile_archives_are_refused(data: Callable[[], bytes], text: str) -> None:
    with pytest.raises(TaskError, match=text):
        unpack(data(), "mine")


def test_a_long_header_does_not_fill_the_memory(monkeypatch) -> None:
    monkeypatch.setattr(archives, "_MAX_UNPACKED_BYTES", 2**20)
    large = tarfile.TarInfo("a.py")
    large.pax_headers = {"comment": "x" * 2**21}
    with pytest.raises(TaskError, match="unpacks to more"):
        unpack(made(large), "mine")


@pytest.mark.parametrize("name", ["", "x" * 201, "a\x1b[31m", "\n"])
def test_names_that_cannot_be_shown_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(TaskError, match="printable"):
        unpack(pack(snapshot_task(folder)), name)


def test_another_content_is_refused(folder: Path) -> None:
    with pytest.raises(TaskError, match="has the hash"):
        unpack(pack(snapshot_task(folder)), "mine", "0" * 32)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=2000), st.integers(0, 400), st.integers(0, 255))
def test_whatever_comes_is_a_task_or_a_task_error(noise: bytes, at: int, byte: int) -> None:
    whole = bytearray(gzip.decompress(made(("b.py", b"x"))))
    whole[at] = byte
    for data in (noise, gzip.compress(noise), gzip.compress(bytes(whole))):
        with contextlib.suppress(TaskError):
            assert "problem.py" in unpack(data, "mine").files
