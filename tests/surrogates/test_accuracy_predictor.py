"""The predictor: what pretraining teaches and keeps, that it learns, that it repeats itself, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from threadpoolctl import threadpool_limits

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import Choice, DataShape, Space
from xnas_ray.spaces.fbnetv2 import FBNetV2
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.surrogates.accuracy_predictor import AccuracyPredictor
from xnas_ray.surrogates.mixed_encoding import MixedEncoding

SHAPE = DataShape(inputs=((3, 32, 32),), outputs=10)
ROW = [[1, 6, 1], [8, 64, 8], 2, 1]
WIDTHS = FBNetV2(rows=[ROW, ROW], stem=8, head=64, resolutions=[24, 32])
JOINT = JointSpace(architecture=WIDTHS, recipe={"lr": {"log": [1e-3, 1.0], "levels": 9}, "optimizer": ["sgd", "adamw"]})


def drawn(space: Space, count: int, seed: int = 0) -> list[Genotype]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


def costs(genotypes: list[Genotype], space: Space = JOINT) -> tuple[np.ndarray, np.ndarray]:
    return space.costs(genotypes, SHAPE)


def planted(genotypes: list[Genotype]) -> np.ndarray:
    """Percent: grows with log FLOPs, best at a middle learning rate, a point more with one of the optimizers."""
    flops = np.log(costs(genotypes)[0])
    lr, optimizer = (np.array(genotypes)[:, i] for i in (-2, -1))
    return 70 + 3 * (flops - 13) - 5 * (lr / 8 - 0.5) ** 2 + optimizer


def pretrained(seed: int = 0, members: int = 1, space: Space = JOINT) -> AccuracyPredictor:
    predictor = AccuracyPredictor(MixedEncoding(space), seed=seed, members=members)
    pool = drawn(space, 400, seed=1)
    predictor.pretrain(pool, *costs(pool, space))
    return predictor


def test_pretraining_predicts_costs_of_others():
    pool = drawn(JOINT, 2000, seed=1)
    predictor = AccuracyPredictor(MixedEncoding(JOINT), seed=0)
    report = predictor.pretrain(pool, *costs(pool))
    assert (report.trained, report.validated) == (1600, 400)
    spread = np.log(costs(pool)).std(axis=1)
    assert report.flops_mse < 0.2 and report.params_mse < 0.2  # 1 is the error of the mean
    assert report.flops_error < 0.5 * spread[0] and report.params_error < 0.5 * spread[1]


def test_it_learns_architectures_and_recipes():
    train, test = drawn(JOINT, 150, seed=2), drawn(JOINT, 200, seed=3)
    predictor = pretrained()
    predictor.fit(train, planted(train))
    mean, std = predictor.predict(test)
    assert mean.shape == std.shape == (200,)
    assert spearmanr(mean, planted(test)).statistic > 0.8
    assert not std.any()


def test_pretraining_spares_samples_where_costs_matter():
    train, test = drawn(JOINT, 24, seed=2), drawn(JOINT, 200, seed=3)
    errors = {}
    for name in ("pretrained", "scratch"):
        squared = []
        for seed in range(3):
            predictor = pretrained(seed) if name == "pretrained" else AccuracyPredictor(MixedEncoding(JOINT), seed=seed)
            predictor.fit(train, planted(train))
            squared.append(np.mean((predictor.predict(test)[0] - planted(test)) ** 2))
        errors[name] = np.mean(squared)
    assert errors["pretrained"] < 0.7 * errors["scratch"]


def test_the_encoder_is_frozen_at_first(monkeypatch):
    """With no epochs after the frozen ones the embedding is still that of the pretraining; without it, it moves."""
    from xnas_ray.surrogates import accuracy_predictor as module

    monkeypatch.setattr(module, "WHOLE", module.Phase(0, 16, 0.001))
    train, thawed = drawn(JOINT, 40, seed=2), pretrained()
    thawed.frozen = False
    scratch = AccuracyPredictor(MixedEncoding(JOINT), seed=0)
    for predictor, frozen in ((pretrained(), True), (thawed, False), (scratch, False)):
        before = predictor._start.copy().encoder.weights
        predictor.fit(train, planted(train))
        assert predictor._fitted is not None
        assert np.array_equal(predictor._fitted.encoder.weights, before) is frozen
    monkeypatch.undo()
    predictor = pretrained()
    predictor.fit(train, planted(train))
    assert not np.array_equal(predictor._fitted.encoder.weights, predictor._start.encoder.weights)


def test_a_fit_is_a_function_of_its_arguments():
    train, test = drawn(JOINT, 30, seed=2), drawn(JOINT, 300, seed=3)
    first, again, other = pretrained(members=2), pretrained(members=2), pretrained(seed=1, members=2)
    first.fit(train, planted(train))
    torch.manual_seed(5)
    np.random.seed(5)
    again.fit(test[:20], planted(test[:20]))  # leaves no trace
    with threadpool_limits(2):
        again.fit(train, planted(train))
        repeated = again.predict(test)
    other.fit(train, planted(train))
    for one, two in zip(first.predict(test), repeated, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first.predict(test)[0], other.predict(test)[0])


def test_pretraining_again_forgets_the_former():
    train, pool = drawn(JOINT, 30, seed=2), drawn(JOINT, 400, seed=1)
    twice, once = pretrained(), pretrained()
    twice.fit(train, planted(train))
    twice.pretrain(pool, *costs(pool))
    with pytest.raises(RuntimeError, match="fit the predictor"):
        twice.predict(train)
    twice.fit(train, planted(train))
    once.fit(train, planted(train))
    np.testing.assert_array_equal(twice.predict(pool)[0], once.predict(pool)[0])


def test_members_differ_most_where_nothing_was_seen():
    family = drawn(JOINT, 60, seed=2)
    predictor = pretrained(members=4)
    predictor.fit(family, planted(family))
    assert (predictor.predict(family)[1] > 0).all()
    few = [g for g in family if g[-1] == 0]  # one optimizer only
    predictor.fit(few, planted(few))
    unseen = [(*g[:-1], 1) for g in few]
    assert predictor.predict(unseen)[1].mean() > predictor.predict(few)[1].mean()


def test_one_wild_label_pulls_no_harder_than_an_error_of_a_point():
    """Huber's loss in percentage points: the others are still predicted within a few."""
    train = drawn(JOINT, 80, seed=2)
    labels = planted(train)
    wild = labels.copy()
    wild[0] = 10.0
    predictor = pretrained()
    predictor.fit(train, wild)
    assert np.median(np.abs(predictor.predict(train[1:])[0] - labels[1:])) < 1.0


