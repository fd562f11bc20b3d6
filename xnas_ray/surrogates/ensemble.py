"""An ensemble of small feed-forward networks over path encodings, trained side by side in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xnas_ray.randomness import Domain, rng
from xnas_ray.surrogates.path_encoding import PathId, columns_of, presence

BETA_1, BETA_2, EPSILON = 0.9, 0.99, 1e-7


@dataclass(frozen=True)
class NetworkShape:
    """Sizes and training of the networks; the defaults are those of the published code (naszilla, ``standard``).

    Attributes:
        networks: M, members of the ensemble.
        layers: hidden layers with ReLU.
        width: units of each.
        epochs: passes over the data.
        batch: rows of a step.
        learning_rate: of Adam (betas 0.9 and 0.99, as published).
    """

    networks: int = 5
    layers: int = 10
    width: int = 20
    epochs: int = 150
    batch: int = 32
    learning_rate: float = 0.01


class NetworkEnsemble:
    """M perceptrons that differ by their initial weights and by the order in which they see the data.

    Each minimises the weighted mean absolute error of the standardised target, as BANANAS does (White, Neiswanger &
    Savani, AAAI 2021). The paper's mean absolute percentage error ``|(f - b) / (y - b) - 1|`` with its bound ``b`` is
    the same loss with weights ``1 / |y - b|``.

    Inputs are sets of path ids. A path that no training row has keeps its initial weights, drawn from its id: like the
    never trained columns of the paper's fixed encoding it moves every member differently, so what is unfamiliar is
    uncertain. All random numbers are counted from ``(seed, fit)``: the same data in the same order give the same
    networks, on machines whose BLAS rounds alike.

    All members are one batch of matrix products. At these sizes a step is bound by the calls, not by arithmetic, and
    numpy takes a third of the time of torch (``experiments/performance/ensemble_speed.py``). A controller's
    process also does without importing torch.

    Args:
        shape: sizes and training.
    """

    def __init__(self, shape: NetworkShape | None = None) -> None:
        """Untrained."""
        self.shape = shape or NetworkShape()
        self._columns: tuple[PathId, ...] = ()
        self._weights: _Weights | None = None
        self._stream = (0, 0)
        self._mean, self._scale = 0.0, 1.0

    def fit(
        self,
        rows: Sequence[frozenset[PathId]],
        y: np.ndarray,
        *,
        seed: int,
        fit: int = 0,
        weights: np.ndarray | None = None,
    ) -> NetworkEnsemble:
        """Train all members from scratch.

        Args:
            rows: path ids of n architectures.
            y: n finite targets.
            seed: of the search.
            fit: which fit of the search this is; with ``seed`` it determines every random number.
            weights: n positive weights of the absolute errors, by default equal ones.
        """
        shape = self.shape
        self._columns, self._stream = columns_of(rows), (seed, fit)
        self._mean, self._scale = float(np.mean(y)), float(np.std(y)) or 1.0
        target = (np.asarray(y, dtype=np.float64) - self._mean) / self._scale
        share = np.ones(len(target)) if weights is None else np.asarray(weights, dtype=np.float64) / np.mean(weights)
        generator = rng(seed, Domain.POOL, fit)
        self._weights = _Weights(shape, len(self._columns))
        self._weights.draw(generator)
        self._weights.first[:] = self._drawn(self._columns)
        _train(self._weights, shape, presence(rows, self._columns), target, share, generator)
        return self

    def predict(self, rows: Sequence[frozenset[PathId]]) -> np.ndarray:
        """What each member expects: networks x rows, in the units of y.

        Raises:
            RuntimeError: nothing was fitted.
        """
        if self._weights is None:
            raise RuntimeError("fit the ensemble before it predicts")
        known = presence(rows, self._columns)
        hidden = np.matmul(known, self._weights.first)
        unseen = tuple(sorted(set().union(*rows).difference(self._columns)))
        if unseen:
            hidden += np.matmul(presence(rows, unseen), self._drawn(unseen))
        return self._mean + self._scale * self._weights.forward(hidden)[-1][..., 0]

    def _drawn(self, columns: Sequence[PathId]) -> np.ndarray:
        """Initial weights of some columns, networks x columns x width: uniform (Glorot & Bengio 2010), by content."""
        shape, (seed, fit) = self.shape, self._stream
        limit = np.sqrt(6 / (len(self._columns) + shape.width))
        size = (shape.networks, shape.width)
        drawn = [rng(seed, Domain.POOL, fit, column).uniform(-limit, limit, size) for column in columns]
        return np.stack(drawn, axis=1) if drawn else np.zeros((shape.networks, 0, shape.width))


class _Weights:
    """Parameters of all members in one flat vector, and views into it: Adam updates everything at once.

    Attributes:
        flat: every parameter.
        first: networks x columns x width, without bias; ``biases[0]`` is added after it.
        later: a matrix for every further layer, networks x inputs x outputs; the last one has one output.
        biases: one for every layer, networks x 1 x outputs.
    """

    def __init__(self, shape: NetworkShape, columns: int) -> None:
        sizes = [(columns, shape.width), *[(shape.width, shape.width)] * (shape.layers - 1), (shape.width, 1)]
        members = shape.networks
        self.flat = np.zeros(members * sum((inputs + 1) * outputs for inputs, outputs in sizes))
        matrices, self.biases = [], []
        at = 0
        for inputs, outputs in sizes:
            cut = at + members * inputs * outputs
            matrices.append(self.flat[at:cut].reshape(members, inputs, outputs))
            at = cut + members * outputs
            self.biases.append(self.flat[cut:at].reshape(members, 1, outputs))
        self.first, *self.later = matrices

    @cached_property
    def transposed(self) -> list[np.ndarray]:
        """Views of the later layers, networks x outputs x inputs."""
        return [matrix.transpose(0, 2, 1) for matrix in self.later]

    def draw(self, generator: np.random.Generator) -> None:
        """Initialise the later layers (Glorot & Bengio 2010); biases are 0."""
        for matrix in self.later:
            limit = np.sqrt(6 / (matrix.shape[1] + matrix.shape[2]))
            matrix[:] = generator.uniform(-limit, limit, matrix.shape)

    def forward(self, first: np.ndarray) -> list[np.ndarray]:
        """Activations of every layer, networks x rows x units, the output last.

        Args:
            first: inputs times the first matrix, networks x rows x width; overwritten.
        """
        first += self.biases[0]
        layers = [np.maximum(first, 0, out=first)]
        for i, matrix in enumerate(self.later, start=1):
            after = np.matmul(layers[-1], matrix)
            after += self.biases[i]
            layers.append(after if i == len(self.later) else np.maximum(after, 0, out=after))
        return layers


def _train(
    weights: _Weights,
    shape: NetworkShape,
    x: np.ndarray,
    target: np.ndarray,
    share: np.ndarray,
    generator: np.random.Generator,
) -> None:
    """Minimise the weighted mean absolute error by Adam; every member shuffles for itself.

    Args:
        weights: changed in place.
        shape: epochs, batch and learning rate.
        x: rows x columns.
        target: of every row.
        share: weight of every row.
        generator: of the orders.
    """
    gradient = _Weights(shape, x.shape[1])
    first_moment, second_moment = np.zeros_like(weights.flat), np.zeros_like(weights.flat)
    orders = np.tile(np.arange(len(x)), (shape.networks, 1))
    step = 0
    for _ in range(shape.epochs):
        orders = generator.permuted(orders, axis=1)
        for start in range(0, len(x), shape.batch):
            rows = orders[:, start : start + shape.batch]
            _backward(weights, gradient, x[rows], target[rows], share[rows])
            step += 1
            first_moment += (1 - BETA_1) * (gradient.flat - first_moment)
            second_moment += (1 - BETA_2) * (gradient.flat**2 - second_moment)
            rate = shape.learning_rate * np.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
            weights.flat -= rate * first_moment / (np.sqrt(second_moment) + EPSILON)


def _backward(weights: _Weights, gradient: _Weights, x: np.ndarray, target: np.ndarray, share: np.ndarray) -> None:
    """Gradient of the batch's weighted mean absolute error, written into ``gradient``.

    Args:
        weights: of all members.
        gradient: where the result goes.
        x: networks x rows x columns.
        target: networks x rows.
        share: networks x rows.
    """
    layers = weights.forward(np.matmul(x, weights.first))
    error = np.sign(layers[-1][..., 0] - target) * share / target.shape[1]
    delta = error[..., None]
    for i in range(len(weights.later), 0, -1):
        below = layers[i - 1]
        np.matmul(below.transpose(0, 2, 1), delta, out=gradient.later[i - 1])
        delta.sum(axis=1, keepdims=True, out=gradient.biases[i])
        delta = np.matmul(delta, weights.transposed[i - 1])
        delta *= below > 0
    np.matmul(x.transpose(0, 2, 1), delta, out=gradient.first)
    delta.sum(axis=1, keepdims=True, out=gradient.biases[0])
