"""The HTTP API in front of a scripted head and a real store, over a real socket, without Ray."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from xnas_ray.client import Client
from xnas_ray.errors import (
    ExplanationError,
    ProtocolError,
    SearchNotFoundError,
    ServiceError,
    SpecError,
    StoreError,
    TaskError,
    TransitionError,
    XnasError,
)
from xnas_ray.messages import PROTOCOL_VERSION
from xnas_ray.service.http_api import Api
from xnas_ray.service.http_app import make_app
from xnas_ray.service.http_guard import MAX_BODY_BYTES
from xnas_ray.service.http_server import HttpServer, http_address
from xnas_ray.service.store_access import LocalStore
from xnas_ray.tasks.archives import pack
from xnas_ray.tasks.bundle import snapshot_task

TOKEN = "5e1f" * 16


class Served:
    """A server in this process, with what tests look at."""

    def __init__(self, head: Any, root: Path) -> None:
        self.head, self.root = head, root
        api = Api(head, LocalStore(root), TOKEN, "1.2.3")
        self.app = make_app(api)
        self.server = HttpServer(lambda: self.app, "127.0.0.1")
        self.address = self.server.address
        self.client = Client(root / "not here", address=self.address, token=TOKEN)

    def ask(self, verb: str, path: str, token: str | None = TOKEN, **request: Any) -> httpx.Response:
        headers = {**({} if token is None else {"Authorization": f"Bearer {token}"}), **request.pop("headers", {})}
        return httpx.request(verb, self.address + path, headers=headers, timeout=30, **request)


@pytest.fixture(scope="module")
def store(archive, tmp_path_factory) -> Path:
    """A copy of the archive: what is uploaded here must not be seen elsewhere."""
    root = tmp_path_factory.mktemp("http") / "store"
    shutil.copytree(archive.root, root)
    return root


@pytest.fixture(scope="module")
def served(store, scripted_head) -> Iterator[Served]:
    one = Served(scripted_head(), store)
    yield one
    one.server.stop()
    one.server.join(10)
    assert not one.server._thread.is_alive()


@pytest.fixture(autouse=True)
def _fresh(request) -> None:
    if "served" in request.fixturenames:
        head = request.getfixturevalue("served").head
        head.answers.clear()
        head.calls.clear()


def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What clients ask from now on: verbs and paths."""
    found: list[str] = []
    real = httpx.Client.request

    def request(self: httpx.Client, verb: str, url: str, **more: Any) -> httpx.Response:
        found.append(f"{verb} {url}")
        return real(self, verb, url, **more)

    monkeypatch.setattr(httpx.Client, "request", request)
    return found


# ---- who may ask -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/service", "/v1/searches", "/docs", "/openapi.json", "/nothing", "/v1/tasks"])
def test_without_the_token_nothing_but_health_is_answered(served, path) -> None:
    for token in (None, "x y", "wrong", TOKEN[:-1], TOKEN + "0", "ü"):
        headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
        for verb in ("GET", "POST"):
            answer = httpx.request(verb, served.address + path, headers=headers)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["field"] == "token" and TOKEN not in answer.text
    assert httpx.get(served.address + path, headers={"Authorization": f"Basic {TOKEN}"}).status_code == 401
    assert served.head.calls == []


def test_health_needs_no_token_and_tells_little(served) -> None:
    answer = served.ask("GET", "/health", None).json()
    assert answer == {"status": "ok", "protocol": PROTOCOL_VERSION, "version": "1.2.3", "proof": None}


def test_a_client_with_the_wrong_token_does_not_even_send_it(served, monkeypatch) -> None:
    paths = asked(monkeypatch)
    with pytest.raises(ServiceError, match="does not know this token") as error:
        Client(served.root, address=served.address, token="0" * 64).searches()
    assert error.value.field == "token" and paths == ["GET /health"]


def test_another_protocol_is_told_what_to_install(served, monkeypatch) -> None:
    answer = served.ask("GET", "/v1/service", headers={"X-Xnas-Protocol": "99"})
    assert answer.status_code == 400 and answer.json()["error"] == "ProtocolError"
    monkeypatch.setattr("xnas_ray.service.http_connection.PROTOCOL_VERSION", 99)
    with pytest.raises(ProtocolError, match=f"speaks protocol {PROTOCOL_VERSION}, this client 99") as error:
        Client(address=served.address, token=TOKEN).searches()
    assert "same version" in (error.value.fix or "")


