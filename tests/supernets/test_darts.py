"""Searches by gradient descent: what a step does, continuation bit by bit, one rank as two, results and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from xnas_ray.errors import NanLossError, SpecError, UnknownNameError
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.supernets.darts import DartsSearch
from xnas_ray.supernets.readings import readings
from xnas_ray.supernets.search_data import SearchData
from xnas_ray.tasks.base import Split
from xnas_ray.training.checkpoint import load_checkpoint, save_checkpoint

torch.set_num_threads(1)
SPACE = NASBench201(cells_per_stage=1, channels=2, stages=1)
SHAPE = DataShape(((1, 4, 4),), 3)
DRIVER = Path(__file__).with_name("darts_ranks_driver.py")


def patterns(samples: int, seed: int = 0) -> Split:
    """Images of three patterns that a convolution tells apart, and noise."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(3, (samples,), generator=generator)
    bars = (torch.arange(4) % 2).float()
    shown = torch.stack([bars.expand(4, 4), bars.expand(4, 4).T, torch.ones(4, 4) / 2])
    return Split(shown[targets][:, None] + 0.2 * torch.randn(samples, 1, 4, 4, generator=generator), targets)


def search(**settings: Any) -> DartsSearch:
    data = SearchData(patterns(48), batch_size=8, seed=3)
    return DartsSearch(SPACE, SHAPE, data, **{"epochs": 4, "seed": 5, **settings})


def variables(one: DartsSearch) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in one.supernet.state_dict().items()}


# ---- training --------------------------------------------------------------------------------------------------------


def test_first_order_is_the_plain_algorithm():
    """One epoch written out with backward() and torch's own clipping."""
    settings: dict[str, Any] = {"order": 1, "grad_clip": 0.7, "nesterov": True, "architecture_lr": 0.01}
    found, oracle = search(**settings), search(**settings)
    record = found.run()
    net, weights = oracle.supernet, oracle.supernet.weight_parameters()
    descent = torch.optim.SGD(weights, 0.025, momentum=0.9, nesterov=True, weight_decay=3e-4)
    adam = torch.optim.Adam([net.alpha], 0.01, betas=(0.5, 0.999), weight_decay=1e-3)
    data = oracle.data
    pairs = zip(data.batches(data.weight_indices, 0), data.batches(data.architecture_indices, 0, 1), strict=True)
    losses = []
    for batch, other in pairs:
        net.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(net(*other.inputs), other.targets).backward()
        adam.step()
        net.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(net(*batch.inputs), batch.targets)
        loss.backward()
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(weights, 0.7)
        descent.step()
    expected = net.state_dict()
    for name, value in variables(found).items():
        assert torch.allclose(value, expected[name], atol=1e-6), name
    assert record["train_loss"] == pytest.approx(sum(losses) / len(losses))
    assert record["lr"] == 0.025 and record["epoch"] == 1


@pytest.mark.parametrize("order", [1, 2])
def test_it_learns_and_says_so(order: int):
    one = search(order=order, epochs=12, lr=0.2, architecture_lr=0.05)
    records = [one.run() for _ in range(12)]
    assert records[-1]["train_loss"] < 0.7 * records[0]["train_loss"]
    assert records[-1]["architecture_accuracy"] > records[0]["architecture_accuracy"]
    assert one.progress.epoch == 12 and one.progress.curve == records
    assert records[0]["lr"] == 0.2 and 0.001 < records[-1]["lr"] < 0.01
    first, last = (
        sum(record[f"entropy/{edge}"] for edge in one.supernet.edges) for record in (records[0], records[-1])
    )
    assert last < first, "edges make up their minds"
    assert json.loads(json.dumps(records)) == records


def test_the_orders_differ():
    found = [search(order=order, architecture_lr=0.01) for order in (1, 2)]
    for one in found:
        one.run()
    assert not torch.allclose(found[0].supernet.alpha, found[1].supernet.alpha, atol=1e-5)


def test_warm_up_leaves_the_architecture_alone():
    one = search(warmup_epochs=1)
    before = variables(one)
    record = one.run()
    assert torch.equal(one.supernet.alpha, before["alpha"]) and "architecture_loss" not in record
    assert not torch.equal(one.supernet.head.weight, before["head.weight"])
    assert "architecture_loss" in one.run()
    assert not torch.equal(one.supernet.alpha, before["alpha"])


def test_a_smaller_part_for_the_architecture_is_passed_over_again():
    data = SearchData(patterns(48), batch_size=8, seed=3, weight_share=0.75)
    one = DartsSearch(SPACE, SHAPE, data, epochs=2, seed=5, order=1)
    batches = one._architecture_batches(0)
    first, second = (
        [tuple(next(batches).targets.tolist()) for _ in range(data.steps(data.architecture_indices))] for _ in "12"
    )
    assert sorted(sum(first, ())) == sorted(sum(second, ())) and first != second
    assert one.run()["architecture_loss"] > 0


def test_images_are_augmented_as_told():
    plain, augmented = search(order=1), search(order=1, augment=["random_crop", "horizontal_flip"])
    assert plain.run()["train_loss"] != augmented.run()["train_loss"]


def test_a_regression_has_no_accuracy():
    generator = torch.Generator().manual_seed(0)
    split = Split(torch.randn(24, 1, 4, 4, generator=generator), torch.randn(24, generator=generator))
    data = SearchData(split, batch_size=6, seed=0)
    record = DartsSearch(SPACE, DataShape(((1, 4, 4),), 1, "regression"), data, epochs=1, seed=0).run()
    assert record["architecture_loss"] > 0 and not any("accuracy" in name for name in record)


