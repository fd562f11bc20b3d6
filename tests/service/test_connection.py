"""How clients reach the head, with an actor that is not Ray's."""

from __future__ import annotations

import pytest

from xnas_ray.errors import ServiceError, SpecError
from xnas_ray.service.connection import RemoteHead, connect_service


class _Method:
    def __init__(self, name: str) -> None:
        self.name = name

    def remote(self, *arguments: object) -> tuple[object, ...]:
        return (self.name, *arguments)


class _Actor:
    def __getattr__(self, name: str) -> _Method:
        return _Method(name)


def test_remote_head_asks_with_a_timeout(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "get", lambda reference, timeout: (reference, timeout))
    assert RemoteHead(_Actor()).call("pause", "x", True, timeout_s=3) == (("pause", "x", True), 3)


@pytest.mark.parametrize(
    ("raised", "expected", "text"),
    [
        ("task", SpecError, "wrong"),
        ("timeout", ServiceError, "did not answer pause within 60 s"),
        ("died", ServiceError, "Start it again"),
    ],
)
def test_remote_errors_become_ours(monkeypatch, raised, expected, text):
    import ray
    from ray.exceptions import ActorDiedError, GetTimeoutError, RayTaskError

    errors = {
        "task": RayTaskError("pause", "traceback", SpecError("wrong.", field="x")).as_instanceof_cause(),
        "timeout": GetTimeoutError("late"),
        "died": ActorDiedError(),
    }

    def get(reference: object, timeout: float) -> None:
        raise errors[raised]

    monkeypatch.setattr(ray, "get", get)
    with pytest.raises(expected, match=text):
        RemoteHead(_Actor()).call("pause", "x")


def test_no_service_runs(tmp_path):
    with pytest.raises(ServiceError, match="no service runs"):
        connect_service(tmp_path)


def test_an_address_is_connected_first(tmp_path, monkeypatch):
    import ray

    from xnas_ray.service import bring_up

    calls = []
    monkeypatch.setattr(bring_up, "set_environment", lambda root: calls.append(root))
    monkeypatch.setattr(bring_up, "connect", lambda root: "actor")
    monkeypatch.setattr(ray, "init", lambda address, **_: calls.append(address))
    assert isinstance(connect_service(tmp_path, "10.0.0.1:6379"), RemoteHead)
    assert calls == [tmp_path, "10.0.0.1:6379"]


def test_an_address_where_nobody_answers(tmp_path, monkeypatch):
    import ray

    from xnas_ray.service import bring_up

    def init(address: str, **_: object) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(bring_up, "set_environment", lambda root: None)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ServiceError, match=r"no Ray cluster answers at 10\.0\.0\.1"):
        connect_service(tmp_path, "10.0.0.1:6379")
