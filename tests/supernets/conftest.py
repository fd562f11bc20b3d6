"""What the tests of supernets share: one thread, and a small supernet in double precision with its data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from xnas_ray.supernets.derivatives import Derivatives, supernet_loss
from xnas_ray.supernets.search_data import Batch, SearchData
from xnas_ray.testing.tiny_supernet import SHAPE, TinySupernet, settle, tiny_split
from xnas_ray.training.device import limit_threads


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    limit_threads(1)


@dataclass(frozen=True)
class Toy:
    """A supernet of 66 weights and 12 mixing weights, its data, and derivatives over 3 batches of 20 samples."""

    supernet: TinySupernet
    data: SearchData
    batches: list[Batch]
    derivatives: Derivatives

    def dense(self, parameterisation: str = "weights") -> Tensor:
        """The Hessian of the loss in weights and architecture variables together, by autograd's own ``hessian``."""
        given = self.derivatives
        size, shapes = given.size, [w.shape for w in given.weights]
        names = [n for n, _ in self.supernet.named_parameters() if n != "alpha"]

        def loss(z: Tensor) -> Tensor:
            parts = z[:size].split([s.numel() for s in shapes])
            weights = {n: part.view(s) for n, part, s in zip(names, parts, shapes, strict=True)}
            mixing = z[size:].view_as(self.supernet.alpha)
            mixing = mixing if parameterisation == "weights" else torch.softmax(mixing, dim=1)
            total = given.ridge / 2 * z[:size] @ z[:size]
            for batch in self.batches:
                out = torch.func.functional_call(self.supernet, weights, batch.inputs, {"mixing": mixing})
                total = total + functional.cross_entropy(out, batch.targets) / len(self.batches)
            return total

        start = self.supernet.mixing() if parameterisation == "weights" else self.supernet.alpha
        z = torch.cat([given.flat_weights(), start.detach().reshape(-1)])
        return torch.autograd.functional.hessian(loss, z)


MakeToy = Callable[..., Toy]


@pytest.fixture(scope="session")
def make_toy() -> MakeToy:
    """Makes toys: ``ridge``, ``settled`` (weights at their optimum), ``seed``, ``normalise``, ``parameterisation``."""

    def make(
        *,
        ridge: float = 0.05,
        settled: bool = False,
        seed: int = 1,
        normalise: bool = False,
        parameterisation: str = "weights",
    ) -> Toy:
        supernet = TinySupernet(SHAPE, seed=seed, normalise=normalise)
        data = SearchData(tiny_split(), batch_size=20, seed=seed)
        batches = data.fixed(data.architecture_indices, 3)
        derivatives = Derivatives(
            supernet, supernet_loss(supernet), batches, ridge=ridge, parameterisation=parameterisation
        )
        if settled:
            settle(derivatives)
        return Toy(supernet, data, batches, derivatives)

    return make


@pytest.fixture
def toy(make_toy: MakeToy) -> Toy:
    """A toy as it starts."""
    return make_toy()


@pytest.fixture(scope="session")
def settled_toy(make_toy: MakeToy) -> Toy:
    """A toy whose weights are optimal; tests leave it so."""
    return make_toy(settled=True)
