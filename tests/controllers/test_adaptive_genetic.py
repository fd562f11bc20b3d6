"""Adaptive genetic search: the published probabilities, its limits and its end, and that it beats chance."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.benchmarks.table import TabularTask
from xnas_ray.controllers.adaptive_genetic import CROSSOVER, MUTATION, TRIES, adaptive_rate, evolve
from xnas_ray.errors import ControllerError, SpecError
from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces.base import Choice, DataShape, Space
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace

SHAPE = DataShape(((3, 8, 8),), 10)


class Grid(Space):
    """``choices`` with ``options`` each; the last option of the first choice is invalid where ``gap`` is set."""

    name = "grid"
    builder = "nowhere:build"

    def __init__(self, *, choices: int = 6, options: int = 6, gap: bool = False) -> None:
        self.choices = tuple(Choice(f"c{i}", tuple(range(options)), ordered=True) for i in range(choices))
        self.gap = gap

    def is_valid(self, genotype):
        return super().is_valid(genotype) and not (self.gap and genotype[0] == len(self.choices[0].options) - 1)

    def key(self, genotype):
        return str(genotype)

    def graphs(self, genotype):
        raise NotImplementedError

    def cost(self, genotype, shape):
        return Cost(sum(genotype) + 1, 1)

    def format(self, genotype):
        return "".join(map(str, genotype))

    def parse(self, text):
        return tuple(map(int, text))


def drawn(space: Space, count: int, seed: int = 0) -> list[Genotype]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


def everything(genotypes: Sequence[Genotype]) -> np.ndarray:
    return np.ones(len(genotypes), dtype=bool)


def total(genotypes: Sequence[Genotype]) -> np.ndarray:
    return np.array([sum(genotype) for genotype in genotypes], dtype=float)


def rugged(seed: int, space: Space):
    """A score with a table of random numbers for every pair of neighbouring genes."""
    sizes = [len(choice.options) for choice in space.choices]
    tables = [np.random.default_rng([seed, i]).normal(size=pair) for i, pair in enumerate(pairwise(sizes))]

    def score(genotypes: Sequence[Genotype]) -> np.ndarray:
        genes = np.array(genotypes)
        return sum(table[genes[:, i], genes[:, i + 1]] for i, table in enumerate(tables))

    return score


class Counted:
    """A score that remembers what was scored."""

    def __init__(self, score):
        self.score, self.seen = score, list[Genotype]()

    def __call__(self, genotypes):
        self.seen.extend(genotypes)
        return self.score(genotypes)


# ---- probabilities --------------------------------------------------------------------------------------------------


def test_rates_are_those_of_the_paper():
    population = np.array([1.0, 2.0, 3.0, 6.0])  # best 6, average 3
    fitness = np.array([6.0, 4.5, 3.0, 2.9, 1.0])
    assert adaptive_rate(fitness, population, CROSSOVER).tolist() == pytest.approx([0.0, 0.5, 1.0, 1.0, 1.0])
    assert adaptive_rate(fitness, population, MUTATION).tolist() == pytest.approx([0.0, 0.25, 0.5, 0.5, 0.5])
    assert adaptive_rate(fitness, population, (0.4, 0.9)).tolist() == pytest.approx([0.0, 0.2, 0.4, 0.9, 0.9])


@pytest.mark.parametrize("value", [0.0, 0.1, -71.3, 1e9])
def test_a_population_of_equals_is_broken_up(value: float):
    population = np.full(7, value)
    assert adaptive_rate(population, population, MUTATION).tolist() == [MUTATION[1]] * 7


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_rates_are_probabilities(values: list[float]):
    population = np.array(values)
    for factors in (CROSSOVER, MUTATION):
        rates = adaptive_rate(population, population, factors)
        assert ((rates >= 0) & (rates <= max(factors) * (1 + 1e-9))).all()


# ---- what evolves ---------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), limit=st.integers(3, 30), keep=st.integers(1, 12), children=st.integers(1, 8))
def test_everything_is_valid_allowed_new_and_never_worse(seed: int, limit: int, keep: int, children: int):
    space = Grid(gap=True)
    score = Counted(rugged(seed, space))

    def allowed(genotypes: Sequence[Genotype]) -> np.ndarray:
        assert all(space.is_valid(genotype) for genotype in genotypes)
        return total(genotypes) <= limit

    start = [(0,) * 6, *drawn(space, 20, seed)]
    found = evolve(space, score, start, allowed=allowed, rng=np.random.default_rng(seed), children=children, keep=keep)
    assert len(set(score.seen)) == len(score.seen), "a genotype was scored twice"
    assert all(space.is_valid(g) and sum(g) <= limit for g in score.seen)
    assert 1 <= len(found.genotypes) <= keep
    assert found.scores.tolist() == sorted(score.score(list(found.genotypes)).tolist(), reverse=True)
    best = found.best_per_generation
    assert list(best) == sorted(best) and len(best) == found.generations + 1
    assert best[0] == max(score.score([g for g in start if sum(g) <= limit]))
    assert best[-1] == found.scores[0] == max(score.score(score.seen))


def test_it_ends_at_the_first_generation_without_a_gain():
    space = Grid()
    best = evolve(
        space, rugged(1, space), drawn(space, 30), allowed=everything, rng=np.random.default_rng(0)
    ).best_per_generation
    gains = np.diff(best)
    assert len(gains) >= 2 and gains[-1] <= 1e-6 and (gains[:-1] > 1e-6).all()


def test_a_large_epsilon_and_the_most_generations_end_it_sooner():
    space, rng = Grid(choices=12), np.random.default_rng
    once = evolve(space, total, drawn(space, 5), allowed=everything, rng=rng(0), epsilon=1e9)
    assert once.generations == 1, "the first generation is always bred"
    whole = evolve(space, total, drawn(space, 5), allowed=everything, rng=rng(0))
    twice = evolve(space, total, drawn(space, 5), allowed=everything, rng=rng(0), max_generations=2)
    assert twice.generations == 2 < whole.generations
    assert twice.best_per_generation == whole.best_per_generation[:3]


def test_scores_below_zero_are_as_good():
    space = Grid()
    runs = [
        evolve(
            space, lambda g, s=shift: total(g) + s, drawn(space, 10), allowed=everything, rng=np.random.default_rng(3)
        )
        for shift in (0.0, -1024.0)
    ]
    assert runs[0].genotypes == runs[1].genotypes
    assert runs[0].generations == runs[1].generations > 1


def test_equal_generators_give_equal_evolutions():
    space = Grid()
    one, same, other = (
        evolve(space, rugged(0, space), drawn(space, 10), allowed=everything, rng=np.random.default_rng(seed))
        for seed in (0, 0, 1)
    )
    assert one.genotypes == same.genotypes and one.best_per_generation == same.best_per_generation
    assert one.genotypes != other.genotypes


@pytest.mark.parametrize("seed", range(5))
def test_it_finds_the_optimum_of_a_space_that_can_be_listed(seed: int):
    space = Grid(choices=5, options=6)
    score = rugged(seed, space)
    feasible = [genotype for genotype in space.enumerate() if sum(genotype) <= 12]
    found = evolve(
        space,
        score,
        drawn(space, 100, seed),
        allowed=lambda genotypes: total(genotypes) <= 12,
        rng=np.random.default_rng(seed),
    )
    assert found.scores[0] == max(score(feasible))


def test_keys_are_looked_at_once_and_genotypes_are_canonical():
    space = NASBench201(cells_per_stage=1, channels=4, stages=1)
    score = Counted(total)
    found = evolve(space, score, drawn(space, 20), allowed=everything, rng=np.random.default_rng(0))
    keys = [space.key(genotype) for genotype in score.seen]
    assert len(set(keys)) == len(keys)
    assert all(space.canonical(genotype) == genotype for genotype in score.seen)
    assert found.scores[0] == 24.0, "the last operation on every edge"


def test_where_few_genotypes_are_valid_the_space_breeds():
    whole = Grid(choices=10, options=8)
    members = sorted(drawn(whole, 60, seed=4), key=sum)
    space = RestrictedSpace(whole, members)
    found = evolve(space, total, members[:3], allowed=everything, rng=np.random.default_rng(0), keep=5)
    assert set(found.genotypes) <= set(members)
    assert found.scores[0] > total(members[:3]).max(), "uniform crossover alone meets no other member"


def test_a_space_of_one_genotype_ends_at_once():
    space = RestrictedSpace(Grid(), [(1,) * 6])
    found = evolve(space, total, [(1,) * 6], allowed=everything, rng=np.random.default_rng(0))
    assert found.genotypes == ((1,) * 6,) and found.generations == 1


def test_refused_children_are_not_offered_for_ever():
    space, offered = Grid(choices=3, options=3), list[Genotype]()

    def allowed(genotypes: Sequence[Genotype]) -> np.ndarray:
        offered.extend(genotypes)
        return np.array([genotype == (0, 0, 0) for genotype in genotypes])

    found = evolve(space, total, [(0, 0, 0)], allowed=allowed, rng=np.random.default_rng(0), children=4)
    assert found.genotypes == ((0, 0, 0),)
    assert len(offered) == len(set(offered)) <= 1 + 4 * (TRIES + 1)


# ---- errors ---------------------------------------------------------------------------------------------------------


def test_nothing_to_start_from_is_an_error():
    space = Grid()
    with pytest.raises(ControllerError, match="none of 4 genotypes"):
        evolve(space, total, drawn(space, 4), allowed=lambda g: np.zeros(len(g), bool), rng=np.random.default_rng(0))


def test_scores_must_be_numbers():
    space = Grid()
    with pytest.raises(ControllerError, match="finite"):
        evolve(
            space, lambda g: np.full(len(g), np.nan), drawn(space, 4), allowed=everything, rng=np.random.default_rng(0)
        )


@pytest.mark.parametrize("name", ["children", "keep", "max_generations"])
def test_numbers_must_be_positive(name: str):
    space = Grid()
    with pytest.raises(SpecError, match=name):
        evolve(space, total, drawn(space, 4), allowed=everything, rng=np.random.default_rng(0), **{name: 0})


# ---- against chance -------------------------------------------------------------------------------------------------


def test_it_beats_chance_at_equal_evaluations():
    space = Grid(choices=15, options=6)
    for seed in range(3):
        score = Counted(rugged(seed, space))
        found = evolve(space, score, drawn(space, 100, seed), allowed=everything, rng=np.random.default_rng(seed))
        chance = score.score(drawn(space, len(score.seen), seed + 100)).max()
        assert found.scores[0] > chance + 2.0, (seed, found.scores[0], chance)


@pytest.mark.skipif("XNAS_DATA" not in os.environ, reason="XNAS_DATA is not set")
def test_it_beats_chance_on_nasbench201_within_a_limit_of_flops():
    table = Path(os.environ["XNAS_DATA"]) / "nasbench201.parquet"
    task = TabularTask.from_parquet(table, objectives={"val_accuracy": "cifar10_val_200"})
    space, rng = NASBench201(), np.random.default_rng(0)
    limit = np.median(space.costs(drawn(space, 200), SHAPE)[0])

    def allowed(genotypes: Sequence[Genotype]) -> np.ndarray:
        return space.costs(genotypes, SHAPE)[0] <= limit

    def accuracy(genotypes: Sequence[Genotype]) -> np.ndarray:
        return np.array([task.lookup(genotype).metrics["val_accuracy"] for genotype in genotypes])

    evolved, chance = [], []
    for seed in range(8):
        score = Counted(accuracy)
        start = drawn(space, 40, seed)
        found = evolve(space, score, start, allowed=allowed, rng=rng, children=8, keep=20)
        evolved.append(found.scores[0])
        pool = [g for g in drawn(space, 3 * len(score.seen), seed + 50) if allowed([g])[0]][: len(score.seen)]
        chance.append(accuracy(pool).max())
    assert np.mean(evolved) > np.mean(chance), (evolved, chance)
