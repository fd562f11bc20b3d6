import threading

import pytest

from xnas_ray.errors import StoreError, TaskError
from xnas_ray.tasks import bundle
from xnas_ray.tasks.bundle import bundle_task, content_hash, snapshot_task


@pytest.fixture
def folder(tmp_path):
    task = tmp_path / "mine"
    task.mkdir()
    (task / "problem.py").write_text("problem = 1\n")
    (task / "labels.json").write_text("{}")
    return task


def test_hash_depends_on_names_and_contents_only(folder, tmp_path):
    before = snapshot_task(folder).hash
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert snapshot_task(copy).hash == before
    (folder / "labels.json").rename(folder / "labelz.json")
    assert snapshot_task(folder).hash != before


def test_hash_does_not_confuse_where_a_name_ends():
    assert content_hash({"ab": b"c"}) != content_hash({"a": b"bc"})
    assert content_hash({"a": b"", "b": b""}) != content_hash({"ab": b""})


def test_searches_caches_and_large_tables_stay_behind(folder):
    before = snapshot_task(folder)
    (folder / "random_search.toml").write_text("task = 'mine'")
    (folder / "table.parquet").write_bytes(b"PAR1")
    (folder / ".hidden.py").write_text("x")
    (folder / "README.md").write_text("x")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "problem.cpython-311.pyc").write_bytes(b"x")
    assert snapshot_task(folder) == before
    assert list(before.files) == ["labels.json", "problem.py"]


def test_what_lies_in_data_travels_whole(folder):
    (folder / "data").mkdir()
    (folder / "data" / "table.npz").write_bytes(b"\0\1")
    assert snapshot_task(folder).files["data/table.npz"] == b"\0\1"


def test_links_are_refused(folder, tmp_path):
    (folder / "secret.txt").symlink_to("/etc/hostname")
    with pytest.raises(TaskError, match=r"secret\.txt is a symbolic link"):
        snapshot_task(folder)
    (folder / "secret.txt").unlink()
    (folder / "more").symlink_to(tmp_path)
    with pytest.raises(TaskError, match="more is a symbolic link"):
        snapshot_task(folder)


@pytest.mark.parametrize("name", ["a\nb.py", "\x1b[31m.py"])
def test_unprintable_names_are_refused(folder, name):
    (folder / name).write_text("")
    with pytest.raises(TaskError, match="unprintable"):
        snapshot_task(folder)


def test_too_large_says_what_and_where_to_put_it(folder, monkeypatch):
    monkeypatch.setattr(bundle, "MAX_BYTES", 1000)
    (folder / "big.csv").write_bytes(b"0" * 2000)
    with pytest.raises(TaskError, match=r"big\.csv.*XNAS_DATA"):
        snapshot_task(folder)


def test_a_folder_without_a_problem_is_no_task(tmp_path):
    with pytest.raises(TaskError, match=r"problem\.py"):
        snapshot_task(tmp_path)


def test_bundle_is_an_equal_copy_with_the_name(folder, tmp_path):
    info = bundle_task(folder, tmp_path / "store")
    assert info.path == tmp_path / "store" / "tasks" / info.hash
    again = snapshot_task(info.path)
    assert (again.hash, again.name, again.files) == (info.hash, "mine", snapshot_task(folder).files)
    assert [p.name for p in info.path.parent.iterdir()] == [info.hash]
    assert bundle_task(folder, tmp_path / "store") == info


def test_bundling_from_many_threads_leaves_one_whole_copy(folder, tmp_path):
    threads = [threading.Thread(target=bundle_task, args=(folder, tmp_path / "store")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [p.name for p in (tmp_path / "store" / "tasks").iterdir()] == [snapshot_task(folder).hash]


def test_an_interrupted_copy_is_never_visible(folder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle.os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        bundle_task(folder, tmp_path / "store")
    assert list((tmp_path / "store" / "tasks").iterdir()) == []


def test_bundle_does_not_follow_a_folder_that_is_a_link(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert snapshot_task(link).hash == snapshot_task(folder).hash
