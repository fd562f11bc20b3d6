"""A service and its store at the other end of an HTTP connection; what it answers is what the Ray client would say."""

from __future__ import annotations

import base64
import contextlib
import datetime
import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from xnas_ray.errors import ServiceError
from xnas_ray.service.connection import CALL_TIMEOUT_S, QUESTIONS
from xnas_ray.service.http_connection import HttpConnection
from xnas_ray.service.log_lines import line_time
from xnas_ray.service.store_access import Live, NewLines
from xnas_ray.service.wire import GZIP, frame_from_parquet

if TYPE_CHECKING:
    import pandas as pd

LATE_S = 10.0
SLOW_S = 600.0
"""How long what may have to be derived again, or measured, is waited for."""


class HttpHead:
    """A head behind an HTTP API; see ``connection.Service``.

    Args:
        connection: to it.
    """

    def __init__(self, connection: HttpConnection) -> None:
        """Ask nothing yet."""
        self.connection = connection

    def call(self, method: str, *arguments: Any, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """See ``Service.call``."""
        verb, path, request, answer = _METHODS[method](*arguments)
        response = self.connection.ask(verb, path, timeout_s=timeout_s, again=method in QUESTIONS, **request)
        return answer(None if response.status_code == 204 else response.json())


_Request = tuple[str, str, dict[str, Any], Callable[[Any], Any]]


def _same(found: Any) -> Any:
    return found


def _submit(
    protocol: int, spec: Mapping[str, Any], task_hash: str, key: str | None = None, search_id: str | None = None
) -> _Request:
    body = {"protocol": protocol, "spec": dict(spec), "task_hash": task_hash, "idempotency_key": key}
    return "POST", "/searches", {"json": body}, lambda found: found["search_id"]


def _status(search_id: str | None = None) -> _Request:
    if search_id is None:
        return "GET", "/live", {}, _same
    return "GET", f"/searches/{search_id}", {}, lambda found: [found]


def _extend(
    search_id: str, trials: int | None = None, gpu_hours: float | None = None, wall_clock: float | None = None
) -> _Request:
    body = {"trials": trials, "gpu_hours": gpu_hours, "wall_clock": wall_clock}
    return "POST", f"/searches/{search_id}/extend", {"json": body}, _same


def _wait(search_id: str, timeout_s: float) -> _Request:
    return "GET", f"/searches/{search_id}/wait", {"params": {"timeout_s": timeout_s}}, lambda found: found["status"]


_METHODS: dict[str, Callable[..., _Request]] = {
    "info": lambda: ("GET", "/service", {}, _same),
    "submit": _submit,
    "status": _status,
    "wait": _wait,
    "pause": lambda one, at_once=False: ("POST", f"/searches/{one}/pause", {"json": {"at_once": at_once}}, _same),
    "resume": lambda one: ("POST", f"/searches/{one}/resume", {}, _same),
    "cancel": lambda one: ("POST", f"/searches/{one}/cancel", {}, _same),
    "extend": _extend,
    "explain": lambda one: (
        "GET",
        f"/searches/{one}/explanations",
        {},
        lambda found: {kind: frame_from_parquet(base64.b64decode(data)) for kind, data in found.items()},
    ),
    "measure_test": lambda one, trial: ("POST", f"/searches/{one}/trials/{trial}/test", {}, _same),
    "stop": lambda checkpoint=True: ("POST", "/service/stop", {"json": {"checkpoint": checkpoint}}, _same),
}


# ---- the store -------------------------------------------------------------------------------------------------------


class HttpStore:
    """The store of a service, read through its HTTP API; see ``store_access.StoreAccess``.

    Args:
        connection: to the service.
    """

    def __init__(self, connection: HttpConnection) -> None:
        """Ask nothing yet."""
        self.connection = connection

    @property
    def name(self) -> str:
        """The service's address."""
        return self.connection.address

    def _get(self, path: str, **params: Any) -> Any:
        return self.connection.ask("GET", path, params=params).json()

    def _table(self, path: str) -> pd.DataFrame:
        slow = 600.0  # explanations may have to be derived again
        return frame_from_parquet(
            self.connection.ask("GET", path, params={"format": "parquet"}, timeout_s=slow).content
        )

    def resolve(self, prefix: str) -> str:
        """See ``StoreAccess.resolve``."""
        return str(self._get("/resolve", prefix=prefix)["search_id"])

    def searches(self) -> pd.DataFrame:
        """See ``StoreAccess.searches``."""
        from xnas_ray.store.reader import searches_frame

        return searches_frame([_with_times(one, "submitted_at", "updated_at") for one in self._get("/searches")])

    def spooled(self) -> list[dict[str, Any]]:
        """See ``StoreAccess.spooled``."""
        return list(self._get("/spool"))

    def ended(self, search_id: str) -> bool:
        """See ``StoreAccess.ended``."""
        from xnas_ray.store.replay import search_state

        return search_state(self.transitions(search_id)[-1]["state"]).ended

    def status(self, search_id: str) -> dict[str, Any]:
        """See ``StoreAccess.status``."""
        return dict(self._get(f"/searches/{search_id}", stored=True))

    def summary(self, search_id: str) -> dict[str, Any]:
        """See ``StoreAccess.summary``."""
        return dict(self._get(f"/searches/{search_id}/summary"))

    def card(self, search_id: str) -> dict[str, Any]:
        """See ``StoreAccess.card``."""
        return dict(self._get(f"/searches/{search_id}/card"))

    def transitions(self, search_id: str) -> list[dict[str, Any]]:
        """See ``StoreAccess.transitions``."""
        return [_with_times(one, "at") for one in self._get(f"/searches/{search_id}/transitions")]

    def trials(self, search_id: str) -> pd.DataFrame:
        """See ``StoreAccess.trials``."""
        return self._table(f"/searches/{search_id}/trials")

    def curves(self, search_id: str) -> pd.DataFrame:
        """See ``StoreAccess.curves``."""
        return self._table(f"/searches/{search_id}/curves")

    def best(self, search_id: str, count: int | None) -> list[dict[str, Any]]:
        """See ``StoreAccess.best``."""
        return list(self._get(f"/searches/{search_id}/best", n=10**6 if count is None else count))

    def explanations(self, search_id: str, kind: str, live: Live) -> pd.DataFrame:
        """See ``StoreAccess.explanations``; the service asks its own controllers, not ``live``."""
        return self._table(f"/searches/{search_id}/explanations/{kind}")

    def logs(self, search_id: str, trial: int | None = None) -> NewLines:
        """See ``StoreAccess.logs``."""
        return HttpLines(self.connection, search_id, trial)

    def failure_lines(self, search_id: str, trial: int) -> list[dict[str, Any]]:
        """See ``StoreAccess.failure_lines``."""
        return list(self._get(f"/searches/{search_id}/trials/{trial}/failure"))

    def trial_graphs(self, search_id: str, trial: int) -> tuple[str, dict[str, Any]]:
        """See ``StoreAccess.trial_graphs``."""
        import networkx as nx

        found = self._get(f"/searches/{search_id}/trials/{trial}/graphs")
        graphs = {cell: nx.node_link_graph(graph, edges="edges") for cell, graph in found["graphs"].items()}
        return found["architecture"], graphs

    def export(self, search_id: str, trial: int, folder: Path) -> Path:
        """See ``StoreAccess.export``."""
        from xnas_ray.service.export import prepare_folder

        answer = self.connection.ask("GET", f"/searches/{search_id}/trials/{trial}/export", timeout_s=SLOW_S)
        prepare_folder(folder)
        return _unpack(answer.content, folder)

    def report(self, search_ids: Sequence[str]) -> bytes:
        """See ``StoreAccess.report``."""
        answer = self.connection.ask("GET", "/report", params={"search": list(search_ids)}, timeout_s=SLOW_S)
        return gzip.compress(answer.content, mtime=0)

    def verify(self, search_id: str) -> dict[str, Any]:
        """See ``StoreAccess.verify``."""
        answer = self.connection.ask("GET", f"/searches/{search_id}/verify", timeout_s=SLOW_S)
        return dict(answer.json())

    def design(self, search_id: str, query: Mapping[str, Any]) -> dict[str, Any]:
        """See ``StoreAccess.design``."""
        given = {name: value for name, value in query.items() if value is not None}
        answer = self.connection.ask("GET", f"/searches/{search_id}/design", params=given, timeout_s=SLOW_S)
        return dict(answer.json())

    def take_task(self, folder: Path) -> str:
        """See ``StoreAccess.take_task``; a task that the service has is not sent again."""
        from xnas_ray.tasks.archives import pack
        from xnas_ray.tasks.bundle import snapshot_task

        task = snapshot_task(folder)
        if self.connection.ask("GET", f"/tasks/{task.hash}", missing=True).status_code == 404:
            known = {"name": task.name, "hash": task.hash}
            content, headers = pack(task), {"Content-Type": GZIP}
            self.connection.ask("POST", "/tasks", params=known, content=content, headers=headers, again=True)
        return task.hash

    def living_writer(self) -> str:
        """See ``StoreAccess.living_writer``: the service that answers."""
        found = self._get("/service")
        return f"process {found['pid']} at {self.name}"


class HttpLines:
    """The log of a search behind an HTTP API; see ``log_lines.LogLines``.

    Args:
        connection: to the service.
        search_id: whole id.
        trial: lines of this one alone; None for all.
    """

    def __init__(self, connection: HttpConnection, search_id: str, trial: int | None) -> None:
        """Nothing is read yet."""
        self._connection = connection
        self._path = f"/searches/{search_id}/logs"
        self._params = {} if trial is None else {"trial": trial}
        self._newest_s = 0.0
        self._seen: dict[str, float] = {}

    def new(self) -> list[dict[str, Any]]:
        """Lines that were not returned yet; processes write theirs with a delay, so the last ones are asked again."""
        after_s = max(0.0, self._newest_s - LATE_S)
        answer = self._connection.ask("GET", self._path, params={**self._params, "after": after_s})
        found = {json.dumps(line, sort_keys=True): line for line in answer.json()}
        fresh = [line for text, line in found.items() if text not in self._seen]
        self._seen = {text: line_time(line) for text, line in found.items()}
        self._newest_s = max([self._newest_s, *self._seen.values()])
        return fresh


def _with_times(record: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {**record, **{name: datetime.datetime.fromisoformat(record[name]) for name in names}}


def _unpack(data: bytes, folder: Path) -> Path:
    """Write the regular files of a gzipped tar below a folder; nothing in it can lead elsewhere."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as unzipped, tarfile.open(fileobj=unzipped, mode="r|") as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                if not member.isreg() or name.is_absolute() or ".." in name.parts:
                    continue
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.closing(tar.extractfile(member)) as content:  # type: ignore[type-var]
                    path.write_bytes(content.read())  # type: ignore[union-attr]
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise ServiceError(f"what the service sent cannot be unpacked into {folder}: {error}.") from None
    return folder
