"""The published FBNets: every figure of the model zoo, to the last operation and weight."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xnas_ray.spaces.fbnet_published import FBNETV2_L3, PUBLISHED, Published, blocks
from xnas_ray.spaces.inverted_residuals import Block, count, place

EACH = pytest.mark.parametrize("published", PUBLISHED.values(), ids=list(PUBLISHED))


def test_there_are_thirteen():
    assert len(PUBLISHED) == 13
    assert [name for name in PUBLISHED if name.startswith("fbnetv3")] == [f"fbnetv3_{one}" for one in "abcdefg"]


@EACH
def test_flops_and_parameters_are_the_zoos(published: Published):
    counted = count(published.definition).published
    assert abs(counted.flops / 1e6 - published.flops_millions) < 1e-6
    if published.params_millions is not None:
        assert abs(counted.params / 1e6 - published.params_millions) < 1e-6


@EACH
def test_the_papers_print_about_the_same(published: Published):
    if published.paper_flops_millions is not None:  # F3 is printed as 126 M, which its definition is not
        assert published.flops_millions == pytest.approx(published.paper_flops_millions, rel=0.035)


@pytest.mark.parametrize(("name", "params"), [("b", 8_598_464), ("d", 10_306_272), ("g", 16_623_888)])
def test_all_trainable_parameters_are_those_of_another_implementation(name: str, params: int):
    """The numbers of parameters of timm 1.0.31's ``fbnetv3_b``, ``_d`` and ``_g``, written independently."""
    assert count(PUBLISHED[f"fbnetv3_{name}"].definition).cost.params == params


def test_one_definition_at_several_resolutions():
    first, second = PUBLISHED["fbnetv2_f1"], PUBLISHED["fbnetv2_f2"]
    assert first.definition.blocks == second.definition.blocks
    assert count(first.definition, size=(160, 160)) == count(second.definition)


def test_depths_are_the_published_ones():
    depths = {name: len(one.definition.blocks) for name, one in PUBLISHED.items()}
    assert depths["fbnetv2_f1"] == depths["fbnetv2_f3"] == 15
    assert (depths["fbnetv2_f4"], depths["fbnetv2_l2"]) == (19, 25)
    assert (depths["fbnetv3_a"], depths["fbnetv3_g"]) == (29, 36)


def test_tables_are_read_line_by_line():
    first, second, third = blocks("  k5 relu se c40 s2 x2 e2.5 p1\n  skip c48 s1 x1\n")
    assert first == Block(40, stride=2, expansion=2.5, kernel=5, activation="relu", squeeze=0.25, padding=1)
    assert second == Block(40, stride=1, expansion=2.5, kernel=5, activation="relu", squeeze=0.25)
    assert third == Block(48, kernel=0)
    assert blocks("k3 hswish se c8 s1 x1 e5", constant_squeeze=True)[0].squeeze == 0.05


def test_l3_is_l2_scaled_up():
    small, large = PUBLISHED["fbnetv2_l2"].definition, FBNETV2_L3
    assert large.resolution == small.resolution == 256
    assert len(large.blocks) == 31
    assert [b.stride for b in large.blocks].count(2) == 4
    assert sum(1 for b in large.blocks if not b.kernel) == 2
    wide = {one.width for one in large.blocks}
    assert wide == {16, 24, 32, 40, 72, 128, 208, 248}
    costs = [count(one).published.flops for one in (small, large)]
    assert costs[0] < costs[1] < 1.5 * costs[0]


def test_l3_s_rounded_expansions_make_the_channels_of_l2_s():
    exact = sorted({b.expansion for b in PUBLISHED["fbnetv2_l2"].definition.blocks if b.kernel})
    nearest = tuple(
        replace(b, expansion=min(exact, key=lambda e, printed=b.expansion: abs(e - printed)))
        for b in FBNETV2_L3.blocks  # type: ignore[misc]
    )
    both = [
        [(one.middle, one.squeezed) for one in place(definition)]
        for definition in (FBNETV2_L3, replace(FBNETV2_L3, blocks=nearest))
    ]
    assert both[0] == both[1]
