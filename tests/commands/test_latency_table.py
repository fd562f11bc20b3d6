import json

import pytest
import torch

from xnas_ray.objectives import latency_measuring
from xnas_ray.spaces.fbnetv3 import FBNetV3
from xnas_ray.spaces.latency_table import LatencyTable

STAGES = "[{kernel = [3, 5], first = [2, 3], width = [8, 16, 8], layers = [1, 2], stride = 2}]"
SMALL = {"stem": 8, "head": 24, "head_expansion": 2, "resolutions": [8], "stages": STAGES}
ASKED = [
    *("latency-table", "--space", "fbnetv3", "--repeats", "2", "--warmup", "0", "--networks", "3"),
    *(part for name, value in SMALL.items() for part in ("--space-params", f"{name}={value}")),
]


@pytest.fixture
def clock(monkeypatch):
    """A stopwatch by which every module takes as many milliseconds as it has parameters; may be interrupted."""

    class Clock:
        most, count = 10**9, 0

    def measure(self, modules):
        if Clock.count == Clock.most:
            raise KeyboardInterrupt
        Clock.count += len(modules)
        return [1.0 + sum(parameter.numel() for parameter in module.parameters()) for module, _ in modules]

    monkeypatch.setattr(latency_measuring, "TOGETHER", 2)
    monkeypatch.setattr(latency_measuring.Stopwatch, "__call__", measure)
    return Clock


def test_a_table_of_a_space(xnas, clock, tmp_path):
    out = tmp_path / "laptop.json"
    printed = xnas(*ASKED, "--shape", "2x8x8", "--outputs", "5", "--name", "laptop", "--out", out)
    assert printed.code == 0, printed.err
    table = LatencyTable.load(out)
    assert (table.conditions.device, table.conditions.threads, table.samples) == ("laptop", 1, None)
    assert (
        table.conditions.space_params
        == FBNetV3(
            stem=8,
            head=24,
            head_expansion=2,
            resolutions=[8],
            stages=[{"kernel": [3, 5], "first": [2, 3], "width": [8, 16, 8], "layers": [1, 2], "stride": 2}],
        ).params
    )
    assert table.conditions.shape.inputs == ((2, 8, 8),) and table.conditions.shape.outputs == 5
    lines = {line.split("  ")[0]: line for line in printed.out.splitlines()}
    assert "laptop" in lines["device"] and "threads 1" in lines["software"]
    assert lines["operators"].endswith(f"{len(table.operators)}, all that the space can have")
    assert "%" in lines["error of sums"] and 0.9 < float(lines["rank correlation"].split()[-1]) <= 1
    total = len(table.operators)
    assert f"{total} of {total} operators" in printed.err and "3 of 3 networks" in printed.err
    assert printed.err.endswith("laptop.json\n")


def test_interrupted_the_same_command_goes_on(xnas, clock, tmp_path):
    out = tmp_path / "laptop.json"
    clock.most = 4
    printed = xnas(*ASKED, "--shape", "2x8x8", "--out", out)
    assert printed.code not in (0, 2) and "laptop.json, and the same command goes on" in printed.err
    assert len(LatencyTable.load(out).operators) == 4
    clock.most = 10**9
    assert xnas(*ASKED, "--shape", "2x8x8", "--out", out).code == 0
    table = LatencyTable.load(out)
    assert clock.count == len(table.operators) + 3
    printed = xnas(*ASKED, "--shape", "2x8x8", "--out", out, "--threads", "2")
    assert printed.code == 2 and "threads = 1, not 2" in printed.err


def test_json_and_threads_that_are_put_back(xnas, clock, tmp_path):
    before = torch.get_num_threads()
    printed = xnas(
        *ASKED, "--shape", "2x8x8", "--samples", "2", "--threads", "2", "--json", "--out", tmp_path / "t.json"
    )
    found = json.loads(printed.out)
    assert found["conditions"]["threads"] == 2 and found["samples"] == 2 and found["error"]["networks"] == 3
    assert "operators_ms" not in found
    assert torch.get_num_threads() == before


def test_the_space_and_shape_of_a_task(xnas, clock, tmp_path):
    task = tmp_path / "task"
    task.mkdir()
    (task / "problem.py").write_text(
        "from xnas_ray.spaces.base import DataShape\n"
        "from xnas_ray.spaces.fbnetv3 import FBNetV3\n"
        "from xnas_ray.tasks.base import Problem\n\n"
        "def evaluate(**_):\n    return {}\n\n"
        "problem = Problem(space=FBNetV3(preset='digits'), shape=DataShape(((1, 8, 8),), 7), evaluate=evaluate)\n"
    )
    printed = xnas("latency-table", "--task", task, "--samples", "1", "--networks", "0", "--out", tmp_path / "t.json")
    assert printed.code == 0, printed.err
    conditions = LatencyTable.load(tmp_path / "t.json").conditions
    assert (conditions.space, conditions.shape.outputs, conditions.space_params) == ("fbnetv3", 7, {"preset": "digits"})


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--space", "fbnetv3"], "--shape: is missing"),
        (["--shape", "1x8x8"], "--space: is missing"),
        (["--space", "fbnetv3", "--shape", "8 by 8"], "--shape: '8 by 8' is no shape"),
        (["--space", "fbnetv3", "--shape", "1x8"], "one image"),
        (["--space", "fbnetv4", "--shape", "1x8x8"], "Did you mean 'fbnetv3'"),
        (["--space", "darts", "--shape", "3x8x8"], "not taken apart into operators"),
        (["--space", "fbnetv3", "--shape", "1x8x8", "--device", "tpu"], "Valid: cpu"),
        (["--space", "fbnetv3", "--shape", "1x8x8"], "cannot be seen at a resolution of"),
    ],
)
def test_mistakes(xnas, clock, tmp_path, flags, told):
    printed = xnas("latency-table", *flags, "--out", tmp_path / "t.json")
    assert printed.code == 2 and told in printed.err
    assert not (tmp_path / "t.json").exists()
