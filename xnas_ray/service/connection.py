"""How a client reaches the head of a running service."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from xnas_ray.errors import ProtocolError, ServiceError, XnasError

CALL_TIMEOUT_S = 60.0
SUBMIT_TIMEOUT_S = 600.0
RESTART_S = 60.0
QUESTIONS = frozenset({"info", "status", "wait", "explain", "measure_test"})
"""Methods that change nothing: asked again while the head is being restarted."""


class Service(Protocol):
    """The head of a running service, however it is reached."""

    def call(self, method: str, *arguments: Any, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """The answer of one of the head's methods.

        Raises:
            ServiceError: it does not answer in time, or has ended.
            XnasError: what the method raised.
        """


class RemoteHead:
    """A head that is a Ray actor.

    Args:
        handle: of the actor.
    """

    def __init__(self, handle: Any) -> None:
        """Hold the actor."""
        self._handle = handle

    def call(self, method: str, *arguments: Any, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """See ``Service.call``."""
        import ray
        from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayTaskError

        deadline_s = time.monotonic() + RESTART_S
        while True:
            try:
                return ray.get(getattr(self._handle, method).remote(*arguments), timeout=timeout_s)
            except RayTaskError as error:
                if isinstance(error.cause, XnasError):
                    raise error.cause from None
                raise
            except GetTimeoutError:
                raise ServiceError(f"the service did not answer {method} within {timeout_s:.0f} s.") from None
            except RayActorError as error:
                if method in QUESTIONS and isinstance(error, ActorUnavailableError) and time.monotonic() < deadline_s:
                    time.sleep(0.5)
                    continue
                raise ServiceError(
                    f"the service ended: {error}", fix="Start it again: unfinished searches go on where they stopped."
                ) from None


def connect_service(root: Path, address: str | None = None) -> Service:
    """The service of a store.

    Args:
        root: folder of the store.
        address: of its Ray cluster; None reads what the service wrote into the store. Then its HTTP API is asked first,
            which answers everywhere and at once, unless this process is a part of the cluster already.

    Raises:
        ServiceError: none runs, or it cannot be reached; says what to do.
    """
    from xnas_ray.service import bring_up

    if address is None:
        return _by_endpoint(root)
    import ray

    bring_up.set_environment(root)
    try:
        ray.init(address, namespace="xnas", ignore_reinit_error=True, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ServiceError(f"no Ray cluster answers at {address}: {error}", field="address") from error
    return RemoteHead(bring_up.connect(root))


def _by_endpoint(root: Path) -> Service:
    from xnas_ray.service import bring_up
    from xnas_ray.service.http_client import HttpHead
    from xnas_ray.service.http_connection import HttpConnection, find_token

    endpoint = bring_up.read_endpoint(root)
    if _in_cluster() or not _is_reachable(endpoint):
        return RemoteHead(bring_up.connect(root))

    def locate() -> str:
        return str(bring_up.read_endpoint(root).get("http"))

    head = HttpHead(HttpConnection(locate, find_token(root)))
    try:
        head.connection.ask("GET", "/service", again=False)
    except ProtocolError:
        raise
    except ServiceError as unreachable:
        try:
            return RemoteHead(bring_up.connect(root))
        except ServiceError as error:
            raise ServiceError(f"{error.message} {unreachable.message}", field=error.field, fix=error.fix) from None
    return head


def _in_cluster() -> bool:
    """Whether this process is connected to Ray."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _is_reachable(endpoint: Mapping[str, Any]) -> bool:
    """Whether an endpoint's HTTP address, seen from here, can be its service's: every machine has a loopback."""
    host = urlsplit(endpoint.get("http") or "").hostname
    if host is None:
        return False
    loopback = host == "localhost" or host.startswith("127.") or host == "::1"
    return not loopback or endpoint.get("host") == socket.gethostname()
