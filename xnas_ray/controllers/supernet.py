"""Differentiable searches in the queue: their job trains a supernet, and what is read off it becomes candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.controllers.base import Controller, Goal, Horizon
from xnas_ray.controllers.parameters import whole
from xnas_ray.controllers.registry import register_controller
from xnas_ray.messages import Candidate, Genotype
from xnas_ray.spaces.base import Space

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Derived:
    """An architecture that was read off a trained supernet.

    Attributes:
        supernet: which of the search's supernets, from 0.
        method: how it was read off.
        genotype: the architecture.
    """

    supernet: int
    method: str
    genotype: Genotype


class SupernetController(Controller):
    """Proposes what the search's own job has read off its supernets; each architecture once.

    The supernets are trained by one job on all workers of the search at once, before anything is proposed. What it
    found is in the store, and given to ``derive`` when a controller is made, so that a controller is still a function
    of the store. An architecture that breaks a constraint is not proposed. Several supernets or methods may come to
    the same architecture: it is trained once and counts for all of them in ``explain``.

    Args:
        space: what is searched.
        objectives: what the derived architectures are compared by; the supernet itself minimises the task's loss.
        seed: of the supernets.
        horizon: fidelity and shapes of the candidates.
        supernets: how many are trained, one after the other, each with a seed of its own.
        **settings: of the differentiable search and its data (``supernets.registry``); they are checked when the
            search is submitted.

    Raises:
        SpecError: a parameter is malformed.
    """

    search: str
    """Name of the differentiable search."""

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Goal],
        *,
        seed: int,
        horizon: Horizon | None = None,
        supernets: int = 1,
        **settings: Any,
    ) -> None:
        """Without architectures."""
        super().__init__(space, objectives, seed=seed, horizon=horizon)
        self.supernets = whole("supernets", supernets)
        self.settings = settings
        self.derived: tuple[Derived, ...] = ()

    def derive(self, found: Sequence[Derived]) -> None:
        """The job has ended: what it found, in its order."""
        self.derived = tuple(found)

    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        for one in self.derived:
            if self.space.is_valid(one.genotype) and not self.known(one.genotype):
                return self.candidate(one.genotype, supernet=one.supernet, method=one.method)
        return None

    def explain(self) -> Mapping[str, pd.DataFrame]:
        """What became of every derived architecture, and each method's mean over the supernets.

        Returns:
            ``derived``: a row a supernet and method with ``architecture``, ``evaluated_by`` (the number of its trial)
            and each objective; ``derived_methods``: a row a method with ``supernets`` and, of each objective,
            ``<name>_mean`` and ``<name>_std`` (of a sample; NaN of one).
        """
        import pandas as pd

        trials = {self.space.key(o.candidate.genotype): o for o in self.completed()}
        rows = []
        for one in self.derived:
            outcome = trials.get(self.space.key(one.genotype))
            rows.append(
                {
                    "supernet": one.supernet,
                    "method": one.method,
                    "architecture": self.space.format(self.space.canonical(one.genotype)),
                    "evaluated_by": None if outcome is None else outcome.trial,
                    **{g.name: outcome.metrics[g.name] if outcome else np.nan for g in self.objectives},
                }
            )
        if not rows:
            return {}
        table = pd.DataFrame(rows)
        table["evaluated_by"] = table["evaluated_by"].astype("Int64")
        names = [goal.name for goal in self.objectives]
        grouped = table.dropna(subset=names).groupby("method", sort=False)
        methods = pd.DataFrame({"supernets": grouped.size()})
        for name in names:
            methods[f"{name}_mean"] = grouped[name].mean()
            methods[f"{name}_std"] = grouped[name].std()
        return {"derived": table, "derived_methods": methods.reset_index()}


@register_controller("darts")
class Darts(SupernetController):
    """DARTS on all workers at once (``supernets.darts.DartsSearch``), read off by one or several methods.

    Takes ``supernets`` and every setting of ``DartsSearch``, ``batch_size`` and ``weight_share``.
    """

    search = "darts"


@register_controller("pc_darts")
class PcDarts(SupernetController):
    """PC-DARTS on all workers at once (``supernets.pc_darts.PcDartsSearch``).

    Takes ``supernets`` and every setting of ``PcDartsSearch``, ``batch_size`` and ``weight_share``.
    """

    search = "pc_darts"


@register_controller("dmasking")
class DMasking(SupernetController):
    """DMaskingNAS on all workers at once (``supernets.dmasking.DMaskingSearch``).

    Takes ``supernets`` and every setting of ``DMaskingSearch``, ``batch_size`` and ``weight_share``.
    """

    search = "dmasking"
