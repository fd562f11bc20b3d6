"""What a training makes of its recipe's tree: the loss by hand, trees that are due, and what an interruption leaves."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from xnas_ray.errors import HierarchyError, SpecError, StoppedError
from xnas_ray.explain.hierarchy import Hierarchy
from xnas_ray.explain.induced_hierarchy import induced_hierarchy, random_hierarchy
from xnas_ray.messages import Candidate
from xnas_ray.networks.decision_rules import DecisionRules
from xnas_ray.objectives.network_tree import TaskTrees
from xnas_ray.spaces.base import DataShape
from xnas_ray.tasks.base import Data
from xnas_ray.tasks.splits import split_tensors
from xnas_ray.testing import tiny
from xnas_ray.testing.tiny import TinySpace, tiny_data, tiny_problem
from xnas_ray.training.batch_loss import BatchLoss
from xnas_ray.training.checkpoint import CHECKPOINT_NAME
from xnas_ray.training.context import LocalContext
from xnas_ray.training.distillation import distillation_loss
from xnas_ray.training.loop import train_candidate
from xnas_ray.training.recipe import Recipe
from xnas_ray.training.trained import TrainedCandidate
from xnas_ray.training.tree_supervision import hard_tree_loss, soft_tree_loss

NAMES = ("a", "b", "c", "d", "e")
SHAPE = DataShape(((6,),), 5)
RICH = {
    **{"batch_size": 16, "lr": 0.05, "label_smoothing": 0.1, "ema_decay": 0.9, "grad_clip": 1.0, "augment": ["mixup"]},
    **{"tree_from": 0.3, "tree_until": 0.9, "tree_every": 0.2},
}


def five_classes() -> Data:
    """Clouds around five centres; 120 samples are for training."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 5
    x = rng.normal(size=(5, 6))[labels] + 0.5 * rng.normal(size=(200, 6))
    splits = split_tensors([torch.from_numpy(x.astype(np.float32))], torch.from_numpy(labels), seed=0)
    return Data(*splits, classes=NAMES)


class Restless(TaskTrees):
    """Gives a tree that the last bit of any weight changes, and counts."""

    def __init__(self, data: Data) -> None:
        super().__init__(data, Recipe(tree_loss="soft"), torch.device("cpu"))
        self.made: list[str] = []

    def tree(self, network: nn.Module) -> Hierarchy:
        digest = hashlib.blake2b(digest_size=4)
        for weight in network.parameters():
            digest.update(weight.detach().numpy().tobytes())
        found = random_hierarchy(NAMES, seed=int.from_bytes(digest.digest(), "big"))
        self.made.append(str(found))
        return found


def train(
    recipe: dict[str, Any], *, epochs: int = 5, schedule: int | None = None, trees: Any = None, **kw: Any
) -> TrainedCandidate:
    data = kw.pop("data", None) or five_classes()
    settings = Recipe(**recipe)
    return train_candidate(
        space=TinySpace(),
        problem=kw.pop("problem", None) or tiny_problem(),
        data=data,
        candidate=Candidate(0, (1, 1, 0), fidelity=epochs, schedule_epochs=schedule or epochs),
        recipe=settings,
        seed=kw.pop("seed", 5),
        context=kw.pop("context", None) or LocalContext(),
        trees=trees if trees is not None else TaskTrees.of(settings, data),
        **kw,
    )


