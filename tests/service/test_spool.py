"""The spool: whole files or none, each search queued exactly once whenever its head dies, bad ones refused aloud."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from xnas_ray.errors import ServiceError, SpecError, StoreFullError, UnknownNameError
from xnas_ray.service import spool
from xnas_ray.service.spool import MAX_TRIES, REFUSED, SPOOL, SUFFIX, Spool, put, waiting
from xnas_ray.store.files import Files
from xnas_ray.store.ids import is_search_id
from xnas_ray.tasks.bundle import snapshot_task


class Dies(BaseException):
    """The process ends here."""


class Queue:
    """What is durable of a head: searches by key. A head that is made anew finds them."""

    def __init__(self) -> None:
        self.searches: dict[str, tuple[Mapping[str, Any], str]] = {}
        self.asked = 0
        self.then: Callable[[], None] = lambda: None
        self.first: Callable[[], None] = lambda: None

    async def submit(self, protocol: int, spec: Mapping[str, Any], task_hash: str, key: str, search_id: str) -> str:
        self.asked += 1
        assert key == search_id
        self.first()
        self.searches.setdefault(key, (spec, task_hash))
        self.then()
        return search_id


@pytest.fixture
def task(archive) -> Any:
    return snapshot_task(archive.task)


def take(root: Path, queue: Queue) -> None:
    """A head that is made anew looks once."""
    asyncio.run(Spool(root, queue.submit).take_all())


def files(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root / SPOOL)) for p in (root / SPOOL).rglob("*") if p.is_file())


SPEC = {"task": "toy", "name": "night", "controller": {"name": "random_search", "params": {}}}


def test_a_search_waits_and_is_taken_once(root, task) -> None:
    first, second = put(root, SPEC, task), put(root, {**SPEC, "name": "later"}, task)
    assert is_search_id(first) and first < second
    found = waiting(root)
    assert [(w["search_id"], w["state"], w["name"], w["task"], w["controller"]) for w in found] == [
        (first, "spooled", "night", "toy", "random_search"),
        (second, "spooled", "later", "toy", "random_search"),
    ]
    queue = Queue()
    take(root, queue)
    assert list(queue.searches) == [first, second] and queue.searches[first] == (SPEC, task.hash)
    assert snapshot_task(root / "tasks" / task.hash).files == task.files
    take(root, queue)
    assert queue.asked == 2 and files(root) == [] and waiting(root) == []


def test_a_store_that_is_not_there_yet_is_made(tmp_path, task) -> None:
    search_id = put(tmp_path / "new" / "store", SPEC, task)
    assert files(tmp_path / "new" / "store") == [search_id + SUFFIX]


@pytest.mark.parametrize("call", ["make_folder", "create", "write", "sync", "close", "rename", "sync_folder"])
@pytest.mark.parametrize("how", [OSError(28, "No space left on device"), Dies()])
def test_a_client_that_dies_anywhere_leaves_a_whole_search_or_none(root, task, call, how) -> None:
    class Failing(Files):
        pass

    def fail(*arguments: Any) -> Any:
        raise how

    setattr(Failing, call, fail)
    with pytest.raises((Exception, Dies)):
        put(root, SPEC, task, Failing())
    queue = Queue()
    take(root, queue)
    assert list(queue.searches.values()) in ([], [(SPEC, task.hash)])
    if call != "sync_folder":
        assert queue.searches == {}
    if isinstance(how, OSError) and call not in ("sync_folder", "close"):
        assert (root / SPOOL).is_dir() is (call != "make_folder") and files(root) == []


def test_a_head_that_dies_anywhere_neither_loses_nor_doubles(root, task, monkeypatch) -> None:
    """It dies at every step in turn; the one after it goes on."""
    queue = Queue()

    def dies(*arguments: Any) -> Any:
        raise Dies

    search_id = put(root, SPEC, task)
    with monkeypatch.context() as patched:
        patched.setattr(spool, "read", dies)
        with pytest.raises(Dies):
            take(root, queue)
    with monkeypatch.context() as patched:
        patched.setattr(spool, "store_snapshot", dies)
        with pytest.raises(Dies):
            take(root, queue)
    queue.first = dies
    with pytest.raises(Dies):
        take(root, queue)
    assert queue.searches == {}
    queue.first, queue.then = (lambda: None), dies
    with pytest.raises(Dies):
        take(root, queue)
    assert list(queue.searches) == [search_id] and files(root) == [search_id + SUFFIX]
    queue.then = lambda: None
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", dies)
        with pytest.raises(Dies):
            take(root, queue)
    take(root, queue)
    assert list(queue.searches) == [search_id] and files(root) == [] and queue.asked == 4
    take(root, queue)
    assert queue.asked == 4


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "malformed"),
        (b"[]\n", "malformed"),
        (b"{}\n", "malformed"),
        (b"[" * 50_000, "malformed"),
        (b"\xff\xfe\n", "malformed"),
        (json.dumps({"protocol": 1, "spec": [], "task": {"name": "x", "hash": "y"}}).encode(), "malformed"),
        (json.dumps({"protocol": 1, "spec": {}, "task": {"name": "x", "hash": 3}}).encode(), "malformed"),
        (json.dumps({"protocol": 99, "spec": {}, "task": {"name": "x", "hash": "y"}}).encode(), "same version"),
        (json.dumps({"protocol": 1, "spec": {}, "task": {"name": "x", "hash": "y"}}).encode() + b"\nno tar", "archive"),
    ],
)
def test_bad_files_are_refused_with_their_error(root, task, caplog, content, text) -> None:
    good = put(root, SPEC, task)
    bad = "01HF7YAT000123456789ABCDEF"
    (root / SPOOL / f"{bad}{SUFFIX}").write_bytes(content)
    queue = Queue()
    with caplog.at_level(logging.WARNING, logger="xnas_ray"):
        take(root, queue)
    assert list(queue.searches) == [good], "a bad one keeps nobody waiting"
    assert files(root) == [f"{REFUSED}/{bad}{SUFFIX}", f"{REFUSED}/{bad}.txt"]
    [one] = waiting(root)
    assert one["state"] == "refused" and text in one["reason"] and bad in caplog.text


def test_what_the_head_refuses_is_refused(root, task) -> None:
    queue = Queue()

    def unknown() -> None:
        raise UnknownNameError("there is no such controller.", field="controller", got="x", valid=["random_search"])

    queue.first = unknown
    put(root, SPEC, task)
    take(root, queue)
    [one] = waiting(root)
    assert one["state"] == "refused" and "Valid: random_search" in one["reason"] and queue.searches == {}


@pytest.mark.parametrize("error", [StoreFullError("disk full."), ServiceError("no host."), OSError("hiccup")])
def test_what_will_pass_is_tried_again(root, task, error) -> None:
    queue, head = Queue(), Spool(root, None)  # type: ignore[arg-type]
    head._submit = queue.submit
    search_id = put(root, SPEC, task)

    def fail() -> None:
        raise error

    queue.first = fail
    for _ in range(2 * MAX_TRIES):
        asyncio.run(head.take_all())
    assert files(root) == [search_id + SUFFIX]
    queue.first = lambda: None
    asyncio.run(head.take_all())
    assert list(queue.searches) == [search_id] and files(root) == []


def test_what_always_breaks_is_refused_after_some_tries(root, task) -> None:
    queue, head = Queue(), Spool(root, None)  # type: ignore[arg-type]
    head._submit = queue.submit
    put(root, SPEC, task)

    def fail() -> None:
        raise ZeroDivisionError("in the head")

    queue.first = fail
    for _ in range(MAX_TRIES + 2):
        asyncio.run(head.take_all())
    assert queue.asked == MAX_TRIES and [one["reason"] for one in waiting(root)] == ["in the head"]


def test_a_file_that_others_can_write_is_not_run(root, task) -> None:
    path = root / SPOOL / f"{put(root, SPEC, task)}{SUFFIX}"
    path.chmod(0o666)
    queue = Queue()
    take(root, queue)
    assert queue.asked == 0 and "others can write" in waiting(root)[0]["reason"]


def test_links_names_and_size_are_checked(root, task, monkeypatch) -> None:
    (root / SPOOL).mkdir()
    (root / SPOOL / f"evil{SUFFIX}").write_bytes(b"{}")
    (root / SPOOL / f"01HF7YAT000123456789ABCDEF{SUFFIX}").symlink_to("/dev/zero")
    assert {one["task"] for one in waiting(root)} == {""}
    monkeypatch.setattr(spool, "MAX_FILE_BYTES", 10)
    large = put(root, SPEC, task)
    queue = Queue()
    take(root, queue)
    reasons = {one["search_id"]: one["reason"] for one in waiting(root)}
    assert queue.asked == 0
    assert "not named after a search" in reasons["evil"]
    assert "not a regular file" in reasons["01HF7YAT000123456789ABCDEF"]
    assert "larger than 10 bytes" in reasons[large]


def test_half_written_files_of_dead_clients_go(root, task) -> None:
    put(root, SPEC, task)
    old, young = (root / SPOOL / f".{name}.part" for name in ("old", "young"))
    old.write_text("x"), young.write_text("x")
    os.utime(old, (1, 1))
    take(root, Queue())
    assert not old.exists() and young.exists()


def test_the_loop_survives_a_spool_that_cannot_be_read(root, monkeypatch, caplog) -> None:
    monkeypatch.setattr(spool, "LOOK_S", 0.01)
    head = Spool(root, Queue().submit)
    looks: list[int] = []

    async def take_all() -> None:
        looks.append(1)
        raise SpecError("x")

    monkeypatch.setattr(head, "take_all", take_all)

    async def run() -> None:
        task = asyncio.create_task(head.run())
        while len(looks) < 3:
            await asyncio.sleep(0.01)
        task.cancel()

    with caplog.at_level(logging.CRITICAL):
        asyncio.run(run())


# ---- through the clients --------------------------------------------------------------------------------------------


def test_the_command_leaves_a_search_and_list_shows_it(xnas, archive, tmp_path) -> None:
    store = tmp_path / "store"
    given = ("--task", archive.task, "--name", "night", "--root", store)
    printed = xnas("submit", "--spool", *given)
    assert printed.code == 0 and "until a service takes it" in printed.err
    search_id = printed.out.strip()
    listed = xnas("list", "--root", store)
    assert search_id in listed.out and "spooled" in listed.out and "night" in listed.out
    assert "1 in the spool" in listed.err
    [one] = json.loads(xnas("list", "--root", store, "--json").out)
    assert (one["search_id"], one["state"]) == (search_id, "spooled")
    spool.refuse(store / SPOOL / f"{search_id}{SUFFIX}", "no good")
    listed = xnas("list", "--root", store)
    assert "refused" in listed.out and f"{search_id} was refused: no good" in listed.err
    assert xnas("submit", "--spool", "--key", "x", *given).code == 2
    assert xnas("submit", "--spool", "--task", "nothing", "--root", store).code == 2
