"""FBNetV3's space: its size, what it shares, texts, keys and definitions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.fbnet_published import PUBLISHED
from xnas_ray.spaces.fbnetv3 import FBNetV3
from xnas_ray.spaces.fbnetv3_stages import PRESETS, read_range
from xnas_ray.spaces.inverted_residuals import SQUEEZE, Block, Head, place
from xnas_ray.spaces.registry import SPACES
from xnas_ray.testing.space_case import SpaceTestCase

PAPER = FBNetV3()
IMAGENET = DataShape(((3, 272, 272),), 1000)
DIGITS = DataShape(((1, 8, 8),), 10)
STAGES: list[dict[str, Any]] = [
    {"kernel": 3, "first": 1, "width": [5, 6], "layers": 1, "stride": 1},
    {"kernel": [3, 5], "first": [1, 3], "rest": [1, 2], "width": [5, 11, 3], "layers": [1, 2], "stride": 2},
    {"kernel": [3, 5], "shares": 1, "width": [8, 16, 8], "layers": [1, 3], "stride": 1, "squeeze": True},
]


def tiny(**changed: Any) -> FBNetV3:
    params = {"stages": STAGES, "stem": 5, "head": 32, "head_expansion": 2, "stem_stride": 1, "resolutions": [6, 8]}
    return FBNetV3(**{**params, **changed})


class TestConformance(SpaceTestCase):
    """Small widths, of which several expansions make the same channels."""

    def make_space(self) -> Space:
        return tiny()

    def malformed(self) -> tuple[str, ...]:
        text = tiny().format((0,) * len(tiny().choices))
        return ("", "||||", text.replace("r6", "r7"), text.replace("k3", "k4", 1), text.replace(" n1", "", 1))


class TestConformanceOfDigits(SpaceTestCase):
    def make_space(self) -> Space:
        return FBNetV3(preset="digits")


class TestConformanceOfMnist(SpaceTestCase):
    samples = 12
    networks = 1

    def make_space(self) -> Space:
        return FBNetV3(preset="mnist")

    def shape(self) -> DataShape:
        return DataShape(((1, 28, 28),), 10)


class TestConformanceOfThePublishedSpace(SpaceTestCase):
    samples = 12
    networks = 1

    def make_space(self) -> Space:
        return FBNetV3()

    def shape(self) -> DataShape:
        return DataShape(((3, 272, 272),), 10)


class TestConformanceOfCifar(SpaceTestCase):
    samples = 12
    networks = 1

    def make_space(self) -> Space:
        return FBNetV3(preset="cifar")

    def shape(self) -> DataShape:
        return DataShape(((3, 32, 32),), 10)


def test_the_size_is_the_paper_s():
    rows = (5, 2 * 5 * 4, 2 * 4 * 4 * 4 * 4, 2 * 4 * 4 * 7 * 4, 2 * 4 * 4 * 8 * 5, 2 * 13 * 5, 2 * 4 * 12 * 5, 2 * 12)
    assert math.prod(rows) == 175_878_910_771_200_000
    assert PAPER.size == 175_878_910_771_200_000 * 7
    assert len(PAPER.choices) == 29
    assert FBNetV3(preset="cifar").size * 7 == PAPER.size
    # One-hot kernels, one coordinate for anything that is ordered.
    assert sum(1 if choice.ordered else len(choice.options) for choice in PAPER.choices) == 36


def test_resolutions_are_those_between_224_and_272():
    assert PAPER.choices[-1].options == (224, 232, 240, 248, 256, 264, 272)


SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.sampled_from(sorted(PRESETS)))
def test_whatever_is_made_is_valid(seed: int, preset: str):
    space, rng = FBNetV3(preset=preset), np.random.default_rng(seed)
    first, second = space.sample(rng), space.sample(rng)
    children = [
        space.mutate(first, rng),
        space.mutate(first, rng, changes=3),
        space.perturb(first, rng),
        space.crossover(first, second, rng),
        space.from_unit_cube(rng.random(len(space.choices))),
    ]
    for genotype in (first, second, *children):
        assert space.check(genotype) == genotype
        assert space.parse(space.format(genotype)) == genotype
        blocks = space.definition(genotype).blocks
        assert len(blocks) == sum(stage.layers.value(genotype) for stage in space.stages)


def test_shared_expansions_are_one_choice():
    names = [choice.name for choice in PAPER.choices]
    assert [name for name in names if name.startswith("4.")] == ["4.kernel", "4.width", "4.layers"]
    genotype = PAPER.sample(np.random.default_rng(1))
    for option in range(4):
        changed = list(genotype)
        changed[names.index("3.first")] = option
        definition = PAPER.definition(tuple(changed))
        depths = [stage.layers.value(genotype) for stage in PAPER.stages]
        firsts = [sum(depths[:3]), sum(depths[:4])]
        assert [definition.blocks[i].expansion for i in firsts] == [4 + option] * 2


def test_a_genotype_s_definition():
    text = (
        "r248 c24 | k3 e1 c16 n2 | k5 e4/2 c24 n4 | k5 e4/3 c40 n5 | k5 e5/3 c72 n5 | k3 e5/3 c120 n6 | k3 e6 c184 n6"
        " | k5 e6 c224 n1"
    )
    definition = PAPER.definition(PAPER.parse(text))
    assert definition.resolution == 248
    assert definition.head == Head(1984, 6.0)
    assert (definition.stem.width, definition.stem.stride) == (24, 2)
    assert len(definition.blocks) == 2 + 4 + 5 + 5 + 6 + 6 + 1
    assert definition.blocks[6] == Block(40, 2, 4.0, 5, "hswish", SQUEEZE / 4)
    assert definition.blocks[7] == Block(40, 1, 3.0, 5, "hswish", SQUEEZE / 3)
    assert [one.result[0] for one in place(definition)][-1] == 8
    assert PAPER.format(PAPER.parse(text)) == text


def test_blocks_are_those_of_the_published_network():
    """Of FBNetV3-A, which was made by scaling: kernels and expansions of some first layers are no genotype's."""
    published = PUBLISHED["fbnetv3_a"].definition
    text = (
        "r224 c16 | k3 e1 c16 n2 | k5 e4/2 c24 n4 | k5 e5/3 c40 n5 | k5 e5/3 c72 n5 | k5 e5/3 c120 n6 | k5 e4 c184 n6"
        " | k5 e6 c224 n1"
    )
    ours = PAPER.definition(PAPER.parse(text))
    assert (ours.resolution, ours.stem, ours.head) == (published.resolution, published.stem, published.head)
    assert [(b.width, b.stride) for b in ours.blocks] == [(b.width, b.stride) for b in published.blocks]
    assert [b.squeeze > 0 for b in ours.blocks] == [b.squeeze > 0 for b in published.blocks]
    same = [i for i, (own, other) in enumerate(zip(ours.blocks, published.blocks, strict=True)) if own == other]
    assert same == [0, 1, *range(2, 6), *range(6, 11), *range(17, 22), *range(23, 28), 28]


