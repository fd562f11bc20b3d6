"""What runs inside a Slurm job, on the Ray that its script has started; see ``xnas_ray.slurm.script``.

``python -m xnas_ray.commands.slurm_job service|search|endpoint|leave …``

=========  ============================================================================================================
service    the head of a store, until it is stopped
search     one search: submitted at the first start of the job, gone on with at the others, to its end
endpoint   print the address of the running service and the path of its token, as soon as there is one
leave      let the nodes that a job has joined with drain
=========  ============================================================================================================

SIGTERM is a clean stop: running trials write checkpoints, rows are flushed, the store is set free. The exit code is 0
when what was to be done is done or was stopped, 1 when a search did not finish, 2 after an error.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from xnas_ray.commands.console import note, say, show_error
from xnas_ray.commands.options import FINISHED, PAUSED
from xnas_ray.errors import ServiceError, XnasError

if TYPE_CHECKING:
    from xnas_ray.client import Client
    from xnas_ray.commands.slurm_follow import Follower
    from xnas_ray.search_handle import SearchHandle
    from xnas_ray.service.settings import HeadSettings

OK, NOT_FINISHED, FAILED = 0, 1, 2
JOB_LABEL = "slurm_job"
"""Ray's label of the nodes that a worker job has joined with; the scripts set it."""

STORE_PATIENCE_S = 60.0
"""How long a job waits for the store: after a hard end, the last writer counts as alive for 30 s."""

ENDPOINT_PATIENCE_S = 900.0
LOOK_S = 5.0
STATUS_S = 30.0


