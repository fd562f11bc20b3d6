"""The Ray actors of the service and the handles by which the head holds them; nothing here decides anything."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from xnas_ray.errors import XnasError
from xnas_ray.messages import Attempt
from xnas_ray.service.log_files import LogFiles
from xnas_ray.service.logs import about, log_json_lines
from xnas_ray.service.proposals import Proposal, Told
from xnas_ray.service.reports import HEAD_SILENCE_S, RETRY_S, Assignment, Report

NAMESPACE = "xnas"
DIED = (RayActorError, NodeDiedError, WorkerCrashedError, OutOfMemoryError)
HEAD_CALL_TIMEOUT_S = 20.0


def store_tag(root: Path) -> str:
    """Short name of a store, by which the actors of several services on one Ray cluster differ."""
    return hashlib.blake2b(str(root.resolve()).encode(), digest_size=4).hexdigest()


def head_name(root: Path) -> str:
    """Name of the head actor of a store."""
    return f"xnas-head-{store_tag(root)}"


def remote_cause(error: BaseException) -> BaseException:
    """The exception that a remote method raised, without Ray's wrapping."""
    if isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        return error.cause
    return error


async def answer(reference: Any) -> Any:
    """The value of a remote call; our own errors come back as themselves."""
    try:
        return await reference
    except RayTaskError as error:
        cause = remote_cause(error)
        if isinstance(cause, XnasError) or type(cause) is RuntimeError:
            raise cause from None
        raise


def this_node() -> NodeAffinitySchedulingStrategy:
    """Where this process runs, for what has no CPUs of its own: Ray would place it anywhere, on leaving nodes too."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


# ---- controller hosts -----------------------------------------------------------------------------------------------


class HostActor:
    """Ray's side of a ``ControllerHost``, which is imported where it works: it brings torch, and the head has none."""

    def __init__(self, root: str, slot: int) -> None:
        """The host of a slot."""
        from xnas_ray.service.host import ControllerHost

        log_json_lines()
        LogFiles(Path(root), f"host-{slot}").start()
        self._host = ControllerHost(root)

    def __repr__(self) -> str:
        """What Ray's dashboard shows."""
        return repr(self._host)

    def pid(self) -> int:
        """The process id."""
        return os.getpid()

    def resolve(self, spec: Mapping[str, Any], task_hash: str) -> dict[str, Any]:
        """See ``ControllerHost.resolve``."""
        return self._host.resolve(spec, task_hash)

    def open(self, search_id: str, card: Mapping[str, Any]) -> tuple[int, int]:
        """See ``ControllerHost.open``."""
        with about(search=search_id):
            return self._host.open(search_id, card)

    def step(self, search_id: str, tells: Sequence[Told], proposals: int) -> list[Proposal | None]:
        """See ``ControllerHost.step``."""
        with about(search=search_id):
            return self._host.step(search_id, tells, proposals)

    def explain(self, search_id: str) -> dict[str, Any]:
        """See ``ControllerHost.explain``."""
        with about(search=search_id):
            return self._host.explain(search_id)

    def close(self, search_id: str) -> None:
        """See ``ControllerHost.close``."""
        self._host.close(search_id)


class ActorHost:
    """A controller host process."""

    def __init__(self, handle: Any) -> None:
        """Hold the actor."""
        self._handle = handle

    async def resolve(self, spec: Mapping[str, Any], task_hash: str) -> dict[str, Any]:
        """See ``ControllerHost.resolve``."""
        return await answer(self._handle.resolve.remote(dict(spec), task_hash))

    async def open(self, search_id: str, card: Mapping[str, Any]) -> tuple[int, int]:
        """See ``ControllerHost.open``."""
        return await answer(self._handle.open.remote(search_id, dict(card)))

    async def step(self, search_id: str, tells: Sequence[Told], proposals: int) -> list[Proposal | None]:
        """See ``ControllerHost.step``."""
        return await answer(self._handle.step.remote(search_id, list(tells), proposals))

    async def explain(self, search_id: str) -> dict[str, Any]:
        """See ``ControllerHost.explain``."""
        return await answer(self._handle.explain.remote(search_id))

    def close(self, search_id: str) -> None:
        """See ``ControllerHost.close``; not waited for."""
        self._handle.close.remote(search_id)

    def kill(self) -> None:
        """End the process."""
        ray.kill(self._handle, no_restart=True)


