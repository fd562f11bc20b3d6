"""NAS-Bench-1Shot1's spaces: published sizes, keys of NAS-Bench-101, members of a class, texts of any order."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from pathlib import Path

import networkx as nx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.benchmarks.table import TabularTask
from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Genotype
from xnas_ray.networks.nasbench1shot1 import build
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.graphs import isomorphic
from xnas_ray.spaces.nasbench1shot1 import PARENTS, NASBench1Shot1
from xnas_ray.spaces.nasbench101 import NASBench101
from xnas_ray.spaces.nasbench101_cell import OPERATIONS, representatives
from xnas_ray.spaces.registry import SPACES
from xnas_ray.testing.space_case import SpaceTestCase

CIFAR10 = DataShape(inputs=((3, 32, 32),), outputs=10)
VARIANTS = tuple(PARENTS)
spaces = {variant: NASBench1Shot1(variant=variant) for variant in VARIANTS}
drawn = st.tuples(st.sampled_from(VARIANTS), st.integers(0, 2**32)).map(
    lambda pair: (spaces[pair[0]], spaces[pair[0]].sample(np.random.default_rng(pair[1])))
)


class TestConformance(SpaceTestCase):
    def make_space(self) -> Space:
        return NASBench1Shot1(variant=1, stacks=2, modules_per_stack=1, channels=8)

    def malformed(self) -> tuple[str, ...]:
        return (*super().malformed(), "0110 input,output", "0100 input,output")


class TestConformanceOfTheSecond(TestConformance):
    """Three vertices join in the output: of 8 channels they do not get equal parts."""

    def make_space(self) -> Space:
        return NASBench1Shot1(variant=2, stacks=2, modules_per_stack=1, channels=8)


class TestConformanceOfTheThird(TestConformance):
    def make_space(self) -> Space:
        return NASBench1Shot1(variant=3, stacks=1, modules_per_stack=1, channels=9)


# ---- how many --------------------------------------------------------------------------------------------------------


def patterns(variant: int) -> list[tuple[tuple[int, ...], ...]]:
    """Every choice of parents, of all blocks and of the output."""
    return list(product(*spaces[variant].candidates))


@pytest.mark.parametrize(("variant", "genotypes"), [(1, 14_580), (2, 29_160), (3, 1_312_200)])
def test_genotypes_are_parents_times_operations(variant: int, genotypes: int):
    space = spaces[variant]
    assert space.size == len(patterns(variant)) * len(OPERATIONS) ** space.blocks == genotypes
    assert sum(PARENTS[variant]) == 9, "the most edges of NAS-Bench-101"


@pytest.mark.parametrize(("variant", "with_ends"), [(1, 6_240), (2, 16_632), (3, 363_648)])
def test_published_sizes_count_operations_of_blocks_that_are_read(variant: int, with_ends: int):
    """6,240 and 363,648 are printed; the 29,160 of the second space is the number of its genotypes instead."""
    read = [len({parent for own in parents for parent in own} - {0}) for parents in patterns(variant)]
    assert sum(len(OPERATIONS) ** count for count in read) == with_ends


@pytest.mark.parametrize(("variant", "cells"), [(1, 3_288), (2, 11_826), (3, 118_524)])
def test_cells_without_loose_ends(variant: int, cells: int):
    live = spaces[variant].patterns()
    assert len(set(live)) == len(live)
    assert sum(len(OPERATIONS) ** (len(successors) - 2) for successors in live) == cells


def test_listed_cells_are_those_of_the_genotypes():
    space = spaces[1]
    listed = list(space.cells())
    assert len(listed) == len(set(listed)) == 3_288
    assert set(listed) == {space.cell(genotype) for genotype in space.genotypes()}


@pytest.mark.parametrize(("variant", "classes"), [(1, 2_685), (2, 7_773)])
def test_classes(variant: int, classes: int):
    space = spaces[variant]
    assert len({representatives(cell, space.network)[0] for cell in space.cells()}) == classes


# ---- what a genotype is ----------------------------------------------------------------------------------------------


def test_operations_and_parents_make_the_genotype():
    space = spaces[1]
    genotype = space.genotype((0, 1, 2, 0), ((0,), (0, 1), (0, 2), (1, 3), (2, 4)))
    assert space.operations(genotype) == (0, 1, 2, 0)
    assert space.parents(genotype) == ((0,), (0, 1), (0, 2), (1, 3), (2, 4))
    assert space.describe(genotype)["parents of block 4"] == "1+3"
    names = "input,conv3x3-bn-relu,conv1x1-bn-relu,maxpool3x3,conv3x3-bn-relu,output"
    assert space.format(genotype) == f"{'011100'}{'001010'}{'000101'}{'000010'}{'000001'}{'000000'} {names}"
    assert [choice.name for choice in space.choices[4:]] == [
        "parents of block 3",
        "parents of block 4",
        "parents of output",
    ]


@pytest.mark.parametrize(
    "parents",
    [((0,), (0, 1), (0, 2), (1, 3)), ((0,), (0, 1), (0, 2), (1, 3), (2, 3, 4)), ((0,), (0, 1), (0, 3), (1, 3), (2, 4))],
)
def test_other_parents_are_refused(parents):
    with pytest.raises(GenotypeError, match="parents"):
        spaces[1].genotype((0, 1, 2, 0), parents)


@settings(max_examples=60, deadline=None)
@given(drawn)
def test_cells_have_the_parents_of_their_blocks_and_no_loose_ends(pair: tuple[NASBench1Shot1, Genotype]):
    """Against a graph that networkx cuts."""
    space, genotype = pair
    whole = nx.DiGraph()
    whole.add_node(0, op_name="input")
    for block, operation in enumerate(space.operations(genotype), start=1):
        whole.add_node(block, op_name=OPERATIONS[operation])
    whole.add_node(space.blocks + 1, op_name="output")
    for vertex, parents in enumerate(space.parents(genotype), start=1):
        assert len(parents) == PARENTS[space.variant][vertex - 1]
        whole.add_edges_from((parent, vertex) for parent in parents)
    live = whole.subgraph(nx.ancestors(whole, space.blocks + 1) | {space.blocks + 1})
    graph = space.graphs(genotype)["cell"]
    assert isomorphic(graph, live)
    assert len(space.cell(genotype).operations) == len(live) - 2


@settings(max_examples=60, deadline=None)
@given(drawn, st.integers(0, 2**32))
def test_keys_and_costs_are_those_of_nasbench101(pair: tuple[NASBench1Shot1, Genotype], seed: int):
    space, genotype = pair
    official = NASBench101()
    same = space.as_nasbench101(genotype)
    assert official.is_valid(same)
    assert official.key(same) == space.key(genotype)
    assert official.cost(same, CIFAR10) == space.cost(genotype, CIFAR10)
    member = official.member(same, np.random.default_rng(seed))
    pruned = official.format(official.canonical(member))
    for text in (official.format(member), pruned, official.key(member)):
        assert space.key(space.parse(text)) == space.key(genotype)


def test_canonical_is_the_cheapest_then_first_member():
    """Against all genotypes of the second space, where three vertices share 8 channels unevenly."""
    space = NASBench1Shot1(variant=2, stacks=1, modules_per_stack=1, channels=8)
    members: dict[str, list[Genotype]] = defaultdict(list)
    tails = list(product(*(range(len(choice.options)) for choice in space.choices[space.blocks :])))
    for own in product(range(3), repeat=space.blocks):
        if sorted(own) == [0, 0, 1, 2]:
            for tail in tails:
                cell = space.cell((*own, *tail))
                if len(cell.operations) == space.blocks:  # no loose ends: members differ in order alone
                    members[space.key((*own, *tail))].append((*own, *tail))
    uneven = 0
    for group in list(members.values())[::4]:
        flops = {genotype: space.cost(genotype, CIFAR10).flops for genotype in group}
        assert {space.canonical(genotype) for genotype in group} == {min(group, key=lambda g: (flops[g], g))}
        uneven += len(set(flops.values())) > 1
    assert uneven


def test_loose_ends_count_for_nothing():
    space = spaces[2]
    parents = ((0,), (0,), (0, 1), (1, 2), (0, 1, 2))  # blocks 3 and 4 are read by nobody
    keys = {space.key(space.genotype((0, 2, *ends), parents)) for ends in product(range(3), repeat=2)}
    assert len(keys) == 1
    canonical = space.canonical(space.genotype((0, 2, 1, 2), parents))
    assert space.key(canonical) == keys.pop()
    assert len(space.cell(canonical).operations) == 2


def test_cells_of_other_spaces_are_refused():
    alone = "010001000 input,conv3x3-bn-relu,output"
    for space in spaces.values():
        with pytest.raises(GenotypeError, match="no cell isomorphic"):
            space.parse(alone)
    inception = "0111010000000100000010000100000000100000010000000"
    text = f"{inception} input,conv1x1-bn-relu,conv3x3-bn-relu,conv3x3-bn-relu,conv3x3-bn-relu,maxpool3x3,output"
    with pytest.raises(GenotypeError, match="variant 3"):
        spaces[3].parse(text)


@pytest.mark.parametrize("bad", [0, 4, "1", True, 1.5])
def test_there_are_three_variants(bad: object):
    with pytest.raises(SpecError, match="variant"):
        NASBench1Shot1(variant=bad)  # type: ignore[arg-type]


def test_it_is_registered_and_builds_its_own():
    space = SPACES.create("nasbench1shot1", {"variant": 3, "channels": 16})
    assert space.params == {"variant": 3, "stacks": 3, "modules_per_stack": 3, "channels": 16}
    other = NASBench101()
    with pytest.raises(SpecError, match="'nasbench101'"):
        build(other, other.sample(np.random.default_rng(0)), CIFAR10)


def test_a_table_of_nasbench101_has_them_in_any_order_of_vertices(tmp_path: Path):
    official, space = NASBench101(), spaces[1]
    genotypes = [space.sample(np.random.default_rng(seed)) for seed in range(5)]
    rng = np.random.default_rng(0)
    texts = [official.format(official.member(space.as_nasbench101(genotype), rng)) for genotype in genotypes]
    assert len(set(texts)) == 5
    adjacency, ops = zip(*(text.split(" ") for text in texts), strict=True)
    rows = {"adjacency": adjacency, "ops": ops, "accuracy": [90.0, 91.0, 92.0, 93.0, 94.0]}
    pq.write_table(pa.table(rows), path := tmp_path / "table.parquet")
    whole = TabularTask.from_parquet(path, space="nasbench101", objectives={"val_accuracy": "accuracy"})
    own = TabularTask.from_parquet(path, space="nasbench1shot1", objectives={"val_accuracy": "accuracy"})
    for genotype, accuracy in zip(genotypes, rows["accuracy"], strict=True):
        assert whole.lookup(space.as_nasbench101(genotype)).metrics["val_accuracy"] == accuracy
        assert own.lookup(genotype).metrics["val_accuracy"] == accuracy
