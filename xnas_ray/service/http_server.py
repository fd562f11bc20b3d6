"""The HTTP API's place in the head's process: a thread with an event loop of its own, which may die alone."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xnas_ray.errors import XnasError

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
BACKLOG = 256
GRACE_S = 2
"""How long an ending server waits for the requests that it is answering."""
RESTART_S = 1.0
APART_TIMEOUT_S = 600.0


class HttpServer:
    """Serves an application until it is stopped; an application that dies is made again.

    Args:
        make_app: makes the ASGI application; called in the thread, for it imports for seconds.
        host: name or address to listen on.
        port: 0 for any free one.
        wanted: the port to take, if it is free, when ``port`` is 0: that of the head before this one, so that tunnels
            and addresses that people have noted go on working.

    Raises:
        OSError: the port is taken, or there is no such address.
    """

    def __init__(self, make_app: Callable[[], Any], host: str, port: int = 0, wanted: int = 0) -> None:
        """Listen from now on; requests are answered a moment later."""
        self._make_app = make_app
        self._socket = _listen(host, port, wanted)
        self.port: int = self._socket.getsockname()[1]
        self.address = http_address(host, self.port)
        self._server: Any = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="xnas-http", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                import uvicorn

                config = uvicorn.Config(
                    self._make_app(),
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    loop="asyncio",
                    http="h11",
                    ws="none",
                    proxy_headers=False,
                    server_header=False,
                    timeout_graceful_shutdown=GRACE_S,
                )
                self._server = uvicorn.Server(config)
                if not self._stopping.is_set():
                    self._server.run(sockets=[self._socket.dup()])
            except (Exception, SystemExit):
                log.exception("the HTTP server died; it is started again")
            self._stopping.wait(RESTART_S)
        self._socket.close()

    def stop(self) -> None:
        """End soon, after the answers that are on their way; not waited for."""
        self._stopping.set()
        if self._server is not None:
            self._server.should_exit = True

    def join(self, timeout_s: float) -> None:
        """Wait until it has ended."""
        self._thread.join(timeout_s)


def _listen(host: str, port: int, wanted: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if not port and wanted:
        with contextlib.suppress(OSError):
            return socket.create_server((host, wanted), family=family, backlog=BACKLOG)
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def http_address(host: str, port: int) -> str:
    """The address by which clients reach a server: of one that listens everywhere, this machine's name."""
    name = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def last_http_port(root: Path) -> int:
    """The port of the service before this one, which ended without a word; 0 if there is none."""
    from xnas_ray.errors import ServiceError
    from xnas_ray.service.bring_up import read_endpoint

    try:
        return int(str(read_endpoint(root).get("http")).rpartition(":")[2])
    except (ServiceError, ValueError):
        return 0


def serve_head(root: Path, handle: Any, *, host: str | None, port: int, wanted: int = 0) -> HttpServer | None:
    """Serve the API of a head; None, with the reason in the log, if the port cannot be had: the head goes on without.

    Args:
        root: the store.
        handle: of the head's actor.
        host: where to listen, None for this machine alone.
        port: 0 for any free one.
        wanted: see ``HttpServer``.
    """
    from xnas_ray.service.bring_up import make_token

    token = make_token(root).read_text().strip()

    def make() -> Any:
        from xnas_ray import __version__
        from xnas_ray.service.connection import RemoteHead
        from xnas_ray.service.http_api import Api
        from xnas_ray.service.http_app import make_app
        from xnas_ray.service.store_access import LocalStore

        return make_app(Api(RemoteHead(handle), LocalStore(root, run=run_apart), token, __version__))

    try:
        return HttpServer(make, host or LOOPBACK, port, wanted)
    except OSError as error:
        log.error("there is no HTTP API: cannot listen on %s, port %d: %s", host or LOOPBACK, port, error)
        return None


def run_apart(name: str, *arguments: Any) -> Any:
    """Call a function in another process of this node: what imports a task's code has no place in the head's.

    Args:
        name: see ``store_access.here``.
        *arguments: of the function.

    Raises:
        XnasError: what it raised.
        ServiceError: it died, or took longer than ten minutes.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayTaskError

    from xnas_ray.errors import ServiceError
    from xnas_ray.service.remote import DIED, remote_cause, this_node
    from xnas_ray.service.store_access import here

    options = {"name": name, "num_cpus": 0, "max_retries": 0, "scheduling_strategy": this_node()}
    reference = ray.remote(here).options(**options).remote(name, *arguments)
    try:
        return ray.get(reference, timeout=APART_TIMEOUT_S)
    except RayTaskError as error:
        cause = remote_cause(error)
        if isinstance(cause, XnasError):
            raise cause from None
        raise
    except (GetTimeoutError, *DIED) as error:
        ray.cancel(reference, force=True)
        what = f"{name} died or took too long: {type(error).__name__}."
        raise ServiceError(what, fix="Ask again; the service's log says more.") from None
