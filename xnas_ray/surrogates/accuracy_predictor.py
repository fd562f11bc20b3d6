"""The accuracy of an architecture under a recipe, learnt from few trained networks and many that were only counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xnas_ray.errors import SpecError
from xnas_ray.messages import Genotype
from xnas_ray.randomness import Domain, rng
from xnas_ray.surrogates.mixed_encoding import MixedEncoding
from xnas_ray.surrogates.two_headed_network import Phase, TwoHeadedNetworks, train

WIDTH = 24
TRAINED_SHARE = 0.8
PRETRAINING = (Phase(epochs=40, batch=256, learning_rate=0.01), Phase(epochs=10, batch=256, learning_rate=0.001))
FROZEN = Phase(epochs=50, batch=16, learning_rate=0.01)
WHOLE = Phase(epochs=50, batch=16, learning_rate=0.001)

_INITIAL, _PRETRAINING, _FITTING = range(3)  # what the predictor draws: counters of its stream of random numbers


@dataclass(frozen=True, slots=True)
class PretrainingReport:
    """How well the proxy head predicts the costs of architectures that it was not trained on.

    Attributes:
        trained: architectures that it was trained on; 0 where there was nothing to learn.
        validated: the others.
        flops_mse: mean squared error of log FLOPs, in units of their standard deviation.
        params_mse: of log parameters.
        flops_error: mean relative error of FLOPs.
        params_error: of parameters.
    """

    trained: int
    validated: int
    flops_mse: float
    params_mse: float
    flops_error: float
    params_error: float


class AccuracyPredictor:
    """The predictor of FBNetV3 (Dai et al., CVPR 2021): an encoder that learns from costs before it sees accuracies.

    The encoder makes an embedding of ``width`` from an architecture's columns. ``pretrain`` trains it with a linear
    head on FLOPs and parameters, which cost microseconds an architecture. ``fit`` puts another head on it, which reads
    the embedding and the recipe: one hidden layer of ``width``, then the accuracy. At first the encoder stays frozen,
    then everything is trained at a tenth of the learning rate. Both losses are Huber's (delta 1).

    What the paper leaves open, and how it is here:

    - Costs are learnt as standardised logarithms: multiplied widths and depths are sums there, and what is below the
      median is told apart as well as what is above.
    - Accuracies are in percent. Delta is one percentage point, so that an outlier pulls no harder than an error of a
      point; among fractions no error would ever be that large, and the loss would be the squared error.
    - The accuracy head gives standard deviations of the labels from their mean, and its errors are taken in points.
    - Adam; batches of 256 for costs, at the end with a tenth of the learning rate, and of 16 for accuracies.
    - An encoder that was not pretrained is not frozen: random features would only be in the way.

    Whether costs say something about accuracies is for the data to show. Where they say little, a frozen encoder has
    learnt to look away from what matters; ``frozen=False`` forgets sooner, and gains less where costs say much
    (``experiments/reproduce/nars/pretraining.py``).

    Several ``members`` differ by initial weights and by the order of their batches; their spread is a measure of what
    the data leave open. All are trained at once. Random numbers are counted from the seed: the same calls give the
    same predictions, whatever was fitted before, in any process on machines whose linear algebra rounds alike.

    Args:
        encoding: of the space.
        seed: of the search.
        members: networks.
        width: of the embedding and of the hidden layer.
        frozen: whether a pretrained encoder stands still in the first half of a fit, as published.

    Raises:
        SpecError: ``members`` or ``width`` is below 1.
    """

    def __init__(
        self, encoding: MixedEncoding, *, seed: int, members: int = 1, width: int = WIDTH, frozen: bool = True
    ) -> None:
        """Untrained."""
        for name, value in (("members", members), ("width", width)):
            if value < 1:
                raise SpecError(f"must be at least 1, got {value!r}.", field=name)
        self.encoding = encoding
        self.seed = seed
        self.frozen = frozen
        architecture, recipe = (len(encoding.columns[part]) for part in (encoding.architecture, encoding.recipe))
        self._initial = TwoHeadedNetworks(members, architecture, recipe, width)
        self._initial.draw(rng(seed, Domain.POOL, _INITIAL))
        self._start, self._pretrained = self._initial, False
        self._fitted: TwoHeadedNetworks | None = None
        self._mean, self._scale = 0.0, 1.0

    def pretrain(self, genotypes: Sequence[Genotype], flops: np.ndarray, params: np.ndarray) -> PretrainingReport:
        """Train the encoder and the proxy head on costs; what was fitted before is forgotten.

        Four fifths of the architectures, drawn at random, are trained on, the others show the error. Where there is one
        architecture only, or all cost the same, there is nothing to learn: the report counts none.

        Args:
            genotypes: n, evaluated or not; thousands.
            flops: of each, above 0.
            params: of each, above 0.

        Raises:
            SpecError: fewer than 5 architectures, costs of another number, or a cost that is not positive and finite.
            GenotypeError: a genotype does not belong to the space.
        """
        target = np.log(_costs(len(genotypes), flops=flops, params=params))
        x = self.encoding.encode(genotypes)[:, self.encoding.architecture]
        self._start, self._pretrained, self._fitted = self._initial, False, None
        if not x.shape[1] or not np.ptp(target, axis=0).any():
            return PretrainingReport(0, 0, *[float("nan")] * 4)
        generator = rng(self.seed, Domain.POOL, _PRETRAINING)
        order = generator.permutation(len(x))
        known, unknown = np.split(order, [int(TRAINED_SHARE * len(x))])
        mean, scale = target[known].mean(axis=0), target[known].std(axis=0)
        scale[scale == 0] = 1.0
        z = (target - mean) / scale
        networks = self._initial.copy()
        a, t = x[known], z[known]
        for phase in PRETRAINING:
            train(
                networks,
                networks.pretrained,
                phase,
                len(known),
                lambda gradient, rows: networks.proxy_gradient(gradient, a[rows], t[rows]),
                generator,
            )
        self._start, self._pretrained = networks, True
        error = networks.proxies(x[unknown]).mean(axis=0) - z[unknown]
        mse, relative = np.mean(error**2, axis=0), np.mean(np.abs(np.expm1(error * scale)), axis=0)
        return PretrainingReport(len(known), len(unknown), *mse.tolist(), *relative.tolist())

    def fit(self, genotypes: Sequence[Genotype], percents: np.ndarray) -> None:
        """Learn accuracies, from the pretrained weights each time.

        What it arrives at is a function of the arguments in their order, the seed and the pretraining. Failed trials
        are the caller's to leave out.

        Args:
            genotypes: n evaluated ones, at least one.
            percents: accuracy of each, in percent.

        Raises:
            SpecError: no label, labels of another number, one that is not finite, or labels that are all between 0 and
                1: fractions, which the loss is not made for.
            GenotypeError: a genotype does not belong to the space.
        """
        y = _labels(len(genotypes), percents)
        a, r = self._parts(genotypes)
        self._mean, self._scale = float(y.mean()), float(y.std()) or 1.0
        target, scale = y - self._mean, self._scale
        networks = self._start.copy()
        generator = rng(self.seed, Domain.POOL, _FITTING)
        embedding = networks.embed(a)
        members = np.arange(len(embedding))[:, None]

        def frozen(gradient: TwoHeadedNetworks, rows: np.ndarray) -> None:
            networks.head_gradient(gradient, embedding[members, rows], r[rows], target[rows], scale)

        def whole(gradient: TwoHeadedNetworks, rows: np.ndarray) -> None:
            networks.accuracy_gradient(gradient, a[rows], r[rows], target[rows], scale)

        if self._pretrained and self.frozen:
            train(networks, networks.head, FROZEN, len(y), frozen, generator)
        else:
            train(networks, networks.accuracy, FROZEN, len(y), whole, generator)
        train(networks, networks.accuracy, WHOLE, len(y), whole, generator)
        self._fitted = networks

    def predict(self, genotypes: Sequence[Genotype]) -> tuple[np.ndarray, np.ndarray]:
        """Expected accuracies in percent, and the standard deviation of the members, 0 with one: n each.

        Raises:
            RuntimeError: nothing was fitted since the pretraining.
            GenotypeError: a genotype does not belong to the space.
        """
        if self._fitted is None:
            raise RuntimeError("fit the predictor before it predicts")
        found = self._mean + self._scale * self._fitted.accuracies(*self._parts(genotypes))
        return found.mean(axis=0), found.std(axis=0)

    def _parts(self, genotypes: Sequence[Genotype]) -> tuple[np.ndarray, np.ndarray]:
        """Columns of the architectures and of the recipes."""
        rows = self.encoding.encode(genotypes)
        return rows[:, self.encoding.architecture], rows[:, self.encoding.recipe]


def _costs(count: int, **given: np.ndarray) -> np.ndarray:
    """Costs, n x 2, all of them positive.

    Raises:
        SpecError: they are of another number, not positive or not finite, or too few.
    """
    if count < 5:
        raise SpecError(f"pretraining needs at least 5 architectures, got {count}.", field="genotypes")
    for name, values in given.items():
        found = np.asarray(values, dtype=np.float64)
        if found.shape != (count,):
            raise SpecError(f"must be one number an architecture, {count}, got shape {found.shape}.", field=name)
        if not (np.isfinite(found) & (found > 0)).all():
            raise SpecError("must be positive and finite.", field=name)
    return np.stack([np.asarray(values, dtype=np.float64) for values in given.values()], axis=1)


def _labels(count: int, percents: np.ndarray) -> np.ndarray:
    """Labels that can be learnt from.

    Raises:
        SpecError: they are not.
    """
    y = np.asarray(percents, dtype=np.float64)
    if not count or y.shape != (count,):
        raise SpecError(
            f"must be one accuracy a genotype, at least one; there are {count} genotypes, the shape is {y.shape}.",
            field="percents",
        )
    if not np.isfinite(y).all():
        raise SpecError(
            f"number {int(np.argmin(np.isfinite(y)))} is {y[~np.isfinite(y)][0]}.",
            field="percents",
            fix="Leave failed trials out.",
        )
    if y.min() >= 0 and 0 < y.max() <= 1:
        raise SpecError(
            f"must be in percent; {y.min():g} to {y.max():g} look like fractions.",
            field="percents",
            fix="Multiply them by 100.",
        )
    return y
