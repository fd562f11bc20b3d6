"""Reading an architecture off a trained supernet: how strongly does each method speak for each operation?

=========================  =============================================================================================
``magnitude``              its mixing weight (Liu et al., ICLR 2019)
``perturbation``           what the supernet loses without it, edge after edge (Wang et al., ICLR 2021)
``influence``              what a supernet loses without it that is trained again, as predicted (DARTS-IF)
``influential_magnitude``  the slope of what training again gains, for all operations at once (DARTS-IM)
=========================  =============================================================================================

A method gives strengths ``E x O``, larger is better; the space's own rule makes the architecture of them
(``RelaxedSupernet.genotype``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.registry import Registry
from xnas_ray.supernets.base import Discretization, RelaxedSupernet
from xnas_ray.supernets.derivatives import PARAMETERISATIONS, Derivatives, supernet_loss
from xnas_ray.supernets.influence import influence, influential_magnitude
from xnas_ray.supernets.inverse_hessian import SOLVERS, Solver
from xnas_ray.supernets.perturbation import Projection
from xnas_ray.supernets.search_data import Batch, SearchData
from xnas_ray.tasks import metrics

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("architecture", "weight")
"""Parts of the training split that a factor may be estimated on."""

_FIELD = "controller.params.discretize"

Tune = Callable[[Tensor, int], None]
"""``tune(mixing, step)``: train the supernet's weights a little with these mixing weights (``E x O``), which stay.

