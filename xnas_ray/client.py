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

from xnas_ray.errors import SearchNotFoundError, ServiceError, SpecError, StoreError, StoreLockedError
from xnas_ray.messages import PROTOCOL_VERSION
from xnas_ray.service.connection import CALL_TIMEOUT_S, SUBMIT_TIMEOUT_S, RemoteHead, Service, connect_service
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
WAIT_SLICE_S = 10.0
PATIENCE_S = 30.0
"""How long a resumed search waits for the processes of a killed service to die."""

Status = dict[str, Any]
"""Where a search stands; see ``service.archive.stored_status`` for the keys."""


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

    def report(self, searches: Sequence[str], path: Path | str | None = None) -> Path:
        """Write the report of one search, or of several beside each other, as one HTML file that needs no network.

        Args:
            searches: ids, unique prefixes of some, or ``"latest"``; their order is that of their colours.
            path: of the file; by default ``xnas_report_<id>.html`` in the current folder. It is replaced.

        Returns:
            The path.

        Raises:
            SearchNotFoundError: no such search.
            StoreError: a part is damaged, or the file cannot be written.
        """
        from xnas_ray.report.page import report_page

        handles = [self.handle(one) for one in searches]
        names = [str(handle.card()["spec"]["name"] or handle.id) for handle in handles]
        text = report_page(self.store.report([handle.id for handle in handles]), f"xnas: {', '.join(names)}")
        chosen = Path(path or f"xnas_report_{handles[0].id[:10]}.html")
        try:
            chosen.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StoreError(f"cannot write {chosen}: {error.strerror or error}.", field="--out") from error
        return chosen


