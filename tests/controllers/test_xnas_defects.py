"""What is known to go wrong in XNAS (LLNL/XNAS with DeepHyper 0.2.5), one test each that it does not here.

Some are shown where the part is tested: a search that goes on after a SIGKILL of any process in ``tests/system``, the
file that no reader ever finds half written in ``tests/store``, the whole life of finalists in
``tests/service/test_finalists.py``.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xnas_ray import messages as m
from xnas_ray.controllers import nsga2 as nsga2_module
from xnas_ray.controllers.base import Controller, Goal
from xnas_ray.controllers.nsga2 import NSGA2
from xnas_ray.errors import NanLossError, ObjectiveError
from xnas_ray.messages import Candidate, Failure, FailureKind, Outcome, TrialStatus
from xnas_ray.objectives.evaluate import evaluate_candidate
from xnas_ray.objectives.introspectability import introspectability
from xnas_ray.objectives.registry import create_objectives
from xnas_ray.scheduler import Scheduler, SchedulerConfig
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.store import CurveRow, StoreWriter, load_activations, new_search_id
from xnas_ray.store.activations import ACTIVATIONS_FILE, write_activations
from xnas_ray.tasks.base import Data, Split
from xnas_ray.testing.tiny import TinySpace, tiny_data, tiny_problem
from xnas_ray.training.checkpoint import save_weights
from xnas_ray.training.context import LocalContext

SPACE = NASBench201(cells_per_stage=1, channels=4, stages=1)
GOALS = [Goal("val_accuracy", maximize=True), Goal("introspectability", maximize=True)]
MODES = [{}, {"mode": "generational", "operators": "ordinal"}]
"""Ours, and the paper's."""


def value(candidate: Candidate) -> dict[str, float]:
    """Two objectives in conflict."""
    genes = np.array(candidate.genotype)
    return {"val_accuracy": float(genes @ [1, 2, 3, 5, 7, 11]), "introspectability": float((genes == 1).sum())}


def outcome(candidate: Candidate, fails: Callable[[int], bool] = lambda number: False) -> Outcome:
    number = candidate.ask_number
    if fails(number):
        failure = Failure(FailureKind.EXCEPTION, "ValueError", "disconnected")
        return Outcome(number, candidate, TrialStatus.FAILED, failure=failure)
    return Outcome(number, candidate, TrialStatus.COMPLETED, value(candidate))


def search(seed: int = 0, population: int = 8, **params: Any) -> NSGA2:
    return NSGA2(SPACE, GOALS, seed=seed, population=population, **params)


def run(controller: Controller, trials: int, workers: int = 5, **given: Any) -> list[Candidate]:
    """Ask and tell with several trials at once, the newest ending first."""
    asked: list[Candidate] = []
    running: list[Candidate] = []
    while len(asked) < trials or running:
        while len(running) < workers and len(asked) < trials and (candidate := controller.propose()) is not None:
            asked.append(candidate)
            running.append(candidate)
        controller.tell(outcome(running.pop(), **given))
    return asked


# ---- one failed task kills the search; NaN in the sorting ------------------------------------------------------------


@pytest.mark.parametrize("params", MODES)
def test_failed_trials_neither_end_a_search_nor_reach_the_sorting(params, monkeypatch):
    sorted_points = []
    survivors = nsga2_module.survivors
    monkeypatch.setattr(
        nsga2_module, "survivors", lambda points, *rest: sorted_points.append(points) or survivors(points, *rest)
    )
    controller = search(**params)
    asked = run(controller, 60, fails=lambda number: number % 3 == 0 or number < 5)
    assert len(asked) == 60 and len(controller.members) == 8
    assert all(member.status == TrialStatus.COMPLETED for member in controller.members)
    assert sorted_points and all(np.isfinite(points).all() for points in sorted_points)


def test_nan_is_a_failure_and_never_an_outcome():
    with pytest.raises(ValueError, match="must be finite"):
        Outcome(0, Candidate(0, (0,) * 6), TrialStatus.COMPLETED, {"val_accuracy": float("nan")})

    data = tiny_data()
    broken = Split(tuple(x * float("nan") for x in data.validation.inputs), data.validation.targets)
    with pytest.raises(NanLossError):
        evaluated(data=replace(data, validation=broken))