class HostLauncher:
    """Makes controller hosts as detached actors, or finds those of an earlier head."""

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        """Every host reads the store at ``root``."""
        self._root = root
        self._environment = dict(environment)

    def host(self, slot: int) -> ActorHost:
        """The host of a slot: the living one, else a new one.

        It stays on the head's node (with a soft affinity it does not always): on one that comes and goes it would hold
        up the leaving, and then have to replay its searches.
        """
        name = f"xnas-host-{store_tag(self._root)}-{slot}"
        handle = (
            ray.remote(HostActor)
            .options(
                name=name,
                namespace=NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                num_cpus=0,
                max_restarts=0,
                enable_task_events=False,
                scheduling_strategy=this_node(),
                runtime_env={"env_vars": self._environment} if self._environment else None,
            )
            .remote(str(self._root), slot)
        )
        return ActorHost(handle)


# ---- trial workers --------------------------------------------------------------------------------------------------


class WorkerActor:
    """Ray's side of a ``TrialWorker``: its methods return at once, ``wait`` lasts as long as the process."""

    def __init__(self, worker_id: str, root: str, shape: tuple[float, float], settings: Mapping[str, Any]) -> None:
        """Import what trials need, so that the first one does not wait for it."""
        from xnas_ray.service.shown import Shown
        from xnas_ray.service.task_runner import TaskRunner
        from xnas_ray.service.trial_worker import TrialWorker

        log_json_lines()
        LogFiles(Path(root), worker_id).start()
        self._about = f"worker {worker_id}: {shape[0]:g} CPU, {shape[1]:g} GPU"
        self._link = HeadLink(Path(root))
        context = ray.get_runtime_context()
        self._runner = TaskRunner(Path(root), gpus=shape[1], settings=settings, card=self._link.card)
        self._worker = TrialWorker(
            worker_id,
            self._runner,
            Path(root),
            self._link.send,
            shape=shape,
            node_id=context.get_node_id(),
            memory_growth_bytes=int(settings.get("memory_growth_bytes", 2 * 2**30)),
            checkpoint_every_s=float(settings.get("checkpoint_every_s", 30.0)),
        )
        self._shown = Shown(lambda: self._worker.running, self._begin_task)
        self._shown.start()

    def __repr__(self) -> str:
        """What Ray's dashboard shows."""
        return self._about

    def _begin_task(self, name: str) -> None:
        """A Ray task that ends with the trial that runs now."""
        itself = ray.get_runtime_context().current_actor
        itself.trial.options(name=name, enable_task_events=True).remote(name)

    def trial(self, name: str) -> str:
        """See ``Shown.wait_for``."""
        return self._shown.wait_for(name)

    def ready(self) -> bool:
        """Answer once everything is imported."""
        return True

    def pid(self) -> int:
        """The process id."""
        return os.getpid()

    def submit(self, assignment: Assignment) -> None:
        """See ``TrialWorker.submit``."""
        self._worker.submit(assignment)

    def stop_trial(self, search_id: str, trial: int, attempt: Attempt, checkpoint: bool) -> None:
        """See ``TrialWorker.stop_trial``."""
        self._worker.stop_trial(search_id, trial, attempt, checkpoint)

    def attach(self) -> dict[str, Any]:
        """See ``TrialWorker.attach``."""
        return self._worker.attach()

    def measure_test(self, card: Mapping[str, Any], assignment: Assignment) -> dict[str, float]:
        """Metrics of stored weights on the test split (see ``TaskRunner.measure_test``)."""
        return self._runner.measure_test(card, assignment)

    def shutdown(self) -> None:
        """End after what is held."""
        self._worker.shutdown()

    def wait(self) -> None:
        """Return when the worker has ended; fails with its process."""
        self._worker.ended.wait()


