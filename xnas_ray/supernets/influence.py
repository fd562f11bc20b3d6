"""How much the loss would change if operations were weighed differently and the weights trained again.

Influence functions (Cook & Weisberg 1982; Koh & Liang, ICML 2017) answer that without the training. At weights ``θ*``
that minimise ``L(·, p)``, let the mixing weights change by ``d``, and the weights settle at their new optimum. With
``g``, ``H`` and ``B`` of ``supernets.derivatives``, to second order in ``d`` the loss changes by

    L(θ*, p + d) - L(θ*, p) - ½ gᵀ H⁻¹ g,  g and H at (θ*, p + d)          Theorem 1: what freezing gives, less what
                                                                             training gains
    Lₚᵀ d + ½ dᵀ (Lₚₚ - Bᵀ H⁻¹ B) d                                         the same, expanded (Schur complement)
    - ½ dᵀ Bᵀ H⁻¹ B d                                                       Theorem 2: the gain of training alone

``influence`` removes one operation after the other and predicts by Theorem 1 (DARTS-IF, Algorithm 1).
``influential_magnitude`` is the gradient of Theorem 2 in the direction of all ones, one figure for every operation at
once (DARTS-IM, Definition 1):

    I_M = -Bᵀ H⁻¹ B 1.

As printed, Definition 1 and Theorem 2 have second derivatives in α alone beside ``H⁻¹``, whose shapes do not compose;
they are the mixed ones. And with logits for ``p`` the figure says nothing: a softmax does not change when a constant is
added to its logits, so ``B 1 = 0`` and ``I_M = 0`` for every network.
"""

from __future__ import annotations

import warnings
from functools import partial

import torch
from torch import Tensor

from xnas_ray.errors import InfluenceError, SpecError
from xnas_ray.supernets.derivatives import Derivatives
from xnas_ray.supernets.inverse_hessian import Solver


def influential_magnitude(
    derivatives: Derivatives,
    solver: Solver,
    *,
    curvature: Derivatives | None = None,
    direction: Tensor | None = None,
) -> Tensor:
    """``I_M = -Bᵀ H⁻¹ B u`` of every operation, ``E x O``, larger is better: three passes and one solve.

    Args:
        derivatives: give ``B``, both times.
        solver: approximates ``H⁻¹``; a factor in it changes no order.
        curvature: gives ``H``, where other batches than those of ``B`` are meant.
        direction: ``u``, ``E x O``; by default all ones. In logits only a direction that is not constant on an edge
            has a figure other than zero; without one, a warning is given.

    Raises:
        InfluenceError: the solver does not converge.
    """
    if direction is None:
        direction = torch.ones_like(derivatives.variables)
        if derivatives.parameterisation == "logits":
            warnings.warn(
                "The influential magnitude of logits is zero for every network, for a softmax does not change with a"
                " constant added to its logits; what is returned is rounding noise. Take parameterisation='weights'.",
                stacklevel=2,
            )
    pulled = derivatives.mixed_product(direction.to(derivatives.variables))
    solved = solver.solve(curvature or derivatives, pulled)
    return -derivatives.mixed_product_transposed(solved)


def influence(
    derivatives: Derivatives,
    solver: Solver,
    *,
    curvature: Derivatives | None = None,
    renormalise: bool = False,
    keep: Tensor | None = None,
) -> Tensor:
    """The change of the loss by Theorem 1 when an operation is removed, ``E x O``, larger is better: a solve each.

    Args:
        derivatives: give ``L`` and ``g``; by mixing weights.
        solver: approximates ``H⁻¹``; its scale counts here.
        curvature: gives ``H``, where other batches than those of ``g`` are meant.
        renormalise: whether an edge's other operations are scaled up to the weight that it had.
        keep: ``E x O``, True for operations that are asked about; the others get NaN and cost nothing.

    Raises:
        SpecError: the derivatives are by logits.
        InfluenceError: the solver does not converge.
    """
    if derivatives.parameterisation != "weights":
        raise SpecError(
            "an operation is removed by its mixing weight, not by its logit.",
            field="parameterisation",
            valid=["weights"],
        )
    p = derivatives.variables.detach()
    strengths = torch.full_like(p, torch.nan)
    base = derivatives.value()
    settled = solver.settled(curvature or derivatives, derivatives.gradient())  # estimates are most of a solve's work

    def change_without(edge: int, operation: int) -> float:
        change = without(p, edge, operation, renormalise=renormalise) - p
        predicted = partial(change_by_theorem_1, derivatives, change, curvature=curvature, base=base)
        try:
            return predicted(settled)
        except InfluenceError:  # the estimate does not fit there
            return predicted(solver)

    for edge in range(p.shape[0]):
        for operation in range(p.shape[1]):
            if keep is None or bool(keep[edge, operation]):
                strengths[edge, operation] = change_without(edge, operation)
    return strengths


def without(mixing: Tensor, edge: int, operation: int, *, renormalise: bool = False) -> Tensor:
    """Mixing weights ``E x O`` with one set to zero; the edge's others scaled to the same sum where that is asked.

    An edge on which nothing else has a weight stays at zero.
    """
    found = mixing.clone()
    found[edge, operation] = 0
    if renormalise and float(found[edge].sum()) > 0:
        found[edge] *= mixing[edge].sum() / found[edge].sum()
    return found


def change_by_theorem_1(
    derivatives: Derivatives,
    change: Tensor,
    solver: Solver,
    *,
    curvature: Derivatives | None = None,
    base: float | None = None,
) -> float:
    """``L(θ*, p + d) - L(θ*, p) - ½ gᵀ H⁻¹ g``; two evaluations, a gradient and a solve.

    Args:
        derivatives: at ``p``, and weights that are optimal there.
        change: ``d``, ``E x O``.
        solver: approximates ``H⁻¹`` at ``p + d``.
        curvature: gives ``H``, where other batches are meant.
        base: ``L(θ*, p)``, where it is known.
    """
    changed = derivatives.variables.detach() + change
    there = derivatives.at(changed)
    gradient = there.gradient()
    gained = gradient @ solver.solve((curvature or derivatives).at(changed), gradient)
    return there.value() - (derivatives.value() if base is None else base) - 0.5 * float(gained)


def change_by_theorem_2(
    derivatives: Derivatives, change: Tensor, solver: Solver, *, curvature: Derivatives | None = None
) -> float:
    """``-½ dᵀ Bᵀ H⁻¹ B d``: what training the weights again gains, not the whole change (``change_by_schur``).

    Args:
        derivatives: at ``p``, and weights that are optimal there.
        change: ``d``, ``E x O``.
        solver: approximates ``H⁻¹`` at ``p``.
        curvature: gives ``H``, where other batches are meant.
    """
    pulled = derivatives.mixed_product(change)
    return -0.5 * float(pulled @ solver.solve(curvature or derivatives, pulled))


def change_by_schur(
    derivatives: Derivatives, change: Tensor, solver: Solver, *, curvature: Derivatives | None = None
) -> float:
    """``Lₚᵀ d + ½ dᵀ (Lₚₚ - Bᵀ H⁻¹ B) d``: the whole change to second order.

    Args are those of ``change_by_theorem_2``, the gain that it adds to what the change of ``p`` alone does.
    """
    frozen = derivatives.mixing_gradient() + 0.5 * derivatives.mixing_hessian_product(change)
    return float((frozen * change).sum()) + change_by_theorem_2(derivatives, change, solver, curvature=curvature)
