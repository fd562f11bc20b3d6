"""The masked supernet: one-hot choices are the sliced network, costs are the counter's, gradients are right."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from xnas_ray.errors import SpecError
from xnas_ray.messages import Genotype
from xnas_ray.networks.resolution import subsample
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.fbnetv2 import NAMES, FBNetV2
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.supernets.dmasking_supernet import DMaskingSupernet
from xnas_ray.supernets.masked_blocks import at_resolutions
from xnas_ray.supernets.slicing import sliced

torch.set_num_threads(1)
SHAPE = DataShape(((3, 8, 8),), 5)
ROWS = [[1, [8, 12, 4], 1, 1], [[0.75, 2.25, 0.75], [8, 16, 4], 1, 2], [[0.5, 1.5, 0.5], [12, 20, 4], 2, 1]]
SPACE = FBNetV2(rows=ROWS, stem=8, stem_stride=1, head=16, resolutions=[4, 6, 8])
FIXED = FBNetV2(rows=ROWS, stem=8, stem_stride=1, head=16, resolutions=[8])


def filled(space: FBNetV2, *, affine: bool = True, shape: DataShape = SHAPE) -> DMaskingSupernet:
    """A supernet in which nothing is 0 or 1 by default: scales, shifts and biases are drawn too."""
    torch.manual_seed(0)
    supernet = DMaskingSupernet(space, shape, seed=1, affine=affine)
    with torch.no_grad():
        for parameter in supernet.weight_parameters():
            if parameter.dim() == 1:
                parameter.copy_(0.5 + torch.rand_like(parameter))
        supernet.classifier.weight.normal_()
    return supernet


def drawn(space: FBNetV2, count: int, seed: int = 0) -> list[Genotype]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


def with_block(genotype: Genotype, block: int) -> Genotype:
    return tuple(block if i % 3 == 0 and i < len(genotype) - 1 else value for i, value in enumerate(genotype))


def soft(supernet: DMaskingSupernet, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    with torch.no_grad():
        supernet.alpha.normal_()
    return supernet.mixing().detach()


# ---- one-hot choices ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", range(9), ids=NAMES)
@torch.no_grad()
def test_one_hot_choices_are_the_sliced_network(block: int):
    supernet = filled(SPACE)
    x = torch.randn(4, 3, 8, 8)
    for genotype in drawn(SPACE, 4, seed=block):
        genotype = with_block(genotype, block)
        network = sliced(supernet, genotype).eval()
        expected = network(x)
        assert torch.allclose(supernet(x, mixing=supernet.one_hot(genotype)), expected, atol=1e-5, rtol=1e-5)
        assert expected.std() > 1e-3


@torch.no_grad()
def test_one_hot_choices_with_mixed_blocks_on_oblong_images():
    shape = DataShape(((1, 8, 10),), 5)
    supernet = filled(SPACE, shape=shape).eval()
    x = torch.randn(4, 1, 8, 10)
    for genotype in drawn(SPACE, 12, seed=20):
        network = sliced(supernet, genotype).train()
        found = supernet(x, mixing=supernet.one_hot(genotype))
        assert torch.allclose(found, network(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_canonical_members_compute_the_same():
    supernet = filled(SPACE)
    x = torch.randn(4, 3, 8, 8)
    for genotype in drawn(SPACE, 6, seed=3):
        first, second = (supernet.one_hot(g) for g in (genotype, SPACE.canonical(genotype)))
        assert torch.allclose(supernet(x, mixing=first), supernet(x, mixing=second), atol=1e-6)


@torch.no_grad()
def test_other_choices_compute_something_else():
    """The comparison above can fail: neighbours differ."""
    supernet = filled(SPACE)
    x = torch.randn(2, 3, 8, 8)
    genotype = SPACE.parse("r6 | ir_k3_se e1 c12 | ir_k5 e2.25 c12 | ir_k3_se_hs e1.5 c16 | ir_k3_hs e1 c16")
    expected = sliced(supernet, genotype)(x)
    for neighbour in SPACE.neighbours(genotype):
        if SPACE.key(neighbour) != SPACE.key(genotype):
            found = supernet(x, mixing=supernet.one_hot(neighbour))
            assert not torch.allclose(found, expected, atol=1e-4), SPACE.format(neighbour)


@torch.no_grad()
def test_a_sliced_network_is_a_plain_one():
    supernet = filled(SPACE, affine=False)
    for genotype in drawn(SPACE, 3):
        network, plain = sliced(supernet, genotype), SPACE.build(genotype, SHAPE)
        weights = {name: p.shape for name, p in plain.named_parameters() if "norm" not in name}
        assert {name: p.shape for name, p in network.named_parameters()} == weights


# ---- mixtures ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_mixing_blocks_and_widths_is_the_sum_over_all_cases():
    """Equation 3.2, case by case, for one layer of stride 2: the mean of masked blocks, and of the convolved skip."""
    space = FBNetV2(rows=[[1.5, [8, 16, 4], 1, 2]], stem=8, stem_stride=1, head=16, resolutions=[8])
    supernet = filled(space)
    weights = supernet.named(soft(supernet))
    layer = supernet.layers[0]
    x = torch.randn(4, 8, 8, 8)
    choices, _ = supernet._choices(supernet.mixing())
    masks = layer.shapes.masks(choices[0])
    total = torch.zeros(4, 16, 4, 4)
    for (b, name), (j, width) in product(enumerate(NAMES), enumerate((8, 12, 16))):
        y = layer.skip(x) if name == "skip" else layer.blocks[name](x, masks)
        keep = (torch.arange(16) < width)[None, :, None, None]
        total += weights["0.block"][b] * weights["0.width"][j] * y * keep
    assert torch.allclose(layer(x, masks, choices[0].block), total, atol=1e-5)


@torch.no_grad()
def test_shortcuts_count_where_widths_agree():
    """A layer of stride 1 of skips alone: the input in the cases of equal widths, the convolution in the others."""
    space = FBNetV2(rows=[[1, [8, 12, 4], 2, 1]], stem=8, stem_stride=1, head=16, resolutions=[8])
    supernet = filled(space)
    weights = supernet.named(soft(supernet))
    block = torch.eye(9)[NAMES.index("skip")]
    choices, _ = supernet._choices(supernet.mixing())
    layer, own = supernet.layers[1], choices[1]
    x = torch.randn(2, 12, 8, 8)
    total = torch.zeros(2, 12, 8, 8)
    for (i, before), (j, width) in product(enumerate((8, 12)), enumerate((8, 12))):
        keep = (torch.arange(12) < width)[None, :, None, None]
        share = weights["0.width"][i] * weights["1.width"][j]
        total += share * keep * (x if before == width else layer.skip(x))
    assert torch.allclose(layer(x, layer.shapes.masks(own), block), total, atol=1e-5)


@torch.no_grad()
def test_resolutions_are_mixed_on_one_map():
    """Each is computed on its own pixels and put back on an even grid, with zeros between."""
    x, weights = torch.randn(2, 3, 8, 8), torch.tensor([0.2, 0.3, 0.5])
    convolution = nn.Conv2d(3, 4, 3, padding=1)
    sizes = [(4, 4), (6, 6), (8, 8)]
    expected = torch.zeros(2, 4, 8, 8)
    for weight, (h, _) in zip(weights, sizes, strict=True):
        rows = [i * 8 // h for i in range(h)]
        small = convolution(x[:, :, rows][:, :, :, rows])
        for i, row in enumerate(rows):
            expected[:, :, row, rows] += weight * small[:, :, i]
    found = at_resolutions(convolution, x, weights, sizes, (8, 8))
    assert torch.allclose(found, expected, atol=1e-6)
    averages = at_resolutions(lambda y: y.mean((2, 3)), x, weights, sizes, None)
    plain = sum(w * subsample(x, s).mean((2, 3)) for w, s in zip(weights, sizes, strict=True))
    assert torch.allclose(averages, plain, atol=1e-6)


def test_recomputing_changes_no_gradient():
    supernets = []
    for recompute in (True, False):
        supernet = DMaskingSupernet(SPACE, SHAPE, seed=3, recompute=recompute)
        soft(supernet)
        supernets.append(supernet)
    x = torch.randn(4, 3, 8, 8)
    found = [torch.autograd.grad(s(x).square().sum(), list(s.parameters())) for s in supernets]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*found, strict=True))


def test_gradients_of_the_choices_are_those_of_finite_differences():
    supernet = filled(SPACE).double()
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    alpha = torch.randn(len(supernet.alpha), dtype=torch.float64)
    direction = torch.randn_like(alpha)

    def loss(logits: torch.Tensor) -> torch.Tensor:
        mixing = torch.cat([part.softmax(0) for part in logits.split(supernet.sizes)])
        return supernet(x, mixing=mixing).square().sum()

    leaf = alpha.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(leaf), leaf)
    step = 1e-5
    with torch.no_grad():
        numeric = (loss(alpha + step * direction) - loss(alpha - step * direction)) / (2 * step)
    assert (slope @ direction).item() == pytest.approx(numeric.item(), rel=1e-5)


def test_gradients_reach_every_option():
    supernet = filled(SPACE)
    soft(supernet)
    supernet(torch.randn(4, 3, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in supernet.parameters())
    for part, size in zip(supernet.alpha.grad.split(supernet.sizes), supernet.sizes, strict=True):
        assert (part != 0).all() if size > 1 else (part == 0).all()


# ---- cost --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [SPACE, FIXED, FBNetV2(macro="F")], ids=["small", "one", "F"])
def test_the_effective_cost_of_one_hot_choices_is_the_counters(space: FBNetV2):
    shape = SHAPE if max(space.resolutions) < 9 else DataShape(((3, 288, 288),), 1000)
    supernet = DMaskingSupernet(space, shape, seed=0)
    for i, genotype in enumerate(drawn(space, 18, seed=5)):
        genotype = with_block(genotype, i % 9) if i < 9 else genotype
        effective, counted = supernet.effective_cost(supernet.one_hot(genotype)), space.cost(genotype, shape)
        assert float(effective.flops) == counted.flops
        assert float(effective.params) == counted.params


def test_the_effective_cost_follows_the_effective_shapes():
    """Equation 3.10 by hand: one layer of one kind of block, of two widths, on two resolutions."""
    space = FBNetV2(rows=[[2, [8, 12, 4], 1, 2]], stem=8, stem_stride=1, head=16, resolutions=[4, 8])
    supernet = DMaskingSupernet(space, SHAPE, seed=0)
    mixing = supernet.one_hot((NAMES.index("ir_k5"), 0, 0, 0))
    mixing[-4:] = torch.tensor([0.25, 0.75, 0.5, 0.5])
    width, large, small = 0.25 * 8 + 0.75 * 12, 6.0**2, 3.0**2
    flops = 9 * 3 * 8 * large + 8 * 16 * large + 25 * 16 * small + 16 * width * small + width * 16 * small + 16 * 5
    params = 9 * 3 * 8 + 16 + 8 * 16 + 32 + 25 * 16 + 32 + 16 * width + 2 * width + width * 16 + 32 + 17 * 5
    cost = supernet.effective_cost(mixing)
    assert float(cost.flops) == pytest.approx(flops, rel=1e-12)
    assert float(cost.params) == pytest.approx(params, rel=1e-12)


@pytest.mark.parametrize("unit", ["flops", "params"])
def test_cost_rises_towards_wider_options(unit: str):
    supernet = DMaskingSupernet(FIXED, SHAPE, seed=0)
    (slope,) = torch.autograd.grad(getattr(supernet.effective_cost(), unit), supernet.alpha)
    for name, part in supernet.named(slope).items():
        if name.endswith((".width", ".expansion")) and len(part) > 1:
            assert part[0] < 0 < part[-1], name
        if name.endswith(".block"):
            assert part.argmin() == NAMES.index("skip")


def test_cost_gradients_are_those_of_finite_differences():
    supernet = DMaskingSupernet(SPACE, SHAPE, seed=0).double()
    soft(supernet)

    def millions(alpha: torch.Tensor) -> torch.Tensor:
        cost = supernet.effective_cost(torch.cat([part.softmax(0) for part in alpha.split(supernet.sizes)]))
        return torch.stack([cost.flops, cost.params]) / 1e6

    assert torch.autograd.gradcheck(millions, supernet.alpha.detach().clone().requires_grad_())


# ---- what searches ask -------------------------------------------------------------------------------------------


def test_choices_are_named_and_sum_to_one():
    supernet = DMaskingSupernet(SPACE, SHAPE, seed=0)
    probabilities, options = supernet.probabilities(), supernet.options()
    assert list(probabilities) == list(options)
    assert "0.expansion" not in probabilities  # it has a single option
    assert options["1.width"] == ("8", "12", "16")
    assert options["1.expansion"] == ("0.75", "1.5", "2.25")
    assert options["resolution"] == ("4", "6", "8")
    for name, p in probabilities.items():
        assert torch.allclose(p, torch.full_like(p, 1 / len(options[name])))


def test_the_likeliest_options_are_the_genotype():
    supernet = DMaskingSupernet(SPACE, SHAPE, seed=0)
    for genotype in drawn(SPACE, 5):
        with torch.no_grad():
            supernet.alpha.copy_(supernet.one_hot(genotype))
        assert supernet.genotype() == SPACE.canonical(genotype)


def test_initial_weights_are_a_function_of_the_seed():
    torch.manual_seed(1)
    first = DMaskingSupernet(SPACE, SHAPE, seed=4).state_dict()
    state = torch.get_rng_state()
    second = DMaskingSupernet(SPACE, SHAPE, seed=4).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = DMaskingSupernet(SPACE, SHAPE, seed=5).state_dict()
    assert not torch.equal(first["stem.conv.weight"], other["stem.conv.weight"])


def test_other_spaces_and_small_images_are_refused():
    with pytest.raises(SpecError, match="fbnetv2"):
        DMaskingSupernet(NASBench201(), SHAPE, seed=0)
    with pytest.raises(SpecError, match="resolution"):
        DMaskingSupernet(SPACE, DataShape(((3, 6, 6),), 5), seed=0)
