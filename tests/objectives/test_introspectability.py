"""Introspectability against its definition, its degenerate cases, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from torch import Tensor, nn

from xnas_ray.errors import NanLossError, ObjectiveError
from xnas_ray.objectives.base import Objective
from xnas_ray.objectives.introspectability import IntrospectabilityObjective, introspectability
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench101 import NASBench101
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.testing.objective_case import ObjectiveTestCase
from xnas_ray.testing.tiny import tiny_trained

SHAPE = DataShape(inputs=((3, 8, 8),), outputs=5)


class TestConformance(ObjectiveTestCase):
    def make_objective(self) -> Objective:
        return IntrospectabilityObjective()


def direct(model: nn.Module, x: Tensor, groups: Tensor, weights: np.ndarray | None = None) -> float:
    """The definition: concatenate all activations of a sample, average over classes, mean of scipy's pdist."""
    kept: list[Tensor] = []
    kinds = (nn.Conv2d, nn.ReLU, nn.Tanh)
    handles = [
        module.register_forward_hook(lambda m, i, out: kept.append(out.detach().clone().flatten(1).double()))
        for module in model.modules()
        if isinstance(module, kinds)
    ]
    model.eval()
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    vectors = torch.cat(kept, dim=1)
    means = torch.stack([vectors[groups == c].mean(0) for c in torch.unique(groups)]).numpy()
    distances = pdist(means, metric="cosine")
    if weights is not None:
        numbers = torch.unique(groups).numpy()
        i, j = np.triu_indices(len(numbers), 1)
        distances = distances * weights[numbers[i], numbers[j]]
    return float(np.nanmean(distances))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("group_by", ["predicted", "label"])
def test_the_mean_activations_give_the_score_again(seed: int, group_by: str) -> None:
    model, (x, labels) = network(seed), samples(seed)
    batches = [(x[i : i + 32], labels[i : i + 32]) for i in range(0, len(x), 32)]
    found = introspectability(model, batches, group_by=group_by, keep_means=True)
    assert found.means is not None and list(found.means) == list(found.grams)
    assert {means.dtype for means in found.means.values()} == {np.dtype(np.float32)}
    vectors = np.concatenate([means.astype(np.float64) for means in found.means.values()], axis=1)
    assert len(vectors) == len(found.classes)
    if len(found.classes) > 1:
        assert np.nanmean(pdist(vectors, metric="cosine")) == pytest.approx(found.score, abs=1e-5)
    assert introspectability(model, batches, group_by=group_by).means is None, "only when they are asked for"


def test_the_objective_hands_them_on_when_told_to() -> None:
    objective, trained = IntrospectabilityObjective(), tiny_trained()
    objective.measure(trained)
    assert objective.activations(trained) is None
    objective.keep_activations = True
    score = objective.measure(trained)
    found = objective.activations(trained)
    assert found is not None
    classes, layers = found
    assert classes == (0, 1) and score == pytest.approx(pdist(np.concatenate([*layers.values()], axis=1), "cosine")[0])


def network(seed: int) -> nn.Module:
    """A random cell of one of two spaces, initialised at random."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    space = NASBench201(channels=4, cells_per_stage=1, stages=2) if seed % 2 else NASBench101(channels=8, stacks=1)
    return space.build(space.sample(rng), SHAPE)


def samples(seed: int, count: int = 90) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, 8, 8, generator=generator) * torch.linspace(0.2, 3, count)[:, None, None, None]
    return x, torch.randint(5, (count,), generator=generator)


def batches(x: Tensor, y: Tensor, size: int = 32) -> list[tuple[Tensor, Tensor]]:
    return list(zip(x.split(size), y.split(size), strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_it_equals_the_definition(seed: int):
    model, (x, labels) = network(seed), samples(seed)
    for _ in range(3):  # running statistics as after some training
        model.train()(x)
    by_label = introspectability(model, batches(x, labels), group_by="label")
    assert by_label.score == pytest.approx(direct(model, x, labels), abs=1e-6)
    with torch.no_grad():
        predicted = model.eval()(x).argmax(1)
    found = introspectability(model, batches(x, labels))
    assert found.classes == tuple(torch.unique(predicted).tolist())
    if len(found.classes) > 1:
        assert found.score == pytest.approx(direct(model, x, predicted), abs=1e-6)


@pytest.mark.parametrize("size", [1, 7, 90])
def test_batches_do_not_matter(size: int):
    model, (x, labels) = network(1), samples(1)
    found = introspectability(model, batches(x, labels, size), group_by="label")
    assert found.score == pytest.approx(introspectability(model, batches(x, labels), group_by="label").score, abs=1e-7)


def test_known_predictions_save_a_pass():
    model, (x, labels) = network(1), samples(1)
    with torch.no_grad():
        predicted = model.eval()(x).argmax(1)
    passes: list[int] = []
    model.register_forward_hook(lambda *_: passes.append(1))
    once = introspectability(model, iter(batches(x, labels)), predictions=predicted)
    assert len(passes) == 3
    assert once.score == introspectability(model, batches(x, labels)).score and len(passes) == 9


def test_weights_multiply_and_are_not_divided_by():
    model, (x, labels) = network(1), samples(1)
    weights = np.random.default_rng(0).random((5, 5))
    weights = weights + weights.T
    found = introspectability(model, batches(x, labels), group_by="label", weights=weights)
    assert found.score == pytest.approx(direct(model, x, labels, weights), abs=1e-6)
    assert found.class_pairs["weight"].tolist() == pytest.approx(weights[np.triu_indices(5, 1)].tolist())


def test_the_first_samples_are_taken():
    model, (x, labels) = network(1), samples(1)
    found = introspectability(model, batches(x, labels), group_by="label", max_samples=50)
    assert found.score == pytest.approx(direct(model, x[:50], labels[:50]), abs=1e-6)


def test_layers_and_pairs_explain_the_whole():
    model, (x, labels) = network(1), samples(1)
    found = introspectability(model, batches(x, labels), group_by="label")
    assert found.per_layer["share"].sum() == pytest.approx(1) and len(found.class_pairs) == 10
    assert found.class_pairs["distance"].mean() == pytest.approx(found.score)
    layer = found.per_layer.iloc[0]["layer"]
    activations: list[Tensor] = []
    dict(model.named_modules())[layer].register_forward_hook(lambda m, i, out: activations.append(out.flatten(1)))
    with torch.no_grad():
        model(x)
    means = torch.stack([activations[0][labels == c].double().mean(0) for c in range(5)])
    assert found.per_layer.iloc[0]["score"] == pytest.approx(pdist(means, metric="cosine").mean(), abs=1e-6)


def test_sorts_of_layers_are_chosen():
    model, (x, labels) = network(1), samples(1)
    modules = dict(model.named_modules())
    for layers, kind in (("conv", nn.Conv2d), ("activation", nn.ReLU)):
        found = introspectability(model, batches(x, labels), layers=layers)
        assert all(isinstance(modules[name], kind) for name in found.per_layer["layer"])
    both = introspectability(model, batches(x, labels))
    assert {type(modules[name]) for name in both.per_layer["layer"]} == {nn.Conv2d, nn.ReLU}


# ---- degenerate cases ------------------------------------------------------------------------------------------------


class Toy(nn.Module):
    """One activation that is called twice; classes by the sign of the first input."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.relu(self.relu(x) * torch.tensor([1.0, -1.0, 1.0]))
        return torch.stack([x[:, 0], -x[:, 0]], dim=1) + 0 * hidden[:, :1]