class Stop:
    """Remembers a SIGTERM or SIGINT; Slurm may send several, and none may interrupt the end.

    Attributes:
        asked: set by the first one.
    """

    def __init__(self) -> None:
        """Take the signals over, until the process ends."""
        self.asked = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.asked.set()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the programs; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m xnas_ray.commands.slurm_job")
    programs = parser.add_subparsers(required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--root", type=Path, required=True)
    head = argparse.ArgumentParser(add_help=False)
    head.add_argument("--address", required=True)
    head.add_argument("--profile", type=Path)
    program = programs.add_parser("service", parents=[common, head])
    program.set_defaults(run=_service)
    program = programs.add_parser("search", parents=[common, head])
    for name in ("--spec", "--task-hash", "--key"):
        program.add_argument(name, required=True)
    program.set_defaults(run=_search)
    program = programs.add_parser("endpoint", parents=[common])
    program.add_argument("--patience", type=float, default=ENDPOINT_PATIENCE_S)
    program.set_defaults(run=_endpoint)
    program = programs.add_parser("leave")
    for name in ("--address", "--job"):
        program.add_argument(name, required=True)
    program.add_argument("--until", type=float, required=True, help="UNIX seconds")
    program.set_defaults(run=_leave)
    given = parser.parse_args(arguments)
    try:
        return int(given.run(given))
    except XnasError as error:
        show_error(error)
        return FAILED


# ---- a standing service ----------------------------------------------------------------------------------------------


def _service(given: argparse.Namespace) -> int:
    stop = Stop()
    with _head(given.root, given.address, _settings(given.profile)) as client:
        say(f"the service is up; its store is {given.root}\nqueue searches into it with: xnas submit SPEC.toml")
        follower = _follower(given.root)
        while not stop.asked.wait(LOOK_S):
            client.service.call("info")
            if follower is not None:
                follower.look(client.service)
            if not _is_registered(given.root):
                say("the service was stopped by a client")
                return OK
        say("stopping the service")
    say("the service has stopped; its searches go on when the next one starts")
    return OK


def _follower(root: Path) -> Follower | None:
    """Who asks for nodes, if this job was submitted with a policy."""
    from xnas_ray.commands.slurm_follow import Follower
    from xnas_ray.slurm.scaling import standing_order

    order = standing_order(root, os.environ.get("SLURM_JOB_ID", ""))
    if order is None:
        return None
    say(f"this service has {order.policy.min} to {order.policy.max} nodes, as many as its searches can use")
    return Follower(order)


def _is_registered(root: Path) -> bool:
    """Whether a service stands in the store; asked twice, for a file system may hiccup."""
    from xnas_ray.service.bring_up import ENDPOINT

    for _ in range(2):
        if (root / ENDPOINT).exists():
            return True
        time.sleep(LOOK_S / 5)
    return False


# ---- one search ------------------------------------------------------------------------------------------------------


def _search(given: argparse.Namespace) -> int:
    from xnas_ray.commands.run import conclude
    from xnas_ray.commands.view import follow
    from xnas_ray.search_handle import SearchHandle
    from xnas_ray.service.archive import stored_state

    stop = Stop()
    found = submitted(given.root, given.key)
    if found is not None and stored_state(given.root, found).ended:
        say(f"search {found} has ended in an earlier start of this job")
        return OK
    settings = _settings(given.profile, only=() if found is None else (found,))
    with _head(given.root, given.address, settings) as client:
        handle = _start(client, given) if found is None else SearchHandle(client, found)
        if found is not None and handle.status()["state"] == PAUSED:
            handle.resume()
        say(f"search {handle.id} in {given.root}" + ("" if found is None else ", gone on with"))
        status = follow(handle, interval_s=STATUS_S, stopping=stop.asked.is_set)
        if status is None:
            say("stopping the search")
            return OK
        conclude(handle, status)
        return OK if status["state"] == FINISHED else NOT_FINISHED


def submitted(root: Path, key: str) -> str | None:
    """The search of a store that was submitted with an idempotency key; None if none was."""
    from xnas_ray.store import list_searches

    found = list_searches(root)
    if not len(found):
        return None
    ids = found.loc[found["idempotency_key"] == key, "search_id"]
    return str(ids.iloc[-1]) if len(ids) else None


def _start(client: Client, given: argparse.Namespace) -> SearchHandle:
    """Queue the search as it was when the job was submitted: the task's bundle is in the store since then."""
    from xnas_ray.messages import PROTOCOL_VERSION
    from xnas_ray.search_handle import SearchHandle
    from xnas_ray.service.connection import SUBMIT_TIMEOUT_S

    arguments = (PROTOCOL_VERSION, json.loads(given.spec), given.task_hash, given.key)
    return SearchHandle(client, client.service.call("submit", *arguments, timeout_s=SUBMIT_TIMEOUT_S))


# ---- both ------------------------------------------------------------------------------------------------------------


def _settings(profile: Path | None, **fixed: Any) -> HeadSettings:
    from xnas_ray.service.settings import HeadSettings

    return HeadSettings(**fixed) if profile is None else HeadSettings.from_toml(profile, **fixed)


@contextlib.contextmanager
def _head(root: Path, address: str, settings: HeadSettings) -> Iterator[Client]:
    """A client of a new head on the job's Ray; stopped on leaving, with checkpoints of what is running."""
    from xnas_ray.client import Client, refuse_held
    from xnas_ray.service import bring_up
    from xnas_ray.service.connection import RemoteHead

    refuse_held(root, STORE_PATIENCE_S)
    bring_up.attach(root, address)
    client = Client(root, service=RemoteHead(bring_up.start_head(root, _reachable(settings, address))))
    try:
        yield client
    finally:
        try:
            if _is_registered(root):
                client.stop_service()
        except XnasError as error:  # what is in the store is whole all the same
            note(f"the service did not stop cleanly: {error}")


def _reachable(settings: HeadSettings, address: str) -> HeadSettings:
    """The settings with the HTTP API at the node's address, by which Ray is reached too, unless they name another."""
    host = address.rpartition(":")[0].strip("[]")
    return settings if settings.http_host is not None else dataclasses.replace(settings, http_host=host)


# ---- joining and leaving ---------------------------------------------------------------------------------------------


def _endpoint(given: argparse.Namespace) -> int:
    address, token = wait_for_endpoint(given.root, given.patience)
    print(address, token, sep="\n")
    return OK


def wait_for_endpoint(root: Path, patience_s: float) -> tuple[str, str]:
    """The address of a service that can be reached, and the path of its token.

    Raises:
        ServiceError: there is none within that time, or it has no token that this user can read.
    """
    from xnas_ray.service.bring_up import read_endpoint

    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            endpoint = read_endpoint(root)
            host, port = endpoint["address"].rsplit(":", 1)
            with socket.create_connection((host, int(port)), timeout=5.0):
                pass
            token = endpoint.get("token_path") or ""
            with Path(token).open("rb"):
                return f"{host}:{port}", token
        except (OSError, ServiceError) as error:
            if time.monotonic() > deadline_s:
                raise ServiceError(
                    f"no service of {root} can be reached: {error}", fix="Start one with: xnas slurm up"
                ) from None
            time.sleep(2.0)


def _leave(given: argparse.Namespace) -> int:
    from xnas_ray.service.draining import drain_node

    try:
        drained = drain_node(given.address, {JOB_LABEL: given.job}, given.until)
    except (OSError, RuntimeError) as error:
        note(f"the service does not answer, this node just ends: {str(error).splitlines()[0]}")
        return FAILED
    return OK if drained else NOT_FINISHED


if __name__ == "__main__":
    sys.exit(main())