# ---- repeats: 40 % of the evaluations after 4,096 of them ------------------------------------------------------------


@pytest.mark.parametrize("params", MODES)
@pytest.mark.parametrize("workers", [1, 16])
def test_nothing_is_trained_twice_neither_of_the_archive_nor_of_what_is_pending(params, workers):
    asked = run(search(population=12, **params), 400, workers)
    assert len({SPACE.key(candidate.genotype) for candidate in asked}) == len(asked) == 400


def test_a_space_that_is_exhausted_ends_the_search_without_repeats():
    controller = NSGA2(TinySpace(), GOALS, seed=0, population=4)
    asked = []
    while (candidate := controller.propose()) is not None:
        asked.append(candidate.genotype)
        controller.tell(Outcome(candidate.ask_number, candidate, TrialStatus.FAILED, failure=Failure(FailureKind.NAN)))
    assert len(asked) == len(set(asked)) == 12


# ---- selection on the test set ---------------------------------------------------------------------------------------


def evaluated(**given: Any) -> Any:
    space = given.pop("space", TinySpace())
    return evaluate_candidate(
        problem=tiny_problem(),
        space=space,
        candidate=Candidate(0, (1, 1, 0), fidelity=2, schedule_epochs=2),
        objectives=create_objectives(["val_accuracy", "introspectability"]),
        seed=0,
        context=LocalContext(),
        data=given.pop("data", tiny_data()),
        **given,
    )


def test_selection_never_sees_the_test_split():
    data = tiny_data()
    poisoned = Split(tuple(x * float("nan") for x in data.test.inputs), 1 - data.test.targets)
    clean, other = evaluated(data=data), evaluated(data=replace(data, test=poisoned))
    assert clean.metrics == other.metrics and not [name for name in clean.metrics if "test" in name]


def test_validation_is_no_part_of_the_test_split():
    data: Data = tiny_data()
    rows = {tuple(row.tolist()) for row in data.validation.inputs[0]}
    assert rows.isdisjoint({tuple(row.tolist()) for row in data.test.inputs[0]})


# ---- no resume; seeds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", MODES)
@pytest.mark.parametrize("stop", [7, 8, 31])
def test_restarted_in_the_middle_it_is_the_same_search(params, stop):
    whole = search(**params)
    asked = [run(whole, 1, workers=1)[0] for _ in range(40)]
    again = search(**params)
    for candidate in reversed(asked[:stop]):
        again.adopt(candidate)
    for candidate in asked[:stop]:
        again.tell(outcome(candidate))
    assert [run(again, 1, workers=1)[0] for _ in range(stop, 40)] == asked[stop:]


@pytest.mark.parametrize("given", [("--seed", "7"), ("--seed=7",), ("--set", "seed=7")])
def test_a_seed_from_the_command_line_is_a_number(xnas, archive, fake_head, tmp_path, given):
    fake_head.answers["submit"] = "01"
    assert xnas("submit", "--task", archive.task, *given, "--root", tmp_path).code == 0
    assert fake_head.calls[0][2]["seed"] == 7


def test_two_runs_with_one_seed_and_one_worker_are_equal():
    one, other = (run(search(seed=7), 50, workers=1) for _ in range(2))
    assert one == other != run(search(seed=8), 50, workers=1)
    assert evaluated().metrics == evaluated().metrics


# ---- introspectability: gigabytes of activations, -inf and None ------------------------------------------------------


class Net(nn.Module):
    def __init__(self, *, dead: bool = False) -> None:
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Linear(8, 3)
        if dead:
            nn.init.zeros_(self.conv.weight)
            nn.init.constant_(self.conv.bias, -1.0)

    def forward(self, x):
        return self.head(self.relu(self.conv(x)).mean(dim=(2, 3)))