def test_low_resolutions_lose_one_stride():
    space = FBNetV3(preset="cifar")
    maps = [one.result[0] for one in place(space.definition((0,) * 29))]
    assert sorted(set(maps), reverse=True) == [16, 8, 4, 2]
    strides = [sum(b.stride == 2 for b in s.definition((0,) * 29).blocks) for s in (PAPER, space)]
    assert strides == [4, 3]


def test_keys_see_through_roundings_and_unused_expansions():
    space = tiny()
    names = [choice.name for choice in space.choices]
    base = dict.fromkeys(names, 0)
    # Of 5 channels an expansion of 1 makes 8 and one of 2 makes 16: 10 would be too few by 8.
    # With one layer in both stages nothing has the expansion of the rest.
    rest = tuple({**base, "1.rest": 1}.values())
    assert space.canonical(rest) == (0,) * len(names)
    assert space.key(rest) == space.key((0,) * len(names))
    used = tuple({**base, "1.rest": 1, "2.layers": 1}.values())
    assert space.canonical(used) == used


def test_no_two_published_genotypes_are_one_network():
    rng = np.random.default_rng(0)
    assert all(PAPER.canonical(genotype) == genotype for genotype in (PAPER.sample(rng) for _ in range(200)))


@given(SEEDS)
def test_equal_keys_are_equal_networks(seed: int):
    space, rng = tiny(), np.random.default_rng(seed)
    genotype = space.sample(rng)
    canonical = space.canonical(genotype)
    assert space.cost(genotype, DIGITS) == space.cost(canonical, DIGITS)
    channels = [
        [(one.inputs, one.middle, one.squeezed) for one in place(space.definition(g))] for g in (genotype, canonical)
    ]
    assert channels[0] == channels[1]
    for i, level in enumerate(canonical):  # nothing lower than it means the same
        if level and ("first" in space.choices[i].name or "rest" in space.choices[i].name):
            lower = (*canonical[:i], level - 1, *canonical[i + 1 :])
            other = [(one.middle, one.squeezed) for one in place(space.definition(lower))]
            assert other != [(middle, squeezed) for _, middle, squeezed in channels[1]]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("r6 c5 | k3 e1 c5 n1", "1 stages"),
        ("r6 | k3 e1 c5 n1 | k3 e1/1 c5 n1 | k3 e1/1 c8 n1", "the start is 'r6'"),
        ("r7 c5 | k3 e1 c5 n1 | k3 e1/1 c5 n1 | k3 e1/1 c8 n1", "the start has 'r7'.*Valid: r6, r8"),
        ("r6 c5 | k3 e1 c5 n1 | k7 e1/1 c5 n1 | k3 e1/1 c8 n1", "stage 1 has 'k7'"),
        ("r6 c5 | k3 e1 c5 n1 | k3 e1/1 c5 | k3 e1/1 c8 n1", "stage 1 is 'k3 e1/1 c5'"),
        ("r6 c5 | k3 e1 c5 n1 | k3 e1 c5 n1 | k3 e1/1 c8 n1", "stage 1 has 'e1'.*two"),
        ("r6 c5 | k3 e1 c5 n1 | k3 e1/2 c5 n1 | k3 e1/1 c8 n1", "stage 2 has 'e1'.*shares.*'e2'"),
        ("r6 c5 | k3 e2 c5 n1 | k3 e1/1 c5 n1 | k3 e1/1 c8 n1", "stage 0 has 'e2'"),
    ],
)
def test_malformed_texts_say_what_is_wrong_and_where(text: str, named: str):
    with pytest.raises(GenotypeError, match=named):
        tiny().parse(text)


