"""PC-DARTS: its paper's settings, weights of edges that learn, architectures by both."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from xnas_ray.errors import SpecError
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.darts import DARTS
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.supernets.mixed import PartialMixed
from xnas_ray.supernets.pc_darts import PcDartsSearch
from xnas_ray.supernets.search_data import SearchData
from xnas_ray.tasks.base import Split

torch.set_num_threads(1)
SHAPE = DataShape(((1, 6, 6),), 2)


def search(space: Any = None, **settings: Any) -> PcDartsSearch:
    generator = torch.Generator().manual_seed(0)
    split = Split(torch.randn(40, 1, 6, 6, generator=generator), torch.arange(40) % 2)
    data = SearchData(split, batch_size=10, seed=1)
    space = space or NASBench201(cells_per_stage=1, channels=4, stages=2)
    return PcDartsSearch(space, SHAPE, data, **{"epochs": 20, "seed": 2, **settings})


def test_the_settings_of_the_paper():
    one = search()
    settings = one.settings
    assert PcDartsSearch.BATCH_SIZE == 256
    assert (settings.partial, settings.edge_normalisation, settings.warmup_epochs, settings.order) == (4, True, 15, 1)
    assert (settings.lr, settings.final_lr, settings.architecture_lr, settings.weight_decay) == (0.1, 0.001, 6e-4, 3e-4)
    edges = [edge for cell in one.supernet.body for edge in getattr(cell, "edges", [])]  # type: ignore[union-attr]
    assert len(edges) == 12 and all(isinstance(edge, PartialMixed) and edge.partial == 4 for edge in edges)


@pytest.mark.parametrize("order", [1, 2])
def test_variables_learn_after_the_warm_up(order: int):
    one = search(warmup_epochs=1, order=order, architecture_weight_decay=0.0)
    alpha, beta = (parameter.detach().clone() for parameter in one.supernet.architecture_parameters())
    record = one.run()
    assert torch.equal(one.supernet.alpha, alpha) and torch.equal(one.supernet.beta, beta)  # type: ignore[arg-type]
    record = one.run()
    assert not torch.equal(one.supernet.alpha, alpha)
    moved = (one.supernet.beta - beta).detach()  # type: ignore[operator]
    assert moved[0] == 0 and moved[1:].abs().min() > 0, "the only edge of its node has nothing to learn"
    assert record["p/3/3<-1"] == pytest.approx(float(one.supernet.edge_weights()[4].detach()))


def test_edges_of_the_darts_space_are_chosen_by_both():
    one = search(DARTS(), supernet={"layers": 2, "channels": 4}, warmup_epochs=0)
    one.run()
    (found,) = one.discretize()
    assert DARTS().is_valid(found.genotype)
    node = one.supernet.nodes["normal/5"]
    expected = sorted(node, key=lambda edge: -max(found.strengths[edge][1:]))[:2]
    assert [edge for edge in node if edge in (found.chosen or {})] == sorted(expected, key=node.index)


def test_every_method_reads_it():
    """Solvers that need no positive Hessian, for after an epoch there is none."""
    solved = {"solver": "sherman_morrison", "solver_params": {"eta": 0.1}, "batches": 2}
    methods = [
        "magnitude",
        {"method": "perturbation", "criterion": "loss", "batches": 1},
        {"method": "influence", **solved},
        {"method": "influential_magnitude", **solved},
    ]
    one = search(NASBench201(cells_per_stage=1, channels=4, stages=1), discretize=methods, tune_epochs=1)
    one.run()
    before = {name: value.clone() for name, value in one.supernet.state_dict().items()}
    found = one.discretize()
    assert [each.method for each in found] == ["magnitude", "perturbation", "influence", "influential_magnitude"]
    assert all(0 not in each.genotype and len(each.genotype) == 6 for each in found), "none is never taken"
    assert all(torch.equal(value, before[name]) for name, value in one.supernet.state_dict().items())


def test_channels_that_cannot_be_shared_are_refused():
    with pytest.raises(SpecError, match=r"6 channels cannot be divided by 4.*1, 2, 3, 6"):
        search(NASBench201(cells_per_stage=1, channels=6, stages=1))
