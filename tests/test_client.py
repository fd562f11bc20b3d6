"""The Python client, with a head that is not Ray's."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from xnas_ray import client as clients
from xnas_ray.client import Client, refuse_held, run_local, store_root
from xnas_ray.errors import SearchNotFoundError, ServiceError, SpecError, StoreLockedError, UnknownNameError
from xnas_ray.search_handle import WAIT_SLICE_S, SearchHandle
from xnas_ray.spec import SearchSpec
from xnas_ray.store import StoreWriter


def test_store_root(monkeypatch):
    monkeypatch.delenv("XNAS_STORE", raising=False)
    assert store_root() == (Path("results"), "default")
    monkeypatch.setenv("XNAS_STORE", "/data/x")
    assert store_root() == (Path("/data/x"), "XNAS_STORE")
    assert store_root("y") == (Path("y"), "argument")


# ---- a client and its head ------------------------------------------------------------------------------------------


def test_submit_bundles_first_and_passes_the_overrides(archive, fake_head, tmp_path):
    fake_head.answers["submit"] = archive.unfinished
    handle = Client(tmp_path).submit({"task": str(archive.task)}, idempotency_key="k", trials=5, priority=2)
    [(_, _, spec, task_hash, key)] = fake_head.calls
    assert handle.id == archive.unfinished and key == "k"
    assert (spec["budget"]["trials"], spec["priority"]) == (5, 2.0)
    assert (tmp_path / "tasks" / task_hash / "problem.py").is_file()
    assert SearchSpec.from_mapping(spec).to_json() == spec


def test_nothing_is_bundled_or_sent_when_the_task_is_unknown(fake_head, tmp_path):
    with pytest.raises(UnknownNameError, match="there is no task"):
        Client(tmp_path).submit({"task": "nothing"})
    assert fake_head.calls == [] and list(tmp_path.iterdir()) == []


def test_no_service(tmp_path):
    with pytest.raises(ServiceError, match="no service runs"):
        Client(tmp_path).submit({"task": "digits"})
    assert list(tmp_path.iterdir()) == []


def test_the_service_is_connected_once_and_only_when_needed(archive, monkeypatch, fake_head):
    made = []
    monkeypatch.setattr(clients, "connect_service", lambda root, address: made.append(address) or fake_head)
    client = Client(archive.root, address="1.2.3.4:5")
    client.searches()
    client.handle("latest").status()
    assert made == []
    client.handle(archive.unfinished).pause()
    client.handle(archive.unfinished).resume()
    assert made == ["1.2.3.4:5"]
    client.stop_service()
    client.stop_service()
    assert [call[0] for call in fake_head.calls] == ["pause", "resume", "stop"]


def test_handles(archive):
    client = Client(archive.root)
    assert client.handle(archive.finished.lower()).id == archive.finished
    assert client.handle("latest").id == archive.cancelled
    with pytest.raises(SearchNotFoundError):
        client.handle("ZZZZ")
    assert list(client.searches()["search_id"]) == [archive.finished, archive.unfinished, archive.cancelled]


def test_status_of_a_live_search_is_the_heads(archive, fake_head, live_status):
    fake_head.answers["status"] = [live_status]
    assert Client(archive.root).handle(archive.unfinished).status() is live_status
    fake_head.answers["status"] = SearchNotFoundError("gone.")
    assert Client(archive.root).handle(archive.unfinished).status()["counts"]["completed"] == 3


def test_wait_asks_again_until_the_end(archive, fake_head, live_status):
    answers = iter([None, None, live_status])
    fake_head.answers["wait"] = lambda search_id, timeout_s: next(answers)
    handle = Client(archive.root).handle(archive.unfinished)
    assert handle.wait(60) is live_status
    assert [c[:2] for c in fake_head.calls] == [("wait", archive.unfinished)] * 3
    assert all(0 < c[2] <= WAIT_SLICE_S for c in fake_head.calls)


def test_wait_gives_up(archive, fake_head):
    handle = Client(archive.root).handle(archive.unfinished)
    assert handle.wait(0) is None and fake_head.calls == []
    assert handle.wait(0.05) is None and len(fake_head.calls) >= 1


def test_extend_checks_before_it_asks(archive, fake_head):
    handle = Client(archive.root).handle(archive.finished)
    for limits in ({}, {"trials": 0}, {"gpu_hours": -1.0}, {"wall_clock": float("inf")}):
        with pytest.raises(SpecError):
            handle.extend(**limits)
    assert fake_head.calls == []
    handle.extend(trials=20)
    assert fake_head.calls == [("extend", archive.finished, 20, None, None)]


def test_results_need_no_service(archive):
    handle = Client(archive.root).handle(archive.finished)
    assert len(handle.results()) == 12
    assert set(handle.curves()["metric"]) == {"val_accuracy"}
    [best] = handle.best()
    assert best["trial"] == archive.best
    assert best["metrics"]["val_accuracy"] == handle.results()["metric_val_accuracy"].max()


# ---- here -----------------------------------------------------------------------------------------------------------


def test_a_held_store_is_refused(tmp_path):
    refuse_held(tmp_path / "new")
    with StoreWriter.open(tmp_path):
        with pytest.raises(StoreLockedError, match="xnas submit"):
            refuse_held(tmp_path)
        with pytest.raises(StoreLockedError), clients.local_client(tmp_path):
            pass
    refuse_held(tmp_path)


def test_run_local(archive, monkeypatch, fake_head, live_status, tmp_path):
    root = tmp_path / "store"
    shutil.copytree(archive.root, root)
    given = {}

    @contextlib.contextmanager
    def local(root, **settings):
        given.update(settings)
        yield Client(root, service=fake_head)

    monkeypatch.setattr(clients, "local_client", local)
    fake_head.answers |= {"submit": archive.finished}
    followed: list[SearchHandle] = []
    handle = run_local(
        {"task": str(archive.task), "resources": {"cpus": 2, "workers": 3}}, root=root, follow=followed.append, trials=2
    )
    assert given == {"workers": 3, "cpus": 2.0}
    assert fake_head.calls[0][2]["budget"]["trials"] == 2
    assert [h.id for h in followed] == [handle.id] == [archive.finished]
    assert handle.status()["state"] == "finished" and len(handle.results()) == 12


def test_local_client_starts_and_stops_a_service(monkeypatch, fake_head, tmp_path):
    from xnas_ray.service import bring_up

    events: list[object] = []

    @contextlib.contextmanager
    def start_local(root, *, cpus, dashboard_host):
        events.append(("ray", cpus))
        yield SimpleNamespace(dashboard=dashboard_host)
        events.append("ray ended")

    def start_head(root, settings):
        events.append(("head", root, settings.only, settings.take_over, settings.hosts))
        return "actor"

    monkeypatch.setattr(bring_up, "start_local", start_local)
    monkeypatch.setattr(bring_up, "start_head", start_head)
    monkeypatch.setattr(clients, "RemoteHead", lambda handle: events.append(handle) or fake_head)
    with clients.local_client(tmp_path, workers=3, cpus=0.5, only=("a",)) as client:
        assert client.service is fake_head
    assert events == [("ray", 2), ("head", tmp_path, ("a",), False, 1), "actor", "ray ended"]
    assert fake_head.calls == [("stop", True)]
    profile = tmp_path / "profile.toml"
    profile.write_text("[head]\nhosts = 3\n")
    with StoreWriter.open(tmp_path), clients.local_client(tmp_path, workers=1, profile=profile, take_over=True):
        assert events[-2] == ("head", tmp_path, (), True, 3)
