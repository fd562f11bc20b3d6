"""Hierarchies grown from a network's features, as decision trees are: what induced hierarchies are compared with.

A decision tree splits samples; here every split divides classes, so that each has one leaf: a class goes where its mean
lies. Of the splits that leave both sides a class the one of the largest information gain is taken, from the root down.
The gain is that of the samples: ``H(all) - sum over sides of share * H(side)``, H the entropy of their classes in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xnas_ray.errors import HierarchyError
from xnas_ray.explain.hierarchy import Hierarchy, Node, check_classes, grow
from xnas_ray.randomness import Domain, rng

_SMALL = 1e-12


@dataclass(frozen=True, eq=False)
class Samples:
    """Features of samples of some classes.

    Attributes:
        x: float64 ``n x d``.
        y: int64 ``n``, from 0, each of the S classes at least once.
        means: ``S x d``, of each class.
    """

    x: np.ndarray
    y: np.ndarray
    means: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> Samples:
        """With the means of the classes."""
        counts = np.bincount(y)
        sums = np.zeros((len(counts), x.shape[1]))
        np.add.at(sums, y, x)
        return cls(x, y, sums / counts[:, None])

    def part(self, classes: np.ndarray) -> Samples:
        """Those of some classes, numbered from 0 in this order."""
        number = np.full(len(self.means), -1)
        number[classes] = np.arange(len(classes))
        rows = number[self.y] >= 0
        return Samples(self.x[rows], number[self.y[rows]], self.means[classes])


@dataclass(frozen=True, eq=False)
class Split:
    """A hyperplane ``x . direction > threshold``, and what it is worth.

    Attributes:
        direction: ``d``.
        threshold: of the products.
        gain: information about the class of a sample, in nats.
        right: bool ``S``: the classes whose means lie beyond; both sides have one.
    """

    direction: np.ndarray
    threshold: float
    gain: float
    right: np.ndarray


def information_gain_hierarchy(features: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> Hierarchy:
    """The tree of splits along single features, each at the middle between two classes' means.

    Args:
        features: ``n x d`` what the last layer reads.
        labels: ``n`` numbers of the classes.
        class_names: in label order.

    Raises:
        HierarchyError: shapes do not fit, a class has no sample, or two classes have the same mean.
    """
    return _split_hierarchy(features, labels, class_names, lambda samples, _: axis_split(samples))


def oblique_hierarchy(
    features: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    restarts: int = 3,
    sweeps: int = 3,
    jumps: int = 5,
    max_samples: int = 2000,
    seed: int = 0,
) -> Hierarchy:
    """The tree of splits along any direction, found as by OC1 (Murthy, Kasif & Salzberg, JAIR 2, 1994).

    Each search begins at the best split along a feature or, ``restarts`` times, at a random hyperplane; it moves one
    coefficient after the other to its best value, and from where that ends tries ``jumps`` random directions. Unlike
    OC1's, a hyperplane counts only while each side has the mean of a class.

    Args:
        features: ``n x d`` what the last layer reads.
        labels: ``n`` numbers of the classes.
        class_names: in label order.
        restarts: random hyperplanes a node.
        sweeps: most passes over all coefficients.
        jumps: random directions tried where no coefficient helps.
        max_samples: of a node, drawn at random where it has more; a sweep takes ``d * n * S`` steps.
        seed: of random hyperplanes, directions and draws.

    Raises:
        HierarchyError: shapes do not fit, a class has no sample, or two classes have the same mean.
    """

    def choose(samples: Samples, node: int) -> Split:
        generator = rng(seed, Domain.EXPLAIN, node)
        search = ObliqueSearch(_drawn(samples, max_samples, generator), sweeps, jumps, generator)
        found = [search.improved(axis_split(search.samples))]
        starts = generator.standard_normal((restarts, samples.x.shape[1]))
        found += [search.improved(start) for start in map(search.through_centre, starts) if start is not None]
        return max(found, key=lambda split: split.gain)

    return _split_hierarchy(features, labels, class_names, choose)


def axis_split(samples: Samples) -> Split:
    """The best split along a feature, at the middle between neighbouring means of classes.

    Raises:
        HierarchyError: the means of all classes are equal.
    """
    best: tuple[float, int, float] | None = None
    for feature in range(samples.x.shape[1]):
        means = np.unique(samples.means[:, feature])
        cuts = (means[:-1] + means[1:]) / 2
        cuts = cuts[(means[:-1] <= cuts) & (cuts < means[1:])]
        if not len(cuts):
            continue
        gains = _gains(_counts_beyond(samples.x[:, feature], samples.y, cuts), np.bincount(samples.y))
        top = int(gains.argmax())
        if best is None or gains[top] > best[0] + _SMALL:
            best = (float(gains[top]), feature, float(cuts[top]))
    if best is None:
        raise HierarchyError(
            f"{len(samples.means)} classes have the same mean features.", field="features", fix="Train for longer."
        )
    gain, feature, cut = best
    direction = np.zeros(samples.x.shape[1])
    direction[feature] = 1.0
    return Split(direction, cut, gain, samples.means[:, feature] > cut)


class ObliqueSearch:
    """Hill climbing over hyperplanes for one node.

    Args:
        samples: of the classes of the node.
        sweeps: most passes over all coefficients.
        jumps: random directions tried where no coefficient helps.
        generator: draws them.
    """

    def __init__(self, samples: Samples, sweeps: int, jumps: int, generator: np.random.Generator) -> None:
        """Count the classes."""
        self.samples, self.sweeps, self.jumps, self.generator = samples, sweeps, jumps, generator
        self.totals = np.bincount(samples.y)
        self.one_hot = np.eye(len(self.totals), dtype=np.int64)[samples.y]

    def through_centre(self, direction: np.ndarray) -> Split | None:
        """The hyperplane of a direction through the middle of the classes' means; None where a side has no class."""
        return self._split(direction, float((self.samples.means @ direction).mean()))

    def improved(self, split: Split) -> Split:
        """A hyperplane from which no move helps, or which ``sweeps`` passes have reached."""
        for _ in range(self.sweeps):
            before = split.gain
            for axis in np.eye(len(split.direction)):
                split = self.moved(split, axis)
            if split.gain <= before + _SMALL:
                jumped = self._jumped(split)
                if jumped.gain <= split.gain + _SMALL:
                    break
                split = jumped
        return split

    def _jumped(self, split: Split) -> Split:
        for direction in self.generator.standard_normal((self.jumps, len(split.direction))):
            moved = self.moved(split, direction)
            if moved.gain > split.gain + _SMALL:
                return moved
        return split

    def moved(self, split: Split, along: np.ndarray) -> Split:
        """The best hyperplane ``direction + a * along`` that has a class on both sides; the same where none is better.

        A sample changes sides at a single ``a``, where it lies on the hyperplane, so ``n`` values decide.
        """
        step = self.samples.x @ along
        left = self.samples.x @ split.direction - split.threshold
        moving = np.abs(step) > _SMALL
        turns = -left[moving] / step[moving]
        order = np.argsort(turns)
        turns, sign = turns[order], np.where(step[moving] > 0, 1, -1)[order, None]
        begin = self.one_hot[moving][step[moving] < 0].sum(0) + self.one_hot[~moving & (left > 0)].sum(0)
        beyond = begin + np.cumsum(sign * self.one_hot[moving][order], axis=0)
        between = np.flatnonzero(np.diff(turns) > _SMALL)
        amounts = (turns[between] + turns[between + 1]) / 2
        means = self.samples.means @ split.direction - split.threshold
        right = means + amounts[:, None] * (self.samples.means @ along) > 0
        gains = np.where(right.any(1) & ~right.all(1), _gains(beyond[between], self.totals), -np.inf)
        if not len(gains) or gains.max() <= split.gain + _SMALL:
            return split
        return self._split(split.direction + amounts[gains.argmax()] * along, split.threshold) or split

    def _split(self, direction: np.ndarray, threshold: float) -> Split | None:
        right = self.samples.means @ direction > threshold
        if right.all() or not right.any():
            return None
        beyond = self.one_hot[self.samples.x @ direction > threshold].sum(0)
        return Split(direction, threshold, float(_gains(beyond[None], self.totals)[0]), right)