def test_graphs_show_layers_in_order():
    space = tiny()
    genotype = space.parse("r8 c5 | k3 e1 c5 n1 | k5 e1/1 c5 n2 | k3 e1/1 c8 n1")
    graph = space.graphs(genotype)["network"]
    labels = [label for _, label in graph.nodes(data="op_name")]
    assert labels == ["input", "ir_k3_hs", "ir_k5_hs", "ir_k5_hs", "ir_k3_se_hs", "output"]
    assert list(graph.edges) == [(i, i + 1) for i in range(5)]


def test_ranges():
    assert read_range(6, "stem") == (6,)
    assert read_range([4, 7], "stem") == (4, 5, 6, 7)
    assert read_range((16, 24, 2), "stem") == (16, 18, 20, 22, 24)
    assert read_range([16, 23, 4], "stem") == (16, 20)


def changed(i: int, **values: Any) -> list[dict[str, Any]]:
    return [{**stage, **values} if i == place else stage for place, stage in enumerate(STAGES)]


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"preset": "big"}, "preset.*Valid: imagenet"),
        ({"preset": ["digits"]}, "preset"),
        ({"stem": 0}, "stem"),
        ({"stem": [8, 4]}, "stem"),
        ({"stem": [8, 12, 0]}, "stem"),
        ({"stem_stride": 3}, "stem_stride"),
        ({"head": 2.5}, "head"),
        ({"head_expansion": 0}, "head_expansion"),
        ({"head_expansion": float("nan")}, "head_expansion"),
        ({"resolutions": [8, 6]}, "resolutions"),
        ({"resolutions": []}, "resolutions"),
        ({"stages": []}, "stages"),
        ({"stages": "mb"}, "stages"),
        ({"stages": [3]}, r"stages\.0"),
        ({"stages": changed(1, kernal=3)}, r"stages\.1\.kernal.*kernel"),
        ({"stages": changed(1, kernel=4)}, r"stages\.1\.kernel.*odd"),
        ({"stages": changed(1, kernel=[5, 3])}, r"stages\.1\.kernel"),
        ({"stages": changed(0, stride=4)}, r"stages\.0\.stride"),
        ({"stages": changed(0, squeeze=1)}, r"stages\.0\.squeeze"),
        ({"stages": changed(2, shares=2)}, r"stages\.2\.shares"),
        ({"stages": changed(1, shares=0)}, r"stages\.1\.shares.*none of its own"),
        ({"stages": [{"kernel": 3, "width": 8, "layers": 1, "stride": 1}]}, r"stages\.0\.first.*missing"),
        ({"stages": [{"kernel": 3, "first": 1, "width": 8, "stride": 1}]}, r"stages\.0\.layers.*missing"),
        ({"stages": changed(0, width=[1, 10**9])}, r"stages\.0\.width.*at most 1000"),
    ],
)
def test_bad_parameters_are_refused(params: dict[str, Any], named: str):
    with pytest.raises(SpecError, match=named):
        tiny(**params)


def test_it_is_registered_and_remade_from_its_parameters():
    space = SPACES.create("fbnetv3", {"preset": "digits", "stages": STAGES, "stem": (4, 8, 2)})
    again = SPACES.create("fbnetv3", space.params)
    assert again.fingerprint == space.fingerprint
    assert again.choices == space.choices


def test_images_that_are_too_small_are_refused():
    with pytest.raises(SpecError, match="resolution of 224"):
        PAPER.cost((0,) * 29, DataShape(((3, 32, 32),), 10))
