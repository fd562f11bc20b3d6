"""First- and second-order derivatives of the bilevel problem against plain autograd and finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.darts import DARTS
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.supernets.bilevel import LossAt, VirtualStep, gradients, unrolled_gradients
from xnas_ray.supernets.cells import CellSupernet, make_supernet

torch.set_num_threads(1)

STEPS = {
    "plain": VirtualStep(0.1),
    "momentum": VirtualStep(0.1, momentum=0.9, weight_decay=3e-2),
    "nesterov": VirtualStep(0.1, momentum=0.9, weight_decay=3e-2, nesterov=True),
}


class Problem:
    """A supernet of 64-bit numbers that is not at its optimum, and two batches."""

    def __init__(self, space: Space | None = None, **settings: Any) -> None:
        shape = DataShape(((1, 4, 4),), 3)
        space = space or NASBench201(cells_per_stage=1, channels=2, stages=1)
        self.net: CellSupernet = make_supernet(space, shape, seed=0, **settings).double()
        self.variables = self.net.architecture_parameters()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for variable in self.variables:
                variable.copy_(torch.randn(variable.shape, generator=generator, dtype=torch.float64))
        draw = lambda *size: torch.randn(*size, generator=generator, dtype=torch.float64)  # noqa: E731
        self.inputs = {"train": draw(6, 1, 4, 4), "validation": draw(6, 1, 4, 4)}
        self.targets = torch.arange(6) % 3
        own = {id(variable) for variable in self.variables}
        self.names = [name for name, p in self.net.named_parameters() if id(p) not in own]
        self.weights = self.net.weight_parameters()

    def loss(self, part: str, weights: Sequence[Tensor] | None = None) -> Tensor:
        x = self.inputs[part]
        values = dict(zip(self.names, weights or self.weights, strict=True))
        return nn.functional.cross_entropy(functional_call(self.net, values, (x,)), self.targets)

    def at(self, part: str) -> LossAt:
        return lambda weights: self.loss(part, weights)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem()


def central_differences(function: Callable[[], float], variable: Tensor, eps: float = 1e-4) -> Tensor:
    found = torch.zeros_like(variable)
    flat, out = variable.detach().reshape(-1), found.reshape(-1)
    for i in range(flat.numel()):
        before = float(flat[i])
        values = []
        for sign in (1, -1):
            flat[i] = before + sign * eps
            values.append(function())
        flat[i] = before
        out[i] = (values[0] - values[1]) / (2 * eps)
    return found


def test_first_order_is_plain_autograd(problem: Problem):
    (found,) = gradients(problem.loss("validation"), [problem.net.alpha])
    problem.loss("validation").backward()
    assert torch.equal(found, problem.net.alpha.grad)  # type: ignore[arg-type]
    problem.net.zero_grad(set_to_none=True)
    unused = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert gradients(problem.loss("train"), [unused])[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", STEPS)
def test_second_order_is_the_slope_of_the_unrolled_loss(problem: Problem, name: str):
    """Against differences of what a real optimizer's step leads to, its momentum buffers included."""
    kind = STEPS[name]
    generator = torch.Generator().manual_seed(5)
    buffers = [0.1 * torch.randn(w.shape, generator=generator, dtype=w.dtype) for w in problem.weights]
    step = VirtualStep(kind.rate, kind.momentum, kind.weight_decay, kind.nesterov, buffers if kind.momentum else ())
    (found,) = unrolled_gradients(
        [problem.net.alpha], problem.weights, problem.at("train"), problem.at("validation"), step
    )

    def unrolled() -> float:
        """The validation loss after a step of torch's optimizer on copies of the weights."""
        copies = [weight.detach().clone().requires_grad_() for weight in problem.weights]
        optimizer = torch.optim.SGD(copies, kind.rate, kind.momentum, 0, kind.weight_decay, nesterov=kind.nesterov)
        if kind.momentum:
            for copy, buffer in zip(copies, buffers, strict=True):
                optimizer.state[copy]["momentum_buffer"] = buffer.clone()
        problem.loss("train", copies).backward()
        optimizer.step()
        with torch.no_grad():
            return problem.loss("validation", copies).item()

    expected = central_differences(unrolled, problem.net.alpha)
    problem.net.zero_grad(set_to_none=True)
    assert torch.allclose(found, expected, atol=1e-8, rtol=1e-6)
    (first,) = gradients(problem.loss("validation"), [problem.net.alpha])
    assert (found - first).abs().max() > 1e-3, "the second order adds something"


@pytest.mark.parametrize("space", [NASBench201(cells_per_stage=1, channels=4, stages=2), DARTS()], ids=lambda s: s.name)
def test_every_operation_can_be_differentiated_twice(space: Space):
    """In one direction of all variables, with partial channels, weights of edges, strides and pooling."""
    params = {"layers": 3, "channels": 4} if space.name == "darts" else {}
    problem = Problem(space, params=params, partial=2, edge_normalisation=True)
    step = STEPS["nesterov"]
    found = unrolled_gradients(problem.variables, problem.weights, problem.at("train"), problem.at("validation"), step)
    generator = torch.Generator().manual_seed(8)
    direction = [torch.randn(v.shape, generator=generator, dtype=torch.float64) for v in problem.variables]

    def unrolled(distance: float) -> float:
        with torch.no_grad():
            for variable, part in zip(problem.variables, direction, strict=True):
                variable += distance * part
        moved = step(problem.weights, gradients(problem.loss("train"), problem.weights))
        value = problem.loss("validation", moved).item()
        with torch.no_grad():
            for variable, part in zip(problem.variables, direction, strict=True):
                variable -= distance * part
        return value

    eps = 1e-5
    expected = (unrolled(eps) - unrolled(-eps)) / (2 * eps)
    assert sum(float((f * d).sum()) for f, d in zip(found, direction, strict=True)) == pytest.approx(expected, rel=1e-5)


def test_the_virtual_step_leaves_the_weights_alone(problem: Problem):
    before = [w.detach().clone() for w in problem.weights]
    for step in STEPS.values():
        unrolled_gradients([problem.net.alpha], problem.weights, problem.at("train"), problem.at("validation"), step)
    assert all(torch.equal(a, b) for a, b in zip(before, problem.weights, strict=True))
    assert all(w.grad is None for w in problem.weights)


def test_weights_without_a_part_in_the_loss_only_decay():
    """A weight that no loss depends on has no slope to differentiate again."""
    a = torch.tensor([2.0], requires_grad=True)
    used, dead = torch.tensor([3.0], requires_grad=True), torch.tensor([1.0], requires_grad=True)

    def loss(weights: Sequence[Tensor] | None) -> Tensor:
        w = used if weights is None else weights[0]
        return (a * w**2).sum()

    (found,) = unrolled_gradients([a], [used, dead], loss, loss, VirtualStep(0.1, weight_decay=0.5))
    moved = 3 - 0.1 * (2 * 2 * 3 + 0.5 * 3)  # w' = w - xi (2 a w + l w)
    assert found.item() == pytest.approx(moved**2 + 2 * 2 * moved * (-0.1 * 2 * 3))
