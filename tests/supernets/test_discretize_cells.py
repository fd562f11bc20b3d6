"""Derivatives and discretizations of the supernets that searches use: convolutions, normalisation, partial channels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.darts import DARTS
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.supernets.cells import CellSupernet, make_supernet
from xnas_ray.supernets.derivatives import Derivatives, supernet_loss
from xnas_ray.supernets.discretize import Evidence, discretize
from xnas_ray.supernets.search_data import SearchData
from xnas_ray.tasks.base import Split

SHAPE = DataShape(((1, 8, 8),), 3)
SETTINGS = {
    "magnitude": {},
    "perturbation": {"batches": 1},
    "influence": {"batches": 1, "solver": "woodbury"},
    "influential_magnitude": {"batches": 1, "solver_params": {"damping": 10.0}},
}
SIZES = {"nasbench201": {"channels": 4, "cells_per_stage": 1}, "darts": {"layers": 3, "channels": 4}}
KEPT = {"nasbench201": 6, "darts": 16}


@pytest.fixture(scope="module")
def data() -> SearchData:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(24, 1, 8, 8, generator=generator)
    return SearchData(Split((images,), torch.arange(24) % 3), batch_size=6, seed=0)


def supernet(name: str, *, partial: bool = False) -> CellSupernet:
    space = NASBench201() if name == "nasbench201" else DARTS(layers=3, channels=4)
    return make_supernet(
        space, SHAPE, seed=1, params=SIZES[name], partial=2 if partial else 1, edge_normalisation=partial
    )


CASES = [
    *(("nasbench201", False, method) for method in SETTINGS),
    *(("nasbench201", True, method) for method in SETTINGS),
    *(pytest.param("darts", False, method, marks=pytest.mark.slow) for method in SETTINGS if method != "influence"),
]


@pytest.mark.parametrize(("name", "partial", "method"), CASES)
def test_every_method_reads_every_supernet(data, name, partial, method):
    net = supernet(name, partial=partial)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = discretize(net, method, Evidence(data, ridge=5e-4), SETTINGS[method])
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net.space.is_valid(found.genotype) and len(found.chosen) == KEPT[name]
    for edge, row in found.strengths.items():
        assert math.isnan(row[0]) and all(math.isfinite(s) for s in row[1:]), edge
        assert edge not in found.chosen or row[net.operations.index(found.chosen[edge])] == max(row[1:])
    if method != "magnitude":
        assert len({round(s, 12) for row in found.strengths.values() for s in row[1:]}) > 5
    ones = torch.zeros_like(net.alpha)
    for edge, option in found.chosen.items():
        ones[net.edges.index(edge), net.operations.index(option)] = 1
    assert torch.equal(net.selection(found.genotype), ones), "chosen is what the genotype has"


def smooth(module: nn.Module) -> nn.Module:
    """The module with softplus for ReLU, whose kinks no difference may step over."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, nn.Softplus(beta=3))
        else:
            smooth(child)
    return module


@pytest.mark.parametrize("partial", [False, True])
def test_products_are_differences_of_gradients(data, partial):
    net = smooth(supernet("nasbench201", partial=partial)).double()
    batches = [
        type(batch)(tuple(x.double() for x in batch.inputs), batch.targets, batch.whole)
        for batch in data.fixed(data.architecture_indices, 2)
    ]
    derivatives = Derivatives(net, supernet_loss(net), batches, ridge=0.01)
    generator = torch.Generator().manual_seed(2)
    v = torch.randn(derivatives.size, generator=generator, dtype=torch.float64)
    u = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    start, p, step = derivatives.flat_weights(), derivatives.variables.detach(), 1e-6

    product, mixed = derivatives.hessian_product(v), derivatives.mixed_product(u)
    assert float(mixed @ v) == pytest.approx(float((derivatives.mixed_product_transposed(v) * u).sum()), rel=1e-10)
    gradients = []
    for sign in (1, -1):
        derivatives.set_weights(start + sign * step * v)
        gradients.append(derivatives.gradient())
    derivatives.set_weights(start)
    along = (gradients[0] - gradients[1]) / (2 * step)
    assert float((product - along).norm() / along.norm()) < 1e-5
    up, down = (derivatives.at(p + sign * step * u).gradient() for sign in (1, -1))
    along = (up - down) / (2 * step)
    assert float((mixed - along).norm() / along.norm()) < 1e-5


def test_the_hessian_of_convolutions_is_made_of_products(data):
    net = make_supernet(NASBench201(stages=1), SHAPE, seed=1, params={"channels": 2, "cells_per_stage": 1})
    derivatives = Derivatives(net, supernet_loss(net), data.fixed(data.architecture_indices, 1), ridge=0.01)
    hessian, generator = derivatives.hessian(), torch.Generator().manual_seed(2)
    for _ in range(2):
        v = torch.randn(derivatives.size, generator=generator)
        product = derivatives.hessian_product(v)
        assert float((hessian @ v - product).norm() / product.norm()) < 1e-4


def test_logits_hold_the_weights_of_edges(data):
    net = supernet("nasbench201", partial=True)
    batches = data.fixed(data.architecture_indices, 1)
    loss = supernet_loss(net)
    logits = Derivatives(net, loss, batches, parameterisation="logits")
    assert logits.value() == pytest.approx(Derivatives(net, loss, batches).value(), rel=1e-6)
