"""Prior means from source searches: weights are those of Bayes' rule, and nothing depends on who is asked when."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_t

from xnas_ray.messages import Genotype
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.surrogates.architecture_kernel import Blocks, KernelSettings, Points
from xnas_ray.surrogates.encodings import Encodings
from xnas_ray.surrogates.gram_gp import GramGP
from xnas_ray.surrogates.metric_model import MetricModel
from xnas_ray.surrogates.prior_mean import BELIEF, PSEUDO_OUTCOMES, WEIGHTS, PriorMean, SourceMean
from xnas_ray.surrogates.targets import TargetScale

SPACE = NASBench201(cells_per_stage=1, channels=4, stages=1)
NAME = "val_accuracy"
CONV3 = SPACE.choices[0].options.index("nor_conv_3x3")


def draw(count: int, seed: int) -> list[Genotype]:
    dice = np.random.default_rng(seed)
    return [SPACE.canonical(SPACE.sample(dice)) for _ in range(count)]


def accuracy(genotype: Genotype) -> float:
    return 60.0 + 6.0 * genotype.count(CONV3) + 0.1 * genotype[0]


def source(encodings: Encodings, seed: int = 1, sign: float = 1.0, name: str = "s") -> SourceMean:
    genotypes = draw(40, seed)
    values = [75.0 + sign * (accuracy(genotype) - 75.0) for genotype in genotypes]
    return SourceMean(name, genotypes, values, MetricModel(encodings, NAME, maximize=True, epochs=1))


def targets(genotypes: list[Genotype]) -> tuple[np.ndarray, TargetScale]:
    measured = [accuracy(genotype) for genotype in genotypes]
    scale = TargetScale.fit(measured, name=NAME, maximize=True)
    return scale.standardise(measured), scale


def posterior(encodings: Encodings, rows: np.ndarray, ratio: float = 0.1) -> GramGP:
    points = Points(rows, np.ones(len(rows)))
    return GramGP(Blocks(encodings, points, points).combine(KernelSettings()), ratio)


def test_weights_are_the_posterior_under_students_t() -> None:
    """A scale with an inverse-gamma prior of ``PSEUDO_OUTCOMES`` makes the outcomes follow a multivariate t."""
    encodings = Encodings(SPACE)
    prior = PriorMean([source(encodings)])
    genotypes = draw(9, 2)
    rows = encodings.add_all(genotypes)
    y, scale = targets(genotypes)
    gp = posterior(encodings, rows)
    found = prior.expectation(rows, y, scale, [(1.0, gp)])

    unit = prior.sources[0].model.scale.spread / scale.spread
    covariance = gp.factor @ gp.factor.T
    mean, lowest = prior.means(rows)[0], (scale.lowest - scale.mean) / scale.spread
    chances = []
    for weight, belief in zip((0.0, *WEIGHTS), (1 - sum(BELIEF), *BELIEF), strict=True):
        offset = np.median(y - weight * unit * mean)
        expected = np.maximum(offset + weight * unit * mean, lowest)
        chances.append(belief * multivariate_t(expected, covariance, df=PSEUDO_OUTCOMES).pdf(y))
    chances /= np.sum(chances)
    assert found.trust == pytest.approx(1 - chances[0])
    assert found.shares[0] == pytest.approx(float(np.dot(chances[1:], WEIGHTS)))
    assert found.weights[0] == pytest.approx(unit * found.shares[0])


def test_kernels_are_averaged() -> None:
    encodings = Encodings(SPACE)
    prior = PriorMean([source(encodings)])
    genotypes = draw(9, 2)
    rows = encodings.add_all(genotypes)
    y, scale = targets(genotypes)
    gps = [posterior(encodings, rows, ratio) for ratio in (0.01, 1.0)]
    each = [prior.expectation(rows, y, scale, [(1.0, gp)]).trust for gp in gps]
    both = prior.expectation(rows, y, scale, [(0.3, gps[0]), (0.7, gps[1])]).trust
    assert both == pytest.approx(0.3 * each[0] + 0.7 * each[1])


def test_a_lone_outcome_leaves_the_belief_as_it_was() -> None:
    encodings = Encodings(SPACE)
    prior = PriorMean([source(encodings)])
    rows = encodings.add_all(draw(1, 3))
    found = prior.expectation(
        rows, np.zeros(1), TargetScale.fit([70.0], name=NAME, maximize=True), [(1.0, posterior(encodings, rows))]
    )
    assert found.trust == pytest.approx(sum(BELIEF))
    assert found.shares[0] == pytest.approx(np.dot(BELIEF, WEIGHTS))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_beliefs_sum_to_one_whatever_the_number_of_sources(count: int) -> None:
    encodings = Encodings(SPACE)
    prior = PriorMean([source(encodings, seed=i) for i in range(count)])
    assert np.exp(prior._log_belief).sum() == pytest.approx(1.0)
    assert prior._grid.sum(axis=1).max() == pytest.approx(max(WEIGHTS))
    assert len(np.unique(prior._grid, axis=0)) == len(prior._grid)


def test_the_right_one_of_several_sources_is_found() -> None:
    encodings = Encodings(SPACE)
    prior = PriorMean([source(encodings, sign=-1.0), source(encodings, seed=4), source(encodings, seed=5, sign=0.0)])
    genotypes = draw(25, 6)
    rows = encodings.add_all(genotypes)
    y, scale = targets(genotypes)
    found = prior.expectation(rows, y, scale, [(1.0, posterior(encodings, rows))])
    assert found.trust > 0.99
    assert found.shares[1] > 0.4 > abs(found.shares[0])
    assert np.corrcoef(found.of(prior.means(rows)), y)[0, 1] > 0.9


def test_means_are_the_models_and_the_same_bits_in_any_company() -> None:
    encodings = Encodings(SPACE)
    mean = source(encodings)
    rows = encodings.add_all(draw(120, 7))
    together = mean.at(rows)
    assert together == pytest.approx(mean.model.predict(rows)[0], abs=1e-12)
    other = Encodings(SPACE)
    alone = source(other)
    back = np.array([alone.at(other.add_all([genotype]))[0] for genotype in reversed(draw(120, 7))])
    assert (back[::-1] == together).all()


def test_other_encodings_change_nothing() -> None:
    encodings, smaller = Encodings(SPACE), Encodings(SPACE)
    prior = PriorMean([source(encodings)])
    encodings.add_all(draw(50, 8))
    genotypes = draw(10, 9)
    before = prior.means(encodings.add_all(genotypes))
    prior.move(smaller)
    assert (prior.means(smaller.add_all(genotypes)) == before).all()


def test_predictions_and_their_errors_include_the_prior() -> None:
    """Without outcomes to the contrary the model predicts what the source says, and is surer of it than alone."""
    encodings = Encodings(SPACE)
    models = [
        MetricModel(encodings, NAME, maximize=True, epochs=1, prior=prior)
        for prior in (PriorMean([source(encodings)]), None)
    ]
    for genotype in draw(8, 10):
        for model in models:
            model.add(encodings.add(genotype), accuracy(genotype), 1)
    unseen = draw(200, 11)
    truth = np.array([accuracy(genotype) for genotype in unseen])
    rows = encodings.add_all(unseen)
    correlations = [np.corrcoef(model.predict(rows)[0], truth)[0, 1] for model in models]
    assert correlations[0] > 0.9 and correlations[0] > correlations[1] + 0.1
    errors = [np.mean((model.leave_one_out()[0] - model.targets) ** 2) for model in models]
    assert errors[0] < errors[1]
    assert models[0].targets == pytest.approx(models[1].targets)
    assert models[0].best() == models[1].best()


def test_best_architectures_come_once_each() -> None:
    encodings = Encodings(SPACE)
    genotypes = draw(6, 12)
    model = MetricModel(encodings, NAME, maximize=True, epochs=1)
    mean = SourceMean("s", genotypes * 2, [float(50 + i % 6) for i in range(12)], model)
    assert mean.best(3) == genotypes[:2:-1]
    assert SourceMean("t", [], [], MetricModel(encodings, NAME, maximize=True, epochs=1)).best(3) == []