def test_what_is_no_service_is_named(tmp_path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def reply() -> None:
        connection, _ = listener.accept()
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        connection.close()

    threading.Thread(target=reply, daemon=True).start()
    address = http_address("127.0.0.1", listener.getsockname()[1])
    with pytest.raises(ServiceError, match="is no xnas service"):
        Client(address=address, token=TOKEN).searches()
    listener.close()
    with pytest.raises(ServiceError, match="no service answers at"):
        Client(address=address, token=TOKEN).searches()


# ---- the same as the store -------------------------------------------------------------------------------------------


def test_what_is_read_over_http_is_what_the_store_says(served, archive) -> None:
    import pandas as pd

    far, near = served.client, Client(archive.root)
    pd.testing.assert_frame_equal(far.searches(), near.searches())
    for search_id in (archive.finished, archive.unfinished, archive.cancelled):
        there, here = far.handle(search_id[:10]), near.handle(search_id)
        assert there.id == here.id
        assert there.stored_status() == here.stored_status()
        assert there.stored_summary() == here.stored_summary()
        assert there.card() == here.card()
        assert there.transitions() == here.transitions()
        assert there.best(3) == here.best(3)
        pd.testing.assert_frame_equal(there.results(), here.results())
        pd.testing.assert_frame_equal(there.curves(), here.curves())
    assert far.handle("latest").id == archive.cancelled
    assert far.handle(archive.finished).verify() == near.handle(archive.finished).verify()
    assert far.handle(archive.finished).status() == near.handle(archive.finished).status()
    assert far.handle(archive.finished).wait(5) == near.handle(archive.finished).wait(5)
    assert served.head.calls == []


def test_logs_over_http_are_followed(served, archive) -> None:
    path = served.root / "logs" / archive.unfinished / "w-1.jsonl"
    path.parent.mkdir(parents=True)
    written = [{"time": 100.0 + n, "trial": n % 2, "message": f"line {n}"} for n in range(6)]
    far = served.client.store.logs(archive.unfinished)
    odd = served.client.store.logs(archive.unfinished, 1)
    assert far.new() == [] == odd.new()
    for some in (written[:3], written[3:5], [], written[5:]):
        with path.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in some)
        assert far.new() == some
        assert odd.new() == [line for line in some if line["trial"] == 1]
    with path.open("a") as file:
        file.write(json.dumps({"time": 104.5, "message": "late"}) + "\n")
    assert [line["message"] for line in far.new()] == ["late"] and far.new() == []
    assert served.client.store.failure_lines(archive.finished, 3)[-1]["message"].startswith("ValueError")


def test_graphs_over_http_are_the_same(served, archive) -> None:
    import networkx as nx

    text, graphs = served.client.handle(archive.finished).graphs(archive.best)
    same, expected = Client(archive.root).handle(archive.finished).graphs(archive.best)
    assert text == same and list(graphs) == list(expected)
    for cell, graph in graphs.items():
        assert nx.utils.graphs_equal(graph, expected[cell]) and list(graph) == list(expected[cell])


def test_export_over_http_is_the_same_folder(served, archive, tmp_path) -> None:
    far = served.client.handle(archive.finished).export(archive.best, tmp_path / "far")
    near = Client(archive.root).handle(archive.finished).export(archive.best, tmp_path / "near")
    assert sorted(p.name for p in far.iterdir()) == sorted(p.name for p in near.iterdir())
    assert (far / "weights.pt").read_bytes() == (near / "weights.pt").read_bytes()
    assert (far / "architecture.json").read_text() == (near / "architecture.json").read_text()
    with pytest.raises(StoreError, match="is not empty"):
        served.client.handle(archive.finished).export(archive.best, tmp_path / "far")


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, archive, folder: client.handle("zzzz"),
        lambda client, archive, folder: client.handle("01HF7YA"),
        lambda client, archive, folder: client.handle("../etc/passwd"),
        lambda client, archive, folder: client.handle(archive.finished).explanations("motifs"),
        lambda client, archive, folder: client.handle(archive.finished).export(999, folder),
        lambda client, archive, folder: client.handle(archive.finished).graphs(999),
    ],
)
def test_errors_of_the_store_are_the_same(served, archive, tmp_path, ask: Callable[..., Any]) -> None:
    with pytest.raises(XnasError) as near:
        ask(Client(served.root), archive, tmp_path / "near")
    with pytest.raises(XnasError) as far:
        ask(served.client, archive, tmp_path / "far")
    assert type(far.value) is type(near.value)
    assert str(far.value) == str(near.value)
    for name in ("message", "field", "fix", "valid", "got"):
        assert getattr(far.value, name) == getattr(near.value, name)
    assert isinstance(far.value, (SearchNotFoundError, ExplanationError, StoreError))


