"""Searches of masked supernets: phases, temperatures, three forms of the cost, continuation, ranks, results."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from xnas_ray.errors import NanLossError, SpecError, UnknownNameError
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.fbnetv2 import NAMES, FBNetV2
from xnas_ray.supernets.dmasking import DMaskingSearch
from xnas_ray.supernets.dmasking_settings import DMaskingSettings
from xnas_ray.supernets.search_data import SearchData
from xnas_ray.tasks.base import Split
from xnas_ray.training.checkpoint import load_checkpoint, save_checkpoint

torch.set_num_threads(1)
ROWS = [[1, [4, 8, 4], 1, 1], [[1, 2, 1], [4, 12, 4], 1, 2]]
SPACE = FBNetV2(rows=ROWS, stem=4, stem_stride=1, head=16, resolutions=[4])
SHAPE = DataShape(((1, 4, 4),), 3)
DRIVER = Path(__file__).with_name("dmasking_ranks_driver.py")


def patterns(samples: int, seed: int = 0) -> Split:
    """Images of three patterns that a convolution tells apart, and noise."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(3, (samples,), generator=generator)
    bars = (torch.arange(4) % 2).float()
    shown = torch.stack([bars.expand(4, 4), bars.expand(4, 4).T, torch.ones(4, 4) / 2])
    return Split(shown[targets][:, None] + 0.2 * torch.randn(samples, 1, 4, 4, generator=generator), targets)


def search(space: FBNetV2 = SPACE, **settings: Any) -> DMaskingSearch:
    data = SearchData(patterns(45), batch_size=12, seed=3, weight_share=DMaskingSearch.WEIGHT_SHARE)
    return DMaskingSearch(space, SHAPE, data, **{"epochs": 4, "seed": 5, "warmup_epochs": 0, **settings})


def variables(one: DMaskingSearch) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in one.supernet.state_dict().items()}


# ---- training --------------------------------------------------------------------------------------------------------


def test_an_epoch_is_the_plain_algorithm():
    """Written out with backward(): first the weights at sampled mixings, then the choices, with the cost."""
    settings: dict[str, Any] = {"lr": 0.05, "grad_clip": 0.7, "architecture_lr": 0.02, "cost_weight": 0.3}
    found, oracle = search(**settings), search(**settings)
    record = found.run()
    net, weights = oracle.supernet, oracle.supernet.weight_parameters()
    descent = torch.optim.SGD(weights, 0.05, momentum=0.9, weight_decay=1e-4)
    adam = torch.optim.Adam([net.alpha], 0.02, weight_decay=5e-4)
    reference = float(net.effective_cost().flops.detach())
    losses, objectives = [], []
    for step, batch in enumerate(oracle.data.batches(oracle.data.weight_indices, 0)):
        net.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(net(*batch.inputs, mixing=oracle._sample(0, 0, step)), batch.targets)
        loss.backward()
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(weights, 0.7)
        descent.step()
    for step, batch in enumerate(oracle.data.batches(oracle.data.architecture_indices, 0, 1)):
        net.zero_grad(set_to_none=True)
        mixing = oracle._sample(0, 1, step)
        loss = torch.nn.functional.cross_entropy(net(*batch.inputs, mixing=mixing), batch.targets)
        loss = loss + 0.3 * net.effective_cost(mixing).flops / reference
        loss.backward()
        objectives.append(loss.item())
        adam.step()
    expected = net.state_dict()
    for name, value in variables(found).items():
        assert torch.allclose(value, expected[name], atol=1e-6), name
    assert record["train_loss"] == pytest.approx(sum(losses) / len(losses))
    assert record["objective"] == pytest.approx(sum(objectives) / len(objectives))


def test_it_learns_and_says_so():
    one = search(epochs=12, lr=0.1, architecture_lr=0.1, tau_decay=0.3, cost_weight=0.1)
    records = [one.run() for _ in range(12)]
    assert records[-1]["train_loss"] < 0.8 * records[0]["train_loss"]
    assert [record["tau"] for record in records] == pytest.approx([5.0 * math.exp(-0.3 * e) for e in range(12)])
    assert records[0]["lr"] == 0.1 and records[-1]["lr"] < 0.01
    assert {"p/0.block/ir_k3", "entropy/1.width", "architecture_accuracy", "flops", "params"} <= set(records[0])
    assert "entropy/resolution" not in records[0]  # a single option
    assert sum(r for name, r in records[-1].items() if name.startswith("p/0.block/")) == pytest.approx(1.0)
    assert json.loads(json.dumps(records)) == records


