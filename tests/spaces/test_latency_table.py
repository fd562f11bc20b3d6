"""A latency table: its file, its error, and what it says of many networks."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xnas_ray.errors import SpecError, StoreError, TableError
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.constrained import ConstrainedSpace
from xnas_ray.spaces.fbnetv3 import FBNetV3
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.latency_table import Conditions, LatencyTable, TimedNetwork, hash_of
from xnas_ray.spaces.operators import operators_of
from xnas_ray.spaces.timed import TimedSpace
from xnas_ray.testing.space_case import SpaceTestCase

SPACE = FBNetV3(
    stages=[
        {"kernel": [3, 5], "first": [2, 3], "width": [8, 16, 8], "layers": [1, 2], "stride": 2},
        {"kernel": [3], "shares": 0, "width": 16, "layers": [1, 2], "stride": 1, "squeeze": True},
    ],
    stem=8,
    head=24,
    head_expansion=2,
    resolutions=[8],
)
SHAPE = DataShape(((3, 8, 8),), 10)


def conditions(**changes: Any) -> Conditions:
    given = {
        "device": "a phone",
        "device_type": "cpu",
        "threads": 1,
        "clock": "wall",
        "batch_size": 1,
        "repeats": 31,
        "warmup": 5,
        "torch": "2.13.0",
        "space": "fbnetv3",
        "space_params": SPACE.params,
        "shape": SHAPE,
    }
    return Conditions(**{**given, **changes})


def full_table() -> LatencyTable:
    """Every operator of the space with a time of its own."""
    keys = operators_of(SPACE, SPACE.covering() or (), SHAPE)
    return LatencyTable(conditions(), {key: 0.1 + 0.013 * i for i, key in enumerate(keys)})


TABLE = full_table()


class TestConformanceOfATimedSpace(SpaceTestCase):
    def make_space(self) -> Space:
        return TimedSpace(SPACE, TABLE)

    def shape(self) -> DataShape:
        return SHAPE


def test_a_hand_made_table_is_added_up():
    small = FBNetV3(preset="digits")
    genotype = small.parse("r8 c8 | k3 e1 c8 n2 | k5 e4/2 c12 n1 | k5 e4/2 c16 n1 | k3 e4/2 c24 n1")
    shape = DataShape(((1, 8, 8),), 10)
    times = {
        "stem i1 o8 k3 s1 hswish 8x8": 1.0,
        "block i8 m8 o8 k3 s1 hswish 8x8": 2.0,
        "block i8 m32 o12 k5 s2 hswish 8x8": 4.0,
        "block i12 m48 o16 k5 s1 se8 hswish 4x4": 8.0,
        "block i16 m64 o24 k3 s2 se8 hswish 4x4": 16.0,
        "head i24 m72 o96 hswish 2x2": 32.0,
        "linear i96 o10": 64.0,
    }
    timed = TimedSpace(small, LatencyTable(conditions(), times))
    assert timed.cost(genotype, shape).latency_table_ms == sum(times.values()) + 2.0  # the second block comes twice
    assert timed.latencies([genotype], shape).tolist() == [129.0]


def test_many_at_once_are_those_of_each():
    timed, rng = TimedSpace(SPACE, TABLE), np.random.default_rng(0)
    genotypes = [timed.sample(rng) for _ in range(200)]
    together = timed.latencies(genotypes, SHAPE).tolist()
    assert together == [timed.cost(genotype, SHAPE).latency_table_ms for genotype in genotypes]
    assert len(set(together)) > 10


def test_costs_are_otherwise_those_of_the_space():
    timed, genotype = TimedSpace(SPACE, TABLE), SPACE.sample(np.random.default_rng(4))
    found, plain = timed.cost(genotype, SHAPE), SPACE.cost(genotype, SHAPE)
    assert (found.flops, found.params, plain.latency_table_ms) == (plain.flops, plain.params, None)
    assert timed.fingerprint == SPACE.fingerprint, "trainings are the same with and without a table"
    assert timed.unwrapped is SPACE


@pytest.mark.parametrize("joint", [False, True])
def test_a_constraint_leaves_exactly_what_keeps_it(joint: bool):
    space: Space = JointSpace(architecture=SPACE, recipe={"lr": [0.1, 0.2]}) if joint else SPACE
    timed = TimedSpace(space, TABLE)
    every = list(timed.genotypes())
    times = dict(zip(every, timed.latencies(every, SHAPE).tolist(), strict=True))
    limit = float(np.median(list(times.values())))
    within = ConstrainedSpace(timed, [f"latency_table_ms <= {limit!r}"], SHAPE)
    assert set(within.genotypes()) == {g for g in every if times[timed.canonical(g)] <= limit}
    assert 0 < len(set(within.genotypes())) < len(every)


def test_a_constraint_needs_a_table():
    with pytest.raises(SpecError, match="xnas latency-table"):
        ConstrainedSpace(SPACE, ["latency_table_ms <= 5"], SHAPE)


def test_a_table_that_lacks_operators_is_refused_with_the_command():
    TimedSpace(SPACE, TABLE).check_table(SHAPE)
    lost, *_ = [key for key in TABLE.operators if key.startswith("block")]
    kept = {key: ms for key, ms in TABLE.operators.items() if key != lost}
    timed = TimedSpace(SPACE, LatencyTable(conditions(), kept))
    with pytest.raises(TableError) as caught:
        timed.check_table(SHAPE)
    assert lost in str(caught.value) and "xnas latency-table --space fbnetv3" in str(caught.value)
    other = DataShape(((3, 9, 9),), 11)
    with pytest.raises(TableError, match=r"stem i3 o8 k3 s2 hswish 8x8 of 9x9.*and 1 more"):
        TimedSpace(SPACE, TABLE).check_table(other)
    with pytest.raises(TableError, match="a phone"):
        TimedSpace(SPACE, TABLE).cost(SPACE.sample(np.random.default_rng(0)), other)


def test_the_command_gives_the_same_space_again():
    from xnas_ray.commands.application import parse_assignment

    nested = conditions(space_params={"stages": [{"kernel": [3], "first": 1}], "preset": "my 'own'"})
    words = nested.command()
    assert "--shape 3x8x8 --outputs 10" in words and "--device cpu --name 'a phone'" in words
    split = shlex.split(words)
    texts = [split[i + 1] for i, word in enumerate(split) if word == "--space-params"]
    assert dict(parse_assignment(text, "") for text in texts) == nested.space_params


# ---- the file -------------------------------------------------------------------------------------------------------


def test_a_file_gives_the_table_again(tmp_path: Path):
    networks = (TimedNetwork("a", 1.5, 1.25), TimedNetwork("b", 3.0, 2.5))
    table = LatencyTable(conditions(), TABLE.operators, networks, samples=7)
    table.save(tmp_path / "deep" / "table.json")
    found = LatencyTable.load(tmp_path / "deep" / "table.json")
    assert found == table
    assert found.hash == hash_of(table.content) and not table.hash
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["table.json"]


def test_the_error_of_sums():
    table = LatencyTable(conditions(), {"a": 1.0}, (TimedNetwork("a", 2.0, 1.0), TimedNetwork("b", 4.0, 5.0)))
    error = table.error
    assert error is not None
    assert (error.networks, error.mape_percent, error.bias_percent) == (2, (50 + 25) / 2, (-50 + 25) / 2)
    assert error.spearman == pytest.approx(1.0)
    assert LatencyTable(conditions(), {"a": 1.0}).error is None
    same = LatencyTable(conditions(), {"a": 1.0}, (TimedNetwork("a", 2.0, 1.0), TimedNetwork("b", 2.0, 5.0)))
    assert same.error is not None and same.error.spearman is None


def spoilt(**changes: Any) -> dict[str, Any]:
    return {**json.loads(TABLE.content), **changes}


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([], "is no latency table"),
        ({"format": "other"}, "is no latency table"),
        (spoilt(version=2), "version 2"),
        (spoilt(operators_ms={"a": "fast"}), "'fast'"),
        (spoilt(operators_ms={"a": -1.0}), "above 0"),
        (spoilt(operators_ms={"a": float("nan")}), "above 0"),
        (spoilt(operators_ms=3), "damaged"),
        (spoilt(networks=[{"architecture": "a"}]), "damaged"),
        (spoilt(conditions={}), "damaged"),
        (spoilt(conditions={**json.loads(TABLE.content)["conditions"], "threads": "1"}), "threads"),
        ({k: v for k, v in spoilt().items() if k != "samples"}, "damaged"),
    ],
)
def test_what_is_no_table_is_refused(found: Any, told: str, tmp_path: Path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(found))
    with pytest.raises(TableError, match=told):
        LatencyTable.load(path)


def test_files_that_cannot_be_read_or_written(tmp_path: Path):
    with pytest.raises(TableError, match="cannot read"):
        LatencyTable.load(tmp_path / "none.json")
    (tmp_path / "text.json").write_bytes(b"\xff{")
    with pytest.raises(TableError, match="no JSON"):
        LatencyTable.load(tmp_path / "text.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        TABLE.save(tmp_path / "file" / "table.json")