def assert_same(a: TrainedCandidate, b: TrainedCandidate) -> None:
    assert [{**r, "elapsed_s": 0} for r in a.curve] == [{**r, "elapsed_s": 0} for r in b.curve]
    assert torch.equal(a.outputs, b.outputs) and str(a.tree) == str(b.tree)
    for (name, x), y in zip(a.model.state_dict().items(), b.model.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


# ---- one batch -------------------------------------------------------------------------------------------------------


class WithHead(nn.Module):
    auxiliary_weight = 0.4


def batch_loss(recipe: dict[str, Any], tree: Hierarchy, network: nn.Module | None = None) -> BatchLoss:
    """At half of the schedule, with a tree."""

    class Given(TaskTrees):
        def tree(self, network: nn.Module) -> Hierarchy:
            return tree

    settings = Recipe(**{"tree_from": 0.5, **recipe})
    trees = Given(five_classes(), settings, torch.device("cpu"))
    loss = BatchLoss(tiny_problem(), settings, SHAPE, network or nn.Identity(), 4, trees)
    loss.start_epoch(2, resumed=False)
    return loss


@pytest.fixture
def logits() -> Tensor:
    return 2 * torch.randn(6, 5, generator=torch.Generator().manual_seed(0))


TARGETS = torch.tensor([0, 1, 2, 3, 4, 0])
PARTNERS = torch.tensor([5, 4, 3, 2, 1, 0])


@pytest.mark.parametrize(("kind", "along"), [("soft", soft_tree_loss), ("hard", hard_tree_loss)])
def test_labels_mixed_images_and_a_teacher_keep_their_parts(logits, kind, along):
    tree = random_hierarchy(NAMES, seed=3)
    rules, taught = DecisionRules(tree), logits.flip(1)
    settings = {"tree_loss": kind, "label_smoothing": 0.1, "distill_weight": 0.3, "distill_temperature": 2.0}

    def supervised(targets: Tensor) -> Tensor:
        labels = functional.cross_entropy(logits, targets, label_smoothing=0.1)
        return 0.5 * labels + 0.25 * along(rules, logits, targets, label_smoothing=0.1)

    loss = batch_loss(settings, tree)
    assert torch.allclose(loss(logits, TARGETS, None, None), supervised(TARGETS))
    mixed = 0.7 * supervised(TARGETS) + 0.3 * supervised(TARGETS[PARTNERS])
    assert torch.allclose(loss(logits, TARGETS, (PARTNERS, 0.7), None), mixed)
    both = 0.3 * distillation_loss(logits, taught, 2.0) + 0.7 * mixed
    assert torch.allclose(loss(logits, TARGETS, (PARTNERS, 0.7), taught), both)
    assert not torch.allclose(both, mixed)


def test_an_auxiliary_head_learns_from_labels_and_teacher_alone(logits):
    loss = batch_loss({"tree_loss": "soft"}, random_hierarchy(NAMES, seed=3), WithHead())
    other, taught = logits.flip(0), logits.flip(1)
    main = loss(logits, TARGETS, None, taught)
    plain = 0.8 * distillation_loss(other, taught) + 0.2 * functional.cross_entropy(other, TARGETS)
    assert torch.allclose(loss((logits, other), TARGETS, None, taught), main + 0.4 * plain)


def test_decisions_are_computed_in_full_precision(logits):
    tree = random_hierarchy(NAMES, seed=3)
    for kind in ("soft", "hard"):
        loss, half = batch_loss({"tree_loss": kind}, tree), logits.bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = loss(half, TARGETS, None, None)
        assert found.dtype == torch.float32
        assert torch.allclose(found, loss(half.float(), TARGETS, None, None), rtol=1e-6)


# ---- a training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "along"), [("soft", soft_tree_loss), ("hard", hard_tree_loss)])
def test_a_training_is_what_is_computed_by_hand(monkeypatch, kind, along):
    """Whole batches by plain gradient descent, a tree made anew before each but the first and the last."""
    monkeypatch.setattr(tiny, "build", lambda space, genotype, shape: nn.Linear(6, 5))
    data, rate, epochs = five_classes(), 0.5, 5
    x, y = data.train.inputs[0], data.train.targets
    recipe = {"batch_size": 120, "lr": rate, "schedule": "constant", "momentum": 0.0, "nesterov": False}
    recipe |= {"weight_decay": 0.0, "tree_loss": kind, "tree_from": 0.2, "tree_until": 0.8, "tree_every": 0.2}
    trained = train(recipe, epochs=epochs, data=data)
    start = train({**recipe, "lr": 1e-12}, epochs=1, schedule=epochs, data=data).model
    parameters, losses = [start.weight.detach().clone(), start.bias.detach().clone()], []
    for epoch in range(epochs):
        weight, bias = (p.requires_grad_() for p in parameters)
        logits = x @ weight.T + bias
        if 1 <= epoch < 4:
            tree = induced_hierarchy(weight.detach().numpy(), NAMES)
        second = along(DecisionRules(tree), logits, y) if epoch else functional.cross_entropy(logits, y)
        loss = (1 - epoch / epochs) * functional.cross_entropy(logits, y) + 0.5 * epoch / epochs * second
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, parameters)
        parameters = [(p - rate * g).detach() for p, g in zip(parameters, gradients, strict=True)]
    assert [r["train_loss"] for r in trained.curve] == pytest.approx(losses, rel=1e-4)
    assert torch.allclose(trained.model.weight, parameters[0], atol=1e-5) and str(trained.tree) == str(tree)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_without_weight_it_is_the_plain_training(kind):
    """Making trees draws no random numbers, and leaves batch normalisation and dropout in the mode that they had.

    A gradient of zeros that is added has another layout, with which a product of matrices may round otherwise.
    """
    off = {"tree_loss": kind, "tree_weight_end": 0.0, "label_weight_end": 1.0}
    along, plain = (train(recipe, epochs=4) for recipe in ({**RICH, **off}, RICH))
    assert along.tree is not None and plain.tree is None
    assert torch.allclose(along.outputs, plain.outputs, atol=1e-6)
    assert not torch.allclose(train({**RICH, "tree_loss": kind}, epochs=4).outputs, plain.outputs, atol=1e-3)


