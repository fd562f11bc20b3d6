"""The supernet of NAS-Bench-1Shot1: one architecture's weights, the paper's, free ones, what is read off."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.networks.nasbench101 import Cell
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench1shot1 import PARENTS, NASBench1Shot1
from xnas_ray.spaces.nasbench101_cell import OPERATIONS
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.supernets.cells import make_supernet
from xnas_ray.supernets.darts import DartsSearch
from xnas_ray.supernets.discretize import discretization
from xnas_ray.supernets.mixed import with_batch_statistics
from xnas_ray.supernets.nasbench1shot1 import MixedCell, NASBench1Shot1Supernet
from xnas_ray.supernets.search_data import SearchData
from xnas_ray.tasks.base import Split

SHAPE = DataShape(((1, 8, 8),), 3)
VARIANTS = tuple(PARENTS)
WIDTH = 5
SIZES = {"stacks": 2, "modules_per_stack": 1, "channels": 6}


def made(variant: int, seed: int = 1, **options: int) -> tuple[NASBench1Shot1, NASBench1Shot1Supernet]:
    space = NASBench1Shot1(variant=variant, **SIZES)
    supernet = make_supernet(space, SHAPE, seed=seed, params={"channels": WIDTH}, **options)
    assert isinstance(supernet, NASBench1Shot1Supernet)
    return space, supernet


def spread(supernet: NASBench1Shot1Supernet, seed: int = 0) -> None:
    """Give the variables values that differ, a block's rows being equal as they are in a search."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        supernet.beta.copy_(torch.randn(supernet.beta.shape, generator=generator))
        for edges in list(supernet.nodes.values())[:-1]:
            row = torch.randn(len(OPERATIONS), generator=generator)
            supernet.alpha[[supernet.edges.index(edge) for edge in edges]] = row


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", range(4))
def test_with_the_weights_of_one_architecture_a_cell_is_its_cell(variant: int, seed: int):
    """A plain cell whose output has room for all channels of each block that it joins splits nothing."""
    space, supernet = made(variant)
    genotype = space.sample(np.random.default_rng(seed))
    live = space.cell(genotype)
    mixed = supernet.body[0]
    assert isinstance(mixed, MixedCell)
    plain = Cell(live, WIDTH, WIDTH * len(live.feeders))
    with_batch_statistics(plain, affine=False)
    assert set(plain.channels[1:-1]) == {WIDTH}
    parents, feeders = space.parents(genotype), [p for p in space.parents(genotype)[-1] if p]
    used = set(parents[-1]) - {0}
    for block in range(space.blocks, 0, -1):
        used |= set(parents[block - 1]) - {0} if block in used else set()
    joined = [WIDTH * (block - 1) + channel for block in feeders for channel in range(WIDTH)]
    for vertex, block in enumerate(sorted(used), start=1):
        operation = mixed.blocks[block - 1].operations[str(space.operations(genotype)[block - 1])]  # type: ignore[union-attr]
        plain.operations[vertex - 1].load_state_dict(operation.state_dict())
        if str(vertex) in plain.projections:
            plain.projections[str(vertex)].load_state_dict(mixed.projections[block - 1].state_dict())
    if str(live.output) in plain.projections:
        with torch.no_grad():
            plain.projections[str(live.output)][0].weight.copy_(mixed.projections[-1][0].weight[joined])  # type: ignore[index]
    x = torch.randn(3, WIDTH, 8, 8)
    found = mixed(x, *supernet._marginals(supernet.selection(genotype)))
    assert torch.allclose(found[:, joined], plain(x), atol=1e-5)
    if 0 not in parents[-1]:
        rest = [channel for channel in range(WIDTH * space.blocks) if channel not in joined]
        assert not found[:, rest].any(), "blocks that the output does not read give nothing"


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_weights_are_the_papers(variant: int):
    """Softmaxes of their own for the operations of a block and for its parents; 1 where parents are no choice."""
    space, supernet = made(variant)
    spread(supernet)
    edges, operations = supernet._marginals(supernet.mixing())
    ends = np.cumsum([0, *(len(own) for own in supernet.nodes.values())])
    for node, (start, end) in enumerate(pairwise(ends)):
        logits = supernet.beta[start:end]
        free = end - start > PARENTS[variant][node]
        assert torch.allclose(edges[node], logits.softmax(0) if free else torch.ones_like(logits))
        if node < space.blocks:
            assert torch.allclose(operations[node], supernet.alpha[start].softmax(0))
    probabilities, options = supernet.probabilities(), supernet.options()
    assert probabilities.keys() == options.keys() == {choice.name for choice in space.choices}
    for name, p in probabilities.items():
        assert float(p.sum()) == pytest.approx(1) and len(p) == len(options[name]) and not p.requires_grad