def test_recipes_of_one_architecture():
    class Fixed(FBNetV2):
        def __init__(self) -> None:
            super().__init__(rows=[ROW], stem=8, head=64, resolutions=[24])
            self.choices = tuple(Choice(c.name, c.options[:1]) for c in self.choices)

    space = JointSpace(architecture=Fixed(), recipe=JOINT.recipes)
    fixed = [(0,) * (len(space.choices) - 2) + (lr, optimizer) for lr in range(9) for optimizer in range(2)]
    one = drawn(WIDTHS, 1)
    same = [(*one[0], *g[-2:]) for g in fixed]
    for part, genotypes in ((space, fixed), (RestrictedSpace(JOINT, same), same)):
        predictor = AccuracyPredictor(MixedEncoding(part), seed=0)
        report = predictor.pretrain(genotypes, np.full(18, 1000), np.full(18, 10))
        assert report.trained == 0 and math.isnan(report.flops_mse)
        labels = np.array([70 + 0.5 * g[-2] + 2 * g[-1] for g in genotypes])
        predictor.fit(genotypes, labels)
        assert spearmanr(predictor.predict(genotypes)[0], labels).statistic > 0.9


def test_architectures_alone():
    train, test = drawn(WIDTHS, 100, seed=2), drawn(WIDTHS, 200, seed=3)
    labels = [70 + 3 * (np.log(WIDTHS.costs(part, SHAPE)[0]) - 13) for part in (train, test)]
    predictor = pretrained(space=WIDTHS)
    predictor.fit(train, labels[0])
    assert spearmanr(predictor.predict(test)[0], labels[1]).statistic > 0.75


@pytest.mark.parametrize("count", [1, 2, 17])
def test_few_or_equal_labels_are_survived(count: int):
    train = drawn(JOINT, count, seed=2)
    predictor = pretrained()
    predictor.fit(train, np.full(count, 42.0))
    mean, _ = predictor.predict(drawn(JOINT, 50, seed=3))
    assert np.abs(mean - 42).max() < 5


def test_labels_that_cannot_be_learnt_from_are_refused():
    predictor = pretrained()
    train = drawn(JOINT, 3)
    for labels, said in (
        ([50.0, math.nan, 60.0], "number 1 is nan.*failed trials"),
        ([50.0, 40.0, math.inf], "number 2 is inf"),
        ([0.5, 0.9, 0.1], "in percent; 0.1 to 0.9 look like fractions"),
        ([50.0, 60.0], "one accuracy a genotype"),
    ):
        with pytest.raises(SpecError, match=said):
            predictor.fit(train, np.array(labels))
    with pytest.raises(SpecError, match="at least one"):
        predictor.fit([], np.array([]))
    with pytest.raises(GenotypeError):
        predictor.fit([(0, 1)], np.array([50.0]))
    predictor.fit(train, np.array([0.0, 0.0, 1.5]))  # poor, but percent


def test_costs_that_cannot_be_learnt_from_are_refused():
    predictor = AccuracyPredictor(MixedEncoding(JOINT), seed=0)
    pool = drawn(JOINT, 6)
    flops, params = costs(pool)
    with pytest.raises(SpecError, match=r"flops.*positive"):
        predictor.pretrain(pool, 0 * flops, params)
    with pytest.raises(SpecError, match=r"params.*one number"):
        predictor.pretrain(pool, flops, params[:5])
    with pytest.raises(SpecError, match="at least 5"):
        predictor.pretrain(pool[:4], flops[:4], params[:4])


@pytest.mark.parametrize("size", ["members", "width"])
def test_sizes_below_one_are_refused(size: str):
    with pytest.raises(SpecError, match=size):
        AccuracyPredictor(MixedEncoding(JOINT), seed=0, **{size: 0})


def test_prediction_needs_a_fit():
    with pytest.raises(RuntimeError, match="fit the predictor"):
        pretrained().predict(drawn(JOINT, 1))
