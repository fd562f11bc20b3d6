"""Inverse-Hessian-vector products ``H⁻¹ v`` of a supernet's loss, by name: from exact for toys to none at all.

============================  ======================================================================  ================
name                          what it solves with                                                     cost
============================  ======================================================================  ================
``exact``                     the dense Hessian                                                       P products
``cg``                        conjugate gradients on ``H + damping I``                                a product a step
``neumann``                   ``γ Σ_{k<=K} (I - γ (H + damping I))^k``                                K products, + γ
``sherman_morrison``          the Fisher matrix of N batches, ``η I + 1/N Σ g gᵀ``, one by one        N gradients
``woodbury``                  the same matrix at once, through the N x N Gram matrix                  N gradients
``identity``                  ``H = I``                                                               nothing
============================  ======================================================================  ================

A product is one Hessian-vector product: a pass over all batches. What a choice of operations by influence needs is the
direction of ``H⁻¹ v``, not its length.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from xnas_ray.errors import InfluenceError, SpecError
from xnas_ray.registry import Registry
from xnas_ray.supernets.derivatives import Derivatives
from xnas_ray.training.augment import stream_seed

MAX_EXACT = 5000
"""Weights of a network whose Hessian is made; one of 5,000 takes 200 MB in double precision."""

_START = 31
_DIVERGED = 10.0
"""How many times longer than the first a term of Neumann's series may be; in a convergent one none is longer.

