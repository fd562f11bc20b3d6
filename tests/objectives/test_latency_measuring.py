"""Measuring a table, with a clock that counts parameters: sums and errors are known, and nothing depends on time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from xnas_ray.errors import SpecError, TableError
from xnas_ray.objectives.latency_measuring import Stopwatch, measure_table
from xnas_ray.spaces.base import DataShape, Shape, Space
from xnas_ray.spaces.darts import DARTS
from xnas_ray.spaces.fbnetv3 import FBNetV3
from xnas_ray.spaces.latency_table import LatencyTable
from xnas_ray.spaces.operators import operators_of
from xnas_ray.spaces.timed import TimedSpace

SPACE = FBNetV3(
    stages=[{"kernel": [3, 5], "first": [2, 3], "width": [8, 16, 8], "layers": [1, 2], "stride": 2, "squeeze": True}],
    stem=8,
    head=24,
    head_expansion=2,
    resolutions=[6, 8],
)
SHAPE = DataShape(((2, 8, 8),), 10)
WATCH = Stopwatch(torch.device("cpu"), repeats=3, warmup=1)
CONDITIONS = WATCH.conditions(SPACE, SHAPE, "an abacus")
EVERY = operators_of(SPACE, SPACE.covering() or (), SHAPE)


class Abacus:
    """A clock by which a module takes 1 ms and as many as it has parameters; it may be interrupted."""

    def __init__(self, most: int = 10**9) -> None:
        self.read: list[Shape] = []
        self.most = most

    def __call__(self, modules: Sequence[tuple[nn.Module, Shape]]) -> list[float]:
        return [self.measured(*one) for one in modules]

    def measured(self, module: nn.Module, shape: Shape) -> float:
        if len(self.read) == self.most:
            raise KeyboardInterrupt
        with torch.inference_mode():
            module.eval()(torch.zeros(1, *shape))  # the module reads what it is said to read
        self.read.append(shape)
        return 1.0 + sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(autouse=True)
def few_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("xnas_ray.objectives.latency_measuring.TOGETHER", 3)
    monkeypatch.setattr("xnas_ray.objectives.latency_measuring.NETWORKS_TOGETHER", 1)


def test_every_operator_and_the_error_of_sums(tmp_path: Path):
    clock, told = Abacus(), []
    out = tmp_path / "table.json"
    table = measure_table(SPACE, CONDITIONS, clock, out, networks=6, progress=lambda *progress: told.append(progress))
    assert table.operators.keys() == EVERY.keys()
    assert LatencyTable.load(out) == table
    TimedSpace(SPACE, table).check_table(SHAPE)
    assert told[0] == ("operators", 3, len(EVERY)) and told[-1] == ("networks", 6, 6)
    assert list(table.operators) != list(EVERY), "in no order of kinds"
    assert clock.read[-6:] == [SHAPE.inputs[0]] * 6
    for one in table.networks:
        genotype = SPACE.parse(one.architecture)
        params = SPACE.cost(genotype, SHAPE).params
        assert one.measured_ms == params + 1
        assert one.summed_ms == params + len(SPACE.operators(genotype, SHAPE))
    extra = [100 * (one.summed_ms - one.measured_ms) / one.measured_ms for one in table.networks]
    assert table.error is not None
    assert table.error.mape_percent == table.error.bias_percent == pytest.approx(sum(extra) / 6)


def test_interrupted_it_goes_on_where_it_was(tmp_path: Path):
    out = tmp_path / "table.json"
    for most in (4, 7):  # of three that take turns, none is kept until all are measured
        with pytest.raises(KeyboardInterrupt):
            measure_table(SPACE, CONDITIONS, Abacus(most), out, networks=2)
    assert len(LatencyTable.load(out).operators) == 9
    with pytest.raises(TableError, match=r"and \d+ more"):
        TimedSpace(SPACE, LatencyTable.load(out)).check_table(SHAPE)
    with pytest.raises(KeyboardInterrupt):  # among the whole networks
        measure_table(SPACE, CONDITIONS, Abacus(len(EVERY) - 9 + 1), out, networks=2)
    clock = Abacus()
    table = measure_table(SPACE, CONDITIONS, clock, out, networks=2)
    assert len(clock.read) == 1
    assert table == measure_table(SPACE, CONDITIONS, Abacus(), tmp_path / "at_once.json", networks=2)
    assert measure_table(SPACE, CONDITIONS, Abacus(0), out, networks=2) == table, "nothing is left to measure"


def test_a_sample_of_the_space_is_called_one(tmp_path: Path):
    table = measure_table(SPACE, CONDITIONS, Abacus(), tmp_path / "table.json", samples=2, networks=3)
    assert table.samples == 2
    assert table.operators.keys() < EVERY.keys()
    assert len(table.networks) == len({one.architecture for one in table.networks})
    more = measure_table(SPACE, CONDITIONS, Abacus(), tmp_path / "table.json", networks=3)
    assert (more.samples, more.operators.keys()) == (None, EVERY.keys())
    assert measure_table(SPACE, CONDITIONS, Abacus(0), tmp_path / "table.json", samples=2, networks=3).samples is None


def test_what_is_sampled_is_a_function_of_the_seed(tmp_path: Path):
    def drawn(seed: int, networks: int = 4) -> list[str]:
        out = tmp_path / f"{seed}-{networks}.json"
        found = measure_table(SPACE, CONDITIONS, Abacus(), out, samples=1, networks=networks, seed=seed)
        return [one.architecture for one in found.networks]

    assert drawn(1) != drawn(2)
    assert drawn(1, 2) == drawn(1)[:2]


def test_a_file_of_other_conditions_stays(tmp_path: Path):
    out = tmp_path / "table.json"
    measure_table(SPACE, CONDITIONS, Abacus(), out, samples=1, networks=0)
    before = out.read_bytes()
    with pytest.raises(SpecError, match=r"device = 'an abacus', not 'a slide rule'"):
        measure_table(SPACE, WATCH.conditions(SPACE, SHAPE, "a slide rule"), Abacus(), out)
    with pytest.raises(SpecError, match="shape"):
        measure_table(SPACE, WATCH.conditions(SPACE, DataShape(((2, 9, 9),), 10), "an abacus"), Abacus(), out)
    out.with_name("other.json").write_text("{}")
    with pytest.raises(TableError, match="no latency table"):
        measure_table(SPACE, CONDITIONS, Abacus(), out.with_name("other.json"))
    assert out.read_bytes() == before


@pytest.mark.parametrize("space", [DARTS(), SPACE], ids=["no operators", "too many"])
def test_spaces_that_cannot_be_measured(space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("xnas_ray.spaces.defined.MAX_ENUMERATION", 10)
    with pytest.raises(SpecError) as caught:
        measure_table(space, CONDITIONS, Abacus(), tmp_path / "table.json")
    assert ("--samples" in str(caught.value)) is isinstance(space, FBNetV3)
    assert not (tmp_path / "table.json").exists()


@pytest.mark.parametrize(("clock", "function"), [("wall", "perf_counter"), ("cpu", "thread_time")])
def test_modules_take_turns_and_their_medians_count(clock, function, monkeypatch: pytest.MonkeyPatch):
    # A round to warm up, then 3, 1 and 2 seconds of the first, and twice these of the second.
    ticks = iter([0, 50, 0, 60, *(tick for s in (3, 1, 2) for tick in (0, s, 0, 2 * s))])
    monkeypatch.setattr(f"xnas_ray.objectives.timing.time.{function}", lambda: next(ticks))
    passes = []

    class Noting(nn.Module):
        def forward(self, x):
            passes.append((tuple(x.shape), self.training, torch.is_inference_mode_enabled()))
            return x

    watch = Stopwatch(torch.device("cpu"), batch_size=4, repeats=3, warmup=1, clock=clock)
    first, second = Noting(), Noting().eval()
    assert watch([(first, (2, 5, 5)), (second, (7,))]) == [2000.0, 4000.0]
    assert passes == [((4, 2, 5, 5), False, True), ((4, 7), False, True)] * 4
    assert first.training and not second.training
    assert watch.conditions(SPACE, SHAPE).clock == clock


@pytest.mark.parametrize(("device", "clock"), [("cuda", "cpu"), ("cpu", "sun")])
def test_clocks_that_do_not_see_it(device, clock):
    with pytest.raises(SpecError, match="clock"):
        Stopwatch(torch.device(device), clock=clock)


def test_the_clock_of_the_processor_sees_one_thread(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(SpecError, match="one thread"):
        Stopwatch(torch.device("cpu"), clock="cpu")


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"repeats": 0}, {"warmup": -1}])
def test_a_stopwatch_checks_its_numbers(bad: dict[str, int]):
    (name,) = bad
    with pytest.raises(SpecError, match=name):
        Stopwatch(torch.device("cpu"), **bad)


def test_a_real_table(tmp_path: Path):
    out = tmp_path / "table.json"
    table = measure_table(SPACE, WATCH.conditions(SPACE, SHAPE), WATCH, out, networks=3)
    assert table.operators.keys() == EVERY.keys() and min(table.operators.values()) > 0
    assert table.conditions.device.startswith("cpu")
    error = json.loads(out.read_text())["error"]
    assert error["networks"] == 3 and error["mape_percent"] >= abs(error["bias_percent"]) - 1e-9
