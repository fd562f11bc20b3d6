"""What all tests share: one Ray cluster a run, stores in temporary folders, one thread of torch."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

# How long an example takes says how busy the machine is, not whether the code is right. The examples of a run are those
# of the run before, so that a red run is about the change; new ones are looked for by `make explore`.
hypothesis_settings.register_profile(
    "xnas", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.register_profile(
    "explore", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("xnas")

TASKS = Path(__file__).parent / "system" / "tasks"


BUSY = ("system", "slurm", "integrations")
"""Folders whose tests bring up whole clusters and scripts: nothing else should run beside them."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what wants the machine for itself (see the Makefile's ``test``)."""
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0]
        if folder in BUSY or "ray_cluster" in getattr(item, "fixturenames", ()) or item.get_closest_marker("slow"):
            item.add_marker("alone")


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A local Ray with 16 CPUs and 2 GPUs, all pretended, protected by a token; its address."""
    from xnas_ray.service.bring_up import start_local

    with start_local(tmp_path_factory.mktemp("ray"), cpus=16, gpus=2) as cluster:
        yield cluster.address


@pytest.fixture(scope="session")
def random_tree() -> Callable[..., Any]:
    """``random_tree(classes, seed)``: a hierarchy of two to four children a node, of any shape."""
    import numpy as np

    from xnas_ray.explain.hierarchy import Hierarchy, Node

    def make(classes: int, seed: int = 0) -> Hierarchy:
        rng = np.random.default_rng(seed)
        names = tuple(f"c{i}" for i in range(classes))
        open_nodes = [Node.leaf(name) for name in rng.permutation(names)]
        while len(open_nodes) > 1:
            chosen = rng.permutation(len(open_nodes))[: rng.integers(2, 5)]
            rest = [node for i, node in enumerate(open_nodes) if i not in chosen]
            open_nodes = [*rest, Node.over([open_nodes[i] for i in chosen])]
        return Hierarchy(open_nodes[0], names)

    return make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty store."""
    path = tmp_path / "store"
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def gloo_ranks() -> Callable[..., None]:
    """Runs ``python SCRIPT RANK SIZE FOLDER …`` for every rank of so many (see ``gloo_rank``), and waits for all."""

    def run(script: Path, size: int, folder: Path, *arguments: object) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "meet").unlink(missing_ok=True)
        paths = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": paths}
        ranks = [
            subprocess.Popen(
                [sys.executable, *map(str, (script, rank, size, folder, *arguments))],
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(size)
        ]
        try:
            for rank in ranks:
                _, error = rank.communicate(timeout=240)
                assert rank.returncode == 0, error
        finally:
            for rank in ranks:
                rank.kill()

    return run


# ---- a store as a service leaves it ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Archive:
    """A store with three searches, written without Ray.

    ``finished``: 12 trials of regularized evolution with two objectives, trial 3 failed with a hostile message, the
    weights of the best one kept. ``unfinished``: random search, 3 trials done, 2 pending. ``cancelled``: no trial and
    a hostile name.
    """

    root: Path
    finished: str
    unfinished: str
    cancelled: str
    task: Path
    best: int


HOSTILE = "\x1b[31m[bold]evil[/bold]\u202e\r\n" + "long " * 100
TASK = """
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.base import Problem


def evaluate(**given):
    raise RuntimeError("never called")


problem = Problem(
    space=NASBench201(channels=4, cells_per_stage=1, stages=1),
    evaluate=evaluate,
    shape=DataShape(inputs=((1, 8, 8),), outputs=10),
    objectives=("val_accuracy", "params"),
)
"""


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Read it only; ``shutil.copytree`` it to change something."""
    import torch

    from xnas_ray.store import StoreWriter

    root, task = tmp_path_factory.mktemp("archive") / "store", tmp_path_factory.mktemp("task") / "toy"
    task.mkdir()
    (task / "problem.py").write_text(TASK)
    # Made by hand: after a later id of this process, new ones would only count up, and prefixes would not tell them.
    ids = [f"{time}0123456789ABCDEF" for time in ("01HF7YAT00", "01HF7YATZ8", "01HF7YAVYG")]
    evolution = {"name": "regularized_evolution", "params": {"population": 4, "sample": 2}}
    with StoreWriter.open(root) as writer:
        first = _Written(writer, task, ids[0], {"controller": evolution, "budget": {"trials": 12}})
        first.trials(12, failing={3: HOSTILE})
        network = first.opened.search.space.build(first.best.candidate.genotype, first.opened.search.shape)
        folder = writer.layout.artifacts(ids[0], first.best.trial, (1, 0))
        folder.mkdir(parents=True)
        torch.save(network.state_dict(), folder / "weights.pt")
        first.state("finished", "budget.trials is reached")
        second = _Written(writer, task, ids[1], {"name": "half done", "budget": {"trials": 32}})
        second.trials(3, pending=2)
        third = _Written(writer, task, ids[2], {"name": HOSTILE[:100]})
        third.state("cancelled", HOSTILE)
    return Archive(root, *ids, task=task, best=first.best.trial)


class _Written:
    """Plays the service for one search: two workers, the second proposal is asked before the first outcome."""

    def __init__(self, writer: Any, task: Path, search_id: str, spec: dict[str, Any]) -> None:
        from xnas_ray.service.host import OpenSearch
        from xnas_ray.service.resolve import open_search, resolve
        from xnas_ray.spec import SearchSpec
        from xnas_ray.tasks.bundle import bundle_task

        self.writer, self.search_id, self.best = writer, search_id, None
        bundle = bundle_task(task, writer.layout.root)
        given = SearchSpec.from_mapping({"task": str(task), "seed": 7, **spec})
        self.card = resolve(writer.layout.root, given, bundle.hash).card()
        self.opened = OpenSearch(open_search(writer.layout.root, self.card))
        self.at = 1_700_000_000.0
        resolved = self.card["spec"]
        columns = {"name": resolved["name"], "task": self.card["task"], "controller": resolved["controller"]["name"]}
        self.state("queued", spec=json.dumps(self.card), **columns)
        self.state("running")

    def state(self, state: str, reason: str = "", **columns: str) -> None:
        from xnas_ray.store import SearchRow

        self.at += 1
        place = {"epoch": self.writer.epoch, "seq": self.writer.next_seq(), "at": self.at}
        self.writer.append(SearchRow(search_id=self.search_id, state=state, reason=reason, **place, **columns))

    def trials(self, count: int, *, failing: dict[int, str] | None = None, pending: int = 0) -> None:
        asked = [self._ask(), self._ask()]
        for _ in range(count):
            self._end(asked.pop(0), (failing or {}))
            if self.opened.controller._next_ask < count + pending:
                asked.append(self._ask())

    def _ask(self) -> Any:
        from xnas_ray.store.rows import asked_row

        self.at += 1
        proposal = self.opened.propose()
        place = {"epoch": self.writer.epoch, "seq": self.writer.next_seq(), "at": self.at}
        row = asked_row(proposal.candidate, search_id=self.search_id, told_through=proposal.told_through, **place)
        self.writer.append(dataclasses.replace(row, detail=proposal.note()))
        return proposal

    def curve(self, proposal: Any) -> tuple[dict[str, float], ...]:
        """Made-up accuracies by epoch."""
        accuracy = float(50 + sum((i + 1) * g for i, g in enumerate(proposal.candidate.genotype)))
        return ({"epoch": 1.0, "val_accuracy": accuracy},)

    def _end(self, proposal: Any, failing: dict[int, str]) -> None:
        from xnas_ray.messages import Failure, FailureKind, Outcome, TrialStatus
        from xnas_ray.service.proposals import Told
        from xnas_ray.store.rows import curve_rows, trial_row

        self.at += 1
        candidate, number = proposal.candidate, proposal.candidate.ask_number
        if number in failing:
            failure = Failure(FailureKind.EXCEPTION, "ValueError", failing[number], "log")
            outcome = Outcome(number, candidate, TrialStatus.FAILED, cost_s=0.5, failure=failure)
        else:
            curve = self.curve(proposal)
            accuracy = curve[-1]["val_accuracy"]
            metrics = {"val_accuracy": accuracy, "params": float(proposal.params), "flops": float(proposal.flops)}
            outcome = Outcome(number, candidate, TrialStatus.COMPLETED, metrics, curve, cost_s=1.5)
            if self.best is None or accuracy > self.best.metrics["val_accuracy"]:
                self.best = outcome
        position = (self.writer.epoch, self.writer.next_seq())
        row = trial_row(
            outcome,
            search_id=self.search_id,
            epoch=position[0],
            seq=position[1],
            attempts=1,
            **{name: self.card[name] for name in ("task", "task_hash", "space")},
            key=proposal.key,
            architecture=proposal.architecture,
            recipe=proposal.recipe,
            train_seed=proposal.train_seed,
            asked_at=self.at - 1,
            started_at=self.at - 1,
            finished_at=self.at,
            attempt=(self.writer.epoch, 0),
            worker="w-1",
            node="n-1",
            artifacts=f"artifacts/{self.search_id}/{number}/1-0",
        )
        self.writer.append([row, *curve_rows(self.search_id, number, (1, 0), outcome.curve)])
        self.opened.tell(Told(position, outcome))


@pytest.fixture(scope="session")
def played_search() -> type[_Written]:
    """Plays the service for one search of a store that is open for writing, without Ray."""
    return _Written


@pytest.fixture(scope="session")
def designable(tmp_path_factory: pytest.TempPathFactory, played_search: type[_Written]) -> Path:
    """A store with the search of ``service/designed_search.py``, 60 trials; read it only."""
    from .service.designed_search import SMALL, store_search

    folder = tmp_path_factory.mktemp("designable")
    store_search(folder / "store", folder / "task", played_search, 60, **SMALL)
    return folder / "store"


@dataclass(frozen=True)
class TreeStore:
    """A finished search whose networks and trees are kept: a folder with ``store`` and the tasks ``own``, ``other``."""

    folder: Path
    search_id: str

    @property
    def root(self) -> Path:
        return self.folder / "store"


@pytest.fixture(scope="session")
def tree_store(tmp_path_factory: pytest.TempPathFactory, played_search: type[_Written]) -> TreeStore:
    """The search of ``service/tree_search.py``, named by the small WordNet; read it only."""
    from .service.tree_search import write_tree_search

    folder = tmp_path_factory.mktemp("trees")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("XNAS_DATA", raising=False)
        patch.setenv("WNSEARCHDIR", str(Path(__file__).parent / "explain" / "small_wordnet"))
        search_id = write_tree_search(folder, played_search)
    return TreeStore(folder, search_id)  # outside: the tests that follow have their own data and WordNet


# ---- the command line -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Printed:
    """What one command line gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def xnas(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Printed]:
    """Runs a command line in this process."""
    from xnas_ray.cli import execute

    monkeypatch.delenv("XNAS_STORE", raising=False)

    def call(*arguments: object) -> Printed:
        capsys.readouterr()
        code = execute([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Printed(code, printed.out, printed.err)

    return call


class FakeHead:
    """A head without Ray: remembers the calls, answers from a script.

    ``answers`` maps a method to its answer, an exception to raise, or a function of the arguments.
    """

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.calls: list[tuple[Any, ...]] = []

    def call(self, method: str, *arguments: Any, timeout_s: float = 60.0) -> Any:
        self.calls.append((method, *arguments))
        answer = self.answers.get(method)
        if isinstance(answer, BaseException):
            raise answer
        return answer(*arguments) if callable(answer) else answer


@pytest.fixture(scope="session")
def scripted_head() -> type[FakeHead]:
    """Makes heads without Ray that no client finds by itself."""
    return FakeHead


@pytest.fixture
def fake_head(monkeypatch: pytest.MonkeyPatch) -> FakeHead:
    """The head that every client of this test finds."""
    head = FakeHead()
    monkeypatch.setattr("xnas_ray.client.connect_service", lambda root, address=None: head)
    return head


@pytest.fixture
def live_status() -> dict[str, Any]:
    """The status of a running search, as the head gives it."""
    return {
        "search_id": "01HF7YATZ8YGFNH8N1N46ZFA2K",
        "name": "half done",
        "submitted_by": "ada",
        "state": "running",
        "reason": "",
        "task": "toy",
        "controller": "random_search",
        "priority": 1.0,
        "counts": dict(asked=6, queued=1, running=2, completed=3, failed=1, cancelled=0, reused=1),
        "budget": {"trials": 32, "gpu_hours": None, "wall_clock": None},
        "running_s": 75.0,
        "gpu_s": 0.0,
        "workers": 2,
        "best": {
            "trial": 1,
            "value": 97.2222,
            "objective": "val_accuracy",
            "architecture": "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|",
            "metrics": {"val_accuracy": 97.2222},
        },
        "running": [
            {"trial": n, "worker": f"w-{n}", "attempt": 1, "seconds": 3.0, "epoch": 2, "last": {"epoch": 2, "lr": 0.1}}
            for n in (4, 5)
        ],
        "recent": [
            {
                "trial": n,
                "status": "completed",
                "metrics": {"val_accuracy": 90.0 + n},
                "architecture": "|none~0|",
                "duration_s": 61.0,
            }
            for n in range(4)
        ],
        "stale_reports": 0,
        "executions": 5,
    }
