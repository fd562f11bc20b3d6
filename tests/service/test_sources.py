"""Searches that learn from searches: what is found, what is refused, and that the card remembers it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from xnas_ray.errors import ControllerError, SpecError
from xnas_ray.service.host import OpenSearch
from xnas_ray.service.resolve import Search, open_search, resolve
from xnas_ray.service.sources import is_id
from xnas_ray.spec import SearchSpec
from xnas_ray.store import load_trials
from xnas_ray.tasks.bundle import bundle_task

CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|"
HEIR = '''
from xnas_ray.controllers.random_search import RandomSearch


class Heir(RandomSearch):
    """Random search that remembers what it was given."""

    def inherit(self, sources):
        self.inherited = sources
'''


@pytest.fixture
def task(archive: Any, tmp_path: Path) -> Path:
    """The toy task with a controller that learns."""
    folder = tmp_path / "toy"
    shutil.copytree(archive.task, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "heir.py").write_text(HEIR)
    return folder


@pytest.fixture
def root(archive: Any, tmp_path: Path) -> Path:
    """A store of one's own with the archive's searches."""
    shutil.copytree(archive.root, tmp_path / "store")
    return tmp_path / "store"


def resolved(root: Path, task: Path, *warm_start: str, controller: str = "heir:Heir", **spec: Any) -> Search:
    given = {"task": "toy", "seed": 3, "controller": controller, "warm_start": warm_start, **spec}
    return resolve(root, SearchSpec.from_mapping(given), bundle_task(task, root).hash)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("01M80R7G", True), ("01M80R7G0T3RB56S9DMGFAJJF2", True), ("latest", True), (CELL, False), ("01M", False)],
)
def test_ids_are_told_from_architectures(text: str, expected: bool) -> None:
    assert is_id(text) is expected


def test_a_source_is_its_completed_trials_and_the_card_remembers_them(archive: Any, root: Path, task: Path) -> None:
    search = resolved(root, task, archive.finished, CELL)
    rows = load_trials(root, archive.finished)
    rows = rows[rows["status"] == "completed"]
    assert len(rows) == 11
    shutil.rmtree(root / "trials")
    again = open_search(root, search.card())
    (source,) = again.sources
    assert again.sources == search.sources and source.search_id == archive.finished
    assert source.genotypes == tuple(tuple(g) for g in rows["genotype"])
    assert [m["val_accuracy"] for m in source.metrics] == list(rows["metric_val_accuracy"])
    opened = OpenSearch(again)
    assert opened.controller.inherited == again.sources  # type: ignore[attr-defined]
    first = opened.propose()
    assert first is not None and first.candidate.origin == {"stage": "warm_start"}


def test_a_prefix_is_stored_as_the_whole_id(archive: Any, root: Path, task: Path) -> None:
    assert resolved(root, task, archive.finished).spec.warm_start == (archive.finished,)
    shutil.rmtree(root / "searches")
    with pytest.raises(SpecError, match="no search") as error:
        resolved(root, task, archive.finished[:8])
    assert error.value.field == "warm_start"


def test_what_does_not_fit_is_refused(archive: Any, root: Path, task: Path) -> None:
    with pytest.raises(ControllerError, match="does not learn") as refused:
        resolved(root, task, archive.finished, controller="random_search")
    assert refused.value.field == "warm_start" and "nasbowl" in str(refused.value.fix)
    with pytest.raises(SpecError, match=r"is running|is queued"):
        resolved(root, task, archive.unfinished)
    with pytest.raises(SpecError, match="has not measured latency_ms"):
        resolved(root, task, archive.finished, objectives=["latency_ms"])
    with pytest.raises(SpecError, match="has not measured"):
        resolved(root, task, archive.cancelled)


def test_constraints_on_measured_metrics_reach_models_of_them(archive: Any, root: Path, task: Path) -> None:
    limits = ["flops <= 1e9", "val_accuracy >= 50"]
    search = resolved(root, task, controller="nasbowl", constraints=limits)
    (limit,) = search.controller().settings.limits  # type: ignore[attr-defined]
    assert (limit.metric, limit.operator, limit.value) == ("val_accuracy", ">=", 50.0)
    resolved(root, task, controller="random_search", constraints=limits).controller()
