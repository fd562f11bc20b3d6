"""Surrogates behind one interface: fit on architectures and targets, predict mean and standard deviation.

What a model is given is ``-log(error)``, NAS-BOWL's target; each standardises it as it needs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import Space
from xnas_ray.surrogates.encodings import Encodings
from xnas_ray.surrogates.ensemble import NetworkEnsemble
from xnas_ray.surrogates.metric_model import MetricModel, ModelOptions
from xnas_ray.surrogates.model_selection import KernelGrid
from xnas_ray.surrogates.path_encoding import PathEncoding, PathId
from xnas_ray.surrogates.wl_features import Kind

TREES = 200


class Model(Protocol):
    """A surrogate."""

    def fit(self, architectures: Sequence[Genotype], y: np.ndarray) -> None:
        """Learn from n architectures and their targets."""

    def predict(self, architectures: Sequence[Genotype]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the target of each architecture, noise included."""


class Forest:
    """Random forest on one-hot choices; the spread is that of the trees, each of which predicts one observation."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space = space
        self.forest = RandomForestRegressor(TREES, random_state=seed, max_features=1 / 3)

    def fit(self, architectures: Sequence[Genotype], y: np.ndarray) -> None:
        """See ``Model``."""
        self.forest.fit(one_hot(self.space, architectures), y)

    def predict(self, architectures: Sequence[Genotype]) -> tuple[np.ndarray, np.ndarray]:
        """See ``Model``."""
        x = one_hot(self.space, architectures)
        trees = np.stack([tree.predict(x) for tree in self.forest.estimators_])
        return trees.mean(axis=0), np.maximum(trees.std(axis=0), 1e-6)


class OneHotGP:
    """Gaussian process with an RBF kernel on one-hot choices; scale, length and noise by the marginal likelihood."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space = space
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * RBF(2.0, (0.2, 50.0)) + WhiteKernel(0.1, (1e-4, 1.0))
        self.process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=1, random_state=seed)

    def fit(self, architectures: Sequence[Genotype], y: np.ndarray) -> None:
        """See ``Model``."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at its bound
            self.process.fit(one_hot(self.space, architectures), y)

    def predict(self, architectures: Sequence[Genotype]) -> tuple[np.ndarray, np.ndarray]:
        """See ``Model``."""
        mean, spread = self.process.predict(one_hot(self.space, architectures), return_std=True)
        return mean, spread


class PathEnsemble:
    """The networks of BANANAS on path encodings; the spread is that of the members, as its acquisition takes it."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed
        self.encoding = PathEncoding(max_operations=LONGEST_PATH.get(space.name))
        self.ensemble = NetworkEnsemble()

    def fit(self, architectures: Sequence[Genotype], y: np.ndarray) -> None:
        """See ``Model``."""
        self.ensemble.fit(self._rows(architectures), y, seed=self.seed)

    def predict(self, architectures: Sequence[Genotype]) -> tuple[np.ndarray, np.ndarray]:
        """See ``Model``."""
        members = self.ensemble.predict(self._rows(architectures))
        return members.mean(axis=0), np.maximum(members.std(axis=0), 1e-6)

    def _rows(self, architectures: Sequence[Genotype]) -> list[frozenset[PathId]]:
        keys = [self.space.key(genotype) for genotype in architectures]
        return [
            self.encoding.add(key, self.space.graphs(genotype))
            for key, genotype in zip(keys, architectures, strict=True)
        ]


class WLGP:
    """Our Gaussian process: a Weisfeiler–Lehman kernel on the graphs, alone or beside a Hamming kernel on the choices.

    Args:
        space: of the architectures.
        seed: nothing is random.
        kind: ``"subtree"``, or ``"oa"`` for the optimal-assignment kernel.
        shares: weights of the WL part among which the marginal likelihood chooses.
        clip: whether the poor tail of the targets is clipped, as the controller does.
    """

    def __init__(
        self, space: Space, seed: int, *, kind: Kind = "subtree", shares: tuple[float, ...] = (1.0,), clip: bool = False
    ) -> None:
        self.encodings = Encodings(space, kind=kind)
        self.options = ModelOptions(grid=KernelGrid(wl_shares=shares), transform="identity", clip=clip)

    def fit(self, architectures: Sequence[Genotype], y: np.ndarray) -> None:
        """See ``Model``."""
        self.model = MetricModel(self.encodings, "target", maximize=True, epochs=1, options=self.options)
        for row, value in zip(self.encodings.add_all(architectures), y, strict=True):
            self.model.add(int(row), float(value), 1)
        assert self.model.gp is not None  # the posterior is computed when it is first asked for

    def predict(self, architectures: Sequence[Genotype]) -> tuple[np.ndarray, np.ndarray]:
        """See ``Model``."""
        mean, variance = self.model.predict(self.encodings.add_all(architectures), noise=True)
        scale = self.model.scale
        return scale.mean + scale.spread * mean, scale.spread * np.sqrt(variance)


def one_hot(space: Space, architectures: Sequence[Genotype]) -> np.ndarray:
    """Rows of ``Space.one_hot``."""
    return np.stack([space.one_hot(genotype) for genotype in architectures])


LONGEST_PATH = {"random_graphs": 4}
"""Where all paths would be tens of thousands of columns, they are truncated, as in the paper."""

MODELS: dict[str, Callable[[Space, int], Model]] = {
    "random forest": Forest,
    "one-hot GP": OneHotGP,
    "path ensemble": PathEnsemble,
    "WL": WLGP,
    "WL-OA": partial(WLGP, kind="oa"),
    "WL + Hamming": partial(WLGP, shares=KernelGrid().wl_shares),
    "the same, clipped": partial(WLGP, shares=KernelGrid().wl_shares, clip=True),
}