# ---- the head --------------------------------------------------------------------------------------------------------


def test_every_verb_reaches_the_head(served, archive, live_status, tmp_path) -> None:
    import pandas as pd

    table = pd.DataFrame({"motif": ["a", "b"], "effect": [0.5, float("nan")], "nodes": [[1, 2], [3]]})
    info = {"protocol": 1, "pid": 7}
    served.head.answers |= {"status": [live_status], "wait": None, "measure_test": {"test_accuracy": 91.25}}
    served.head.answers |= {"submit": archive.unfinished, "info": info, "explain": {"motifs": table}}
    handle = served.client.submit({"task": str(archive.task)}, idempotency_key="k", trials=5)
    one = archive.unfinished
    assert handle.id == one
    assert handle.status() == live_status and handle.wait(0.01) is None
    handle.pause(at_once=True)
    handle.resume()
    handle.extend(trials=40)
    handle.cancel()
    assert handle.measure_test(3) == {"test_accuracy": 91.25}
    pd.testing.assert_frame_equal(handle.explanations("motifs"), table, check_column_type=False)
    pd.testing.assert_frame_equal(served.client.service.call("explain", one)["motifs"], table)
    assert served.client.service.call("status") == [live_status]
    assert served.client.service.call("info") == info
    served.client.stop_service()
    calls = {call[0]: call[1:] for call in served.head.calls}
    assert calls["pause"] == (one, True) and calls["extend"] == (one, 40, None, None)
    assert calls["measure_test"] == (one, 3) and calls["stop"] == (True,)
    assert calls["resume"] == calls["cancel"] == (one,)
    protocol, spec, task_hash, key = calls["submit"]
    assert (protocol, spec["budget"]["trials"], key) == (PROTOCOL_VERSION, 5, "k")
    assert task_hash == snapshot_task(archive.task).hash


def test_errors_of_the_head_are_the_same(served, archive) -> None:
    for raised, code in (
        (TransitionError("search x is finished.", fix="Extend it.", valid=["a"], got="b"), 409),
        (ServiceError("the service ended: x"), 503),
        (TaskError("wrong.", field="task toy"), 422),
    ):
        served.head.answers["pause"] = raised
        with pytest.raises(type(raised)) as error:
            served.client.handle(archive.unfinished).pause()
        assert error.value.__reduce__() == raised.__reduce__()
        answer = served.ask("POST", f"/v1/searches/{archive.unfinished}/pause", json={})
        assert answer.status_code == code and answer.json()["message"] == raised.message


def test_an_unexpected_error_is_a_number_and_no_traceback(served, archive, caplog) -> None:
    served.head.answers["pause"] = ZeroDivisionError("secret detail")
    with caplog.at_level(logging.ERROR, logger="xnas_ray"), pytest.raises(ServiceError, match="number") as error:
        served.client.handle(archive.unfinished).pause()
    assert "secret" not in str(error.value) and "Traceback" not in str(error.value)
    number = error.value.message.split("number ")[1].rstrip(".")
    [record] = [r for r in caplog.records if number in r.getMessage()]
    assert record.exc_info is not None and "secret detail" in str(record.exc_info[1])


