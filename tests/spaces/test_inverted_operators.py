"""Operators of networks of inverted residuals: in arrays as one by one, and all that a space can have."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.constrained import ConstrainedSpace
from xnas_ray.spaces.fbnet import PublishedFBNets
from xnas_ray.spaces.fbnetv2 import FBNetV2
from xnas_ray.spaces.fbnetv3 import FBNetV3
from xnas_ray.spaces.fixed import FixedSpace
from xnas_ray.spaces.inverted_operators import BlockOperator
from xnas_ray.spaces.inverted_residuals import Block, Placed
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.operators import Operator, added_up, operators_of
from xnas_ray.spaces.wrapped import RestrictedSpace

SMALL_V2 = FBNetV2(
    rows=[[1, [8, 16, 8], 1, 1], [[0.75, 3.0, 2.25], [12, 24, 12], 1, 2]], stem=8, head=32, resolutions=[5, 8]
)
SMALL_V3 = FBNetV3(
    stages=[
        {"kernel": [3], "first": 1, "width": [8, 16, 8], "layers": [1, 2], "stride": 1},
        {"kernel": [3, 5], "first": [2, 3], "rest": [1, 2], "width": [8, 16, 8], "layers": [1, 2], "stride": 2},
        {"kernel": [3], "shares": 1, "width": 16, "layers": [1, 2], "stride": 1, "squeeze": True},
    ],
    stem=[8, 16, 8],
    stem_stride=1,
    head=24,
    head_expansion=2,
    resolutions=[6, 8],
)
DIGITS = FBNetV3(preset="digits")
SEEN = DataShape(((1, 8, 8),), 10)
CASES: list[tuple[Space, tuple[int, int, int]]] = [
    (FBNetV3(), (3, 272, 272)),
    (FBNetV3(preset="cifar"), (3, 32, 40)),
    (DIGITS, (1, 8, 8)),
    (FBNetV3(preset="digits", head_expansion=1), (1, 9, 13)),
    (SMALL_V3, (2, 8, 9)),
    (FBNetV2(macro="F"), (3, 224, 224)),
    (FBNetV2(macro="P"), (3, 300, 288)),
    (SMALL_V2, (2, 8, 7)),
    (PublishedFBNets(), (3, 320, 300)),
    (JointSpace(architecture=DIGITS, recipe={"lr": [0.1, 0.2]}), (1, 8, 8)),
    (ConstrainedSpace(DIGITS, ["flops <= 4e5"], SEEN), (1, 8, 8)),
]


def weight(operator: Operator) -> float:
    """A value of its own for every key, not a round one: sums in another order would differ in their last bits."""
    return 0.1 + sum((i + 1) * byte for i, byte in enumerate(operator.key.encode())) / 997


@pytest.mark.parametrize(("space", "image"), CASES, ids=[f"{s.name}-{i}" for i, (s, _) in enumerate(CASES)])
def test_sums_of_many_are_those_of_each(space: Space, image: tuple[int, int, int]):
    rng, shape = np.random.default_rng(5), DataShape((image,), 7)
    genotypes = [space.sample(rng) for _ in range(40)]
    together = space.add_up(genotypes, shape, weight)
    assert together.dtype == np.float64
    assert together.tolist() == [added_up(space.operators(genotype, shape), weight) for genotype in genotypes]
    assert len(set(together.tolist())) > min(5, space.size // 2)


def test_the_operators_of_a_network_by_hand():
    text = "r7 c8 | k3 e1 c8 n2 | k5 e4/2 c16 n1 | k5 e4/2 c24 n2 | k3 e4/2 c32 n1"
    keys = [one.key for one in DIGITS.operators(DIGITS.parse(text), SEEN)]
    assert keys == [
        "stem i1 o8 k3 s1 hswish 7x7 of 8x8",
        "block i8 m8 o8 k3 s1 hswish 7x7",
        "block i8 m8 o8 k3 s1 hswish 7x7",
        "block i8 m32 o16 k5 s2 hswish 7x7",
        "block i16 m64 o24 k5 s1 se8 hswish 4x4",
        "block i24 m48 o24 k5 s1 se8 hswish 4x4",
        "block i24 m96 o32 k3 s2 se8 hswish 4x4",
        "head i32 m96 o96 hswish 2x2",
        "linear i96 o10",
    ]


@pytest.mark.parametrize("space", [SMALL_V2, SMALL_V3], ids=["v2", "v3"])
def test_the_cover_has_every_operator_and_no_other(space: Space):
    shape = DataShape(((2, 8, 8),), 3)
    listed = list(itertools.product(*(range(len(choice.options)) for choice in space.choices)))
    every = {
        one.key for genotype in listed[:: max(1, len(listed) // 20_000)] for one in space.operators(genotype, shape)
    }
    cover = space.covering()
    assert cover is not None
    found = operators_of(space, cover, shape)
    assert found.keys() == every == operators_of(space, listed, shape).keys()
    assert all(key == operator.key for key, operator in found.items())


def test_the_cover_is_far_smaller_than_the_space():
    cover = list(DIGITS.covering() or ())
    assert 50 < len(cover) < DIGITS.size / 100
    rng = np.random.default_rng(0)
    known = operators_of(DIGITS, cover, SEEN)
    assert operators_of(DIGITS, [DIGITS.sample(rng) for _ in range(3_000)], SEEN).keys() <= known.keys()


def test_wrapped_spaces_have_the_operators_of_what_they_wrap():
    rng = np.random.default_rng(1)
    genotype = DIGITS.sample(rng)
    own = DIGITS.operators(genotype, SEEN)
    joint = JointSpace(architecture=DIGITS, recipe={"lr": [0.1, 0.2]})
    fixed = FixedSpace(architecture=DIGITS, text=DIGITS.format(genotype))
    one = RestrictedSpace(DIGITS, [genotype])
    assert joint.operators((*genotype, 1), SEEN) == fixed.operators((0,), SEEN) == own
    assert list(one.covering()) == [DIGITS.canonical(genotype)]
    assert operators_of(fixed, fixed.covering() or (), SEEN).keys() == {operator.key for operator in own}
    assert operators_of(joint, joint.covering() or (), SEEN) == operators_of(DIGITS, DIGITS.covering() or (), SEEN)


def test_none_take_no_time():
    assert DIGITS.add_up([], SEEN, weight).shape == (0,)


@pytest.mark.parametrize("bad", [(0,) * 17, (0,) * 17 + (3,), (0,) * 17 + (-1,)])
def test_foreign_genotypes_are_refused(bad: Genotype):
    with pytest.raises(GenotypeError):
        DIGITS.add_up([(0,) * 18, bad], SEEN, weight)


def test_spaces_without_operators_say_so():
    from xnas_ray.spaces.darts import DARTS

    with pytest.raises(SpecError, match="latency_ms"):
        DARTS().add_up([DARTS().sample(np.random.default_rng(0))], DataShape(((3, 32, 32),), 10), weight)


def test_a_padding_that_is_not_half_the_kernel_is_another_operator():
    placed = Placed(Block(8, kernel=3, padding=0), 8, 8, 0, (8, 8), (6, 6))
    plain = Placed(Block(8, kernel=3, padding=1), 8, 8, 0, (8, 8), (8, 8))
    first, second = BlockOperator.of(placed), BlockOperator.of(plain)
    assert first is not None and second is not None
    assert first.key == "block i8 m8 o8 k3 s1 p0 relu 8x8"
    assert second.key == "block i8 m8 o8 k3 s1 relu 8x8"
    assert first.placed.result == (6, 6)


def test_the_identity_is_none():
    assert BlockOperator.of(Placed(Block(8, kernel=0), 8, 0, 0, (8, 8), (8, 8))) is None
