"""The service over HTTP: the verbs of the Python client as functions of an OpenAPI application (see ``http_app``).

They know the head as a ``connection.Service`` and the store as a ``store_access.LocalStore``; they run in
threads, so a slow disk or a large table delays nobody else.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import io
import json
import logging
import tarfile
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio
from fastapi import Body, Query, Request, Response
from fastapi.responses import JSONResponse

from xnas_ray.errors import ProtocolError, SearchNotFoundError, ServiceError, SpecError
from xnas_ray.messages import PROTOCOL_VERSION
from xnas_ray.service.connection import CALL_TIMEOUT_S, SUBMIT_TIMEOUT_S, Service
from xnas_ray.service.http_forms import (
    HASH,
    Budget,
    DesignQuery,
    Format,
    Kind,
    Pause,
    SearchName,
    SearchNames,
    Stop,
    Submission,
    TaskHash,
    TrialNumber,
    WaitSeconds,
)
from xnas_ray.service.latency_tables import refuse_paths
from xnas_ray.service.live_pages import tagged_response
from xnas_ray.service.live_reports import LiveReports, files_tag
from xnas_ray.service.log_lines import line_time
from xnas_ray.service.store_access import LocalStore
from xnas_ray.service.wire import API, GZIP, PARQUET, NotFoundError, frame_to_parquet, plain, proof
from xnas_ray.spec import SearchSpec
from xnas_ray.store.layout import Layout
from xnas_ray.store.reader import search_records
from xnas_ray.tasks.archives import unpack
from xnas_ray.tasks.bundle import store_snapshot
from xnas_ray.tasks.finding import NAME, find_task

log = logging.getLogger(__name__)

LONG_POLLS = 256
"""Clients that wait at the same time; the others wait for a place."""
LOOK_S = 0.5
MAX_LINES = 10_000

T = TypeVar("T")


class Api:
    """The functions behind the routes.

    Args:
        service: the head.
        store: its store.
        token: that every request but ``/health`` must bring.
        version: of the package.
    """

    def __init__(self, service: Service, store: LocalStore, token: str, version: str) -> None:
        """Ask nothing yet."""
        self.service = service
        self.store = store
        self.token = token
        self.version = version
        self.reports = LiveReports(store.report, functools.partial(files_tag, store.root))
        self._waits: anyio.CapacityLimiter | None = None

    # ---- the service -------------------------------------------------------------------------------------------------

    def health(self, nonce: Annotated[str, Query(max_length=100)] = "") -> dict[str, Any]:
        """Whether a service answers here, and which protocol it speaks; needs no token.

        `proof` is the HMAC-SHA256 of `"xnas health " + nonce` under the token: a client sees that it is its own
        service before it sends the token.
        """
        return {
            "status": "ok",
            "protocol": PROTOCOL_VERSION,
            "version": self.version,
            "proof": proof(self.token, nonce) if nonce else None,
        }

    def info(self) -> dict[str, Any]:
        """The service: version, protocol, store, process."""
        return plain(self.service.call("info"))

    def stop(self, how: Annotated[Stop, Body()]) -> None:
        """End the service; unfinished searches go on when the next one starts."""
        self.service.call("stop", how.checkpoint, timeout_s=SUBMIT_TIMEOUT_S)

    # ---- submitting --------------------------------------------------------------------------------------------------

    async def upload(
        self,
        request: Request,
        name: Annotated[str, Query(min_length=1, max_length=200, description="Of the task.")],
        hash: Annotated[str | None, Query(pattern=HASH, description="Of its content, to be checked.")] = None,
    ) -> dict[str, str]:
        """Bring a task folder: a gzipped tar of its files, as `tar czf - -C FOLDER .` makes it; answers its hash."""
        data = await request.body()

        def take() -> dict[str, str]:
            info = store_snapshot(unpack(data, name, hash), self.store.root)
            return {"hash": info.hash, "name": name}

        return await anyio.to_thread.run_sync(take)

    def task(self, hash: TaskHash) -> dict[str, str]:
        """Whether the service has a task of this content."""
        if not Layout(self.store.root).task(hash).is_dir():
            raise NotFoundError("the service has no such task.", field="hash", got=hash)
        return {"hash": hash}

    async def submit(
        self,
        request: Request,
        task_hash: Annotated[str | None, Query(pattern=HASH, description="With a TOML body.")] = None,
        idempotency_key: Annotated[
            str | None, Query(min_length=1, max_length=200, description="With a TOML body.")
        ] = None,
    ) -> dict[str, str]:
        """Queue a search, given as JSON (a `Submission`) or as the TOML file that `xnas submit` takes."""
        body = await request.body()
        if request.headers.get("content-type", "").partition(";")[0].strip() == "application/toml":
            given = Submission(spec=_toml(body), task_hash=task_hash, idempotency_key=idempotency_key)
        else:
            given = _submission(body)
        return {"search_id": await anyio.to_thread.run_sync(self._submit, given)}

    def _submit(self, given: Submission) -> str:
        _check_protocol(given.protocol)
        spec = SearchSpec.from_mapping(given.spec)
        refuse_paths(self.store.root, spec)
        task_hash = given.task_hash
        if task_hash is None:
            task_hash = self.store.take_task(find_task(_name_of(spec.task)))
        elif not Layout(self.store.root).task(task_hash).is_dir():
            raise SpecError("the service has no such task.", field="task_hash", got=task_hash, fix="Upload it first.")
        arguments = (PROTOCOL_VERSION, spec.to_json(), task_hash, given.idempotency_key)
        return str(self.service.call("submit", *arguments, timeout_s=SUBMIT_TIMEOUT_S))

    # ---- following ---------------------------------------------------------------------------------------------------

    def searches(self) -> list[dict[str, Any]]:
        """Every search of the store, the newest last."""
        return plain(search_records(self.store.root))

    def resolve(self, prefix: Annotated[str, Query(max_length=200)]) -> dict[str, str]:
        """The whole id of the search that is meant: its first characters, or `latest`."""
        return {"search_id": self.store.resolve(prefix)}

    def live(self) -> list[dict[str, Any]]:
        """Where the searches stand that have not ended."""
        return plain(self.service.call("status"))

    def spooled(self) -> list[dict[str, Any]]:
        """What waits in the spool, or was refused from there."""
        return plain(self.store.spooled())

    def status(
        self,
        search: SearchName,
        stored: Annotated[bool, Query(description="As far as the store knows.")] = False,
    ) -> dict[str, Any]:
        """Where a search stands."""
        search_id = self.store.resolve(search)
        if not stored and not self.store.ended(search_id):
            with contextlib.suppress(SearchNotFoundError):  # it ended between the two questions
                return plain(self.service.call("status", search_id)[0])
        return plain(self.store.status(search_id))

    async def wait(self, search: SearchName, timeout_s: WaitSeconds = 30.0) -> dict[str, Any]:
        """Answer when the search has ended or is paused: its status; null when it goes on after `timeout_s`."""

        def wait() -> Any:
            search_id = self.store.resolve(search)
            if self.store.ended(search_id):
                return self.store.status(search_id)
            try:
                return self.service.call("wait", search_id, timeout_s, timeout_s=timeout_s + CALL_TIMEOUT_S)
            except SearchNotFoundError:
                return self.store.status(search_id)

        return {"status": plain(await self._patiently(wait))}

    async def watch(
        self,
        search: SearchName,
        seen: Annotated[str, Query(max_length=64, description="`tag` of the last answer.")] = "",
        timeout_s: WaitSeconds = 30.0,
    ) -> dict[str, Any]:
        """Answer when the status is another one than was `seen`, or after `timeout_s`: ask again with the new `tag`.

        The tag is a digest of the status itself, so that watching goes on with a service that was started again.
        """
        deadline_s = anyio.current_time() + timeout_s
        while True:
            status = await self._patiently(functools.partial(self.status, search))
            lasting = {name: value for name, value in status.items() if name not in ("running_s", "running")}
            tag = hashlib.blake2b(json.dumps(lasting, sort_keys=True).encode(), digest_size=16).hexdigest()
            if tag != seen or anyio.current_time() >= deadline_s:
                return {"tag": tag, "status": status}
            await asyncio.sleep(min(LOOK_S, timeout_s))

    async def _patiently(self, function: Callable[[], T]) -> T:
        """Run what may take long in a thread of its own kind, so that it takes no place from the quick ones."""
        if self._waits is None:
            self._waits = anyio.CapacityLimiter(LONG_POLLS)
        return await anyio.to_thread.run_sync(function, limiter=self._waits)

    # ---- steering ----------------------------------------------------------------------------------------------------

    def pause(self, search: SearchName, how: Annotated[Pause, Body()]) -> None:
        """Dispatch nothing more of a search."""
        self.service.call("pause", self.store.resolve(search), how.at_once)

    def resume(self, search: SearchName) -> None:
        """Go on after a pause."""
        self.service.call("resume", self.store.resolve(search))

    def cancel(self, search: SearchName) -> None:
        """End a search; what it has measured stays."""
        self.service.call("cancel", self.store.resolve(search))

    def extend(self, search: SearchName, budget: Annotated[Budget, Body()]) -> None:
        """Give a search a larger budget; a finished one is reopened."""
        limits = (budget.trials, budget.gpu_hours, budget.wall_clock)
        if all(limit is None for limit in limits):
            raise SpecError("give at least one new limit.", field="budget", valid=Budget.model_fields)
        self.service.call("extend", self.store.resolve(search), *limits, timeout_s=SUBMIT_TIMEOUT_S)

    def measure_test(self, search: SearchName, trial: TrialNumber) -> dict[str, float | None]:
        """Metrics of a trial's stored weights on the test split; measured once."""
        search_id = self.store.resolve(search)
        return plain(self.service.call("measure_test", search_id, trial, timeout_s=SUBMIT_TIMEOUT_S))

    # ---- results -----------------------------------------------------------------------------------------------------

    def summary(self, search: SearchName) -> dict[str, Any]:
        """Counts, budget and best trial, from the rows."""
        return plain(self.store.summary(self.store.resolve(search)))

    def card(self, search: SearchName) -> dict[str, Any]:
        """The complete specification of a search, its task's hash and its objectives."""
        return plain(self.store.card(self.store.resolve(search)))

    def transitions(self, search: SearchName) -> list[dict[str, Any]]:
        """Every transition of a search."""
        return plain(self.store.transitions(self.store.resolve(search)))

    def trials(self, search: SearchName, form: Format = "json") -> Response:
        """Its finished trials, one row each."""
        return _table(self.store.trials(self.store.resolve(search)), form)

    def curves(self, search: SearchName, form: Format = "json") -> Response:
        """Its learning curves, one row a trial, epoch and metric."""
        return _table(self.store.curves(self.store.resolve(search)), form)

    def best(
        self, search: SearchName, n: Annotated[int | None, Query(ge=1, le=10**6, description="How many.")] = 5
    ) -> list[dict[str, Any]]:
        """The best completed trials that satisfy the constraints, best first."""
        return plain(self.store.best(self.store.resolve(search), n))

    def explain(self, search: SearchName) -> dict[str, str]:
        """What the controller of a search says that has not ended: by kind, Parquet in base64."""
        tables = self.service.call("explain", self.store.resolve(search))
        return {kind: base64.b64encode(frame_to_parquet(table)).decode() for kind, table in tables.items()}

    def explanations(self, search: SearchName, kind: Kind, form: Format = "json") -> Response:
        """What the controller has learnt, such as `motifs`."""
        search_id = self.store.resolve(search)

        def live() -> dict[str, Any]:
            with contextlib.suppress(ServiceError, SearchNotFoundError):
                return self.service.call("explain", search_id)
            return {}

        return _table(self.store.explanations(search_id, kind, live), form)

    def logs(
        self,
        search: SearchName,
        trial: Annotated[int | None, Query(ge=0, le=2**31 - 1, description="Of this one alone.")] = None,
        after: Annotated[float, Query(ge=0, le=1e12, description="UNIX seconds; lines from then on.")] = 0.0,
    ) -> list[dict[str, Any]]:
        """The last 10,000 log lines of a search, in the order of time."""
        lines = self.store.logs(self.store.resolve(search), trial).new()
        return plain([line for line in lines if line_time(line) >= after][-MAX_LINES:])

    def failure(self, search: SearchName, trial: TrialNumber) -> list[dict[str, Any]]:
        """What the row of a failed trial kept of its log."""
        return plain(self.store.failure_lines(self.store.resolve(search), trial))

    def graphs(self, search: SearchName, trial: TrialNumber) -> dict[str, Any]:
        """A trial's architecture, and its graphs by cell type as node-link data."""
        import networkx as nx

        architecture, graphs = self.store.trial_graphs(self.store.resolve(search), trial)
        linked = {cell: plain(nx.node_link_data(graph, edges="edges")) for cell, graph in graphs.items()}
        return {"architecture": architecture, "graphs": linked}

    def export(self, search: SearchName, trial: TrialNumber) -> Response:
        """A trial's architecture, recipe, weights and a loader, as a gzipped tar."""
        search_id = self.store.resolve(search)
        with tempfile.TemporaryDirectory(prefix="xnas-export-") as folder:
            made = self.store.export(search_id, trial, Path(folder) / "trial")
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w:gz") as tar:
                tar.add(made, arcname=".")
        return Response(packed.getvalue(), media_type=GZIP)

    async def report(self, request: Request, searches: SearchNames) -> Response:
        """What the report of these searches shows, as its page reads it; 304 while the store has nothing new."""

        def look() -> tuple[str, bytes]:
            return self.reports.get([self.store.resolve(one) for one in searches])

        tag, data = await self._patiently(look)
        return tagged_response(request, None, data, f'"{tag}"', "application/json", {"Cache-Control": "no-store"})

    def verify(self, search: SearchName) -> dict[str, Any]:
        """Derive every proposal again from the rows."""
        return plain(self.store.verify(self.store.resolve(search)))

    async def design(self, search: SearchName, query: Annotated[DesignQuery, Query()]) -> dict[str, Any]:
        """Architectures for new budgets, by a predictor that learns from the trials of a search; takes seconds."""

        def answer() -> dict[str, Any]:
            return self.store.design(self.store.resolve(search), query.model_dump())

        return plain(await self._patiently(answer))


def _submission(body: bytes) -> Submission:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise SpecError("the body is not JSON.", field="body", fix="TOML goes as application/toml.") from None
    return Submission.model_validate(found)


def _toml(body: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(body.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecError(f"the body is not TOML: {error}.", field="body") from None


def _check_protocol(theirs: int) -> None:
    if theirs != PROTOCOL_VERSION:
        raise ProtocolError(
            f"the service speaks protocol {PROTOCOL_VERSION}, the client {theirs}.",
            fix="Install the same version of xnas-ray on both sides.",
        )


def _name_of(task: str) -> str:
    """The name of a task in the service's ``experiments/``; paths of its machine are not for clients."""
    if not NAME.fullmatch(task) or ".." in task:
        raise SpecError(
            "is a path, and the task was not uploaded.", field="task", got=task, fix=f"Upload it: POST {API}/tasks"
        )
    return task


def _table(frame: Any, form: str) -> Response:
    if form == "parquet":
        return Response(frame_to_parquet(frame), media_type=PARQUET)
    return JSONResponse(plain(frame.to_dict("records")))