The three terms of the default stay below it whatever the Hessian's eigenvalues, with ``γ = 1/|λ|max``: 2^3 < 10.
"""


class Solver(ABC):
    """Solves ``H u = v``, exactly or nearly. Settings are the fields of its dataclass."""

    @abstractmethod
    def solve(self, derivatives: Derivatives, vector: Tensor) -> Tensor:
        """``u ≈ H⁻¹ v``.

        Args:
            derivatives: of the loss whose Hessian is meant, at the batches and mixing weights that are meant.
            vector: ``v``, of P numbers; the same on every rank, as the result is.

        Raises:
            InfluenceError: it does not converge, or H cannot be inverted.
        """

    def settled(self, derivatives: Derivatives, vector: Tensor) -> Solver:
        """The solver with what it would estimate here known already: for many solves at mixing weights nearby.

        Args:
            derivatives: at which it is estimated.
            vector: as in ``solve``.

        Raises:
            InfluenceError: it cannot be estimated.
        """
        return self


SOLVERS: Registry[Solver] = Registry(
    "solver",
    dict.fromkeys(("exact", "cg", "neumann", "sherman_morrison", "woodbury", "identity"), __name__),
)
register_solver = SOLVERS.register


def _at_least(field: str, value: float, least: float, *, above: bool = False) -> None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value < least or (above and value == least):
        bound = f"above {least:g}" if above else f"of at least {least:g}"
        raise SpecError(f"must be a number {bound}, got {value!r}.", field=field)


def _whole(field: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpecError(f"must be a whole number of at least {least}, got {value!r}.", field=field)


@register_solver("identity")
@dataclass(frozen=True, kw_only=True)
class Identity(Solver):
    """``u = v``: as if all curvatures were equal."""

    def solve(self, derivatives: Derivatives, vector: Tensor) -> Tensor:
        """See ``Solver.solve``."""
        return vector.clone()


@register_solver("exact")
@dataclass(frozen=True, kw_only=True)
class Exact(Solver):
    """LU of the dense ``H + damping I``, for networks of at most ``MAX_EXACT`` weights.

    Args:
        damping: added to the diagonal.

    Raises:
        SpecError: the damping is negative.
    """

    damping: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        _at_least("damping", self.damping, 0.0)

    def solve(self, derivatives: Derivatives, vector: Tensor) -> Tensor:
        """See ``Solver.solve``; refuses larger networks."""
        if derivatives.size > MAX_EXACT:
            raise InfluenceError(
                f"the Hessian of {derivatives.size} weights is too large to be made.",
                field="solver",
                fix=f"'exact' is for at most {MAX_EXACT} weights; take 'cg', 'neumann' or 'woodbury'.",
            )
        hessian = derivatives.hessian()
        hessian.diagonal().add_(self.damping)
        solution, singular = torch.linalg.solve_ex(hessian, vector)
        if int(singular) or not bool(torch.isfinite(solution).all()):
            raise InfluenceError("the Hessian is singular.", field="solver.damping", fix="Give it some damping.")
        return solution


@register_solver("cg")
@dataclass(frozen=True, kw_only=True)
class ConjugateGradients(Solver):
    """Conjugate gradients on ``H + damping I`` (Hestenes & Stiefel 1952; Martens, ICML 2010).

    Args:
        damping: added to the diagonal; it must outweigh the most negative eigenvalue that is met.
        tolerance: of ``|v - (H + damping I) u| / |v|``.
        steps: at most; where they do not suffice, it is an error.

    Raises:
        SpecError: a setting is out of range.
    """

    damping: float = 1e-3
    tolerance: float = 1e-6
    steps: int = 500

    def __post_init__(self) -> None:
        """Check the settings."""
        _at_least("damping", self.damping, 0.0)
        _at_least("tolerance", self.tolerance, 0.0, above=True)
        _whole("steps", self.steps, 1)

    def solve(self, derivatives: Derivatives, vector: Tensor) -> Tensor:
        """See ``Solver.solve``."""
        solution, residual = torch.zeros_like(vector), vector.clone()
        direction, squared = residual.clone(), float(residual @ residual)
        goal = self.tolerance**2 * squared
        for _ in range(self.steps):
            if squared <= goal:
                return solution
            product = derivatives.hessian_product(direction) + self.damping * direction
            curvature = float(direction @ product)
            if not curvature > 0:
                raise InfluenceError(
                    f"the Hessian has a direction of curvature {curvature / float(direction @ direction):.3g}, damping"
                    f" {self.damping:g} included, where conjugate gradients need positive ones.",
                    field="solver.damping",
                    fix="Raise the damping above the size of that curvature.",
                )
            length = squared / curvature
            solution += length * direction
            residual -= length * product
            before, squared = squared, float(residual @ residual)
            direction = residual + squared / before * direction
        if squared <= goal:
            return solution
        raise InfluenceError(
            f"conjugate gradients left a residual of {math.sqrt(squared) / float(vector.norm()):.3g} after"
            f" {self.steps} steps, above the tolerance {self.tolerance:g}.",
            field="solver.steps",
            fix="Raise steps, tolerance or damping.",
        )


@register_solver("neumann")
@dataclass(frozen=True, kw_only=True)
class Neumann(Solver):
    """The partial sum ``γ Σ_{k=0..K} (I - γ A)^k v`` of ``A⁻¹ v``, where ``A = H + damping I``.

    It converges for ``A > 0`` and ``0 < γ < 2/λmax(A)``; after K terms the relative error in the directions of the
    smallest eigenvalues is ``(1 - γ λmin)^(K+1)``. Where ``γ λmax`` is far below 1 it is ``γ (K+1) v``, the direction
    of ``identity``; so by default γ is ``1/λmax``, of which power iteration makes an estimate.

    Args:
        gamma: γ; None estimates it.
        terms: K, terms after the first.
        damping: added to the diagonal; where H has negative eigenvalues, more than the size of the lowest.
        power_steps: products of the estimate, at most.
        seed: of the random vector from which the estimate starts.

    Raises:
        SpecError: a setting is out of range.
    """

    gamma: float | None = None
    terms: int = 3
    damping: float = 0.0
    power_steps: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.gamma is not None:
            _at_least("gamma", self.gamma, 0.0, above=True)
        _whole("terms", self.terms, 0)
        _at_least("damping", self.damping, 0.0)
        _whole("power_steps", self.power_steps, 1)

    def solve(self, derivatives: Derivatives, vector: Tensor) -> Tensor:
        """See ``Solver.solve``; a term that outgrows the first one is an error."""
        gamma = self._gamma(derivatives, vector)
        term = gamma * vector
        total, first = term.clone(), float(term.norm())
        for k in range(1, self.terms + 1):
            term = term - gamma * self._product(derivatives, term)
            length = float(term.norm())
            if not length <= _DIVERGED * first:
                raise InfluenceError(
                    f"Neumann's series diverges: term {k} is {length / first:.3g} times as long as the first one,"
                    f" with gamma {gamma:.3g}.",
                    field="solver.gamma",
                    fix="gamma must be below 2/λmax (None estimates 1/λmax), and damping above the size of the"
                    " Hessian's lowest eigenvalue where that is negative.",
                )
            total += term
        return total

    def settled(self, derivatives: Derivatives, vector: Tensor) -> Neumann:
        """With this γ; there is room for an eigenvalue that is twice as large elsewhere."""
        return replace(self, gamma=self._gamma(derivatives, vector))

    def _gamma(self, derivatives: Derivatives, vector: Tensor) -> float:
        if self.gamma is not None:
            return self.gamma
        product = partial(self._product, derivatives)
        return 1 / largest_eigenvalue(product, vector, steps=self.power_steps, seed=self.seed)

    def _product(self, derivatives: Derivatives, vector: Tensor) -> Tensor:
        """``A v``."""
        return derivatives.hessian_product(vector) + self.damping * vector


@register_solver("sherman_morrison")
@dataclass(frozen=True, kw_only=True)
class ShermanMorrison(Solver):
    """``F⁻¹ v`` with the Fisher matrix of N batches, by the recursion of Sherman and Morrison.

    With ``F = η I + 1/N Σ_j g_j g_jᵀ``, ``r_1 = g_1/η`` and ``r_j = g_j/η - Σ_{i<j} r_i (r_iᵀ g_j) / (N + g_iᵀ r_i)``,

        F⁻¹ v = v/η - Σ_j r_j (r_jᵀ v) / (N + g_jᵀ r_j).

    Gradients are those of the derivatives' batches. Every rank holds all of them and as many ``r``, 2NP numbers;
    ``woodbury`` gives the same with a part of that.

    Args:
        eta: η, the search's weight decay as a rule.

    Raises:
        SpecError: η is not above 0.
    """

    eta: float = 5e-4

    def __post_init__(self) -> None:
        """Check the settings."""
        _at_least("eta", self.eta, 0.0, above=True)

    def solve(self, derivatives: Derivatives, vector: Tensor) -> Tensor:
        """See ``Solver.solve``."""
        ranks, count = derivatives.ranks, derivatives.count
        padded = _padded(derivatives)
        gradients = torch.stack(ranks.gather(padded), dim=1).reshape(-1, derivatives.size)[:count]
        corrected = torch.empty_like(gradients)
        divisors = gradients.new_empty(count)
        for j, gradient in enumerate(gradients):
            earlier = corrected[:j]
            corrected[j] = gradient / self.eta - earlier.T @ ((earlier @ gradient) / divisors[:j])
            divisors[j] = count + gradient @ corrected[j]
        return vector / self.eta - corrected.T @ ((corrected @ vector) / divisors)


@register_solver("woodbury")
@dataclass(frozen=True, kw_only=True)
class Woodbury(Solver):
    """The product of ``sherman_morrison`` by Woodbury's identity.

    With the gradients as rows of G, ``N x P``,

        F⁻¹ v = (v - Gᵀ (N η I + G Gᵀ)⁻¹ G v) / η.

    A rank holds N/size rows; of the others' it sees one at a time while it makes its part of ``G Gᵀ``, ``N x N``.

    Args:
        eta: η, the search's weight decay as a rule.

    Raises:
        SpecError: η is not above 0.
    """

    eta: float = 5e-4

    def __post_init__(self) -> None:
        """Check the settings."""
        _at_least("eta", self.eta, 0.0, above=True)

    def solve(self, derivatives: Derivatives, vector: Tensor) -> Tensor:
        """See ``Solver.solve``."""
        ranks, rows = derivatives.ranks, _padded(derivatives)
        own = len(rows)
        # Columns of this rank's strip of the Gram matrix: the first row of every rank, the second of every rank, …
        strip = torch.cat([rows @ torch.stack(ranks.gather(row)).T for row in rows], dim=1)
        strips = torch.stack(ranks.gather(strip))  # size x own x (own * size)
        gram = strips.transpose(0, 1).reshape(own * ranks.size, own * ranks.size).double()
        gram.diagonal().add_(derivatives.count * self.eta)
        seen = torch.stack(ranks.gather(rows @ vector), dim=1).reshape(-1).double()
        shares = torch.linalg.solve(gram, seen).view(own, ranks.size)[:, ranks.rank].to(vector.dtype)
        return (vector - ranks.total(rows.T @ shares)) / self.eta


def _padded(derivatives: Derivatives) -> Tensor:
    """This rank's gradients, with a row of zeros where it has one less than others; zeros change no sum."""
    rows = derivatives.gradient_rows()
    most = -(-derivatives.count // derivatives.ranks.size)
    return torch.nn.functional.pad(rows, (0, 0, 0, most - len(rows)))


def largest_eigenvalue(
    product: Callable[[Tensor], Tensor], start: Tensor, *, steps: int = 20, tolerance: float = 1e-3, seed: int = 0
) -> float:
    """The largest absolute eigenvalue of a symmetric matrix, by power iteration: an estimate from below.

    Args:
        product: ``v -> A v``, the same on every rank.
        start: a vector whose products matter; half of what it starts from, so that its own curvature is seen first.
        steps: products at most.
        tolerance: relative change at which it stops.
        seed: of the random other half, drawn on the CPU, so that it is the same everywhere.

    Raises:
        InfluenceError: the matrix is zero, or a product is not finite.
    """
    generator = torch.Generator().manual_seed(stream_seed(seed, _START))
    noise = torch.randn(start.numel(), generator=generator, dtype=torch.float64).to(start)
    vector = torch.nn.functional.normalize(noise, dim=0) + torch.nn.functional.normalize(start, dim=0)
    estimate = 0.0
    for _ in range(steps):
        before = estimate
        vector = product(vector / vector.norm())
        estimate = float(vector.norm())
        if not 0 < estimate < math.inf:
            raise InfluenceError(
                f"the largest eigenvalue of the Hessian cannot be estimated: a product has length {estimate:g}.",
                field="solver.gamma",
            )
        if abs(estimate - before) <= tolerance * estimate:
            break
    return estimate
