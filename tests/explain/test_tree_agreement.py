"""Agreement of trees against a count over all triples, and against hand-made trees."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.errors import HierarchyError
from xnas_ray.explain.hierarchy import Hierarchy, Node
from xnas_ray.explain.induced_hierarchy import random_hierarchy
from xnas_ray.explain.tree_agreement import robinson_foulds, triples_agreement


def tree(shape, names=None) -> Hierarchy:
    """Of nested tuples of one-letter classes."""

    def build(part) -> Node:
        return Node.leaf(part) if isinstance(part, str) else Node.over([build(one) for one in part])

    root = build(shape)
    return Hierarchy(root, tuple(sorted(root.leaves)))


def resolution(found: Hierarchy, triple: tuple[str, str, str]) -> frozenset[str] | None:
    """Which two of three classes are closer, by the sizes of the smallest nodes that hold two of them."""
    sizes = {pair: len(found.smallest(*pair).leaves) for pair in itertools.combinations(triple, 2)}
    (first, size), (_, next_size), _ = sorted(sizes.items(), key=lambda entry: entry[1])
    return frozenset(first) if size < next_size else None


@given(classes=st.integers(3, 9), seeds=st.tuples(st.integers(0, 500), st.integers(0, 500)))
def test_triples_as_by_counting_them(random_tree, classes, seeds):
    found, reference = (random_tree(classes, seed) for seed in seeds)
    triples = list(itertools.combinations(found.class_names, 3))
    wanted = {triple: pair for triple in triples if (pair := resolution(reference, triple)) is not None}
    same = sum(resolution(found, triple) == pair for triple, pair in wanted.items())
    assert triples_agreement(found, reference) == pytest.approx(same / len(wanted) if wanted else 1.0)


@given(classes=st.integers(2, 12), seed=st.integers(0, 500))
def test_a_tree_agrees_with_itself(random_tree, classes, seed):
    found = random_tree(classes, seed)
    assert triples_agreement(found, found) == 1.0
    assert robinson_foulds(found, found) == 0.0


def test_dividing_what_the_reference_leaves_is_no_disagreement():
    reference, finer = tree((("a", "b", "c"), "d")), tree(((("a", "b"), "c"), "d"))
    assert triples_agreement(finer, reference) == 1.0
    assert triples_agreement(reference, finer) == 0.75, "three of four triples, and ab|c is left open"
    assert robinson_foulds(finer, reference) == pytest.approx(1 / 3)


def test_groups_are_counted_without_the_root():
    assert robinson_foulds(tree((("a", "b"), ("c", "d"))), tree((("a", "c"), ("b", "d")))) == 1.0
    assert robinson_foulds(tree(((("a", "b"), "c"), "d")), tree(((("a", "b"), "d"), "c"))) == 0.5
    assert robinson_foulds(tree(("a", "b", "c")), tree(("a", "b", "c"))) == 0.0


def test_random_trees_agree_on_a_third():
    names = [f"c{i}" for i in range(30)]
    pairs = [(random_hierarchy(names, seed=seed), random_hierarchy(names, seed=seed + 1)) for seed in range(40)]
    assert np.mean([triples_agreement(*pair) for pair in pairs]) == pytest.approx(1 / 3, abs=0.02)


def test_label_order_does_not_matter_but_classes_do():
    found = tree((("a", "b"), "c"))
    other = Hierarchy(found.root, ("c", "b", "a"))
    assert triples_agreement(found, other) == 1.0
    for measure in (triples_agreement, robinson_foulds):
        with pytest.raises(HierarchyError, match="only one tree has the class 'c'"):
            measure(found, tree((("a", "b"), "x")))
