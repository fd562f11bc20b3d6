"""Joint spaces: both parts in every function, their mutation and their texts."""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np
import pytest

from xnas_ray.controllers.base import Controller, Goal
from xnas_ray.controllers.regularized_evolution import RegularizedEvolution
from xnas_ray.errors import GenotypeError, SpecError, UnknownNameError
from xnas_ray.networks.nasbench201 import NASBench201Network
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.graphs import unfold
from xnas_ray.spaces.joint import JointSpace, build
from xnas_ray.spaces.nasbench101 import NASBench101
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.recipe import RecipeSpace
from xnas_ray.spaces.registry import SPACES
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.testing.controller_case import ControllerTestCase
from xnas_ray.testing.space_case import SpaceTestCase

SHAPE = DataShape(inputs=((3, 8, 8),), outputs=10)
CELLS = NASBench201(cells_per_stage=1, channels=4, stages=1)
GENES = {"augment": [[], ["cutout"]], "lr": {"log": [1e-3, 1.0], "levels": 4}, "optimizer": ["sgd", "adamw"]}
SPACE = JointSpace(architecture=CELLS, recipe=GENES)
CELL = (3, 1, 2, 0, 4, 2)


class TestConformance(SpaceTestCase):
    def make_space(self) -> Space:
        return JointSpace(architecture=CELLS, recipe=GENES)

    def same_graph(self, first: nx.DiGraph, second: nx.DiGraph) -> bool:
        return unfold(first, 7) == unfold(second, 7)


class TestConformanceOverAnotherSpace(SpaceTestCase):
    """Architectures with ways of their own to be valid, canonical and changed."""

    def make_space(self) -> Space:
        return JointSpace(architecture=NASBench101(vertices=4, stacks=1, channels=6), recipe={"lr": [0.1, 0.3]})


class TestEvolution(ControllerTestCase):
    """Controllers search architectures and recipes as they search any space."""

    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        return RegularizedEvolution(space, objectives, seed=seed, population=8, sample=3)

    def make_space(self) -> Space:
        return SPACE


def test_every_function_gives_the_architecture_s_and_the_recipe_s_part():
    genotype = (*CELL, 1, 2, 1)
    assert SPACE.split(genotype) == (CELL, (1, 2, 1))
    assert SPACE.recipe(genotype) == {"augment": ["cutout"], "lr": 0.1, "optimizer": "adamw"}
    assert SPACE.numeric(genotype) == pytest.approx((0, 0.5**0.5, 2 / 3, 0, 0.5**0.5))
    assert SPACE.cost(genotype, SHAPE) == CELLS.cost(CELL, SHAPE)
    assert SPACE.key(genotype).startswith(f"{CELLS.key(CELL)} ")
    assert SPACE.key(genotype) != SPACE.key((*CELL, 1, 2, 0))
    assert list(SPACE.graphs(genotype)) == ["cell"]
    assert SPACE.format(genotype) == f'{CELLS.format(CELL)} {{"augment":["cutout"],"lr":0.1,"optimizer":"adamw"}}'
    assert SPACE.size == CELLS.size * 16
    assert isinstance(SPACE.build(genotype, SHAPE), NASBench201Network)
    assert SPACE.mutation_rates == (1 / 6,) * 6 + (1 / 3,) * 3


def test_a_gene_alone_is_kept_half_the_time():
    space = JointSpace(architecture=CELLS, recipe={"lr": [0.1, 0.2, 0.3]})
    assert space.mutation_rates[-1] == 0.5
    mutants = [space.perturb((*CELL, 1), np.random.default_rng(seed)) for seed in range(200)]
    assert 0.3 < np.mean([mutant[-1] == 1 for mutant in mutants]) < 0.7


def test_members_of_an_architecture_s_class_share_a_recipe():
    twin = next(g for g in CELLS.genotypes() if CELLS.canonical(g) != g)
    assert SPACE.key((*twin, 1, 0, 0)) == SPACE.key((*CELLS.canonical(twin), 1, 0, 0))
    assert SPACE.canonical((*twin, 1, 0, 0)) == (*CELLS.canonical(twin), 1, 0, 0)


def test_all_pairs_are_listed():
    small = JointSpace(architecture=RestrictedSpace(CELLS, [CELL, (3,) * 6]), recipe={"lr": [0.1, 0.2, 0.3]})
    assert list(small.genotypes()) == [(*c, level) for c in (CELLS.canonical(CELL), (3,) * 6) for level in range(3)]
    assert len(list(small.enumerate())) == small.size == 6
    with pytest.raises(GenotypeError, match="too many"):
        next(JointSpace(architecture=CELLS, recipe={"lr": {"log": [0.1, 1], "levels": 100}}).genotypes())


