"""Supernets of cells: which space has which, sizes, seeds, weights of edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from xnas_ray.errors import SpecError, UnknownNameError
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench101 import NASBench101
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.supernets.cells import make_supernet
from xnas_ray.supernets.mixed import MixedOperation
from xnas_ray.supernets.nasbench201 import MixedCell

torch.set_num_threads(1)
SHAPE = DataShape(((1, 8, 8),), 3)
SPACE = NASBench201(cells_per_stage=1, channels=4, stages=2)


def test_it_is_a_function_of_its_seed():
    first, again, other = (make_supernet(SPACE, SHAPE, seed=seed) for seed in (1, 1, 2))
    before = torch.get_rng_state()
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.alpha, other.alpha) and not torch.equal(first.head.weight, other.head.weight)
    make_supernet(SPACE, SHAPE, seed=5)
    assert torch.equal(before, torch.get_rng_state())


def test_sizes_can_be_smaller_than_the_space():
    official = NASBench201()
    supernet = make_supernet(official, SHAPE, seed=0, params={"cells_per_stage": 1, "channels": 2})
    assert sum(isinstance(layer, MixedCell) for layer in supernet.body) == 3 and supernet.head.in_features == 8
    part = RestrictedSpace(SPACE, [(3,) * 6])
    assert make_supernet(part, SHAPE, seed=0).space is SPACE
    with pytest.raises(SpecError, match=r"controller\.params\.supernet\.channels"):
        make_supernet(SPACE, SHAPE, seed=0, params={"channels": 0})
    with pytest.raises(UnknownNameError, match="Did you mean 'channels'"):
        make_supernet(SPACE, SHAPE, seed=0, params={"chanels": 4})
    with pytest.raises(UnknownNameError, match="partial"):
        make_supernet(SPACE, SHAPE, seed=0, params={"partial": 4})
    with pytest.raises(UnknownNameError, match=r"nasbench101.*nasbench201"):
        make_supernet(NASBench101(), SHAPE, seed=0)
    with pytest.raises(SpecError, match="one image"):
        make_supernet(SPACE, DataShape(((4,),), 2), seed=0)


def test_edge_normalisation_weighs_the_edges_of_a_node():
    supernet = make_supernet(SPACE, SHAPE, seed=0, partial=2, edge_normalisation=True)
    assert supernet.beta is not None and supernet.beta.shape == (6,)
    assert [id(p) for p in supernet.architecture_parameters()] == [id(supernet.alpha), id(supernet.beta)]
    with torch.no_grad():
        supernet.beta.copy_(torch.tensor([0.3, 1.0, 2.0, -1.0, 0.0, 1.0]))
    weights = supernet.edge_weights().tolist()
    assert weights[0] == 1 and weights[1] + weights[2] == pytest.approx(1) and sum(weights[3:]) == pytest.approx(1)
    assert weights[2] / weights[1] == pytest.approx(np.e)
    assert torch.allclose(supernet.mixing().sum(dim=1), supernet.edge_weights())
    assert list(supernet.probabilities()) == list(supernet.options()) == [*supernet.edges, "1", "2", "3"]
    assert supernet.options()["2"] == ("2<-0", "2<-1")
    assert not any(isinstance(m, MixedOperation) for cell in supernet.body for m in getattr(cell, "edges", []))
    loss = supernet(torch.randn(4, 1, 8, 8)).square().sum()
    gradients: tuple[Tensor, ...] = torch.autograd.grad(loss, supernet.architecture_parameters())
    assert all(g.abs().max() > 0 for g in gradients)