def test_rows_of_a_block_start_equal_and_get_equal_derivatives():
    _, supernet = made(3)
    x = torch.randn(4, 1, 8, 8)
    nn.functional.cross_entropy(supernet(x), torch.tensor([0, 1, 2, 0])).backward()
    assert supernet.alpha.grad is not None and supernet.beta.grad is not None
    for rows, slopes in zip(supernet._parts(supernet.alpha), supernet._parts(supernet.alpha.grad), strict=True):
        assert torch.equal(rows, rows[:1].expand_as(rows))
        assert torch.allclose(slopes, slopes[:1].expand_as(slopes))
    assert not supernet._parts(supernet.alpha)[-1].any() and not supernet._parts(supernet.alpha.grad)[-1].any()
    assert supernet._parts(supernet.alpha.grad)[1].any() and supernet.beta.grad.any()


def test_free_mixing_weights_have_derivatives_and_may_vanish():
    _, supernet = made(2)
    mixing = supernet.mixing().detach().requires_grad_()
    x = torch.randn(4, 1, 8, 8)
    (slopes,) = torch.autograd.grad(supernet(x, mixing=mixing).square().sum(), mixing)
    assert torch.equal(supernet(x, mixing=mixing), supernet(x))
    assert slopes.isfinite().all() and slopes.any(dim=1).all()
    assert supernet(x, mixing=torch.zeros_like(mixing)).isfinite().all()
    assert not list(supernet.buffers()), "no running statistics anywhere"
    assert supernet.architecture_parameters() == [supernet.alpha, supernet.beta]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_largest_weights_make_the_genotype(variant: int):
    space, supernet = made(variant)
    for seed in range(10):
        spread(supernet, seed)
        edges, operations = supernet._marginals(supernet.mixing().detach())
        wanted = [tuple(sorted(w.topk(k).indices.tolist())) for w, k in zip(edges, PARENTS[variant], strict=True)]
        genotype = supernet.genotype(supernet.mixing())
        assert space.operations(genotype) == tuple(operations.argmax(1).tolist())
        assert list(space.parents(genotype)) == wanted
        drawn = space.sample(np.random.default_rng(seed))
        chosen = supernet.selection(drawn)
        assert supernet.genotype(chosen.masked_fill(chosen == 0, torch.nan)) == drawn == supernet.genotype(chosen)


def test_what_is_taken_is_the_parents_with_their_operations():
    space, supernet = made(1)
    spread(supernet)
    found = discretization(supernet, supernet.mixing(), "magnitude")
    assert found.chosen is not None
    parents, operations = space.parents(found.genotype), space.operations(found.genotype)
    assert len(found.chosen) == sum(PARENTS[1])
    for block, own in enumerate(parents[:-1], start=1):
        for parent in own:
            assert found.chosen[f"{block}<-{parent}"] == OPERATIONS[operations[block - 1]]
    assert {edge for edge in found.chosen if edge.startswith("output")} == {f"output<-{p}" for p in parents[-1]}


def test_too_few_strengths_are_refused():
    _, supernet = made(1)
    strengths = supernet.mixing().detach()
    strengths[supernet.edges.index("2<-0")] = torch.nan
    with pytest.raises(GenotypeError, match="2 has fewer than 2 parents"):
        supernet.genotype(strengths)
    with pytest.raises(GenotypeError, match="do not fit"):
        supernet.genotype(strengths[:-1])
    with pytest.raises(SpecError, match="'nasbench201'"):
        NASBench1Shot1Supernet(NASBench201(), SHAPE)


def test_darts_searches_it():
    space = NASBench1Shot1(variant=1, **SIZES)
    generator = torch.Generator().manual_seed(0)
    split = Split((torch.randn(24, 1, 8, 8, generator=generator),), torch.arange(24) % 3)
    data = SearchData(split, batch_size=6, seed=0)
    search = DartsSearch(space, SHAPE, data, epochs=1, seed=0, supernet={"channels": 4, "stacks": 1})
    before = [parameter.detach().clone() for parameter in search.supernet.architecture_parameters()]
    record = search.run()
    assert np.isfinite(list(record.values())).all() and "entropy/parents of output" in record
    after = search.supernet.architecture_parameters()
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    for found in search.discretize(["magnitude", "perturbation"]):
        assert space.is_valid(found.genotype)
        assert found.chosen is not None and len(found.chosen) == sum(PARENTS[1])