def test_changes_fall_on_both_parts():
    start, rng = (*CELL, 1, 2, 1), np.random.default_rng(0)
    mutants = [SPACE.mutate(start, rng) for _ in range(200)]
    in_recipe = [m for m in mutants if m[6:] != start[6:]]
    assert 30 < len(in_recipe) < 110  # 3 of 9 choices
    assert all(m[:6] == CELL for m in in_recipe)
    everything = SPACE.mutate(start, rng, changes=9)
    assert all(a != b for a, b in zip(everything, start, strict=True))
    genes_alone = [SPACE.perturb(start, rng, [0.0] * 6 + [0.5] * 3) for _ in range(20)]
    assert all(m[:6] == CELL and m != start for m in genes_alone)
    cells_alone = [SPACE.perturb(start, rng, [0.5] * 6 + [0.0] * 3) for _ in range(20)]
    assert all(m[6:] == start[6:] and m != start for m in cells_alone)


def test_a_single_architecture_is_trained_in_every_way():
    only = JointSpace(architecture=RestrictedSpace(CELLS, [CELL]), recipe={"lr": [0.1, 0.2], "batch_size": [8, 16]})
    start = next(only.genotypes())
    for changes in (1, 2, 8):
        mutant = only.mutate(start, np.random.default_rng(changes), changes)
        assert mutant[:6] == start[:6]
        assert mutant != start
    single = JointSpace(architecture=RestrictedSpace(CELLS, [CELL]), recipe={"lr": [0.1]})
    with pytest.raises(GenotypeError, match="no valid mutant"):
        single.mutate(next(single.genotypes()), np.random.default_rng(0))


@pytest.mark.parametrize(
    "text",
    [
        CELLS.format(CELL),
        CELLS.format(CELL) + " {}",
        CELLS.format(CELL) + ' {"lr":0.1,"optimizer":"adamw"}',
        CELLS.format(CELL) + ' {"lr":0.1,"optimizer":"adamw","augment":["cutout"],"x":1}',
        CELLS.format(CELL) + ' {"lr":0.5,"optimizer":"adamw","augment":["cutout"]}',
        CELLS.format(CELL) + ' {"lr":NaN,"optimizer":"adamw","augment":["cutout"]}',
        CELLS.format(CELL) + ' {"lr":' + "[" * 100_000,
        'x {"lr":0.1,"optimizer":"adamw","augment":["cutout"]}',
        ' {"lr":0.1,"optimizer":"adamw","augment":["cutout"]}',
    ],
)
def test_malformed_texts_are_refused(text: str):
    with pytest.raises(GenotypeError):
        SPACE.parse(text)


def test_a_text_without_recipe_says_what_to_append():
    with pytest.raises(GenotypeError, match=r'such as \{"augment":\[\],"lr":0.001,"optimizer":"sgd"\}'):
        SPACE.parse(CELLS.format(CELL))


def test_specifications_name_the_architectures():
    params = {"architecture": {"name": "nasbench201", "params": {"channels": 8}}, "recipe": {"lr": [0.1, 0.2]}}
    space = SPACES.create("joint", params)
    assert isinstance(space, JointSpace)
    assert isinstance(space.architectures, NASBench201)
    assert space.architectures.channels == 8
    assert isinstance(SPACES.create("joint", {**params, "architecture": "nasbench101"}).architectures, NASBench101)
    whole = SPACES.create("joint", {"architecture": space.params["architecture"], "recipe": space.params["recipe"]})
    assert whole.fingerprint == space.fingerprint


def test_fingerprints_tell_every_level():
    others = [
        JointSpace(architecture=CELLS, recipe={**GENES, "lr": {"log": [1e-3, 1.0], "levels": 5}}),
        JointSpace(architecture=CELLS, recipe={**GENES, "optimizer": ["adamw", "sgd"]}),
        JointSpace(architecture=NASBench201(channels=5), recipe=GENES),
    ]
    assert len({space.fingerprint for space in (SPACE, *others)}) == 4
    assert JointSpace(architecture=CELLS, recipe=dict(reversed(GENES.items()))).fingerprint == SPACE.fingerprint


@pytest.mark.parametrize(
    ("architecture", "error", "named"),
    [
        (3, SpecError, "must be a name"),
        ({"params": {}}, SpecError, "must be a name"),
        ({"name": "nasbench201", "channels": 8}, SpecError, "must be a name"),
        ({"name": "nasbench201", "params": 8}, SpecError, "must be a name"),
        ("nasbench202", UnknownNameError, "Did you mean 'nasbench201'"),
        ({"name": "nasbench201", "params": {"chanels": 8}}, UnknownNameError, r"architecture\.params.*'channels'"),
        ("task", UnknownNameError, "there is no space 'task'"),
    ],
)
def test_what_names_no_space_is_refused(architecture: object, error: type[Exception], named: str):
    with pytest.raises(error, match=named):
        JointSpace(architecture=architecture, recipe=RecipeSpace.from_mapping(GENES))  # type: ignore[arg-type]


def test_the_builder_refuses_other_spaces():
    with pytest.raises(SpecError, match="nasbench201"):
        build(CELLS, CELL, SHAPE)