def test_long_polls_do_not_keep_others_waiting(served, archive, live_status) -> None:
    news = threading.Event()
    served.head.answers["wait"] = lambda search_id, timeout_s: news.wait(60) and None
    path = f"/v1/searches/{archive.unfinished}/wait?timeout_s=60"
    waiting = [threading.Thread(target=served.ask, args=("GET", path)) for _ in range(60)]
    for one in waiting:
        one.start()
    while len(served.head.calls) < 45:  # more than the threads that answer everything else
        time.sleep(0.02)
    assert served.ask("GET", "/v1/searches").status_code == 200
    assert all(one.is_alive() for one in waiting), "the quick answer did not wait for the slow ones"
    news.set()
    for one in waiting:
        one.join()


def test_watch_answers_when_something_has_changed(served, archive, live_status) -> None:
    served.head.answers["status"] = [live_status]
    path = f"/v1/searches/{archive.unfinished}/watch"
    first = served.ask("GET", path).json()
    assert first["status"] == live_status
    served.head.answers["status"] = [{**live_status, "running_s": 99.0}]
    again = served.ask("GET", path, params={"seen": first["tag"], "timeout_s": 0}).json()
    assert again["tag"] == first["tag"], "the clock alone is no change"
    changed = {**live_status, "counts": {**live_status["counts"], "completed": 4}}
    timer = threading.Timer(0.3, served.head.answers.update, [{"status": [changed]}])
    timer.start()
    news = served.ask("GET", path, params={"seen": first["tag"], "timeout_s": 30}).json()
    assert news["tag"] != first["tag"] and news["status"] == changed


# ---- submitting from anywhere ----------------------------------------------------------------------------------------


def test_a_task_is_sent_once(served, archive, tmp_path, monkeypatch) -> None:
    served.head.answers["submit"] = archive.unfinished
    task = tmp_path / "mine"
    shutil.copytree(archive.task, task)
    (task / "plugin.py").write_text("x = 1\n")
    sent = asked(monkeypatch)
    for _ in range(2):
        served.client.submit({"task": str(task)})
    assert sent.count("POST /v1/tasks") == 1
    stored = served.root / "tasks" / snapshot_task(task).hash
    assert (stored / "plugin.py").read_text() == "x = 1\n" and snapshot_task(stored).name == "mine"


def test_submitting_as_curl_would(served, archive) -> None:
    served.head.answers["submit"] = archive.unfinished
    upload = served.ask("POST", "/v1/tasks?name=toy", content=pack(snapshot_task(archive.task)))
    assert upload.status_code == 200
    toml = 'task = "toy"\ncontroller = "random_search"\n[budget]\ntrials = 3\n'
    query = {"task_hash": upload.json()["hash"], "idempotency_key": "k"}
    answer = served.ask(
        "POST", "/v1/searches", content=toml, params=query, headers={"Content-Type": "application/toml"}
    )
    assert (answer.status_code, answer.json()) == (201, {"search_id": archive.unfinished})
    named = served.ask("POST", "/v1/searches", json={"spec": {"task": "digits"}})
    assert named.status_code == 201, "a task that the service has needs no upload"
    assert served.head.calls[0][2]["budget"]["trials"] == 3 and served.head.calls[0][4] == "k"


LATENCY = {"latency_table_ms": {"table": "/etc/phone.json"}}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"spec": {"task": "/etc"}}, "task"),
        ({"spec": {"task": "../digits"}}, "task"),
        ({"spec": {"task": "nothing"}}, "task"),
        ({"spec": {"task": "digits", "trails": 3}}, "trails"),
        ({"spec": {"task": "digits"}, "task_hash": "0" * 32}, "task_hash"),
        ({"spec": {"task": "digits"}, "task_hash": "../../etc"}, "task_hash"),
        ({"spec": {"task": "digits"}, "surprise": 1}, "surprise"),
        ({"spec": {"task": "digits"}, "protocol": 99}, None),
        ({"spec": {"task": "digits", "objective_params": LATENCY}}, "objective_params.latency_table_ms.table"),
        ({"spec": 3}, "spec"),
        ([], "body"),
    ],
)
def test_bad_submissions_name_the_field(served, body, field) -> None:
    answer = served.ask("POST", "/v1/searches", json=body)
    assert answer.status_code in (400, 422) and answer.json()["field"] == field, answer.text
    assert served.head.calls == []


