"""How Ray is brought up and found: the one place that sets its environment.

Ray's defaults change with the version and with what an earlier process left in the home folder (a token that turns
authentication on, a file that names the current cluster), so every setting that matters is explicit here.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from xnas_ray.errors import ServiceError, StoreLockedError
from xnas_ray.messages import PROTOCOL_VERSION
from xnas_ray.service.archive import living_writer
from xnas_ray.service.second_try import second_try
from xnas_ray.service.settings import HeadSettings
from xnas_ray.service.trusted import read_trusted, write_private

log = logging.getLogger(__name__)

ENDPOINT = "endpoint.json"
TOKEN = "token"
LOOPBACK = "127.0.0.1"
OBJECT_STORE_BYTES = 200 * 2**20
START_TIMEOUT_S = 120.0


def set_environment(root: Path, token_path: Path | None = None) -> None:
    """Make Ray's settings explicit in this process, and so in all that it starts.

    Token authentication is on unless ``RAY_AUTH_MODE`` says otherwise; the token is the store's own, mode 0600.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN" not in os.environ:
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token_path or make_token(root))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_metric_cardinality_level", "low")  # tasks are named like trials, see ``shown``
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if "ray" in sys.modules:  # it read the environment when it was imported
        from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()


def make_token(root: Path) -> Path:
    """The store's token file, made if it is missing, readable by its owner alone.

    Raises:
        ServiceError: another user owns it, or others can write it: they would know the secret.
    """
    root.mkdir(parents=True, exist_ok=True)
    path = (root / TOKEN).resolve()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        _check_token(path)
        return path
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return path


def _check_token(path: Path) -> None:
    """Refuse a token that others may have written; take it back from those who could read it."""
    text = read_trusted(path)
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        path.chmod(0o600)
        log.warning(
            "others could read %s; its mode is 0600 again. Whoever has read it can run code as you: stop the service,"
            " delete the file and start again, which makes a new one.",
            path,
        )
    if not text.strip():  # whoever began to make it was ended before it had written
        write_private(path, secrets.token_hex(32))


@dataclass
class LocalCluster:
    """A Ray that belongs to this process and ends with it.

    Attributes:
        address: of its head, ``host:port``.
        dashboard: ``host:port`` of its dashboard, ``""`` without one.
        session: Ray's folder of logs; with a dashboard also of the file that tells Prometheus what to scrape.
    """

    address: str
    dashboard: str = ""
    session: Path | None = None

    def stop(self) -> None:
        """End it, with everything that it runs."""
        import ray

        ray.shutdown()

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_local(root: Path, *, cpus: int, gpus: float | None = None, dashboard_host: str = "") -> LocalCluster:
    """Start a Ray of this process's own.

    Args:
        root: the store, whose token protects it.
        cpus: CPUs that it may use; may be more than the machine has.
        gpus: GPUs, None for those that the machine has.
        dashboard_host: address on which Ray's dashboard listens, ``"127.0.0.1"`` for this machine alone; ``""`` starts
            none. It asks for the store's token in any case.

    Raises:
        ServiceError: the dashboard cannot listen there.
    """
    if dashboard_host:
        _check_host(dashboard_host)
    set_environment(root)
    import ray

    start = partial(
        ray.init,
        address="local",
        num_cpus=cpus,
        num_gpus=gpus,
        include_dashboard=bool(dashboard_host),
        dashboard_host=dashboard_host or LOOPBACK,
        job_config=_job(f"xnas service {root.name}"),
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=OBJECT_STORE_BYTES,
        namespace="xnas",
        _temp_dir=_temporary_root(),
    )
    with _kept_sigterm():
        context = second_try(start)
    address = context.address_info
    return LocalCluster(address["address"], context.dashboard_url or "", Path(address["session_dir"]))


def _check_host(host: str) -> None:
    """Whether a port can be had on an address; Ray would only say, after a minute, that its dashboard did not start."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
            one.bind((host, 0))
    except (OSError, TypeError, UnicodeError) as error:
        raise ServiceError(
            f"nothing can listen on {host!r}: {error}.", field="--dashboard-host", fix=f"Leave it out for {LOOPBACK}."
        ) from None


def _job(name: str) -> Any:
    """A Ray job with a name, which its dashboard shows."""
    from ray.job_config import JobConfig

    return JobConfig(metadata={"job_name": name})


def _temporary_root() -> str:
    """A short folder of this user's own: Ray's socket paths may have 107 bytes, and /tmp/ray belongs to one user."""
    base = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    return f"{base}/xnas-{os.getuid()}" if len(base) < 30 else f"/tmp/xnas-{os.getuid()}"


def start_head(root: Path, settings: HeadSettings | None = None) -> Any:
    """Start the head of a store on the Ray that this process is connected to; returns its handle.

    Raises:
        StoreLockedError: another service writes the store.
        ServiceError: the head does not come up.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from xnas_ray.service.head import Head
    from xnas_ray.service.remote import NAMESPACE, head_name

    settings = settings or HeadSettings()
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    _check_free(root, settings)
    node_id = ray.get_runtime_context().get_node_id()
    handle = (
        ray.remote(Head)
        .options(
            name=head_name(root),
            namespace=NAMESPACE,
            lifetime="detached",
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=1000,
            enable_task_events=False,
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
        )
        .remote(str(root), settings)
    )
    with _plain_errors():
        ray.get(handle.info.remote(), timeout=START_TIMEOUT_S)
    return handle