def batches(labels: torch.Tensor, size: int = 16) -> list[tuple[torch.Tensor, torch.Tensor]]:
    x = torch.randn(len(labels), 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return list(zip(x.split(size), labels.split(size), strict=True))


def test_no_activations_are_concatenated(monkeypatch):
    labels = torch.arange(64) % 3

    def refused(*given, **named):
        raise AssertionError("something was concatenated")

    monkeypatch.setattr(torch, "cat", refused)
    monkeypatch.setattr(torch, "concatenate", refused)
    monkeypatch.setattr(np, "concatenate", refused)
    assert 0 <= introspectability(Net(), batches(labels), group_by="label").score <= 2


def test_every_degenerate_network_has_a_number_or_an_error_that_says_why():
    one_class = introspectability(Net(), batches(torch.zeros(20, dtype=torch.int64)), group_by="label")
    assert one_class.score == 0.0, "-inf in XNAS"
    dead = introspectability(Net(dead=True), batches(torch.arange(20) % 3), group_by="label", layers="activation")
    assert dead.score == 0.0, "NaN distances in XNAS"
    with pytest.raises(ObjectiveError, match="no such layer"):  # None in XNAS, and then 0
        introspectability(nn.Linear(3, 2), [(torch.randn(4, 3), torch.arange(4) % 2)], group_by="label")


# ---- timeouts that no trial obeys ------------------------------------------------------------------------------------


def test_a_timeout_ends_a_trial_and_the_search_goes_on():
    scheduler = Scheduler(SchedulerConfig(lease_s=None, prefetch_below_s=0.0, kill_after_s=10.0), 1)
    commands: list[m.Command] = []
    numbers = itertools.count()

    def answers(command: m.Command, now_s: float) -> list[m.Event]:
        """What the service answers at once; of the worker nothing is heard: it hangs."""
        match command:
            case m.StartWorker() | m.KillWorker():
                kind = m.WorkerReady if isinstance(command, m.StartWorker) else m.WorkerGone
                return [kind(now_s, command.worker_id)]
            case m.OpenController():
                return [m.ControllerReady(now_s, command.search_id)]
            case m.Propose():
                return [m.Proposed(now_s, command.search_id, next(numbers)) for _ in range(command.count)]
            case m.WriteAsked() | m.WriteTerminal():
                kind = m.AskedDurable if isinstance(command, m.WriteAsked) else m.TerminalDurable
                return [kind(now_s, command.search_id, command.trial)]
        return []

    def handle(event: m.Event) -> None:
        events = [event]
        while events:
            for command in scheduler.handle(events.pop(0)):
                commands.append(command)
                events += answers(command, event.now_s)

    handle(m.NodeJoined(0.0, "n", 1, 0))
    handle(m.SearchSubmitted(0.0, "s", m.SearchConfig(trials=2, timeout_s=60.0)))
    for second in range(1, 90):
        handle(m.Tick(float(second)))
    assert any(isinstance(command, m.KillWorker) for command in commands)
    ended = [command for command in commands if isinstance(command, m.WriteTerminal)]
    assert [(command.trial, command.failure) for command in ended] == [(0, FailureKind.TIMEOUT)]
    assert [command.trial for command in commands if isinstance(command, m.Dispatch)] == [0, 1]


# ---- what only code could set ----------------------------------------------------------------------------------------


def test_population_operators_layers_and_metrics_are_set_from_the_command_line(xnas, archive, fake_head, tmp_path):
    from xnas_ray.service.resolve import resolve
    from xnas_ray.spec import SearchSpec
    from xnas_ray.tasks.bundle import bundle_task

    fake_head.answers["submit"] = "01"
    flags = ["--controller", "nsga2"]
    for text in ("population=20", "operators=ordinal", "crossover=0.5", "mode=generational"):
        flags += ["--controller.params", text]
    for name in ("introspectability", "val_accuracy"):
        flags += ["--objectives", name]
    flags += ["--objective-params", "introspectability.layers=conv"]
    flags += ["--objective-params", "introspectability.max_samples=500", "--timeout-s", "60"]
    task = Path(__file__).parents[1] / "system" / "tasks" / "trained"
    printed = xnas("submit", "--task", task, *flags, "--root", tmp_path)
    assert printed.code == 0, printed.err
    spec = SearchSpec.from_mapping(fake_head.calls[0][2])
    found = resolve(tmp_path, spec, bundle_task(task, tmp_path).hash)
    controller = found.controller()
    assert isinstance(controller, NSGA2)
    assert (controller.population, controller.mode, controller.crossover) == (20, "generational", 0.5)
    assert type(controller.operators).__name__ == "Ordinal" and found.spec.timeout_s == 60.0
    objective = found.objectives[0]
    assert (objective.name, objective.layers, objective.max_samples) == ("introspectability", "conv", 500)
    assert type(search().operators).__name__ == "Categorical", "operations have no order unless somebody wants one"


# ---- a barrier; lineage that nobody sees -----------------------------------------------------------------------------


def test_nobody_waits_for_a_generation():
    controller = search(population=8)
    asked = [controller.propose() for _ in range(8)]
    for candidate in asked[:3]:
        controller.tell(outcome(candidate))
    later = [controller.propose() for _ in range(30)]
    assert None not in later, "five of the first generation still run"
    assert any(candidate.origin["stage"] == "child" for candidate in later)


def test_parents_generations_and_the_hypervolume_are_kept():
    controller = search()
    asked = run(controller, 40)
    children = [candidate for candidate in asked if candidate.origin["stage"] == "child"]
    assert children and all(set(child.origin["parents"]) <= set(range(child.ask_number)) for child in children)
    assert {candidate.origin["generation"] for candidate in asked} == set(range(5))
    volume = controller.explain()["hypervolume"]
    assert len(volume) == 40 and volume["hypervolume"].is_monotonic_increasing


# ---- files: a rewrite a generation, a race for a folder, nothing but CSV ---------------------------------------------


def bytes_written() -> int:
    """What this process has given to write calls so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("wchar")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux's count of written bytes")
def test_bytes_grow_with_the_trials_not_with_their_square(tmp_path):
    search_id, spent = new_search_id(1_700_000_000), []
    with StoreWriter.open(tmp_path / "store") as writer:
        for generation in range(40):
            before = bytes_written()
            for trial in range(16 * generation, 16 * generation + 16):
                rows = [
                    CurveRow(search_id=search_id, trial=trial, attempt=(1, 0), epoch=e, metric="x", value=float(e))
                    for e in range(20)
                ]
                writer.append(rows)
            writer.commit()
            spent.append(bytes_written() - before)
    assert sum(spent[20:]) < 1.2 * sum(spent[:20]), "XNAS writes all earlier results again after every generation"


def test_folders_are_made_by_many_at_once(tmp_path):
    problems: list[BaseException] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        try:
            start.wait()
            for trial in range(20):
                folder = tmp_path / str(trial) / "1-0"
                save_weights(nn.Linear(2, 2), folder / f"{number}.pt")
                write_activations(folder / f"{number}.npz", (0,), {"a": np.zeros((1, 3))})
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [] and len(list(tmp_path.glob("*/*/*"))) == 20 * 16


def test_results_are_typed_columns_not_the_text_of_a_dict(xnas, archive):
    printed = xnas("results", archive.finished, "--root", archive.root, "--format", "json", "--front")
    row = json.loads(printed.out)[0]
    assert isinstance(row["metric_val_accuracy"], float) and isinstance(row["duration_s"], float)
    assert row["front"] is True and isinstance(row["parents"], list)


def test_weights_and_activations_are_kept_and_found_again(archive, tmp_path):
    import shutil

    shutil.copytree(archive.root, tmp_path / "copy")
    folder = tmp_path / "copy" / "artifacts" / archive.finished / str(archive.best) / "1-0"
    assert (folder / "weights.pt").is_file()
    write_activations(folder / ACTIVATIONS_FILE, (0, 1), {"conv": np.ones((2, 3))})
    assert load_activations(tmp_path / "copy", archive.finished, archive.best)["conv"].shape == (2, 3)
