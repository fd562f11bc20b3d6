"""Services on the shared Ray cluster, each on a store of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xnas_ray.scheduler import SchedulerConfig
from xnas_ray.service.settings import HeadSettings
from xnas_ray.spec import SearchSpec

TASKS = Path(__file__).parents[1] / "system" / "tasks"


class Service:
    """A head and the calls that tests make."""

    def __init__(self, root: Path, settings: HeadSettings) -> None:
        """Start it."""
        from xnas_ray.service.bring_up import start_head

        self.root = root
        self.head = start_head(root, settings)

    def call(self, method: str, *arguments: Any, timeout_s: float = 30) -> Any:
        """The answer of a method of the head."""
        import ray

        return ray.get(getattr(self.head, method).remote(*arguments), timeout=timeout_s)

    def submit(self, task: str, *, key: str | None = None, **spec: Any) -> str:
        """Submit a search on one of the test tasks."""
        from xnas_ray.tasks.bundle import bundle_task

        info = bundle_task(TASKS / task, self.root)
        given = {"task": task, "seed": 1, "resources": {"cpus": 1, "workers": 2}, **spec}
        return self.call("submit", 1, SearchSpec.from_mapping(given).to_json(), info.hash, key)

    def wait(self, search_id: str, timeout_s: float = 90) -> dict[str, Any]:
        """The final status."""
        final = self.call("wait", search_id, timeout_s, timeout_s=timeout_s + 10)
        assert final is not None, self.call("status", search_id)
        return final

    def status(self, search_id: str) -> dict[str, Any]:
        """The status now."""
        return self.call("status", search_id)[0]


@pytest.fixture
def service(ray_cluster: str, root: Path) -> Iterator[Callable[..., Service]]:
    """Makes services; they are stopped at the end of the test."""
    made: list[Service] = []

    def make(**settings: Any) -> Service:
        settings.setdefault("scheduler", SchedulerConfig(backoff_s=(0.1,), kill_after_s=2.0))
        made.append(Service(root, HeadSettings(nodes_every_s=0.5, cpus_per_node=4, **settings)))
        return made[-1]

    yield make
    for one in made:
        end(one)


@pytest.fixture(scope="session")
def shared_service(ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that leave it in one piece."""
    scheduler = SchedulerConfig(backoff_s=(0.1,), kill_after_s=2.0)
    settings = HeadSettings(nodes_every_s=0.5, cpus_per_node=4, scheduler=scheduler)
    one = Service(tmp_path_factory.mktemp("shared"), settings)
    yield one
    end(one)


def end(service: Service) -> None:
    """Stop a service that may have been stopped or killed by its test."""
    import ray

    with contextlib.suppress(ray.exceptions.RayActorError):
        service.call("stop", False)
        ray.kill(service.head, no_restart=True)