def test_trees_are_made_when_they_are_due_of_the_weights_that_are_trained():
    first, averaged = Restless(five_classes()), Restless(five_classes())
    recipe = {**RICH, "tree_loss": "hard", "ema_decay": 0.0}
    trained = train(recipe, epochs=10, trees=first)
    assert len(first.made) == 3, "before epochs 3, 5 and 7 of 10"
    assert str(trained.tree) == first.made[-1] and len(set(first.made)) == 3
    train({**recipe, "ema_decay": 0.9}, epochs=10, trees=averaged)
    assert averaged.made == first.made, "not of their average"


def test_a_shorter_fidelity_is_a_prefix_of_a_longer_one():
    recipe = {**RICH, "tree_loss": "soft"}
    short, long = (train(recipe, epochs=n, schedule=8, trees=Restless(five_classes())) for n in (5, 8))
    assert [r["train_loss"] for r in short.curve] == [r["train_loss"] for r in long.curve][:5]
    assert train(recipe, epochs=2, schedule=8).tree is None, "none is made before its share of the schedule"


class StopAt(LocalContext):
    """Asks for a checkpoint before batch ``left`` of the whole training."""

    left = 0

    def stop_requested(self) -> Any:
        self.left -= 1
        return "checkpoint" if self.left < 0 else ""


@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("batch", [3, 16, 19, 24, 27, 39])  # 8 an epoch; trees before epochs 2, 3 and 4 of 5
def test_resumed_at_any_batch_it_is_the_uninterrupted_training(tmp_path, kind, batch):
    recipe, whole = {**RICH, "tree_loss": kind}, Restless(five_classes())
    expected = train(recipe, trees=whole)
    assert len(whole.made) == 3
    context = StopAt(folder=tmp_path)
    context.left = batch
    with pytest.raises(StoppedError, match="with a checkpoint"):
        train(recipe, context=context, trees=Restless(five_classes()))
    torch.manual_seed(batch)
    rest, resume = Restless(five_classes()), LocalContext(resume_from=tmp_path / CHECKPOINT_NAME)
    assert_same(train(recipe, context=resume, trees=rest), expected)
    due = sum(8 * epoch >= batch for epoch in (2, 3, 4))
    assert len(rest.made) == due, "the tree of an epoch that had begun is the checkpoint's"


def test_checkpoints_hold_the_tree_as_plain_values(tmp_path):
    train({**RICH, "tree_loss": "soft"}, context=LocalContext(folder=tmp_path, checkpoint_every_s=0.0))
    state = torch.load(tmp_path / CHECKPOINT_NAME, weights_only=True)["state"]
    assert state["tree"]["graph"]["classes"] == list(NAMES) and len(state["tree"]["links"]) == 8
    train(RICH, context=LocalContext(folder=tmp_path, checkpoint_every_s=0.0))
    assert torch.load(tmp_path / CHECKPOINT_NAME, weights_only=True)["state"]["tree"] is None


def test_one_epoch_has_no_place_for_an_induced_tree():
    assert train({"tree_loss": "soft"}, epochs=1).tree is None
    assert train({"tree_loss": "soft"}, epochs=2).tree is not None
    assert train({"tree_loss": "soft", "tree_from": 0.0}, epochs=1).tree is not None


# ---- mistakes --------------------------------------------------------------------------------------------------------


def test_a_regression_has_no_tree():
    recipe = Recipe(tree_loss="soft")
    with pytest.raises(SpecError, match="between classes") as caught:
        BatchLoss(tiny_problem("regression"), recipe, tiny_data("regression").data_shape, nn.Identity(), 4, None)
    assert caught.value.field == "recipe.tree_loss"


def test_somebody_must_give_the_trees():
    with pytest.raises(SpecError, match=r"recipe\.tree_loss: nothing gives .*evaluate_candidate"):
        BatchLoss(tiny_problem(), Recipe(tree_loss="soft"), SHAPE, nn.Identity(), 4, None)
    assert BatchLoss(tiny_problem(), Recipe(), SHAPE, nn.Identity(), 4, None).tree is None


def test_a_network_without_a_tree_is_a_matter_of_the_recipe(monkeypatch):
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 5))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight

    monkeypatch.setattr(tiny, "build", lambda space, genotype, shape: Bare())
    with pytest.raises(SpecError, match=r"recipe\.tree_hierarchy: .*no linear layer.*tree_loss = ''"):
        train({"tree_loss": "soft"})

    class Refusing(Restless):
        def tree(self, network: nn.Module) -> Hierarchy:
            raise HierarchyError("the row of 'a' is zero.", field="weights", valid=["x"])

    with pytest.raises(SpecError, match="row of 'a' is zero") as caught:
        train({"tree_loss": "soft"}, trees=Refusing(five_classes()))
    assert caught.value.valid == ("x",)