def test_bodies_have_a_limit_whatever_they_say(served) -> None:
    large = b" " * (MAX_BODY_BYTES + 1)
    assert served.ask("POST", "/v1/searches", content=large).status_code == 413

    def chunks() -> Iterator[bytes]:
        yield from (large[:65536] for _ in range(40))

    answer = served.ask("POST", "/v1/searches", content=chunks())
    assert answer.status_code == 413 and answer.json()["error"] == "ServiceError"
    assert served.ask("POST", "/v1/searches", content=b"{").json()["field"] == "body"
    deep = b"[" * 100_000
    assert served.ask("POST", "/v1/searches", content=deep).status_code == 422
    hostile = served.ask("POST", "/v1/tasks?name=x", content=deep)
    assert hostile.status_code == 422 and hostile.json()["error"] == "TaskError"


def test_a_hostile_archive_leaves_nothing(served) -> None:
    import io

    before = sorted(served.root.rglob("*"))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../../escaped.py"))
    assert served.ask("POST", "/v1/tasks?name=x", content=packed.getvalue()).status_code == 422
    assert sorted(served.root.rglob("*")) == before


# ---- the description -------------------------------------------------------------------------------------------------


def test_the_page_lists_every_verb_and_loads_nothing(served) -> None:
    page = served.ask("GET", "/docs").text
    described = served.ask("GET", "/openapi.json").json()
    for path, verbs in described["paths"].items():
        for verb, found in verbs.items():
            assert f"{verb.upper()} {path}" in page and found["description"]
    assert "src=" not in page and "href=" not in page and "<script" not in page
    assert {"HTTPBearer": []} in described["paths"]["/v1/searches"]["get"]["security"]
    assert "security" not in described["paths"]["/health"]["get"]


def test_routing_errors_have_the_same_shape(served) -> None:
    wrong = [("GET", "/v1/nothing", 404), ("DELETE", "/v1/searches", 405), ("GET", "/v1/searches/ab", 422)]
    for verb, path, code in wrong:
        answer = served.ask(verb, path)
        assert answer.status_code == code
        assert set(answer.json()) == {"error", "message", "field", "fix", "valid", "got"}


# ---- a server that dies ----------------------------------------------------------------------------------------------


def test_a_server_that_dies_is_started_again_on_its_port(monkeypatch, caplog) -> None:
    monkeypatch.setattr("xnas_ray.service.http_server.RESTART_S", 0.05)
    made: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"alive"})

    def make() -> Any:
        made.append(1)
        if len(made) == 1:
            raise RuntimeError("cannot be made")
        return app

    with caplog.at_level(logging.CRITICAL):
        server = HttpServer(make, "127.0.0.1")
        assert httpx.get(server.address, timeout=20).text == "alive"
        server._server.should_exit = True
        while len(made) < 3:
            time.sleep(0.01)
        assert httpx.get(server.address, timeout=20).text == "alive"
    server.stop()
    server.join(10)
    with pytest.raises(httpx.TransportError):
        httpx.get(server.address)
    again = HttpServer(lambda: app, "127.0.0.1", wanted=server.port)
    assert again.port == server.port
    other = HttpServer(lambda: app, "127.0.0.1", wanted=again.port)
    assert other.port != again.port
    with pytest.raises(OSError):
        HttpServer(lambda: app, "127.0.0.1", again.port)
    for one in (again, other):
        one.stop()
        one.join(10)


def test_addresses() -> None:
    assert http_address("10.0.0.1", 80) == "http://10.0.0.1:80"
    assert http_address("0.0.0.0", 80) == f"http://{socket.gethostname()}:80"
    assert http_address("fe80::1", 80) == "http://[fe80::1]:80"


def test_spec_error_shape_survives_json() -> None:
    from xnas_ray.service.wire import error_from_json, error_json

    error = SpecError("wrong.", field="a.b", fix="do.", valid=["x", 3], got="y")
    assert error_from_json(json.loads(json.dumps(error_json(error)))).__reduce__() == error.__reduce__()
    assert error_from_json("<html>").message.startswith("the service gave an answer that is not its own")
    for evil in ("Exception", "XnasError", "difflib", "__builtins__", None, 3):
        found = error_from_json({"error": evil, "message": "m"})
        assert isinstance(found, XnasError) and found.message == "m"
