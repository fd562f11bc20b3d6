"""What the tests of experiments share: one thread, and scripts that are imported as if they were run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from xnas_ray.training.device import limit_threads


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    limit_threads(1)


@pytest.fixture
def script(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a script of the test module's ``FOLDER`` by its name; it and its neighbours are forgotten afterwards."""
    folder = str(request.module.FOLDER)
    monkeypatch.syspath_prepend(folder)
    known = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
            del sys.modules[name]
