"""Candidates: a listed space with its features, and pools that are drawn."""

from __future__ import annotations

import numpy as np

from xnas_ray.controllers.candidate_pools import Listing, PoolMaker, listing
from xnas_ray.messages import Genotype
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.surrogates.encodings import Encodings

CELLS = NASBench201(cells_per_stage=1, channels=4, stages=1)
FEW = RestrictedSpace(CELLS, [(3, 3, 3, 3, 3, i) for i in range(5)])
PARENTS: list[Genotype] = [CELLS.canonical((3, 1, 2, 3, 4, 3)), CELLS.canonical((2, 2, 3, 3, 1, 3))]


def test_a_listing_has_one_row_an_architecture_in_its_order():
    listed = Listing(FEW, Encodings(FEW))
    assert listed.genotypes == tuple(FEW.enumerate())
    assert listed.rows.tolist() == list(range(len(listed.genotypes)))
    assert [listed.index[FEW.key(g)] for g in listed.genotypes] == listed.rows.tolist()


def test_a_listing_is_made_once_a_space_and_kind_of_features():
    assert listing(FEW, 2, "subtree", "native") is listing(FEW, 2, "subtree", "native")
    assert listing(FEW, 2, "subtree", "native") is not listing(FEW, 2, "oa", "native")


def keys(genotypes: list[Genotype]) -> set[str]:
    return {CELLS.key(genotype) for genotype in genotypes}


def test_a_pool_is_new_canonical_and_without_repetition():
    evaluated = keys(PARENTS)
    pool = PoolMaker(CELLS, size=60, mutants=0.5).draw(PARENTS, evaluated, np.random.default_rng(0))
    assert len(pool) == len(keys(pool)) == 60
    assert not keys(pool) & evaluated
    assert all(CELLS.canonical(genotype) == genotype for genotype in pool)


def test_mutants_are_nearer_to_their_parents_than_random_ones():
    def distance(genotype: Genotype) -> int:
        return min(sum(a != b for a, b in zip(genotype, parent, strict=True)) for parent in PARENTS)

    mutants = PoolMaker(CELLS, size=40, mutants=1.0).draw(PARENTS, keys(PARENTS), np.random.default_rng(0))
    drawn = PoolMaker(CELLS, size=40, mutants=0.0).draw(PARENTS, keys(PARENTS), np.random.default_rng(0))
    assert np.mean([distance(g) for g in mutants]) < np.mean([distance(g) for g in drawn]) - 1


def test_a_pool_is_extended_by_mutants():
    maker = PoolMaker(CELLS, size=20, mutants=0.0)
    pool = maker.draw([], set(), np.random.default_rng(0))
    longer = maker.extend(pool, 30, PARENTS, keys(PARENTS), np.random.default_rng(1))
    assert longer[:20] == pool and len(keys(longer)) == 30
    assert maker.extend(pool, 10, PARENTS, set(), np.random.default_rng(1)) == pool


def test_what_is_left_of_a_small_space_is_taken_and_no_more():
    members = list(FEW.enumerate())
    pool = PoolMaker(FEW, size=50, mutants=0.5).draw(members[:1], keys(members[:1]), np.random.default_rng(0))
    assert keys(pool) == keys(members[1:])
    lonely = RestrictedSpace(CELLS, members[:1])
    assert PoolMaker(lonely, size=5, mutants=1.0).draw(members[:1], keys(members[:1]), np.random.default_rng(0)) == []
