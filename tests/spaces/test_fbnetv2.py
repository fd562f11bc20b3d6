"""FBNetV2's spaces: sizes, texts, keys and definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.fbnetv2 import BLOCKS, NAMES, FBNetV2
from xnas_ray.spaces.fbnetv2_macros import MACROS
from xnas_ray.spaces.inverted_residuals import Block, count, place
from xnas_ray.spaces.registry import SPACES
from xnas_ray.testing.space_case import SpaceTestCase

IMAGENET = DataShape(((3, 288, 288),), 1000)
ROWS = [[1, [8, 16, 8], 1, 1], [[0.75, 3.0, 0.75], [12, 24, 4], 1, 2], [[0.75, 3.0, 0.75], [16, 24, 8], 2, 1]]


def small(**changed: object) -> FBNetV2:
    return FBNetV2(**{"rows": ROWS, "stem": 8, "head": 32, "resolutions": [4, 6, 8], **changed})  # type: ignore[arg-type]


class TestConformance(SpaceTestCase):
    def make_space(self) -> Space:
        return small()

    def malformed(self) -> tuple[str, ...]:
        text = small().format((0,) * 13)
        return ("", "||||", text.replace("r4", "r5"), text.replace("ir_k3 ", "ir_k4 ", 1), text.replace(" e1", ""))


class TestConformanceOfThePublishedSpace(SpaceTestCase):
    samples = 12
    networks = 1

    def make_space(self) -> Space:
        return FBNetV2(macro="F")

    def shape(self) -> DataShape:
        return DataShape(((3, 224, 224),), 10)


SIZES = {
    "F": (17, 43_901_581_411_943_808_213_535_604_531_527_680_000_000),
    "L": (18, 1_783_745_743_077_322_787_159_546_552_974_379_712_100_958_208),
    "P": (19, 17_778_231_497_897_613_638_428_058_710_602_069_669_631_229_952_000),
}


@pytest.mark.parametrize("macro", MACROS)
def test_sizes_without_resolutions(macro: str):
    space = FBNetV2(macro=macro)
    layers, size = SIZES[macro]
    assert (len(space.layers), space.size) == (layers, size * len(space.resolutions))
    print(f"\n{macro}: {layers} layers, {size:,} genotypes = {size:.3g}, without {len(space.resolutions)} resolutions")


def test_the_size_of_l_is_the_product_of_its_rows():
    rows = {9 * 2: 1, 9 * 6 * 4: 6, 9 * 7 * 7: 3, 9 * 6 * 8: 4, 9 * 6 * 14: 4}
    assert math.prod(options**layers for options, layers in rows.items()) == SIZES["L"][1]


@pytest.mark.parametrize(
    ("macro", "maps"), [("F", [112, 56, 28, 14, 7]), ("L", [128, 64, 32, 16, 8]), ("P", [144, 72, 36, 18, 9])]
)
def test_maps_of_the_largest_network_are_the_tables(macro: str, maps: list[int]):
    space = FBNetV2(macro=macro)
    largest = space.definition(tuple(len(c.options) - 1 if c.ordered else 0 for c in space.choices))
    heights = [one.result[0] for one in place(largest)]
    assert sorted(set(heights), reverse=True) == maps
    assert largest.resolution == 2 * maps[0]
    assert [one.block.width for one in place(largest)][-1] == (184 if macro == "F" else 216)


def test_the_eight_blocks_and_the_skip():
    assert len(set(BLOCKS.values())) == len(BLOCKS) == 9
    space = small()
    for i, name in enumerate(NAMES):
        block = space.definition((0, 0, 0, i, 1, 2, *[0] * 7)).blocks[1]
        kernel, activation, squeeze = BLOCKS[name]
        expansion = 1.5 if kernel else 1.0
        assert block == Block(20, 2, expansion, kernel, activation, squeeze)


def test_only_the_first_layer_of_a_group_has_its_stride():
    space = small(rows=[[2, [8, 16, 8], 3, 2], [1, 8, 1, 1]])
    assert [layer.stride for layer in space.layers] == [2, 1, 1, 1]
    assert [layer.widths for layer in space.layers] == [(8, 16)] * 3 + [(8,)]


def test_texts():
    space = small()
    text = "r6 | ir_k3 e1 c16 | ir_k5_se_hs e2.25 c20 | skip e0.75 c24 | ir_k3_hs e3 c16"
    genotype = space.parse(text)
    assert space.format(genotype) == text
    assert space.describe(genotype)["1.width"] == 20
    assert space.describe(genotype)["resolution"] == 6


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("r6 | ir_k3 e1 c16", "1 layers"),
        ("r6 | ir_k3 e1 c16 | ir_k7 e0.75 c12 | skip e0.75 c16 | skip e0.75 c16", "layer 1.*'ir_k7'.*'ir_k"),
        ("r6 | ir_k3 e1 c16 | ir_k3 e0.8 c12 | skip e0.75 c16 | skip e0.75 c16", "layer 1.*'e0.8'"),
        ("r6 | ir_k3 e1 c16 | ir_k3 c12 | skip e0.75 c16 | skip e0.75 c16", "layer 1 is 'ir_k3 c12'"),
        ("r7 | ir_k3 e1 c16 | ir_k3 e0.75 c12 | skip e0.75 c16 | skip e0.75 c16", "resolution.*'r7'"),
    ],
)
def test_malformed_texts_say_what_is_wrong_and_where(text: str, named: str):
    with pytest.raises(GenotypeError, match=named):
        small().parse(text)


def test_keys_see_through_roundings():
    space = small(rows=[[[0.75, 1.5, 0.25], [8, 16, 8], 1, 1]], resolutions=[8])
    # Of 8 channels 0.75, 1 become 8; 1.25 becomes 16 (10 would lose too much), 1.5 (12) does too.
    keys = [space.key((0, e, 0, 0)) for e in range(4)]
    assert keys[0] == keys[1] != keys[2] == keys[3]
    assert space.canonical((0, 3, 1, 0)) == (0, 2, 1, 0)
    shape = DataShape(((1, 8, 8),), 3)
    costs = [space.cost((0, e, 0, 0), shape) for e in range(4)]
    assert costs[0] == costs[1]
    assert costs[2] == costs[3]
    assert costs[0].flops < costs[2].flops


def test_equal_keys_are_equal_networks():
    space, rng, shape = FBNetV2(macro="F"), np.random.default_rng(0), IMAGENET
    for _ in range(30):
        genotype = space.sample(rng)
        canonical = space.canonical(genotype)
        assert list(place(space.definition(genotype)))[3].middle == list(place(space.definition(canonical)))[3].middle
        assert space.cost(genotype, shape) == space.cost(canonical, shape)


def test_a_skip_has_no_expansion():
    space = small()
    skip = NAMES.index("skip")
    first, other = (0, 0, 0, skip, 0, 0, *[0] * 7), (0, 0, 0, skip, 3, 0, *[0] * 7)
    assert space.key(first) == space.key(other)
    assert space.format(first) != space.format(other)


def test_graphs_show_what_is_computed():
    space = small()
    text = "r8 | ir_k3 e1 c16 | skip e0.75 c16 | skip e0.75 c16 | skip e0.75 c24"
    graph = space.graphs(space.parse(text))["network"]
    assert [label for _, label in graph.nodes(data="op_name")] == ["input", "ir_k3", "skip", "skip", "output"]
    assert list(graph.edges) == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_resolutions_count():
    space, shape = small(), DataShape(((3, 8, 6),), 10)
    genotypes = [(*[0] * 12, r) for r in range(3)]
    assert [space.image_size(g, shape) for g in genotypes] == [(4, 3), (6, 5), (8, 6)]
    costs = [space.cost(g, shape) for g in genotypes]
    assert costs[0].flops < costs[1].flops < costs[2].flops
    assert costs[0].params == costs[2].params
    assert costs[2] == count(space.definition(genotypes[2]), inputs=3, outputs=10, size=(8, 6)).cost


def test_images_that_are_too_small_are_refused():
    with pytest.raises(SpecError, match="resolution of 8"):
        small().cost((*[0] * 12, 2), DataShape(((3, 6, 6),), 10))
    with pytest.raises(SpecError, match="one image"):
        small().cost((0,) * 13, DataShape(((3,),), 10))


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"macro": "X"}, "macro.*Valid: F, L, P"),
        ({"stem": 0}, "stem"),
        ({"head": 2.5}, "head"),
        ({"stem_stride": 3}, "stem_stride"),
        ({"resolutions": [8, 4]}, "resolutions"),
        ({"resolutions": []}, "resolutions"),
        ({"rows": []}, "rows"),
        ({"rows": [[1, 8, 1]]}, r"rows\.0"),
        ({"rows": [[1, 8, 1, 1], [[2, 1, 1], 8, 1, 1]]}, r"rows\.1"),
        ({"rows": [[1, [8, 12.5, 1.5], 1, 1]]}, r"rows\.0"),
        ({"rows": [[1, 8, 0, 1]]}, r"rows\.0"),
        ({"rows": ["1 8 1 1"]}, r"rows\.0"),
        ({"rows": [[[1, 1e9, 1e-9], 8, 1, 1]]}, r"rows\.0.*at most 1000"),
        ({"rows": [[[1, float("inf"), 1], 8, 1, 1]]}, r"rows\.0"),
        ({"macro": ["F"]}, "macro"),
    ],
)
def test_bad_parameters_are_refused(params: dict[str, object], named: str):
    with pytest.raises(SpecError, match=named):
        FBNetV2(**params)  # type: ignore[arg-type]


def test_it_is_registered_and_remade_from_its_parameters():
    space = SPACES.create("fbnetv2", {"macro": "L", "resolutions": [96, 128]})
    assert isinstance(space, FBNetV2)
    again = SPACES.create("fbnetv2", space.params)
    assert again.fingerprint == space.fingerprint
    assert again.choices == space.choices
