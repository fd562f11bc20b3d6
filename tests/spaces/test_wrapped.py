"""Parts of spaces: what they take over, and how they find members that lie far apart."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.constrained import ConstrainedSpace
from xnas_ray.spaces.graphs import unfold
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.nasbench101 import NASBench101
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.testing.space_case import SpaceTestCase

SHAPE = DataShape(inputs=((3, 8, 8),), outputs=10)
SPACE = NASBench201(cells_per_stage=1, channels=4, stages=1)
SMALL = "params <= 900"


class TestConformanceOfConstraints(SpaceTestCase):
    def make_space(self) -> Space:
        return ConstrainedSpace(SPACE, [SMALL], SHAPE)

    def same_graph(self, first: nx.DiGraph, second: nx.DiGraph) -> bool:
        return unfold(first, 7) == unfold(second, 7)


class TestConformanceOfAPartOfAPart(SpaceTestCase):
    def make_space(self) -> Space:
        whole, rng = NASBench101(stacks=1, modules_per_stack=1, channels=6), np.random.default_rng(1)
        listed = RestrictedSpace(whole, [whole.sample(rng) for _ in range(60)])
        return ConstrainedSpace(listed, ["flops <= 60e3"], SHAPE)


def test_a_part_is_its_whole_in_all_but_its_genotypes():
    joint = JointSpace(architecture=SPACE, recipe={"lr": [0.1, 0.2]})
    part = ConstrainedSpace(RestrictedSpace(joint, [(3,) * 6 + (0,), (2,) * 6 + (1,)]), [SMALL], SHAPE)
    genotype = (2,) * 6 + (1,)
    assert part.unwrapped is joint
    assert (part.fingerprint, part.builder, part.size) == (joint.fingerprint, joint.builder, 2)
    assert part.recipe(genotype) == {"lr": 0.2}
    assert part.numeric(genotype) == (1.0,)
    assert part.mutation_rates == joint.mutation_rates
    assert part.table_columns == joint.table_columns
    assert sum(p.numel() for p in part.build(genotype, SHAPE).parameters()) == part.cost(genotype, SHAPE).params
    assert SPACE.unwrapped is SPACE


# ---- constraints -----------------------------------------------------------------------------------------------------


def test_constraints_leave_exactly_the_classes_that_satisfy_them():
    part = ConstrainedSpace(SPACE, ["params <= 900", "flops > 20e3"], SHAPE)

    def feasible(genotype: Genotype) -> bool:
        cost = SPACE.cost(SPACE.canonical(genotype), SHAPE)
        return cost.params <= 900 and cost.flops > 20e3

    assert list(part.genotypes()) == [g for g in SPACE.genotypes() if feasible(g)]
    assert 0 < len(list(part.genotypes())) < SPACE.size
    neighbours = list(part.neighbours((2,) * 6))
    assert neighbours == [g for g in SPACE.neighbours((2,) * 6) if feasible(g)]


def test_what_nothing_satisfies_is_said():
    part = ConstrainedSpace(SPACE, ["params <= 1"], SHAPE)
    with pytest.raises(GenotypeError, match="constrained"):
        part.sample(np.random.default_rng(0))
    for change in (part.mutate, part.perturb):
        with pytest.raises(GenotypeError, match="no valid mutant"):
            change((2,) * 6, np.random.default_rng(0))
    assert part.crossover((2,) * 6, (3,) * 6, np.random.default_rng(0)) == (2,) * 6
    with pytest.raises(SpecError, match="latency"):
        ConstrainedSpace(SPACE, ["latency_ms <= 1"], SHAPE)


# ---- lists -----------------------------------------------------------------------------------------------------------


def test_members_are_canonical_and_listed_once():
    twice = next(g for g in SPACE.genotypes() if SPACE.canonical(g) != g)
    space = RestrictedSpace(SPACE, [(3,) * 6, twice, SPACE.canonical(twice)])
    assert space.members == ((3,) * 6, SPACE.canonical(twice))
    assert space.size == 2
    with pytest.raises(GenotypeError, match="at least one"):
        RestrictedSpace(SPACE, [])
    with pytest.raises(GenotypeError, match="out of range"):
        RestrictedSpace(SPACE, [(9,) * 6])


def test_mutants_are_the_nearest_members_that_differ_enough():
    space = RestrictedSpace(SPACE, [(3,) * 6, (3, 3, 3, 3, 3, 4), (3, 3, 3, 4, 3, 3), (3, 3, 3, 3, 2, 4), (2,) * 6])
    rng = np.random.default_rng(0)
    near = {space.mutate((3,) * 6, rng) for _ in range(30)}
    assert near == {(3, 3, 3, 3, 3, 4), (3, 3, 3, 4, 3, 3)}
    assert space.mutate((3,) * 6, rng, changes=2) == (3, 3, 3, 3, 2, 4)
    assert space.mutate((3,) * 6, rng, changes=3) == (2,) * 6
    assert space.mutate((3, 3, 3, 3, 2, 4), rng, changes=6) == (2,) * 6  # 5 changes: the farthest that there is
    assert {space.perturb((3,) * 6, rng, 0.0) for _ in range(30)} == near
    assert space.perturb((3,) * 6, rng, 1.0) == (2,) * 6
    with pytest.raises(GenotypeError, match="only member"):
        RestrictedSpace(SPACE, [(3,) * 6]).mutate((3,) * 6, rng)


def test_children_are_all_members_between_their_parents():
    rng = np.random.default_rng(2)
    space = RestrictedSpace(SPACE, [SPACE.sample(rng) for _ in range(500)])
    for _ in range(50):
        first, second = space.sample(rng), space.sample(rng)
        between = {
            member
            for member in space.members
            if member not in (first, second) and all(m in pair for m, *pair in zip(member, first, second, strict=True))
        }
        children = {space.crossover(first, second, np.random.default_rng(i)) for i in range(100)}
        assert children == (between or {first})