def test_warm_up_leaves_the_architecture_alone():
    one = search(warmup_epochs=1)
    before = variables(one)
    record = one.run()
    assert torch.equal(one.supernet.alpha, before["alpha"]) and "architecture_loss" not in record
    assert not torch.equal(one.supernet.classifier.weight, before["classifier.weight"])
    assert "architecture_loss" in one.run()
    assert not torch.equal(one.supernet.alpha, before["alpha"])


def test_samples_depend_on_their_place_alone():
    one = search()
    first = one._sample(1, 0, 2)
    one.run()
    with torch.no_grad():
        one.supernet.alpha.zero_()
    assert torch.equal(first, one._sample(1, 0, 2))
    assert not any(torch.equal(first, one._sample(*place)) for place in ((1, 1, 2), (1, 0, 3), (2, 0, 2)))
    assert [float(part.sum()) for part in first.detach().split(one.supernet.sizes)] == pytest.approx(
        [1] * len(SPACE.choices)
    )


def test_images_are_augmented_where_something_is_learned():
    """Of every batch each image is as it is or mirrored, as drawn for its place; what is judged is left alone."""
    shown: dict[tuple[str, ...], list[Tensor]] = {}
    for augment in ((), ("horizontal_flip",)):
        one = search(augment=list(augment), lr=1e-12, architecture_lr=1e-12)
        seen = shown[augment] = []
        one.supernet.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].clone()))
        record = one.run()
        again = search(augment=list(augment), lr=1e-12, architecture_lr=1e-12).run()
        assert record == again, "augmentation is a function of the seed and the place"
    plain, flipped = shown[()], shown["horizontal_flip",]
    assert len(plain) == len(flipped) == 4, "three batches for the weights, one for the choices"
    mirrored = []
    for before, after in zip(plain, flipped, strict=True):
        same, turned = ((after == x).flatten(1).all(1) for x in (before, before.flip(3)))
        assert (same | turned).all()
        mirrored.append(turned & ~same)
    assert all(0 < drawn.sum() < len(drawn) for drawn in mirrored[:3])
    assert not torch.equal(mirrored[0], mirrored[1]), "every batch has a draw of its own"


def test_ranks_share_a_sample_unless_told_otherwise():
    samples = {}
    for sampling in ("shared", "per_rank"):
        one, other = search(sampling=sampling), search(sampling=sampling)
        other.ranks = type("Second", (type(one.ranks),), {"rank": 1})()
        samples[sampling] = torch.equal(one._sample(0, 0, 0), other._sample(0, 0, 0))
    assert samples == {"shared": True, "per_rank": False}


def test_the_likeliest_architecture_is_judged_by_itself():
    one = search()
    state = torch.get_rng_state()
    record = one.run()
    assert torch.equal(state, torch.get_rng_state())
    mixing = one.supernet.one_hot(one.supernet.genotype())
    losses, correct, count = [], 0, 0
    for batch in one.data.batches(one.data.architecture_indices, 0, 1):
        outputs = one.supernet(*batch.inputs, mixing=mixing)
        losses.append(float(torch.nn.functional.cross_entropy(outputs, batch.targets).detach()) * len(batch.targets))
        correct, count = correct + int((outputs.argmax(1) == batch.targets).sum()), count + len(batch.targets)
    assert record["derived_loss"] == pytest.approx(sum(losses) / count, rel=1e-4)
    assert record["derived_accuracy"] == pytest.approx(100 * correct / count)


def test_a_dearer_cost_gives_a_cheaper_architecture():
    for unit in ("flops", "params"):
        expected = []
        for weight in (0.0, 1.0, 30.0):
            one = search(cost=unit, cost_weight=weight, architecture_lr=0.2, architecture_weight_decay=0.0, epochs=2)
            expected.append([one.run() for _ in range(2)][-1][unit])
        assert expected[0] > expected[1] > expected[2]


def test_a_regression_has_no_accuracy():
    generator = torch.Generator().manual_seed(0)
    split = Split(torch.randn(24, 1, 4, 4, generator=generator), torch.randn(24, generator=generator))
    data = SearchData(split, batch_size=6, seed=0, weight_share=0.75)
    shape = DataShape(((1, 4, 4),), 1, "regression")
    record = DMaskingSearch(SPACE, shape, data, epochs=1, seed=0, lr=0.01, warmup_epochs=0).run()
    assert record["architecture_loss"] > 0 and not any("accuracy" in name for name in record)


# ---- the cost's three forms ------------------------------------------------------------------------------------------