# ---- continuation and ranks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2])
def test_it_goes_on_bit_by_bit(order: int, tmp_path: Path):
    settings: dict[str, Any] = {"order": order, "augment": ["random_crop"], "warmup_epochs": 1}
    whole, first, second = (search(**settings) for _ in range(3))
    for _ in range(3):
        whole.run()
    first.run()
    first.run()
    save_checkpoint(tmp_path / "checkpoint.pt", "test", first.state())
    torch.manual_seed(99)
    second.load(load_checkpoint(tmp_path / "checkpoint.pt", "test"))
    second.run()
    for name, value in variables(whole).items():
        assert torch.equal(value, variables(second)[name]), name
    assert second.progress.curve == whole.progress.curve


def test_a_state_is_a_copy():
    one = search()
    one.run()
    state = one.state()
    alpha = state["supernet"]["alpha"].clone()
    one.run()
    assert torch.equal(state["supernet"]["alpha"], alpha) and len(state["curve"]) == 1


@pytest.mark.slow
def test_two_ranks_search_what_one_searches(gloo_ranks: Callable[..., None], tmp_path: Path):
    """In 64 bits on a supernet whose batch normalisations are taken out, by gradients of second order."""
    gloo_ranks(DRIVER, 1, tmp_path / "1")
    gloo_ranks(DRIVER, 2, tmp_path / "2")
    one, first, second = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1/0", "2/0", "2/1"))
    for name, value in one["supernet"].items():
        assert torch.equal(first["supernet"][name], second["supernet"][name]), f"{name}: both ranks hold the same"
        assert torch.allclose(value, first["supernet"][name], atol=1e-10, rtol=0), name
    for mine, theirs in zip(one["curve"], first["curve"], strict=True):
        assert mine == pytest.approx(theirs, abs=1e-10)


# ---- results and refusals --------------------------------------------------------------------------------------------


def test_the_largest_weights_make_the_architecture():
    one = search()
    with torch.no_grad():
        one.supernet.alpha.zero_()
        for edge, operation in enumerate((3, 1, 2, 4, 3, 1)):
            one.supernet.alpha[edge, operation] = 1.0
            one.supernet.alpha[edge, 0] = 2.0
    (found,) = one.discretize()
    assert found.method == "magnitude" and found.genotype == (3, 1, 2, 4, 3, 1)
    assert list(found.strengths) == list(found.options) == list(one.supernet.edges)


def test_methods_are_read_as_set():
    influential = {"method": "influential_magnitude", "solver": "identity", "batches": 2, "label": "im"}
    one = search(discretize=["magnitude", influential])
    assert [found.method for found in one.discretize()] == ["magnitude", "im"]
    (found,) = one.discretize(["im"])
    assert repr(found) == repr(one.discretize()[1])  # strengths that were left out are NaN
    assert [found.method for found in search(discretize=[influential]).discretize(["magnitude"])] == ["magnitude"]


def test_perturbation_tunes_the_weights_and_gives_them_back():
    """What is decided later depends on the tuning in between; the search itself goes on as if nothing was."""
    tuned, untuned = search(lr=0.3, tune_epochs=2), search(lr=0.3, tune_epochs=0)
    for one in (tuned, untuned):
        one.run()
    before = tuned.state()
    method = {"method": "perturbation", "criterion": "loss"}
    tuned.readings = untuned.readings = readings([method])
    (found,), (other,) = tuned.discretize(), untuned.discretize()
    assert repr(found) != repr(other) and repr(found) == repr(tuned.discretize()[0])
    after = tuned.state()
    assert all(torch.equal(value, after["supernet"][name]) for name, value in before["supernet"].items())
    assert tuned.run() == untuned.run()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"order": 3}, r"params\.order"),
        ({"epochs": 0}, r"params\.epochs"),
        ({"lr": 0}, r"params\.lr"),
        ({"lr": 0.0001}, r"params\.final_lr"),
        ({"momentum": True}, r"params\.momentum"),
        ({"momentum": 0.0, "nesterov": True}, r"params\.nesterov"),
        ({"nesterov": 1}, r"params\.nesterov"),
        ({"architecture_betas": (0.5,)}, r"params\.architecture_betas"),
        ({"architecture_betas": (0.5, 1.0)}, r"params\.architecture_betas"),
        ({"warmup_epochs": 0.5}, r"params\.warmup_epochs"),
        ({"warmup_epochs": 4}, r"params\.warmup_epochs: 4 of 4 epochs"),
        ({"partial": 4}, r"params\.partial.*Valid: 1, 2"),
        ({"augment": ["mixup"]}, r"params\.augment"),
        ({"augment": "cutout"}, r"params\.augment"),
        ({"supernet": 3}, r"params\.supernet"),
        ({"tune_epochs": -1}, r"params\.tune_epochs"),
        ({"discretize": "magnitude"}, r"params\.discretize"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], named: str):
    with pytest.raises(SpecError, match=named):
        search(**settings)


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match="magnitude"):
        search().discretize(["magnitud"])
    with pytest.raises(UnknownNameError, match="channels"):
        search(supernet={"channel": 2})


def test_a_loss_that_is_not_finite_ends_the_search():
    with pytest.raises(NanLossError, match=r"train_loss.*Lower lr"):
        search(loss=lambda outputs, targets: outputs.sum() * torch.nan).run()
