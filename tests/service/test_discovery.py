"""How a client finds its service: the address, the environment, the store, in this order."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from xnas_ray import client as clients
from xnas_ray.client import Client, service_address
from xnas_ray.errors import ServiceError
from xnas_ray.service import bring_up, connection
from xnas_ray.service.connection import RemoteHead, connect_service
from xnas_ray.service.http_client import HttpHead, HttpStore
from xnas_ray.service.http_connection import HttpConnection, find_token
from xnas_ray.service.store_access import LocalStore
from xnas_ray.service.trusted import write_private

FAR = "http://far:8123"


@pytest.fixture(autouse=True)
def _clean(monkeypatch) -> None:
    for name in ("XNAS_ADDRESS", "XNAS_TOKEN", "XNAS_STORE"):
        monkeypatch.delenv(name, raising=False)


def endpoint(root: Path, **changes: Any) -> None:
    """What a head on this machine writes."""
    facts = {"protocol": 1, "address": "10.0.0.1:6379", "head": "h", "host": socket.gethostname()}
    write_private(root / "endpoint.json", json.dumps({**facts, "http": "http://127.0.0.1:8123", **changes}))
    write_private(root / "token", "secret")


def test_the_order_of_addresses(monkeypatch) -> None:
    assert service_address() is None
    monkeypatch.setenv("XNAS_ADDRESS", FAR + "/")
    assert service_address() == FAR
    assert service_address("store") is None, "a store that is named comes before the environment"
    assert service_address("store", "1.2.3.4:5") == service_address(None, "1.2.3.4:5") == "1.2.3.4:5"
    monkeypatch.setenv("XNAS_ADDRESS", " ")
    assert service_address() is None


def test_an_http_address_is_service_and_store(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XNAS_TOKEN", "secret")
    for client in (Client(address=FAR), Client(tmp_path, address=FAR)):
        assert isinstance(client.service, HttpHead) and isinstance(client.store, HttpStore)
        assert client.service.connection is client.store.connection and client.store.name == FAR
        with pytest.raises(ServiceError, match="needs the folder"):
            _ = client.folder
    monkeypatch.setenv("XNAS_ADDRESS", FAR)
    assert isinstance(Client().store, HttpStore)
    assert isinstance(Client(tmp_path).store, LocalStore) and Client(tmp_path).folder == tmp_path


def test_another_address_is_of_a_ray_cluster(monkeypatch, tmp_path) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(clients, "connect_service", lambda root, address: asked.append((root, address)))
    monkeypatch.setenv("XNAS_ADDRESS", "10.0.0.1:6379")
    monkeypatch.chdir(tmp_path)
    _ = Client().service
    assert asked == [(tmp_path / "results", "10.0.0.1:6379")] and isinstance(Client().store, LocalStore)


def test_the_token(monkeypatch, tmp_path) -> None:
    with pytest.raises(ServiceError, match="no token") as error:
        find_token(tmp_path)
    assert "XNAS_TOKEN" in (error.value.fix or "")
    write_private(tmp_path / "token", "of the store\n")
    assert find_token(tmp_path) == "of the store"
    monkeypatch.setenv("XNAS_TOKEN", " of the environment ")
    assert find_token(tmp_path) == "of the environment" and find_token(tmp_path, "given") == "given"
    for bad in ("a\nb", "ü", "a\x00b"):
        with pytest.raises(ServiceError, match="characters"):
            find_token(tmp_path, bad)


@pytest.fixture
def paths(monkeypatch) -> list[str]:
    """Which ways to a service are taken; those over HTTP succeed unless a test says otherwise."""
    taken: list[str] = []
    monkeypatch.setattr(connection, "_in_cluster", lambda: False)
    monkeypatch.setattr(bring_up, "connect", lambda root: taken.append("ray"))
    monkeypatch.setattr(HttpConnection, "ask", lambda self, verb, path, **more: taken.append(self.address))
    return taken


def test_the_store_leads_to_the_http_api(tmp_path, paths) -> None:
    endpoint(tmp_path)
    assert isinstance(connect_service(tmp_path), HttpHead) and paths == ["http://127.0.0.1:8123"]
    endpoint(tmp_path, http=FAR, host="elsewhere")
    assert isinstance(connect_service(tmp_path), HttpHead) and paths[1:] == [FAR]


@pytest.mark.parametrize("http", ["http://127.0.0.1:8123", "http://localhost:1", "http://[::1]:1", None, "nonsense"])
def test_the_loopback_of_another_machine_is_not_asked(tmp_path, paths, http) -> None:
    endpoint(tmp_path, http=http, host="elsewhere")
    assert isinstance(connect_service(tmp_path), RemoteHead) and paths == ["ray"]


def test_a_process_of_the_cluster_asks_ray(tmp_path, paths, monkeypatch) -> None:
    monkeypatch.setattr(connection, "_in_cluster", lambda: True)
    endpoint(tmp_path)
    assert isinstance(connect_service(tmp_path), RemoteHead) and paths == ["ray"]


def test_where_http_is_silent_ray_is_asked_and_both_failures_are_told(tmp_path, paths, monkeypatch) -> None:
    def silent(self: HttpConnection, verb: str, path: str, **more: Any) -> None:
        raise ServiceError("http is silent.")

    monkeypatch.setattr(HttpConnection, "ask", silent)
    endpoint(tmp_path)
    assert isinstance(connect_service(tmp_path), RemoteHead) and paths == ["ray"]

    def unreachable(root: Path) -> None:
        raise ServiceError("ray is silent.", fix="Start one.")

    monkeypatch.setattr(bring_up, "connect", unreachable)
    with pytest.raises(ServiceError, match=r"ray is silent\. http is silent") as error:
        connect_service(tmp_path)
    assert error.value.fix == "Start one."


def test_a_service_that_comes_back_elsewhere_is_found(tmp_path, monkeypatch) -> None:
    """Questions are asked again at the address that the store names by then; orders are not."""
    import httpx

    from xnas_ray.service import http_connection
    from xnas_ray.service.wire import proof

    addresses = ["http://one", "http://one", "http://two"]
    monkeypatch.setattr(http_connection, "RETRY_S", 0.0)
    seen: list[str] = []

    def request(self: httpx.Client, verb: str, url: str, **more: Any) -> httpx.Response:
        where = f"{self.base_url.host}{url}"
        seen.append(where)
        asked = httpx.Request(verb, "http://x")
        if url == "/health" and (self.base_url.host == "two" or len(seen) == 1):
            return httpx.Response(
                200, json={"protocol": 1, "proof": proof("t", more["params"]["nonce"])}, request=asked
            )
        if where == "two/v1/service":
            return httpx.Response(200, json={"pid": 2}, request=asked)
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(httpx.Client, "request", request)
    monkeypatch.setattr(httpx.Client, "get", lambda self, url, **more: request(self, "GET", url, **more))
    head = HttpHead(HttpConnection(lambda: addresses[min(len(seen) // 2, 2)], "t"))
    assert head.call("info") == {"pid": 2}
    assert seen[0] == "one/health" and seen[-2:] == ["two/health", "two/v1/service"]
    monkeypatch.setattr(httpx.Client, "request", lambda self, *a, **k: (_ for _ in ()).throw(httpx.ReadError("reset")))
    with pytest.raises(ServiceError, match="no service answers"):
        head.call("pause", "x")