def test_forms_of_the_cost():
    loss, cost = torch.tensor(2.0), torch.tensor(1e6, dtype=torch.float64)

    def value(**settings: Any) -> float:
        return float(DMaskingSettings(**settings).objective(loss, cost, 1.0, 4e6))

    assert value(cost_weight=0.5) == pytest.approx(2 + 0.5 / 4)
    power = 2 * 0.2 * math.log(1e6) ** 0.6  # not log(cost^0.6)
    assert value(cost_form="multiplicative") == pytest.approx(power)
    assert value(cost_form="hinge", cost_target=8e5, cost_weight=2) == pytest.approx(2 + 2 * 0.25)
    assert value(cost_form="hinge", cost_target=1e6, cost_weight=2) == 2.0
    assert value(cost_form="hinge", cost_target=2e6, cost_weight=2) == 2.0


def test_the_hinge_asks_for_nothing_below_its_target():
    alphas = []
    for settings in ({"cost_form": "hinge", "cost_target": 1e6}, {"cost_weight": 0.0}, {"cost_weight": 5.0}):
        one = search(**settings)
        one.run()
        alphas.append(one.supernet.alpha.detach())
    assert torch.equal(alphas[0], alphas[1])
    assert not torch.allclose(alphas[0], alphas[2], atol=1e-4)


# ---- continuation and ranks ------------------------------------------------------------------------------------------


def test_it_goes_on_bit_by_bit(tmp_path: Path):
    space = FBNetV2(rows=ROWS, stem=4, stem_stride=1, head=16, resolutions=[2, 4])
    whole, first, second = (search(space, warmup_epochs=1, augment=["random_crop"]) for _ in range(3))
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
@pytest.mark.parametrize("cost_form", ["additive", "multiplicative"])
def test_two_ranks_search_what_one_searches(cost_form: str, gloo_ranks: Callable[..., None], tmp_path: Path):
    """In 64 bits on a supernet whose batch normalisations are taken out."""
    gloo_ranks(DRIVER, 1, tmp_path / "1", cost_form)
    gloo_ranks(DRIVER, 2, tmp_path / "2", cost_form)
    one, first, second = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1/0", "2/0", "2/1"))
    assert not torch.equal(one["supernet"]["alpha"], torch.zeros_like(one["supernet"]["alpha"]))
    for name, value in one["supernet"].items():
        assert torch.equal(first["supernet"][name], second["supernet"][name]), f"{name}: both ranks hold the same"
        assert torch.allclose(value, first["supernet"][name], atol=1e-10, rtol=0), name
    for mine, theirs in zip(one["curve"], first["curve"], strict=True):
        assert mine == pytest.approx(theirs, abs=1e-10)


# ---- results and refusals --------------------------------------------------------------------------------------------


def test_the_likeliest_options_make_the_architecture():
    one = search()
    genotype = (NAMES.index("ir_k5"), 0, 1, NAMES.index("skip"), 1, 2, 0)
    with torch.no_grad():
        one.supernet.alpha.copy_(one.supernet.one_hot(genotype))
    (found,) = one.discretize()
    assert found.method == "argmax" and found.genotype == SPACE.canonical(genotype)
    assert list(found.strengths) == list(found.options) == ["0.block", "0.width", "1.block", "1.expansion", "1.width"]
    for name, strengths in found.strengths.items():
        assert len(strengths) == len(found.options[name])
        assert max(strengths) == strengths[genotype[[c.name for c in SPACE.choices].index(name)]]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"lr": 0}, r"params\.lr"),
        ({"final_lr": 1.0}, r"params\.final_lr"),
        ({"momentum": True}, r"params\.momentum"),
        ({"warmup_epochs": 0.5}, r"params\.warmup_epochs"),
        ({"warmup_epochs": 4}, r"params\.warmup_epochs: 4 of 4 epochs"),
        ({"cost": "latency"}, r"params\.cost.*Valid: flops, params"),
        ({"cost_form": "hinges"}, r"Did you mean 'hinge'"),
        ({"augment": ["mixup"]}, r"params\.augment"),
        ({"cost_form": "hinge"}, r"params\.cost_target"),
        ({"cost_reference": 0}, r"params\.cost_reference"),
        ({"cost_weight": -1}, r"params\.cost_weight"),
        ({"sampling": "own"}, r"params\.sampling"),
        ({"tau": 0.0}, r"params\.tau:"),
        ({"tau_decay": -0.1}, r"params\.tau_decay"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], named: str):
    with pytest.raises(SpecError, match=named):
        search(**settings)


def test_unknown_discretizations_are_refused():
    with pytest.raises(UnknownNameError, match="argmax"):
        search().discretize(["argmx"])


def test_a_loss_that_is_not_finite_ends_the_search():
    with pytest.raises(NanLossError, match=r"train_loss.*Lower lr"):
        search(loss=lambda outputs, targets: outputs.sum() * torch.nan).run()
