"""The pool of NARS: allowed, canonical, spread over the space, and its bins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.controllers.nars_pool import Pool
from xnas_ray.controllers.nars_region import Region
from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces.base import Choice, DataShape, Space
from xnas_ray.spaces.constrained import ConstrainedSpace
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.latency_table import Conditions, LatencyTable
from xnas_ray.spaces.nasbench101 import NASBench101
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.operators import operators_of
from xnas_ray.spaces.timed import TimedSpace
from xnas_ray.spaces.wrapped import RestrictedSpace

SHAPE = DataShape(((3, 8, 8),), 10)
CELLS = NASBench201(cells_per_stage=1, channels=4, stages=1)
RECIPE = {"learning_rate": {"log": [0.001, 0.1], "levels": 9}, "optimizer": ["sgd", "adam"]}


class Widths(Space):
    """Eight widths; FLOPs are the sum of their squares, parameters their sum."""

    name = "widths"
    builder = "nowhere:build"
    choices = tuple(Choice(f"w{i}", tuple(range(1, 9)), ordered=True) for i in range(8))

    def key(self, genotype):
        return str(genotype)

    def graphs(self, genotype):
        raise NotImplementedError

    def cost(self, genotype, shape):
        return Cost(sum((i + 1) ** 2 for i in genotype), sum(genotype) + 8)

    def format(self, genotype):
        return "-".join(map(str, genotype))

    def parse(self, text):
        return tuple(map(int, text.split("-")))


def drawn(space: Space, size: int, seed: int = 0) -> Pool:
    return Pool.draw(Region(space, SHAPE), size, np.random.default_rng(seed))


# ---- the region -----------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(20, 300), st.integers(16, 60))
def test_a_region_allows_what_the_constrained_spaces_call_valid(seed: int, most: int, least: int):
    inner = ConstrainedSpace(Widths(), [f"flops <= {most}"], SHAPE)
    space = ConstrainedSpace(inner, [f"params > {least}", "flops > 30"], SHAPE)
    region, rng = Region(space, SHAPE), np.random.default_rng(seed)
    assert isinstance(region.space, Widths)
    genotypes = [Widths().sample(rng) for _ in range(40)]
    assert region.allows(genotypes).tolist() == [space.is_valid(genotype) for genotype in genotypes]
    tighter = ConstrainedSpace(space, ["flops <= 150"], SHAPE)
    assert region.allows(genotypes, 150.0).tolist() == [tighter.is_valid(genotype) for genotype in genotypes]


def test_layers_are_counted_in_their_own_shapes():
    small, large = SHAPE, DataShape(((3, 32, 32),), 10)
    genotype = (3, 3, 3, 3, 3, 3)
    limit = CELLS.cost(genotype, small).flops
    for shape, allowed in ((small, True), (large, False)):
        region = Region(ConstrainedSpace(CELLS, [f"flops <= {limit}"], shape), small)
        assert region.allows([genotype]).tolist() == [allowed]
        assert region.costs([genotype])[0].tolist() == [limit]


@pytest.mark.parametrize("joint", [False, True])
def test_a_limit_of_latency_is_looked_up_for_all_together(joint: bool):
    keys = operators_of(CELLS, CELLS.covering() or (), SHAPE)
    conditions = Conditions("an abacus", "cpu", 1, "wall", 1, 1, 0, "0", CELLS.name, CELLS.params, SHAPE)
    table = LatencyTable(conditions, {key: 0.1 + 0.3 * i for i, key in enumerate(keys)})
    space = TimedSpace(JointSpace(architecture=CELLS, recipe=RECIPE) if joint else CELLS, table)
    genotypes = [space.canonical(space.sample(np.random.default_rng(i))) for i in range(60)]
    limit = float(np.median(space.latencies(genotypes, SHAPE)))
    within = ConstrainedSpace(space, [f"latency_table_ms <= {limit!r}", "params <= 2000"], SHAPE)
    allowed = Region(within, SHAPE).allows(genotypes)
    assert allowed.tolist() == [within.is_valid(genotype) for genotype in genotypes]
    assert 0 < allowed.sum() < len(genotypes)
    pool = drawn(within, 32)
    assert len(pool) == 32 and max(space.latencies(pool.genotypes, SHAPE)) <= limit


def test_nothing_is_nothing():
    region = Region(ConstrainedSpace(CELLS, ["flops <= 1e9"], SHAPE), SHAPE)
    assert region.allows([]).shape == (0,) and region.costs([])[0].shape == (0,)
    assert Region(CELLS, SHAPE).space is CELLS


# ---- the pool -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "space",
    [
        Widths(),
        CELLS,
        ConstrainedSpace(Widths(), ["flops <= 120"], SHAPE),
        JointSpace(architecture=CELLS, recipe=RECIPE),
        ConstrainedSpace(JointSpace(architecture=CELLS, recipe=RECIPE), ["params <= 2000"], SHAPE),
    ],
    ids=["widths", "cells", "constrained", "joint", "joint and constrained"],
)
def test_a_pool_holds_valid_canonical_genotypes_once_with_their_costs(space: Space):
    pool = drawn(space, 300)
    assert len(pool) == len(pool.index) == 300
    for place, genotype in enumerate(pool.genotypes[::7]):
        assert space.is_valid(genotype) and space.canonical(genotype) == genotype
        assert pool.index[space.key(genotype)] == 7 * place
        cost = space.cost(genotype, SHAPE)
        assert (pool.flops[7 * place], pool.params[7 * place]) == (cost.flops, cost.params)


def test_a_small_space_is_taken_whole():
    pool = drawn(CELLS, 20_000)
    assert pool.genotypes == tuple(CELLS.enumerate())
    members = [CELLS.sample(np.random.default_rng(i)) for i in range(20)]
    params = sorted(CELLS.cost(CELLS.canonical(genotype), SHAPE).params for genotype in members)
    space = ConstrainedSpace(RestrictedSpace(CELLS, members), [f"params <= {params[9]}"], SHAPE)
    assert set(drawn(space, 50).genotypes) == set(space.enumerate()) < {CELLS.canonical(g) for g in members}


def test_where_valid_genotypes_are_rare_samples_fill_the_pool():
    space = NASBench101()
    pool = drawn(space, 40)
    assert len(pool) == 40
    assert all(space.is_valid(genotype) for genotype in pool.genotypes)


def test_constraints_that_nothing_satisfies_leave_an_empty_pool():
    pool = drawn(ConstrainedSpace(Widths(), ["flops <= 1"], SHAPE), 8)
    assert len(pool) == 0 and pool.bins(4).shape == (0,) and pool.flat


def test_equal_generators_give_equal_pools():
    assert drawn(Widths(), 100, 3).genotypes == drawn(Widths(), 100, 3).genotypes
    assert drawn(Widths(), 100, 3).genotypes != drawn(Widths(), 100, 4).genotypes


def test_options_are_as_even_as_the_sequence():
    """The first 2^k points of a Sobol sequence have each of 8 options equally often, which samples do not."""
    counts = np.stack([np.bincount(column, minlength=8) for column in np.array(drawn(Widths(), 256).genotypes).T])
    assert np.abs(counts - 32).max() <= 1, "but for a point that appears twice"
    rng = np.random.default_rng(0)
    sampled = np.array([Widths().sample(rng) for _ in range(256)])
    assert np.abs(np.stack([np.bincount(column, minlength=8) for column in sampled.T]) - 32).max() > 5


# ---- bins -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 10**12), min_size=2, max_size=50), st.integers(1, 48))
def test_bins_are_equal_parts_of_the_range(flops: list[int], count: int):
    genotypes = tuple[Genotype, ...]((i,) for i in range(len(flops)))
    pool = Pool(genotypes, {str(i): i for i in range(len(flops))}, np.array(flops), np.array(flops))
    bins = pool.bins(count)
    if len(set(flops)) == 1:
        assert pool.flat and not bins.any()
        return
    low, high = min(flops), max(flops)
    for value, number in zip(flops, bins.tolist(), strict=True):
        assert 0 <= number < count
        # In whole numbers: low + number * width <= value, and less than one bin further.
        assert number * (high - low) <= (value - low) * count
        assert (value - low) * count < (number + 1) * (high - low) or value == high
    assert bins[flops.index(low)] == 0 and bins[flops.index(high)] == count - 1


def test_recipes_of_one_architecture_are_one_bin():
    space = JointSpace(architecture=RestrictedSpace(CELLS, [(3, 3, 3, 3, 3, 3)]), recipe=RECIPE)
    pool = drawn(space, 100)
    assert len(pool) == 18 and pool.flat and not pool.bins(48).any()