def _split_hierarchy(
    features: np.ndarray, labels: np.ndarray, class_names: Sequence[str], choose: Callable[[Samples, int], Split]
) -> Hierarchy:
    names = check_classes(class_names)
    samples = _checked(features, labels, names)
    groups = [np.arange(len(names))]
    children: dict[int, list[int]] = {}
    for node, classes in enumerate(groups):  # it grows meanwhile
        if len(classes) > 1:
            right = choose(samples.part(classes), node).right
            children[node] = [len(groups), len(groups) + 1]
            groups += [classes[~right], classes[right]]

    def build(node: int, below: tuple[Node, ...]) -> Node:
        return Node.over(below) if below else Node.leaf(names[groups[node][0]])

    return Hierarchy(grow(0, children, build), names)


def _checked(features: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> Samples:
    x, y = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if x.ndim != 2 or y.shape != x.shape[:1] or not np.isfinite(x).all():
        raise HierarchyError(
            f"features of the shape {x.shape} and labels of {y.shape} do not fit, or are not finite.",
            field="features",
            fix="Give a row of finite numbers and a label a sample.",
        )
    if not np.issubdtype(y.dtype, np.integer) or (len(y) and not 0 <= y.min() <= y.max() < len(names)):
        raise HierarchyError(f"must be whole numbers below {len(names)}.", field="labels")
    counts = np.bincount(y, minlength=len(names))
    if not counts.all():
        raise HierarchyError(f"class {names[int(counts.argmin())]!r} has no sample.", field="labels", fix="Give more.")
    return Samples.of(x, y.astype(np.int64))


def _drawn(samples: Samples, count: int, generator: np.random.Generator) -> Samples:
    """At most so many samples; the means stay those of all."""
    if len(samples.y) <= count:
        return samples
    first = np.unique(samples.y, return_index=True)[1]  # each class keeps one
    rows = np.union1d(first, generator.permutation(len(samples.y))[: max(0, count - len(first))])
    return Samples(samples.x[rows], samples.y[rows], samples.means)


def _counts_beyond(values: np.ndarray, labels: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Samples of each class above each cut, ``cuts x S``."""
    counts = np.empty((len(cuts), int(labels.max()) + 1), dtype=np.int64)
    for number in range(counts.shape[1]):
        own = np.sort(values[labels == number])
        counts[:, number] = len(own) - np.searchsorted(own, cuts, side="right")
    return counts


def _gains(beyond: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Information gains in nats, ``m``, of splits with so many samples of each class beyond, ``m x S``."""

    def scaled_entropy(counts: np.ndarray) -> np.ndarray:
        """``n H``: ``n log n - sum of n_c log n_c``."""
        total = counts.sum(axis=-1)
        return np.asarray(_x_log_x(total) - _x_log_x(counts).sum(axis=-1))

    whole = totals.sum()
    return np.asarray(scaled_entropy(totals) - scaled_entropy(beyond) - scaled_entropy(totals - beyond)) / whole


def _x_log_x(x: np.ndarray) -> np.ndarray:
    return np.asarray(x * np.log(np.maximum(x, 1)))