def test_a_layer_that_is_called_twice_counts_twice():
    x = torch.tensor([[1.0, 1.0, 2.0], [-1.0, 1.0, 2.0]])
    found = introspectability(Toy(), [(x, torch.tensor([0, 1]))])
    assert found.per_layer["layer"].tolist() == ["relu", "relu#2"]
    # Vectors: (1,1,2, 1,0,2) and (0,1,2, 0,0,2).
    assert found.score == pytest.approx(1 - 9 / np.sqrt(11 * 9))


def test_one_class_has_no_pair():
    found = introspectability(Toy(), [(torch.ones(4, 3), torch.zeros(4, dtype=torch.int64))])
    assert found.score == 0.0 and found.classes == (0,) and len(found.class_pairs) == 0


def test_dead_layers_count_nothing():
    found = introspectability(Toy(), [(-torch.ones(2, 3), torch.tensor([0, 1]))], group_by="label")
    assert found.score == 0.0
    assert found.per_layer["share"].tolist() == [0, 0] and found.class_pairs["distance"].isna().all()


def test_a_dead_class_leaves_the_other_pairs():
    x = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [-1.0, -1.0, -1.0]])
    found = introspectability(Toy(), [(x, torch.tensor([0, 1, 2]))], group_by="label")
    assert found.score == pytest.approx(1.0) and found.class_pairs["distance"].isna().sum() == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_an_error(value: float):
    with pytest.raises(NanLossError, match="layer relu"):
        introspectability(Toy(), [(torch.full((2, 3), value), torch.tensor([0, 1]))], group_by="label")


def test_a_network_without_layers_says_so():
    with pytest.raises(ObjectiveError, match="no such layer"):
        introspectability(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), [(torch.ones(2, 3), torch.tensor([0, 1]))])


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"layers": "convolution"}, "layers"),
        ({"layers": ""}, "layers"),
        ({"group_by": "class"}, "group_by"),
        ({"max_samples": 0}, "max_samples"),
        ({"weights": [[1.0, 2.0], [3.0, 1.0]]}, "weights"),
        ({"weights": [[1.0]]}, "weights"),
        ({"predictions": torch.tensor([0])}, "predictions"),
    ],
)
def test_bad_parameters_are_named(params, field):
    x = torch.tensor([[1.0, 1.0, 2.0], [-1.0, 1.0, 2.0]])
    with pytest.raises(ObjectiveError) as error:
        introspectability(Toy(), [(x, torch.tensor([0, 1]))], **params)
    assert error.value.field == f"introspectability.{field}"


def test_modes_hooks_and_gradients_are_as_before():
    model, (x, labels) = network(1), samples(1)
    model.train()
    frozen = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).eval()
    modes = [module.training for module in model.modules()]
    introspectability(model, batches(x, labels))
    assert [module.training for module in model.modules()] == modes and not frozen.training
    assert all(not module._forward_hooks for module in model.modules())
    with pytest.raises(NanLossError):
        introspectability(model, batches(x * float("nan"), labels))
    assert all(not module._forward_hooks for module in model.modules())
    assert model(x).requires_grad


# ---- the objective ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group_by", ["predicted", "label"])
def test_a_trial_uses_its_own_predictions(group_by):
    trained = tiny_trained()
    groups = trained.outputs.argmax(1) if group_by == "predicted" else trained.targets
    objective = IntrospectabilityObjective(group_by=group_by)
    (x,) = trained.data.validation.inputs
    expected = direct(trained.model, x, groups) if len(torch.unique(groups)) > 1 else 0.0
    assert objective.measure(trained) == pytest.approx(expected, abs=1e-6)
    tables = objective.tables(trained)
    assert set(tables) == {"introspectability_layers", "introspectability_pairs"}
    pairs = tables["introspectability_pairs"]
    assert set(pairs["first"]) | set(pairs["second"]) <= set(trained.data.classes)
