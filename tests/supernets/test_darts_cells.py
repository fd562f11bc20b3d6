"""The supernet of the DARTS space: with one architecture's weights it is that architecture's network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Genotype
from xnas_ray.networks.darts import DARTSNetwork
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.darts import DARTS, OPERATIONS
from xnas_ray.supernets.cells import make_supernet
from xnas_ray.supernets.darts_cells import EDGES, SEARCHED, DartsSupernet
from xnas_ray.supernets.mixed import PartialMixed, with_batch_statistics

torch.set_num_threads(1)
SHAPE = DataShape(((1, 8, 8),), 3)
SPACE = DARTS(layers=3, channels=4)
SIZES = {"layers": 3, "channels": 4}


def supernet(seed: int = 0, **settings: object) -> DartsSupernet:
    made = make_supernet(SPACE, SHAPE, seed=seed, params=SIZES, **settings)  # type: ignore[arg-type]
    assert isinstance(made, DartsSupernet)
    return made


def plain_network(net: DartsSupernet, genotype: Genotype) -> nn.Module:
    """The network of a genotype, normalised as the supernet is, with the supernet's weights."""
    network = SPACE.build(genotype, SHAPE)
    assert isinstance(network, DARTSNetwork)
    with_batch_statistics(network.stem, affine=True).load_state_dict(net.stem.state_dict())
    network.head.load_state_dict(net.head.state_dict())
    for mixed, cell in zip(net.cells, network.cells, strict=True):
        nodes = SPACE.cells(genotype)[mixed.reduces]
        terms = [(s, target, OPERATIONS[o]) for target, node in enumerate(nodes, start=2) for s, o in node]
        for i, (source, target, name) in enumerate(terms):
            own = mixed.edges[EDGES.index((source, target))].operations[str(SEARCHED.index(name))]
            if name.endswith("pool_3x3"):  # what is searched is normalised after pooling, what is evaluated is not
                cell.operations[i] = nn.Sequential(cell.operations[i], nn.BatchNorm2d(own[1].num_features))
        with_batch_statistics(cell, affine=False)
        for i, (source, target, name) in enumerate(terms):
            own = mixed.edges[EDGES.index((source, target))].operations[str(SEARCHED.index(name))]
            cell.operations[i].load_state_dict(own.state_dict())
        cell.before.load_state_dict(mixed.before.state_dict())
        cell.last.load_state_dict(mixed.last.state_dict())
    return network


@pytest.mark.parametrize("seed", range(4))
def test_with_the_weights_of_one_architecture_it_is_its_network(seed: int):
    net, genotype = supernet(seed), SPACE.sample(np.random.default_rng(seed))
    x = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(net(x, mixing=net.selection(genotype)), plain_network(net, genotype)(x), atol=1e-5)


def test_variables_and_their_names():
    net = supernet()
    assert net.alpha.shape == (28, 8) and len(EDGES) == 14
    assert net.edges[:5] == ("normal/2<-0", "normal/2<-1", "normal/3<-0", "normal/3<-1", "normal/3<-2")
    assert net.edges[14] == "reduction/2<-0" and net.edges[-1] == "reduction/5<-4"
    assert net.operations == SEARCHED == ("none", *OPERATIONS)
    assert net.nodes["reduction/3"] == ("reduction/3<-0", "reduction/3<-1", "reduction/3<-2")
    assert not list(net.buffers()), "no running statistics anywhere"
    assert not any(isinstance(m, nn.BatchNorm2d) and m.affine for cell in net.cells for m in cell.modules())


def test_the_default_is_the_official_supernet():
    """1.930618 M parameters with 10 classes, as the official code's log says ("param size = 1.930618MB")."""
    net = make_supernet(DARTS(), DataShape(((3, 32, 32),), 10), seed=0)
    assert sum(p.numel() for p in net.weight_parameters()) == 1_930_618
    assert [cell.reduces for cell in net.cells] == [False, False, True, False, False, True, False, False]  # type: ignore[union-attr]


def test_every_variable_counts_but_those_of_none_alone():
    net = supernet()
    mixing = net.mixing().detach().requires_grad_()
    (slopes,) = torch.autograd.grad(net(torch.randn(4, 1, 8, 8), mixing=mixing).square().sum(), [mixing])
    assert torch.equal(slopes[:, 0], torch.zeros(28)) and (slopes[:, 1:].abs().amax(dim=1) > 0).all()


def test_two_edges_a_node_with_the_strongest_operations():
    """The rule of section 2.4 written out with lists, over random strengths."""
    net = supernet()
    for seed in range(20):
        strengths = torch.tensor(np.random.default_rng(seed).standard_normal((28, 8)))
        nodes = iter(node for cell in SPACE.cells(net.genotype(strengths)) for node in cell)
        for first in (0, 14):
            for node in range(2, 6):
                rows = [strengths[first + EDGES.index((s, node)), 1:].tolist() for s in range(node)]
                kept = sorted(range(node), key=lambda s: -max(rows[s]))[:2]
                expected = tuple((s, rows[s].index(max(rows[s]))) for s in sorted(kept))
                assert next(nodes) == expected


def test_selections_come_back():
    net = supernet()
    for seed in range(10):
        genotype = SPACE.sample(np.random.default_rng(seed))
        selection = net.selection(genotype)
        assert selection.sum() == 16 and not selection.requires_grad
        assert net.genotype(selection) == net.genotype(selection, keep_none=True) == genotype


def test_what_is_left_out_is_not_taken():
    net = supernet()
    strengths: Tensor = torch.zeros(28, 8)
    strengths[net.edges.index("normal/4<-1")] = torch.nan
    strengths[net.edges.index("normal/4<-0")] = torch.nan
    strengths[:, 5] = -torch.inf
    (first, _), (second, _) = SPACE.cells(net.genotype(strengths))[0][2]
    assert (first, second) == (2, 3)
    strengths[net.edges.index("normal/4<-3")] = torch.nan
    with pytest.raises(GenotypeError, match="normal/4"):
        net.genotype(strengths)


def test_partial_channels_and_weights_of_edges():
    net = supernet(partial=2, edge_normalisation=True)
    assert all(isinstance(edge, PartialMixed) for cell in net.cells for edge in cell.edges)  # type: ignore[union-attr]
    assert net.beta is not None and net.beta.shape == (28,)
    sums = [float(p.sum()) for p in net.probabilities().values()]
    assert len(sums) == 28 + 8 and sums == pytest.approx([1.0] * 36)
    assert net(torch.randn(3, 1, 7, 9)).shape == (3, 3)
    with torch.no_grad():  # an edge that counts more is kept, though its operations are no stronger
        net.alpha.zero_()
        net.alpha[:, 4] = 1
        net.beta.copy_(torch.tensor([0.0, 1.0, *[0.0, 2.0, 1.0], *[3.0, 0.0, 0.0, 2.0], *[0.0] * 3, 1.0, 2.0] * 2))
    sources = [tuple(s for s, _ in node) for node in SPACE.cells(net.genotype(net.mixing()))[1]]
    assert sources == [(0, 1), (1, 2), (0, 3), (3, 4)]


def test_other_spaces_and_sizes_are_refused():
    with pytest.raises(SpecError, match=r"controller\.params\.supernet\.layers"):
        make_supernet(SPACE, SHAPE, seed=0, params={"layers": 0})
    with pytest.raises(SpecError, match="one image"):
        make_supernet(SPACE, DataShape(((4,),), 2), seed=0, params=SIZES)