class SearchHandle:
    """One search.

    Attributes:
        client: through which it was found.
        id: its whole id.
    """

    def __init__(self, client: Client, search_id: str) -> None:
        """Used by ``Client.submit`` and ``Client.handle``."""
        self.client = client
        self.id = search_id

    # ---- following ---------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Where it stands: from the store if it has ended, else from the service.

        Raises:
            ServiceError: it has not ended and no service works on this store.
        """
        ended = self._ended()
        if ended is not None:
            return ended
        try:
            return self.client.service.call("status", self.id)[0]
        except SearchNotFoundError:
            return self.stored_status()  # it ended between the two questions

    def stored_status(self) -> Status:
        """Where it stands as far as the store knows; needs no service."""
        return self.client.store.status(self.id)

    def stored_summary(self) -> dict[str, Any]:
        """Counts, budget and best trial as far as the store knows (see ``service.archive.stored_summary``)."""
        return self.client.store.summary(self.id)

    def card(self) -> dict[str, Any]:
        """Its complete specification, its task's hash and its objectives, as it was submitted or last extended."""
        return self.client.store.card(self.id)

    def transitions(self) -> list[dict[str, Any]]:
        """Every transition in order: ``at``, ``state``, ``reason``, ``epoch``."""
        return self.client.store.transitions(self.id)

    def wait(self, timeout_s: float | None = None) -> Status | None:
        """Block until it has ended or is paused; its status then, None when ``timeout_s`` passed first.

        Raises:
            ServiceError: no service works on this store, or it ended meanwhile.
        """
        deadline_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        ended = self._ended()
        while ended is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return None
            slice_s = min(WAIT_SLICE_S, left_s)
            try:
                ended = self.client.service.call("wait", self.id, slice_s, timeout_s=slice_s + CALL_TIMEOUT_S)
            except SearchNotFoundError:
                ended = self.stored_status()
        return ended

    def _ended(self) -> Status | None:
        """The status of a search that the store knows to have ended."""
        return self.stored_status() if self.client.store.ended(self.id) else None

    # ---- steering ----------------------------------------------------------------------------------------------------

    def pause(self, *, at_once: bool = False) -> None:
        """Dispatch nothing more; running trials finish, or with ``at_once`` checkpoint and go on after ``resume``."""
        self.client.service.call("pause", self.id, at_once)

    def resume(self) -> None:
        """Go on after a pause."""
        self.client.service.call("resume", self.id)

    def cancel(self) -> None:
        """End it; running trials stop at their next batch."""
        self.client.service.call("cancel", self.id)

    def extend(
        self, trials: int | None = None, gpu_hours: float | None = None, wall_clock: float | None = None
    ) -> None:
        """Give it a larger budget: the new totals, not what is added. A finished search is reopened.

        Raises:
            SpecError: no limit is given, or one is not above 0.
        """
        limits = {"trials": trials, "gpu_hours": gpu_hours, "wall_clock": wall_clock}
        if all(value is None for value in limits.values()):
            raise SpecError("give at least one new limit.", field="budget", valid=limits)
        for name, value in limits.items():
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise SpecError(f"must be above 0, got {value}.", field=f"budget.{name}")
        self.client.service.call("extend", self.id, trials, gpu_hours, wall_clock, timeout_s=SUBMIT_TIMEOUT_S)

    def measure_test(self, trial: int) -> dict[str, float]:
        """Metrics of a trial's stored weights on the test split: measured once, afterwards the stored figures."""
        return dict(self.client.service.call("measure_test", self.id, trial, timeout_s=SUBMIT_TIMEOUT_S))

    def finalists_spec(
        self,
        *,
        trials: Sequence[int] | None = None,
        top: int | None = None,
        seeds: int = 3,
        epochs: int | None = None,
        **resources: float,
    ) -> tuple[SearchSpec, str]:
        """The search that trains this one's finalists anew (see ``finalize``), and its idempotency key."""
        from xnas_ray.service import finalists

        if trials is None:
            chosen = finalists.choose(self.best(None), top)
        else:
            known = self.client.store.trials(self.id)
            completed = known[known["status"] == "completed"].set_index("trial")["genotype"]
            for number in trials:
                if number not in completed.index:
                    raise StoreError(
                        "is no completed trial.", field="trials", got=number, valid=completed.index.tolist()
                    )
            chosen = [{"trial": number, "genotype": completed[number]} for number in dict.fromkeys(trials)]
        spec = finalists.specification(
            self.id, self.card(), chosen, seeds=seeds, epochs=epochs, resources=dict(resources)
        )
        return spec, finalists.key_of(spec)

    def finalize(self, **given: Any) -> SearchHandle:
        """Queue the last training of this search's finalists: with several seeds, on train and validation.

        They are measured on the test split, once each. The task is as it was when this search was submitted. Asking
        for the same again gives the same search.

        Args:
            **given: ``trials``: their numbers; by default the Pareto front, with one objective the best. ``top``: at
                most so many of them. ``seeds``: trainings of each, 3. ``epochs``: of each; by default the schedule of
                this search or the task's epochs, whichever is longer. ``cpus``, ``gpus``, ``workers``: what differs
                from this search's resources; above one GPU the ranks of a training share each batch.

        Returns:
            The search of the finalists; ``finalists`` is what it found.

        Raises:
            StoreError: no such trial, or this search is one of finalists itself.
            SpecError: a value is out of range.
            ServiceError: no service works on this store.
        """
        return self.submit_finalists(*self.finalists_spec(**given))

    def submit_finalists(self, spec: SearchSpec, key: str) -> SearchHandle:
        """Queue what ``finalists_spec`` gave."""
        task_hash = self.card()["task_hash"]
        search_id = self.client.service.call(
            "submit", PROTOCOL_VERSION, spec.to_json(), task_hash, key, timeout_s=SUBMIT_TIMEOUT_S
        )
        return SearchHandle(self.client, search_id)

    def finalists(self) -> pd.DataFrame:
        """What a search of finalists found: one row each, with means and spreads over its seeds.

        See ``service.finalists.finalists_frame`` for the columns.

        Raises:
            StoreError: this is no search of finalists.
        """
        from xnas_ray.service.finalists import finalists_frame

        card = self.card()
        if card["spec"].get("measure_on") != "test":
            raise StoreError(f"search {self.id} trains no finalists.", fix=f"Begin with `xnas finalize {self.id}`.")
        parent = SearchHandle(self.client, card["spec"]["parent"])
        trials = self.client.store.trials(self.id)
        return finalists_frame(card, trials, self.client.store.trials(parent.id), parent.card()["objectives"])

    # ---- results -----------------------------------------------------------------------------------------------------

    def results(self, *, front: bool = False) -> pd.DataFrame:
        """One row a finished trial, in the order in which they ended (see ``store.load_trials``).

        Besides the columns of the store: ``front`` (whether no other feasible trial is at least as good in every
        objective and better in one, of all that have ended), ``generation`` and ``parents`` (trial numbers) where the
        controller has them.

        Args:
            front: only the trials on the front.
        """
        from xnas_ray.service.ranking import with_standing

        found = with_standing(self.client.store.trials(self.id), self.card())
        return found[found["front"]].reset_index(drop=True) if front else found

    def curves(self) -> pd.DataFrame:
        """Learning curves, long (see ``store.load_curves``)."""
        return self.client.store.curves(self.id)

    def explanations(self, kind: str) -> pd.DataFrame:
        """What the controller has learnt, such as ``"motifs"``.

        From the store once the search has finished; of a running one from the service, and without a service from its
        rows, which are told to a new controller here.

        Raises:
            ExplanationError: the controller gives no explanations of this kind.
        """
        return self.client.store.explanations(self.id, kind, self._live_explanations)

    def _live_explanations(self) -> dict[str, Any]:
        """Those of a search in a running service, none where there is no service or it has just ended."""
        with contextlib.suppress(ServiceError, SearchNotFoundError):
            return self.client.service.call("explain", self.id)
        return {}

    def best(self, n: int | None = 1) -> list[dict[str, Any]]:
        """The best completed trials that satisfy the constraints, best first by the first objective.

        Each has ``trial``, ``architecture``, ``genotype``, ``metrics``, ``objectives``, ``front`` (whether no other
        trial is at least as good in every objective and better in one), ``duration_s`` and ``weights``.
        """
        return self.client.store.best(self.id, n)

    def graphs(self, trial: int) -> tuple[str, dict[str, Any]]:
        """A finished trial's architecture as text, and its graphs by cell type (see ``Space.graphs``).

        Raises:
            XnasError: there is no such trial, or the task cannot be imported.
        """
        return self.client.store.trial_graphs(self.id, trial)

    def export(self, trial: int, folder: Path | str) -> Path:
        """Write a trial's architecture, recipe, weights (if they were kept) and a loader; returns the folder.

        Raises:
            XnasError: there is no such trial, or the folder is not empty.
        """
        return self.client.store.export(self.id, trial, Path(folder))

    def verify(self) -> dict[str, Any]:
        """Derive every proposal again from the rows: ``asked``, ``equal``, ``tells``, and the first ``mismatch``."""
        return self.client.store.verify(self.id)


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
