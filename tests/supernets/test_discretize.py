"""Architectures that are read off a supernet, and the tables that say why."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from xnas_ray.errors import InfluenceError, SpecError, UnknownNameError
from xnas_ray.messages import Genotype
from xnas_ray.supernets.base import Discretization
from xnas_ray.supernets.derivatives import Derivatives
from xnas_ray.supernets.discretize import METHODS, Evidence, discretization, discretize, strengths_table
from xnas_ray.supernets.influence import influence, influential_magnitude
from xnas_ray.supernets.inverse_hessian import Exact, Woodbury
from xnas_ray.supernets.search_data import Batch, SearchData
from xnas_ray.tasks.base import Split
from xnas_ray.testing.tiny_supernet import SHAPE, TinySupernet, tiny_split

NAN = float("nan")
SETTINGS = {
    "magnitude": {},
    "perturbation": {},
    "influence": {"solver": "woodbury", "batches": 3},
    "influential_magnitude": {"solver": "cg", "solver_params": {"damping": 1.0}, "batches": 3},
}


def numbers(found: Discretization) -> Tensor:
    return torch.tensor(list(found.strengths.values()), dtype=torch.float64)


class Narrow(TinySupernet):
    """Node 2 keeps one of its two edges: the one whose strongest operation is strongest."""

    def genotype(self, strengths: Tensor, *, keep_none: bool = False) -> Genotype:
        values = strengths.double().nan_to_num(-torch.inf)
        best = list(super().genotype(strengths, keep_none=keep_none))
        best[1 if values[1, 1:].max() < values[2, 1:].max() else 2] = 0
        return tuple(best)


@pytest.fixture
def evidence(settled_toy) -> Evidence:
    return Evidence(settled_toy.data, ridge=0.05, seed=3)


# ---- every method ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", sorted(SETTINGS))
def test_a_discretization_says_which_and_why_and_leaves_the_supernet_alone(settled_toy, evidence, method):
    supernet = settled_toy.supernet
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    found = discretize(supernet, method, evidence, SETTINGS[method])
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    assert found.method == method and set(found.strengths) == set(found.options) == set(supernet.edges)
    for edge, option in zip(supernet.edges, found.genotype, strict=True):
        row = found.strengths[edge]
        assert math.isnan(row[0]), "none is left out"
        assert option == int(np.nanargmax(row)) and found.chosen[edge] == supernet.operations[option]
    again = discretize(supernet, method, evidence, SETTINGS[method], label="again")
    assert again.method == "again" and again.genotype == found.genotype
    assert str(again.strengths) == str(found.strengths), "a function of the seed and the supernet"


@pytest.mark.parametrize("method", sorted(SETTINGS))
def test_none_takes_part_where_it_may(settled_toy, evidence, method):
    params = {**SETTINGS[method], "keep_none": True}
    found = discretize(settled_toy.supernet, method, evidence, params)
    assert not any(math.isnan(s) for row in found.strengths.values() for s in row)


def test_magnitudes_are_mixing_weights(settled_toy, evidence):
    found = discretize(settled_toy.supernet, "magnitude", evidence)
    p = settled_toy.supernet.mixing().detach()
    assert torch.allclose(numbers(found)[:, 1:], p[:, 1:], atol=0)


def test_influences_are_those_of_the_settings(settled_toy, evidence):
    supernet, data = settled_toy.supernet, settled_toy.data

    def derivatives(part: Tensor, count: int, size: int) -> Derivatives:
        return Derivatives(supernet, settled_toy.derivatives.loss, data.fixed(part, count, size), ridge=0.05)

    on_architecture = derivatives(data.architecture_indices, 3, 10)
    on_weights = derivatives(data.weight_indices, 3, 10)
    params = {"batches": 3, "batch_size": 10, "hessian_part": "weight"}

    found = discretize(
        supernet,
        "influential_magnitude",
        evidence,
        {**params, "solver": "woodbury", "solver_params": {"eta": 0.2}},
    )
    wanted = influential_magnitude(on_architecture, Woodbury(eta=0.2), curvature=on_weights)
    assert torch.allclose(numbers(found)[:, 1:], wanted[:, 1:])

    given = {**params, "solver": "exact", "solver_params": {"damping": 0.3}, "renormalise": True}
    found = discretize(supernet, "influence", evidence, given)
    keep = torch.tensor([False, True, True, True]).expand(3, 4)
    wanted = influence(on_architecture, Exact(damping=0.3), curvature=on_weights, renormalise=True, keep=keep)
    assert torch.allclose(numbers(found)[:, 1:], wanted[:, 1:])


def test_logits_are_offered_with_a_warning(settled_toy, evidence):
    params = {"solver": "exact", "parameterisation": "logits"}
    with pytest.warns(UserWarning, match="rounding noise"):
        found = discretize(settled_toy.supernet, "influential_magnitude", evidence, params)
    assert np.nanmax(np.abs(list(found.strengths.values()))) < 1e-12


# ---- perturbation ----------------------------------------------------------------------------------------------------


class OneGood(TinySupernet):
    """With weights for which some operations alone matter: outputs are scores that mixing weights give to class 0."""

    worth = torch.tensor([[0.0, 1.0, 3.0, 2.0], [0.0, 4.0, 1.0, 1.2], [0.0, 0.5, 0.6, 2.5]], dtype=torch.float64)
    seen: list[Tensor]

    def forward(self, *inputs: Tensor, mixing: Tensor | None = None) -> Tensor:
        (x,) = inputs
        p = self.mixing() if mixing is None else mixing
        score = (p * self.worth).sum()
        return torch.stack([x[:, 0] + score, x[:, 1], x[:, 2]], dim=1)


@pytest.fixture
def easy() -> Evidence:
    """Every sample is of class 0: the higher the score, the better."""
    x = tiny_split(60).inputs[0]
    return Evidence(SearchData(Split((x,), torch.zeros(60, dtype=torch.int64)), batch_size=10, seed=0), seed=1)


@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
def test_what_hurts_most_stays(easy, criterion):
    supernet = OneGood(SHAPE)
    with torch.no_grad():
        supernet.alpha.zero_()
    found = discretize(supernet, "perturbation", easy, {"criterion": criterion})
    assert found.genotype == (2, 1, 3)
    for row, worth in zip(found.strengths.values(), supernet.worth.tolist(), strict=True):
        assert list(np.argsort(row[1:])) == list(np.argsort(worth[1:]))
        assert min(row[1:]) > 0, "everything helps"


def test_within_a_sample_the_loss_decides(easy):
    supernet = OneGood(SHAPE)
    with torch.no_grad():
        supernet.alpha.zero_()
    supernet.worth = supernet.worth * 1e-9  # no prediction changes
    found = discretize(supernet, "perturbation", easy)
    assert found.genotype == (2, 1, 3)
    assert max(max(row[1:]) for row in found.strengths.values()) < 100 / 30, "less than one of 30 samples"


def test_edges_are_decided_one_after_the_other_and_weights_tuned_between(settled_toy, evidence):
    seen: list[tuple[Tensor, int]] = []

    def tune(mixing: Tensor, step: int) -> None:
        seen.append((mixing, step))
        with torch.no_grad():
            for weight in settled_toy.supernet.weight_parameters():
                weight.mul_(0.9)

    supernet = settled_toy.supernet
    before = [weight.clone() for weight in supernet.weight_parameters()]
    tuned = discretize(supernet, "perturbation", dataclasses.replace(evidence, tune=tune))
    assert [step for _, step in seen] == [0, 1], "not after the last one"
    assert [int((m.count_nonzero(dim=1) == 1).sum()) for m, _ in seen] == [1, 2]
    assert all(torch.allclose(m.sum(1), torch.ones(3, dtype=m.dtype)) for m, _ in seen)
    after = supernet.weight_parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)), "as it was before"
    plain = discretize(supernet, "perturbation", evidence)
    assert str(tuned.strengths) != str(plain.strengths)


def test_the_order_of_edges_is_a_function_of_the_seed(settled_toy, evidence):
    def order(seed: int) -> list[int]:
        seen: list[Tensor] = []
        one = dataclasses.replace(evidence, seed=seed, tune=lambda mixing, step: seen.append(mixing))
        discretize(settled_toy.supernet, "perturbation", one)
        fixed = [set((m.count_nonzero(dim=1) == 1).nonzero()[:, 0].tolist()) for m in seen]
        return [fixed[0].pop(), (fixed[1] - fixed[0]).pop()]

    assert order(5) == order(5)
    assert len({tuple(order(seed)) for seed in range(8)}) > 2


def test_nodes_keep_the_edges_whose_removal_hurts_most(easy):
    class NarrowGood(Narrow, OneGood):
        pass

    supernet = NarrowGood(SHAPE)
    with torch.no_grad():
        supernet.alpha.zero_()
    found = discretize(supernet, "perturbation", easy, {"criterion": "loss"})
    assert found.genotype == (2, 1, 0), "4 alone is worth more than 2.5 alone"
    assert found.chosen == {"1<-0": "linear", "2<-0": "skip_connect"}
    assert max(found.strengths["2<-0"][1:]) > max(found.strengths["2<-1"][1:]) > 0


def test_a_regression_is_judged_by_its_loss(settled_toy):
    x = tiny_split(60).inputs[0]
    data = SearchData(Split((x,), x @ torch.ones(3, 3, dtype=torch.float64)), batch_size=10, seed=0)
    one = Evidence(data, loss=torch.nn.functional.mse_loss)
    with pytest.raises(SpecError, match=r"criterion: a regression has no accuracy.*Valid: loss"):
        discretize(settled_toy.supernet, "perturbation", one)
    found = discretize(settled_toy.supernet, "perturbation", one, {"criterion": "loss"})
    assert all(math.isfinite(s) for row in found.strengths.values() for s in row[1:])


# ---- what comes out --------------------------------------------------------------------------------------------------


def test_what_a_node_does_not_keep_is_not_chosen():
    supernet = Narrow(SHAPE)
    strengths = torch.tensor([[9.0, 1, 2, 3], [9, 3, 2, 1], [9, 4, NAN, 5]])
    found = discretization(supernet, strengths, "mine")
    assert found.genotype == (3, 0, 3) and found.chosen == {"1<-0": "tanh", "2<-1": "tanh"}
    kept = discretization(TinySupernet(SHAPE), strengths, "mine", keep_none=True)
    assert kept.genotype == (0, 0, 0) and set(kept.chosen.values()) == {"none"}


def test_the_table_of_strengths():
    supernet = Narrow(SHAPE)
    found = discretization(supernet, torch.tensor([[NAN, 1, 2, 3], [NAN, 3, 2, 1], [NAN, 4, NAN, 5]]), "mine")
    other = Discretization("widths", (1,), {"width": (0.2, 0.8)}, {"width": ("8", "16")})
    table = strengths_table([found, other])
    assert list(table.columns) == ["method", "decision", "option", "strength", "chosen"]
    assert len(table) == 14 and table["chosen"].dtype == bool
    chosen = table[table["chosen"]]
    assert chosen[["decision", "option"]].values.tolist() == [["1<-0", "tanh"], ["2<-1", "tanh"], ["width", "16"]]
    row = table[(table["decision"] == "2<-1") & (table["option"] == "linear")].iloc[0]
    assert math.isnan(row["strength"]) and row["method"] == "mine"


def test_batches_are_as_many_as_the_part_fills(settled_toy, evidence):
    def samples(batches: list[Batch]) -> int:
        return sum(len(batch.targets) for batch in batches)

    assert len(settled_toy.data.architecture_indices) == 60
    assert samples(evidence.batches("architecture", None)) == 60
    assert len(evidence.batches("weight", 2, 7)) == 2 and samples(evidence.batches("weight", 2, 7)) == 14
    parts = [
        {tuple(x.tolist()) for b in evidence.batches(p, None) for x in b.inputs[0]} for p in ("weight", "architecture")
    ]
    assert parts[0].isdisjoint(parts[1])


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params", "error", "message"),
    [
        ("magnitud", {}, UnknownNameError, "Did you mean 'magnitude'"),
        ("magnitude", {"solver": "cg"}, UnknownNameError, "Valid: keep_none"),
        ("perturbation", {"criterion": "acuracy"}, SpecError, r"discretize\.criterion: .*Did you mean 'accuracy'"),
        ("perturbation", {"batches": 0}, SpecError, r"discretize\.batches: must be a whole number"),
        ("influence", {"solver": "neuman"}, UnknownNameError, r"discretize\.solver: .*Did you mean 'neumann'"),
        ("influence", {"solver_params": {"gama": 1}}, UnknownNameError, "Did you mean 'gamma'"),
        ("influence", {"batches": True}, SpecError, "batches"),
        ("influence", {"batch_size": 0}, SpecError, "batch_size"),
        ("influence", {"gradient_part": "train"}, SpecError, "Valid: architecture, weight"),
        ("influential_magnitude", {"hessian_part": "weights"}, SpecError, "Did you mean 'weight'"),
        ("influential_magnitude", {"parameterisation": "logit"}, SpecError, "Did you mean 'logits'"),
    ],
)
def test_bad_settings(settled_toy, evidence, method, params, error, message):
    with pytest.raises(error, match=message):
        discretize(settled_toy.supernet, method, evidence, params)


def test_methods_are_a_table():
    assert METHODS.names() == sorted(SETTINGS)


def test_a_solver_that_diverges_is_an_error(settled_toy, evidence):
    params = {"solver_params": {"gamma": 1e6, "terms": 5}}
    with pytest.raises(InfluenceError, match="diverges"):
        discretize(settled_toy.supernet, "influential_magnitude", evidence, params)