class HeadLink:
    """How a worker reaches the head: by name, so that it finds the next one when this one dies."""

    def __init__(self, root: Path) -> None:
        """Look the head up when first needed."""
        self._name = head_name(root)
        self._handle: Any = None

    def send(self, worker_id: str, reports: list[Report]) -> list[Assignment]:
        """Deliver reports, receive assignments; ConnectionError while no head answers."""
        return self._call("report", worker_id, reports)

    def card(self, search_id: str) -> dict[str, Any]:
        """The card of a search; waits while a head is being replaced.

        Raises:
            SearchNotFoundError: the head does not know it any more.
            ConnectionError: no head for ten minutes.
        """
        deadline_s = time.monotonic() + HEAD_SILENCE_S
        while True:
            try:
                return self._call("card", search_id)
            except ConnectionError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(RETRY_S)

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            if self._handle is None:
                self._handle = ray.get_actor(self._name, namespace=NAMESPACE)
            return ray.get(getattr(self._handle, method).remote(*arguments), timeout=HEAD_CALL_TIMEOUT_S)
        except RayTaskError as error:
            cause = remote_cause(error)
            if isinstance(cause, XnasError):
                raise cause from None
            raise ConnectionError(f"the head could not answer: {cause}") from error
        except (ValueError, RayError) as error:
            if not isinstance(error, ActorUnavailableError):
                self._handle = None
            raise ConnectionError(f"the head does not answer: {error}") from error


class ActorWorker:
    """A trial worker as the head holds it."""

    def __init__(self, worker_id: str, node_id: str, handle: Any) -> None:
        """Hold the actor."""
        self.worker_id = worker_id
        self.node_id = node_id
        self._handle = handle

    async def ready(self) -> None:
        """Wait until the process is up."""
        await self._handle.ready.remote()

    async def ended(self) -> None:
        """Return, or raise one of ``DIED``, when the process has ended."""
        await self._handle.wait.remote()

    def submit(self, assignment: Assignment) -> None:
        """Hand over a trial; a lost call shows as the worker's death."""
        self._handle.submit.remote(assignment)

    def stop_trial(self, search_id: str, trial: int, attempt: Attempt, checkpoint: bool) -> None:
        """Ask an attempt to end."""
        self._handle.stop_trial.remote(search_id, trial, attempt, checkpoint)

    async def attach(self, timeout_s: float = 10.0) -> dict[str, Any]:
        """What the worker holds; TimeoutError when it does not answer."""
        return await asyncio.wait_for(asyncio.wrap_future(self._handle.attach.remote().future()), timeout_s)

    async def measure_test(self, card: Mapping[str, Any], assignment: Assignment) -> dict[str, float]:
        """Metrics of stored weights on the test split."""
        return await answer(self._handle.measure_test.remote(dict(card), assignment))

    def shutdown(self) -> None:
        """Ask it to end after what it holds."""
        self._handle.shutdown.remote()

    def kill(self) -> None:
        """SIGKILL."""
        ray.kill(self._handle, no_restart=True)


class WorkerLauncher:
    """Starts trial workers as detached actors on chosen nodes, and finds those of an earlier head."""

    def __init__(self, root: Path, settings: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """``settings`` reach every worker."""
        self._root = root
        self._prefix = f"xnas-worker-{store_tag(root)}-"
        self._settings = dict(settings)
        self._environment = {"OMP_NUM_THREADS": "1", **environment}

    def start(self, worker_id: str, node_id: str, cpus: float, gpus: float) -> ActorWorker:
        """Start a worker; ``ready`` tells when it is up."""
        handle = (
            ray.remote(WorkerActor)
            .options(
                name=self._prefix + worker_id,
                namespace=NAMESPACE,
                lifetime="detached",
                num_cpus=cpus,
                num_gpus=gpus,
                max_restarts=0,
                max_concurrency=8,
                enable_task_events=False,  # of calls; those of trials are wanted
                scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
                runtime_env={"env_vars": self._environment},
            )
            .remote(worker_id, str(self._root), (cpus, gpus), self._settings)
        )
        return ActorWorker(worker_id, node_id, handle)

    def find(self) -> list[ActorWorker]:
        """Workers of an earlier head that are still registered."""
        found = []
        for entry in ray.util.list_named_actors(all_namespaces=True):
            if entry["namespace"] == NAMESPACE and entry["name"].startswith(self._prefix):
                with contextlib.suppress(ValueError):  # it has died since it was listed
                    handle = ray.get_actor(entry["name"], namespace=NAMESPACE)
                    found.append(ActorWorker(entry["name"].removeprefix(self._prefix), "", handle))
        return found
