"""Searches from Python: submit them to a service, follow them, read their results.

What a running service must do (submit, pause, resume, cancel, extend, follow) asks its head; everything that the store
can tell is read from the store, with or without a service. Both may be at the other end of an HTTP connection: then
``Client.service`` and ``Client.store`` are, and nothing else knows.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnas_ray.errors import ServiceError, SpecError, StoreError, StoreLockedError
from xnas_ray.messages import PROTOCOL_VERSION
from xnas_ray.search_handle import SearchHandle
from xnas_ray.service.connection import SUBMIT_TIMEOUT_S, RemoteHead, Service, connect_service
from xnas_ray.service.store_access import LocalStore, StoreAccess
from xnas_ray.spec_forms import as_spec, dotted

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.service.http_connection import HttpConnection
    from xnas_ray.spec import SearchSpec

STORE_VARIABLE = "XNAS_STORE"
ADDRESS_VARIABLE = "XNAS_ADDRESS"
DEFAULT_STORE = "results"
STOP_TIMEOUT_S = 120.0
PATIENCE_S = 30.0
"""How long a resumed search waits for the processes of a killed service to die."""


def store_root(root: Path | str | None = None) -> tuple[Path, str]:
    """The store and where its name comes from: the argument, ``XNAS_STORE``, or the default ``./results``."""
    if root is not None:
        return Path(root).expanduser(), "argument"
    named = os.environ.get(STORE_VARIABLE, "").strip()
    return (Path(named).expanduser(), STORE_VARIABLE) if named else (Path(DEFAULT_STORE), "default")


def service_address(root: Path | str | None = None, address: str | None = None) -> str | None:
    """Where to look for a service: the argument, ``XNAS_ADDRESS``, or None for what the store itself says.

    A store that is named by an argument comes before the environment's address.
    """
    if address is None and root is None:
        address = os.environ.get(ADDRESS_VARIABLE)
    return (address or "").strip().rstrip("/") or None


class Client:
    """A store and, when it is needed, the service that works on it.

    Args:
        root: folder of the store; by default ``XNAS_STORE``, else ``./results``.
        address: of the service: ``"http://host:port"`` of its HTTP API, over which the store is read too, or of its Ray
            cluster. By default ``XNAS_ADDRESS`` if no ``root`` is given, else what the service wrote into the store.
        token: of the HTTP API; by default ``XNAS_TOKEN``, else the store's own where it can be seen.
        service: a head that is at hand already.
    """

    def __init__(
        self,
        root: Path | str | None = None,
        *,
        address: str | None = None,
        token: str | None = None,
        service: Service | None = None,
    ) -> None:
        """Connect when something is asked that only the service can do."""
        self.root = store_root(root)[0].absolute()
        self._address = None if service is not None else service_address(root, address)
        self._token = token
        self._service = service
        self._store: StoreAccess | None = None
        self._http: HttpConnection | None = None

    @property
    def service(self) -> Service:
        """The head; connected at first use.

        Raises:
            ServiceError: no service works on this store.
        """
        if self._service is None:
            if self._over_http:
                from xnas_ray.service.http_client import HttpHead

                self._service = HttpHead(self._connection())
            else:
                self._service = connect_service(self.root, self._address)
        return self._service

    @property
    def store(self) -> StoreAccess:
        """The store: the folder ``root``, or that of the service at an HTTP address."""
        if self._store is None:
            if self._over_http:
                from xnas_ray.service.http_client import HttpStore

                self._store = HttpStore(self._connection())
            else:
                self._store = LocalStore(self.root)
        return self._store

    @property
    def _over_http(self) -> bool:
        from xnas_ray.service.http_connection import is_http

        return self._address is not None and is_http(self._address)

    def _connection(self) -> HttpConnection:
        from xnas_ray.service.http_connection import HttpConnection, find_token

        if self._http is None:
            address = str(self._address)
            self._http = HttpConnection(lambda: address, find_token(self.root, self._token))
        return self._http

    @property
    def folder(self) -> Path:
        """The store's folder, for what only a folder can do.

        Raises:
            ServiceError: it is at the other end of an HTTP connection.
        """
        if self._over_http:
            raise ServiceError(
                f"this needs the folder of the store, and {self._address} is a service elsewhere.",
                field="address",
                fix="Run it where the store is, or name the folder with --root.",
            )
        return self.root

    def submit(
        self,
        spec: SearchSpec | Path | str | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        spool: bool = False,
        **overrides: Any,
    ) -> SearchHandle:
        """Queue a search; its task folder travels with it.

        Args:
            spec: a specification, the path of a TOML file, or nested mappings.
            idempotency_key: submitting the same key again gives the same search.
            spool: leave it in the store for the next service; names and the task are looked up only then. Until it is
                taken, ``handle.status()`` says that there is no such search.
            **overrides: settings that win over ``spec``: ``trials=64``, ``priority=3``, ``budget__gpu_hours=2``.

        Raises:
            SpecError: the specification is malformed.
            XnasError: a name is unknown or the task is broken; nothing is queued.
            ServiceError: no service works on this store.
        """
        from xnas_ray.tasks.finding import find_task

        checked = as_spec(spec, dotted(overrides))
        if spool:
            return self._spool(checked, idempotency_key)
        service = self.service
        task_hash = self.store.take_task(find_task(checked.task))
        search_id = service.call(
            "submit", PROTOCOL_VERSION, checked.to_json(), task_hash, idempotency_key, timeout_s=SUBMIT_TIMEOUT_S
        )
        return SearchHandle(self, search_id)

    def _spool(self, spec: SearchSpec, idempotency_key: str | None) -> SearchHandle:
        from xnas_ray.service import spool
        from xnas_ray.tasks.bundle import snapshot_task
        from xnas_ray.tasks.finding import find_task

        if idempotency_key is not None:
            raise SpecError("a spooled search has a key of its own.", field="idempotency_key", fix="Leave it out.")
        return SearchHandle(self, spool.put(self.folder, spec.to_json(), snapshot_task(find_task(spec.task))))

    def stop_service(self, *, checkpoint: bool = True) -> None:
        """End the service, if this client is connected to one: rows are flushed, workers end, the store is free.

        Args:
            checkpoint: let running trials write checkpoints first.
        """
        if self._service is not None:
            service, self._service = self._service, None
            service.call("stop", checkpoint, timeout_s=STOP_TIMEOUT_S)

    def searches(self) -> pd.DataFrame:
        """One row a search of the store (see ``store.list_searches``)."""
        return self.store.searches()

    def spooled(self) -> list[dict[str, Any]]:
        """Searches that wait for a service, or were refused by one (see ``service.spool.waiting``)."""
        return self.store.spooled()

    def handle(self, prefix: str) -> SearchHandle:
        """A search of the store by its id, a unique prefix of it, or ``"latest"``.

        Raises:
            SearchNotFoundError: none, or several.
        """
        return SearchHandle(self, self.store.resolve(prefix))

    def report(self, searches: Sequence[str], path: Path | str | None = None, *, joint: bool = False) -> Path:
        """Write the report of one search, or of several beside each other, as one HTML file that needs no network.

        Args:
            searches: ids, unique prefixes of some, or ``"latest"``; their order is that of their colours.
            path: of the file; by default ``xnas_report_<id>.html`` in the current folder. It is replaced.
            joint: only what made the architectures good, where explanations agree and where not.

        Returns:
            The path.

        Raises:
            SearchNotFoundError: no such search.
            StoreError: a part is damaged, or the file cannot be written.
            ExplanationError: ``joint``, and too few architectures are measured to tell.
        """
        from xnas_ray.report.page import joint_alone, report_page

        handles = [self.handle(one) for one in searches]
        names = [str(handle.card()["spec"]["name"] or handle.id) for handle in handles]
        data = self.store.report([handle.id for handle in handles])
        text = report_page(joint_alone(data) if joint else data, f"xnas: {', '.join(names)}")
        chosen = Path(path or f"xnas_report_{handles[0].id[:10]}.html")
        try:
            chosen.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StoreError(f"cannot write {chosen}: {error.strerror or error}.", field="--out") from error
        return chosen


# ---- here, without a service -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def local_client(
    root: Path | str | None = None,
    *,
    workers: int | None = None,
    cpus: float = 1.0,
    only: tuple[str, ...] = (),
    profile: Path | None = None,
    take_over: bool = False,
    dashboard_host: str = "",
    on_start: Callable[[], None] = lambda: None,
    on_dashboard: Callable[[str], None] = lambda address: None,
) -> Iterator[Client]:
    """A client of a service of its own: Ray in this process, ended on leaving.

    Args:
        root: folder of the store.
        workers: trial workers; by default as many as this machine's CPUs allow.
        cpus: CPUs of one worker; Ray finds the GPUs by itself.
        only: unfinished searches of the store that go on here; no other does.
        profile: TOML file with settings of the service, such as ``cluster/local.toml``.
        take_over: take the store from a service that seems alive; that one never writes again.
        dashboard_host: address on which Ray's dashboard listens, such as ``"127.0.0.1"``; ``""`` for none.
        on_start: called once everything is checked, before Ray starts, which takes seconds.
        on_dashboard: called with the ``host:port`` of the dashboard when it is up.

    Raises:
        StoreLockedError: another service works on this store.
        SpecError: the profile is malformed.
    """
    from xnas_ray.service import bring_up
    from xnas_ray.service.settings import HeadSettings

    folder = store_root(root)[0].absolute()
    if not take_over:
        refuse_held(folder, PATIENCE_S if only else 0.0)
    fixed: dict[str, Any] = {"only": only, "take_over": take_over, "max_workers": workers if only else None}
    settings = HeadSettings(**fixed) if profile is None else HeadSettings.from_toml(profile, **fixed)
    count = workers or max(1, int((os.cpu_count() or 1) / cpus))
    on_start()
    with bring_up.start_local(folder, cpus=math.ceil(count * cpus), dashboard_host=dashboard_host) as cluster:
        if cluster.dashboard:
            on_dashboard(cluster.dashboard)
        client = Client(folder, service=RemoteHead(bring_up.start_head(folder, settings)))
        yield client
        client.stop_service()


def refuse_held(root: Path, patience_s: float = 0.0) -> None:
    """Nothing if no service works on the store.

    Args:
        root: folder of the store.
        patience_s: how long to wait for one to end: what a killed program leaves behind dies a moment after it.

    Raises:
        StoreLockedError: one does; says how to use it.
    """
    from xnas_ray.service.archive import living_writer

    deadline_s = time.monotonic() + patience_s
    while (holder := living_writer(root)) and time.monotonic() < deadline_s:
        time.sleep(0.25)
    if holder:
        raise StoreLockedError(
            f"{root} is in the hands of another service ({holder}).",
            field="store",
            fix="Give the search to that service with `xnas submit`, or choose another store with --root.",
        )


def run_local(
    spec: SearchSpec | Path | str | Mapping[str, Any],
    *,
    root: Path | str | None = None,
    workers: int | None = None,
    follow: Callable[[SearchHandle], object] | None = None,
    **overrides: Any,
) -> SearchHandle:
    """Run one search in this process, to its end.

    Args:
        spec: a specification, the path of a TOML file, or nested mappings.
        root: folder of the store; by default ``XNAS_STORE``, else ``./results``.
        workers: trial workers; by default as many as this machine's CPUs allow.
        follow: called with the search's handle once it is queued, before waiting for its end.
        **overrides: as for ``Client.submit``.

    Returns:
        The search's handle; results are read from the store, so it outlives the service.

    Raises:
        SpecError: the specification is malformed.
        StoreLockedError: another service works on this store.
    """
    checked = as_spec(spec, dotted(overrides))
    needs = checked.resources
    with local_client(root, workers=workers or needs.workers, cpus=needs.cpus) as client:
        handle = client.submit(checked)
        if follow is not None:
            follow(handle)
        handle.wait()
    return SearchHandle(Client(client.root), handle.id)