``step`` counts the calls of one discretization from 0, for the order of batches.
"""


@dataclass(frozen=True)
class Evidence:
    """What strengths are estimated from, beside the supernet.

    Attributes:
        data: of the search; its ranks share the work.
        loss: ``loss(outputs, targets)``, a mean over samples.
        ridge: η, the weight decay with which the weights were trained.
        seed: of everything random.
        tune: trains the supernet between two decisions; None leaves its weights as they are.
    """

    data: SearchData
    loss: metrics.Loss = functional.cross_entropy
    ridge: float = 0.0
    seed: int = 0
    tune: Tune | None = None

    def batches(self, part: str, count: int | None, batch_size: int | None = None) -> list[Batch]:
        """This rank's whole batches of a part; by default as many as it fills."""
        indices = self.data.architecture_indices if part == "architecture" else self.data.weight_indices
        size = min(batch_size or self.data.batch_size, len(indices))
        return self.data.dealt(indices, count or len(indices) // size, size)


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way to strengths; its fields are its settings.

    Attributes:
        keep_none: whether ``none`` is an operation like the others; by default it is never taken.
    """

    keep_none: bool = False

    @abstractmethod
    def strengths(self, supernet: RelaxedSupernet, evidence: Evidence) -> Tensor:
        """``E x O``, larger is better, NaN for what is left out; the supernet is afterwards as it was before."""

    def candidates(self, supernet: RelaxedSupernet) -> Tensor:
        """``E x O``, True for operations that may be taken."""
        return _candidates(supernet, self.keep_none)


METHODS: Registry[Method] = Registry(
    "discretization", dict.fromkeys(("magnitude", "perturbation", "influence", "influential_magnitude"), __name__)
)
register_method = METHODS.register


def discretize(
    supernet: RelaxedSupernet,
    method: str,
    evidence: Evidence,
    params: Mapping[str, Any] | None = None,
    *,
    label: str | None = None,
) -> Discretization:
    """The architecture that a method reads off a supernet; on every rank the same.

    Args:
        supernet: trained, not wrapped; afterwards as it was before.
        method: a name in ``METHODS``.
        evidence: data and loss.
        params: settings of the method.
        label: what to call the result, where a method is used with several settings.

    Raises:
        UnknownNameError: no such method, or none with such a setting.
        SpecError: a setting is out of range.
        InfluenceError: a solver does not converge.
    """
    chosen = METHODS.create(method, params or {}, field=_FIELD)
    strengths = chosen.strengths(supernet, evidence)
    return discretization(supernet, strengths, label or method, keep_none=chosen.keep_none)


def discretization(
    supernet: RelaxedSupernet, strengths: Tensor, label: str, *, keep_none: bool = False
) -> Discretization:
    """The architecture of given strengths, ``E x O``."""
    values = strengths.detach().double().cpu()
    return Discretization(
        method=label,
        genotype=supernet.genotype(strengths, keep_none=keep_none),
        strengths={edge: tuple(row) for edge, row in zip(supernet.edges, values.tolist(), strict=True)},
        options=dict.fromkeys(supernet.edges, supernet.operations),
        chosen={
            supernet.edges[edge]: supernet.operations[operation]
            for edge, operation in _taken(supernet, strengths, keep_none).items()
        },
    )


def strengths_table(discretizations: Iterable[Discretization]) -> pd.DataFrame:
    """Strengths as a table, one row an option: method, decision, option, strength, chosen.

    ``strength`` is NaN for what was left out, ``chosen`` whether the architecture has it.
    """
    import pandas as pd

    rows = []
    for one in discretizations:
        for decision, options in one.options.items():
            strengths = one.strengths[decision]
            taken = _strongest(options, strengths) if one.chosen is None else one.chosen.get(decision)
            rows += [(one.method, decision, o, s, o == taken) for o, s in zip(options, strengths, strict=True)]
    return pd.DataFrame(rows, columns=["method", "decision", "option", "strength", "chosen"])


# ---- methods ---------------------------------------------------------------------------------------------------------


@register_method("magnitude")
@dataclass(frozen=True, kw_only=True)
class Magnitude(Method):
    """The mixing weights themselves, those of edges included (Liu et al., ICLR 2019, section 2.4)."""

    def strengths(self, supernet: RelaxedSupernet, evidence: Evidence) -> Tensor:
        """See ``Method.strengths``."""
        return _only(supernet.mixing().detach(), self.candidates(supernet))


@register_method("perturbation")
@dataclass(frozen=True, kw_only=True)
class Perturbation(Method):
    """What the supernet loses on the architecture part without an operation (DARTS-PT; Wang et al., ICLR 2021).

    Edge after edge, in a random order: the operation whose removal hurts most stays there alone, and the weights are
    tuned before the next edge is looked at. Where nodes keep only some of their edges, the nodes follow in the same
    way: those edges stay whose removal hurts most. The strength of an operation is the loss by removing it when its
    edge was looked at; where nodes choose, a row is moved so that its strongest is the loss by removing the edge.

    Args:
        criterion: ``"accuracy"``, in percentage points, where within less than one sample the loss decides; or
            ``"loss"``.
        batches: of the architecture part that are looked at; by default all of it.

    Raises:
        SpecError: a setting is out of range.
    """

    criterion: str = "accuracy"
    batches: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        _one_of("criterion", self.criterion, ("accuracy", "loss"))
        if self.batches is not None:
            _count("batches", self.batches)

    def strengths(self, supernet: RelaxedSupernet, evidence: Evidence) -> Tensor:
        """See ``Method.strengths``."""
        accuracy = self.criterion == "accuracy"
        batches = evidence.batches("architecture", self.batches)
        projection = Projection(
            supernet, batches, evidence.loss, evidence.data.ranks, accuracy=accuracy, tune=evidence.tune
        )
        before = {name: value.clone() for name, value in supernet.state_dict().items()}
        try:
            strengths = projection.choose_operations(self.candidates(supernet), evidence.seed)
            taken = set(_taken(supernet, strengths, self.keep_none))
            return projection.choose_edges(strengths, taken, evidence.seed)
        finally:
            supernet.load_state_dict(before)


@dataclass(frozen=True, kw_only=True)
class _Solved(Method):
    """What methods with an inverse Hessian share.

    Args:
        solver: a name in ``inverse_hessian.SOLVERS``.
        solver_params: its settings.
        batches: N, batches of each estimate.
        batch_size: samples of one; by default that of the search.
        gradient_part: ``"architecture"`` or ``"weight"``, the part of the data for losses, gradients and mixed
            derivatives.
        hessian_part: that for the Hessian.
    """

    solver: str = "neumann"
    solver_params: Mapping[str, Any] = field(default_factory=dict)
    batches: int = 10
    batch_size: int | None = None
    gradient_part: str = "architecture"
    hessian_part: str = "architecture"

    def __post_init__(self) -> None:
        """Check the settings, those of the solver included."""
        _count("batches", self.batches)
        if self.batch_size is not None:
            _count("batch_size", self.batch_size)
        _one_of("gradient_part", self.gradient_part, PARTS)
        _one_of("hessian_part", self.hessian_part, PARTS)
        self.make_solver()

    def make_solver(self) -> Solver:
        """The solver with its settings."""
        return SOLVERS.create(self.solver, self.solver_params, field=f"{_FIELD}.solver")

    def derivatives(
        self, supernet: RelaxedSupernet, evidence: Evidence, parameterisation: str = "weights"
    ) -> tuple[Derivatives, Derivatives]:
        """Those for gradients, and those for the Hessian."""
        gradients = Derivatives(
            supernet,
            supernet_loss(supernet, evidence.loss),
            evidence.batches(self.gradient_part, self.batches, self.batch_size),
            ridge=evidence.ridge,
            parameterisation=parameterisation,
            ranks=evidence.data.ranks,
        )
        if self.hessian_part == self.gradient_part:
            return gradients, gradients
        return gradients, gradients.over(evidence.batches(self.hessian_part, self.batches, self.batch_size))


@register_method("influence")
@dataclass(frozen=True, kw_only=True)
class Influence(_Solved):
    """DARTS-IF: the change of the loss by Theorem 1 (``influence.influence``); ``E O`` solves.

    Args:
        renormalise: whether an edge's other operations take the weight of the removed one over.
    """

    renormalise: bool = False

    def strengths(self, supernet: RelaxedSupernet, evidence: Evidence) -> Tensor:
        """See ``Method.strengths``."""
        gradients, curvature = self.derivatives(supernet, evidence)
        return influence(
            gradients,
            self.make_solver(),
            curvature=curvature,
            renormalise=self.renormalise,
            keep=self.candidates(supernet),
        )


@register_method("influential_magnitude")
@dataclass(frozen=True, kw_only=True)
class InfluentialMagnitude(_Solved):
    """DARTS-IM: ``-Bᵀ H⁻¹ B 1`` (``influence.influential_magnitude``); one solve.

    Args:
        parameterisation: ``"weights"``, or ``"logits"``, whose figures are zero.
    """

    parameterisation: str = "weights"

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        _one_of("parameterisation", self.parameterisation, PARAMETERISATIONS)

    def strengths(self, supernet: RelaxedSupernet, evidence: Evidence) -> Tensor:
        """See ``Method.strengths``."""
        mixed, curvature = self.derivatives(supernet, evidence, self.parameterisation)
        found = influential_magnitude(mixed, self.make_solver(), curvature=curvature)
        return _only(found, self.candidates(supernet))


# ---- what strengths say ----------------------------------------------------------------------------------------------


def _candidates(supernet: RelaxedSupernet, keep_none: bool) -> Tensor:
    """``E x O``, True for operations that may be taken."""
    allowed = torch.tensor([keep_none or name != "none" for name in supernet.operations], device=supernet.alpha.device)
    return allowed.expand(len(supernet.edges), -1)


def _only(strengths: Tensor, candidates: Tensor) -> Tensor:
    return strengths.masked_fill(~candidates, torch.nan)


def _strongest(options: tuple[str, ...], strengths: tuple[float, ...]) -> str | None:
    """The first of the strongest options; None where all are NaN."""
    known = [(strength, option) for strength, option in zip(strengths, options, strict=True) if strength == strength]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def _taken(supernet: RelaxedSupernet, strengths: Tensor, keep_none: bool) -> dict[int, int]:
    """The operation of each edge that is in the architecture, by the index of the edge.

    Unless the supernet says it, it is in the architecture if that is another one without it.
    """
    if (said := supernet.taken(strengths, keep_none=keep_none)) is not None:
        return said
    genotype = supernet.genotype(strengths, keep_none=keep_none)
    known = _only(strengths, _candidates(supernet, keep_none))
    found = {}
    for edge, operation in known.isfinite().nonzero().tolist():
        less = known.clone()
        less[edge, operation] = torch.nan
        try:
            changed = supernet.genotype(less, keep_none=keep_none) != genotype
        except GenotypeError:  # nothing else could be taken
            changed = True
        if changed:
            found[edge] = operation
    return found


def _one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise SpecError(f"there is no {value!r}.", field=f"{_FIELD}.{name}", got=value, valid=valid)


def _count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SpecError(f"must be a whole number of at least 1, got {value!r}.", field=f"{_FIELD}.{name}")
