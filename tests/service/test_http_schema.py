"""The HTTP API keeps to its own OpenAPI: schemathesis asks every verb, with values that fit and values that do not."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from xnas_ray.errors import SearchNotFoundError, TransitionError
from xnas_ray.service.http_api import Api
from xnas_ray.service.http_app import make_app
from xnas_ray.service.http_server import HttpServer
from xnas_ray.service.store_access import LocalStore

TOKEN = "0f" * 32
EXAMPLES = 5
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


@schemathesis.serializer("application/gzip", "application/toml")
def as_bytes(context: Any, value: Any) -> bytes:
    """How schemathesis writes bodies of these types."""
    return value if isinstance(value, bytes) else str(value).encode()


class Head:
    """Knows one running search, and answers as a head does."""

    def __init__(self, running: str, status: dict[str, Any]) -> None:
        self.running, self.live = running, status

    def call(self, method: str, *arguments: Any, timeout_s: float = 60.0) -> Any:
        if method in ("info", "stop"):
            return {"protocol": 1, "pid": 1}
        if method == "submit":
            return self.running
        if method == "status" and not arguments:
            return [self.live]
        if arguments[0] != self.running:
            raise SearchNotFoundError(f"search {arguments[0]} does not run in this service.")
        if method == "resume":
            raise TransitionError("the search is running, not paused.")
        answers = {"status": [self.live], "wait": self.live, "explain": {}, "measure_test": {"test_accuracy": 90.0}}
        return answers.get(method)


@pytest.fixture
def api(archive, live_status, tmp_path) -> Iterator[tuple[Any, Any]]:
    """The description of a server on a copy of the archive, and its address."""
    root: Path = tmp_path / "store"
    shutil.copytree(archive.root, root)
    app = make_app(Api(Head(archive.unfinished, live_status), LocalStore(root), TOKEN, "1.2.3"))  # type: ignore[arg-type]
    server = HttpServer(lambda: app, "127.0.0.1")
    description = app.openapi()
    for verbs in description["paths"].values():
        for verb in verbs.values():
            for parameter in verb.get("parameters", []):
                if parameter["name"] == "search":  # half of the questions are about a search that exists
                    known = [archive.finished, archive.unfinished, "latest", archive.cancelled[:12]]
                    parameter["schema"] = {"anyOf": [{"enum": known}, parameter["schema"]]}
                if parameter["name"] == "timeout_s":
                    parameter["schema"]["maximum"] = 0.01  # nobody waits here
                if parameter["name"] in ("members", "pool", "top"):
                    parameter["schema"]["maximum"] = 10  # designs are computed
    yield description, server.address
    server.stop()
    server.join(10)


def ask_every_verb(schema: Any, address: str, mode: GenerationMode) -> int:
    """Ask every verb some times; how many answers were checked."""
    asked = 0
    for result in schema.get_all_operations():

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=result.ok().as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            nonlocal asked
            headers = {"Authorization": f"Bearer {TOKEN}"}
            case.call_and_validate(base_url=address, headers=headers, checks=CHECKS, timeout=60)
            asked += 1

        with contextlib.suppress(SkipTest):  # a verb that has nothing to get wrong
            ask()
    return asked


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_verb_keeps_to_its_description(api, mode) -> None:
    description, address = api
    assert ask_every_verb(schemathesis.openapi.from_dict(description), address, mode) >= 10 * EXAMPLES


def test_a_description_that_lies_is_found(api) -> None:
    description, address = api
    description["paths"] = {"/health": description["paths"]["/health"]}
    description["paths"]["/health"]["get"]["responses"]["200"]["content"] = {
        "application/json": {"schema": {"type": "object", "required": ["mood"]}}
    }
    with pytest.raises(FailureGroup) as error:
        ask_every_verb(schemathesis.openapi.from_dict(description), address, GenerationMode.POSITIVE)
    assert any("mood" in str(one) for one in error.value.exceptions)
