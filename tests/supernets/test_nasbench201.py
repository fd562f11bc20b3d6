"""The supernet of NAS-Bench-201: with one architecture's weights it is that architecture's network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Genotype
from xnas_ray.networks.nasbench201 import Cell, NASBench201Network
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.darts import DARTS
from xnas_ray.spaces.nasbench201 import OPERATIONS, NASBench201
from xnas_ray.supernets.cells import make_supernet
from xnas_ray.supernets.mixed import with_batch_statistics
from xnas_ray.supernets.nasbench201 import MixedCell, NASBench201Supernet

torch.set_num_threads(1)
SHAPE = DataShape(((1, 8, 8),), 3)
SPACE = NASBench201(cells_per_stage=1, channels=4, stages=2)
NONE = OPERATIONS.index("none")


def plain_network(supernet: NASBench201Supernet, genotype: Genotype) -> nn.Module:
    """The network of a genotype, normalised as the supernet is, with the supernet's weights."""
    network = SPACE.build(genotype, SHAPE)
    assert isinstance(network, NASBench201Network)
    for layer in (network.stem, network.norm, network.body):
        with_batch_statistics(layer, affine=True)
    for mixed, layer in zip(supernet.body, network.body, strict=True):
        if not isinstance(layer, Cell):
            layer.load_state_dict(mixed.state_dict())
            continue
        assert isinstance(mixed, MixedCell)
        with_batch_statistics(layer, affine=False)
        chosen = [edge.operations[str(o)] for edge, o in zip(mixed.edges, genotype, strict=True) if o != NONE]  # type: ignore[union-attr]
        for target, source in zip(layer.edges, chosen, strict=True):
            target.load_state_dict(source.state_dict())
    for name in ("stem", "norm", "head"):
        getattr(network, name).load_state_dict(getattr(supernet, name).state_dict())
    return network


@pytest.mark.parametrize("genotype", [(3, 1, 2, 4, 3, 1), (0, 3, 0, 2, 0, 4), (1,) * 6, (0,) * 6])
def test_with_the_weights_of_one_architecture_it_is_its_network(genotype: Genotype):
    supernet = make_supernet(SPACE, SHAPE, seed=1)
    assert isinstance(supernet, NASBench201Supernet)
    network, x = plain_network(supernet, genotype), torch.randn(4, 1, 8, 8)
    assert torch.allclose(supernet(x, mixing=supernet.selection(genotype)), network(x), atol=1e-5)


def test_mixing_is_linear_in_every_operation_of_an_edge_to_the_output():
    """Cells before the last one are fixed by the input's edge 3<-0 alone, so that the cell's result is a sum."""
    torch.manual_seed(0)
    cell = with_batch_statistics(MixedCell(4), affine=False)
    x = torch.randn(3, 4, 6, 6)
    weights = torch.zeros(6, 5)
    weights[3] = torch.tensor([0.4, 0.1, 0.2, 0.25, 0.05])
    parts = [
        cell(x, torch.zeros(6, 5).index_put((torch.tensor(3), torch.tensor(o)), torch.tensor(1.0))) for o in range(5)
    ]
    assert torch.equal(parts[NONE], torch.zeros_like(x))
    expected = sum(w * part for w, part in zip(weights[3].tolist(), parts, strict=True))
    assert torch.allclose(cell(x, weights), expected, atol=1e-6)  # type: ignore[arg-type]


def test_variables_weights_and_their_decisions():
    supernet = make_supernet(SPACE, SHAPE, seed=3)
    assert supernet.alpha.shape == (6, 5) and 1e-4 < supernet.alpha.std() < 2e-3
    assert supernet.edges == ("1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2") == tuple(c.name for c in SPACE.choices)
    assert supernet.operations == OPERATIONS and supernet.architecture_parameters() == [supernet.alpha]
    assert all(p is not supernet.alpha for p in supernet.weight_parameters())
    assert not list(supernet.buffers()), "no running statistics anywhere"
    cells = [layer for layer in supernet.body if isinstance(layer, MixedCell)]
    assert not any(isinstance(m, nn.BatchNorm2d) and m.affine for cell in cells for m in cell.modules())
    assert all(float(p.sum()) == pytest.approx(1) for p in supernet.probabilities().values())
    assert supernet.options() == dict.fromkeys(supernet.edges, OPERATIONS)


def test_the_strongest_operations_make_the_genotype():
    supernet = make_supernet(SPACE, SHAPE, seed=0)
    strengths = torch.tensor(np.random.default_rng(0).permuted(np.tile(np.arange(5.0), (6, 1)), axis=1))
    expected = tuple(max(range(1, 5), key=lambda o: float(row[o])) for row in strengths)
    assert supernet.genotype(strengths) == expected
    assert supernet.genotype(strengths, keep_none=True) == tuple(strengths.argmax(1).tolist())
    strengths[2, expected[2]] = torch.nan
    assert supernet.genotype(strengths)[2] != expected[2]
    strengths[2] = torch.nan
    with pytest.raises(GenotypeError, match="2<-1"):
        supernet.genotype(strengths)
    with pytest.raises(GenotypeError, match=r"\(5, 6\)"):
        supernet.genotype(strengths.T)
    for genotype in SPACE.sample(np.random.default_rng(1)), (2,) * 6:
        assert supernet.genotype(supernet.selection(genotype), keep_none=True) == genotype


def test_other_spaces_are_refused():
    with pytest.raises(SpecError, match="'darts'"):
        NASBench201Supernet(DARTS(), SHAPE)
