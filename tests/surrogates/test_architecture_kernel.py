"""The kernel between architectures: each part against its definition, and that it is a kernel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.surrogates.architecture_kernel import Blocks, KernelSettings, Points, matern52
from xnas_ray.surrogates.encodings import Encodings
from xnas_ray.surrogates.wl_features import wl_counts

CELLS = NASBench201(cells_per_stage=1, channels=4, stages=1)
JOINT = JointSpace(architecture=CELLS, recipe={"lr": {"log": [1e-3, 1.0], "levels": 5}})


def drawn(space, count: int, seed: int) -> tuple[Encodings, list[tuple[int, ...]], Points]:
    dice, encodings = np.random.default_rng(seed), Encodings(space)
    genotypes = [space.canonical(space.sample(dice)) for _ in range(count)]
    epochs = dice.choice([1.0, 4.0, 64.0], count)
    return encodings, genotypes, Points(encodings.add_all(genotypes), epochs)


def cosine(first, second, depth: int) -> float:
    def dot(a, b) -> int:
        return sum(a[layer].get(i, 0) * c for layer in range(depth + 1) for i, c in b[layer].items())

    a, b = wl_counts(first, depth), wl_counts(second, depth)
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_wl_is_the_cosine_of_the_counts(depth: int):
    encodings, genotypes, points = drawn(CELLS, 8, 0)
    found = Blocks(encodings, points, points.take(slice(3))).wl(depth)
    graphs = [CELLS.graphs(g)["cell"] for g in genotypes]
    expected = [[cosine(a, b, depth) for b in graphs[:3]] for a in graphs]
    assert found == pytest.approx(np.array(expected), abs=1e-12)


def test_hamming_counts_choices():
    encodings, genotypes, points = drawn(CELLS, 9, 1)
    found = Blocks(encodings, points, points).hamming()
    assert found.tolist() == [[sum(x != y for x, y in zip(a, b, strict=True)) for b in genotypes] for a in genotypes]


def test_parts_are_combined_as_said():
    encodings, genotypes, points = drawn(JOINT, 6, 2)
    given = KernelSettings(depth=2, wl_share=0.3, hamming_length=1.5, numeric_length=0.7, fidelity_length=3.0)
    blocks = Blocks(encodings, points, points)
    found = blocks.combine(given)
    for i, a in enumerate(genotypes):
        for j, b in enumerate(genotypes):
            same = 0.3 * cosine(JOINT.graphs(a)["cell"], JOINT.graphs(b)["cell"], 2)
            differing = sum(x != y for x, y in zip(a[:6], b[:6], strict=True))
            same += 0.7 * math.exp(-differing / 1.5)
            distance = abs(JOINT.numeric(a)[0] - JOINT.numeric(b)[0]) / 0.7
            doublings = abs(math.log2(points.epochs[i]) - math.log2(points.epochs[j]))
            assert found[i, j] == pytest.approx(same * matern52(np.array(distance)) * math.exp(-doublings / 3.0))
    assert blocks.factor(given) * Blocks(encodings, points, points).combine(
        KernelSettings(2, 0.3, 1.5, 1e9, 1e9)
    ) == pytest.approx(found)


def test_matern_has_its_closed_form():
    d = np.linspace(0, 4, 9)
    assert matern52(d) == pytest.approx((1 + 5**0.5 * d + 5 * d**2 / 3) * np.exp(-(5**0.5) * d))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    depth=st.integers(0, 3),
    share=st.sampled_from([0.0, 0.25, 1.0]),
    joint=st.booleans(),
)
def test_it_is_a_kernel_with_unit_diagonal(seed: int, depth: int, share: float, joint: bool):
    encodings, _, points = drawn(JOINT if joint else CELLS, 12, seed)
    gram = Blocks(encodings, points, points).combine(KernelSettings(depth=depth, wl_share=share))
    assert gram == pytest.approx(gram.T, abs=1e-12)
    assert np.diag(gram) == pytest.approx(np.ones(12))
    assert np.linalg.eigvalsh(gram).min() > -1e-10


def test_blocks_do_not_depend_on_rows_or_on_what_else_is_there():
    first, genotypes, points = drawn(CELLS, 10, 5)
    second = Encodings(CELLS)
    second.add_all(list(CELLS.enumerate())[:50])
    rows = second.add_all(reversed(genotypes))[::-1]
    a = Blocks(first, points, points.take(slice(4))).combine(KernelSettings(depth=3))
    b = Blocks(second, Points(rows, points.epochs), Points(rows[:4], points.epochs[:4])).combine(
        KernelSettings(depth=3)
    )
    assert np.array_equal(a, b)


def test_grakel_gives_the_same_bits():
    genotypes = list(CELLS.enumerate())[::400]
    grams = []
    for backend in ("native", "grakel"):
        encodings = Encodings(CELLS, backend=backend)  # type: ignore[arg-type]
        points = Points(encodings.add_all(genotypes), np.ones(len(genotypes)))
        grams.append(Blocks(encodings, points, points).combine(KernelSettings(depth=3)))
    assert np.array_equal(*grams)