def _check_free(root: Path, settings: HeadSettings) -> None:
    """Refuse early, in the words of the store, what the head would refuse."""
    holder = "" if settings.take_over else living_writer(root)
    if holder:
        raise StoreLockedError(
            f"another service writes {root}: {holder}.",
            fix="Queue your search into it with `xnas submit`, stop it, or force with --take-over.",
        )


def attach(root: Path, address: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Connect this process to a Ray that somebody else started on this machine, such as the steps of a batch job.

    The token is that of ``RAY_AUTH_TOKEN_PATH``, else the store's.

    Args:
        root: the store.
        address: of Ray's head, ``host:port``.
        timeout_s: how long it may take to come up.

    Raises:
        ServiceError: it does not.
    """
    token = os.environ.get("RAY_AUTH_TOKEN_PATH")
    set_environment(root, Path(token) if token else None)
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            _join(address, f"service {root.name}")
            return
        except (OSError, ValueError, RuntimeError) as error:
            if time.monotonic() > deadline_s:
                reason = str(error).splitlines()[0]
                raise ServiceError(f"no Ray answers at {address}: {reason}", field="address") from error
            time.sleep(0.5)


def _join(address: str, name: str) -> None:
    """``ray.init`` on a Ray that runs; where nobody answers it would try for minutes."""
    import ray

    from xnas_ray.service.remote import NAMESPACE

    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5.0):
        pass
    with _kept_sigterm():
        ray.init(
            address=address,
            namespace=NAMESPACE,
            job_config=_job(f"xnas {name}"),
            log_to_driver=False,
            logging_level="ERROR",
        )


@contextmanager
def _kept_sigterm() -> Iterator[None]:
    """Give SIGTERM back to the program that handles it: ``ray.init`` takes it, and then ends the process."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def connect(root: Path) -> Any:
    """The head of a running service, found through the store.

    Raises:
        ServiceError: no service runs on this store, or it speaks another protocol; the message says what to do.
    """
    import ray

    from xnas_ray.service.remote import NAMESPACE

    endpoint = read_endpoint(root)
    token_path = Path(endpoint["token_path"]) if endpoint.get("token_path") else None
    try:
        if token_path is not None:
            read_trusted(token_path)
        set_environment(root, token_path)
        if not ray.is_initialized():
            _join(endpoint["address"], "client")
        return ray.get_actor(endpoint["head"], namespace=NAMESPACE)
    except (OSError, ValueError, RuntimeError) as error:
        raise ServiceError(
            f"the service that {root / ENDPOINT} names does not answer: {str(error).splitlines()[0]}",
            fix="Start one with `xnas run SPEC`, or go on with `xnas run --resume`.",
        ) from error


def read_endpoint(root: Path) -> dict[str, Any]:
    """Where the service of a store is: ``address`` of its Ray, ``http`` of its API (None without one), and more.

    Raises:
        ServiceError: there is none, it speaks another protocol, or the file is not this user's own.
    """
    path = root / ENDPOINT
    try:
        endpoint: dict[str, Any] = json.loads(read_trusted(path))
    except FileNotFoundError:
        raise ServiceError(
            f"no service runs on {root}.", fix="`xnas run SPEC` starts one; --root names another store."
        ) from None
    except (OSError, ValueError) as error:
        raise ServiceError(f"cannot read {path}: {error}.", fix="Delete it and start the service again.") from None
    if endpoint.get("protocol") != PROTOCOL_VERSION:
        raise ServiceError(
            f"the service speaks protocol {endpoint.get('protocol')}, this client {PROTOCOL_VERSION}.",
            fix="Install the same version of xnas-ray on both sides.",
        )
    return endpoint


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn Ray's report of a constructor that raised into the error that it raised."""
    from ray.exceptions import GetTimeoutError, RayActorError

    try:
        yield
    except GetTimeoutError:
        raise ServiceError("the head did not come up in time.", fix="See the logs of Ray's session.") from None
    except RayActorError as error:
        found = re.findall(r"^(?:[\w.]+\.)?(\w+Error): (.+)$", str(error), flags=re.MULTILINE)
        name, text = found[-1] if found else ("ServiceError", str(error).splitlines()[0])
        raise (StoreLockedError if name == "StoreLockedError" else ServiceError)(text) from error
