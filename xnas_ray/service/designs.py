"""What is asked for designs, their table, and the search that trains them; the answers are ``design_search``'s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from xnas_ray.controllers.design import MEMBERS, POOL, Budget
from xnas_ray.errors import SpecError
from xnas_ray.randomness import canonical_json
from xnas_ray.service.finalists import child_key
from xnas_ray.spec import SearchSpec

if TYPE_CHECKING:
    import pandas as pd

DESIGNS = "xnas_ray.controllers.designed:Designed"
"""The controller of a search that trains designs."""
MAX_BUDGETS = 20


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of a search.

    Attributes:
        flops: most FLOPs, each a budget of its own; none for no limit.
        params: most parameters, in every budget; None for no limit.
        top: designs a budget.
        neighbours: evaluated architectures that are named beside each.
        members: networks of the predictor.
        pool: architectures that are counted to pretrain it.
        caution: standard deviations of the members that are taken off a prediction before it is ranked.

    Raises:
        SpecError: a limit is not above 0, or there are too many.
    """

    flops: tuple[float, ...] = ()
    params: float | None = None
    top: int = 5
    neighbours: int = 3
    members: int = MEMBERS
    pool: int = POOL
    caution: float = 0.0

    def __post_init__(self) -> None:
        """Check the limits; the designer checks the rest."""
        if len(self.flops) > MAX_BUDGETS:
            raise SpecError(f"at most {MAX_BUDGETS} budgets at once, got {len(self.flops)}.", field="flops")
        _ = self.budgets

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """Each once, in the order in which they were given."""
        limits: tuple[float | None, ...] = tuple(dict.fromkeys(self.flops)) or (None,)
        return tuple(Budget(limit, self.params) for limit in limits)

    def to_json(self) -> dict[str, Any]:
        """As keywords of the constructor, but that ``flops`` is a list."""
        return {**asdict(self), "flops": list(self.flops)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Query:
        """The inverse of ``to_json``; what is missing has its default.

        Raises:
            SpecError: a key is unknown, or see ``Query``.
        """
        valid = [field.name for field in fields(cls)]
        for name in values:
            if name not in valid:
                raise SpecError("unknown key.", field="design", got=name, valid=valid)
        return cls(**{**values, "flops": tuple(values.get("flops", ()))})


def designs_frame(answer: Mapping[str, Any]) -> pd.DataFrame:
    """Designs as a table, one row each.

    Args:
        answer: as ``design_search.design_search`` gives it.

    Returns:
        Columns ``budget_flops``, ``budget_params``, ``rank``, ``predicted``, ``std``, ``flops``, ``params``, ``trial``
        and ``measured`` (missing where it was not evaluated), ``architecture``, ``recipe`` and ``genotype`` (JSON), and
        for every neighbour, counted from 1, ``neighbour_<n>_trial``, ``neighbour_<n>_distance`` and
        ``neighbour_<n>_measured``.
    """
    import pandas as pd

    plain = ("rank", "predicted", "std", "flops", "params", "trial", "measured", "architecture")
    rows = []
    for one in answer["designs"]:
        row: dict[str, Any] = {f"budget_{name}": limit for name, limit in one["budget"].items()}
        row |= {name: one[name] for name in plain}
        row |= {"recipe": canonical_json(one["recipe"]), "genotype": str(list(one["genotype"]))}
        for number, near in enumerate(one["neighbours"], start=1):
            row |= {f"neighbour_{number}_{name}": near[name] for name in ("trial", "distance", "measured")}
        rows.append(row)
    return pd.DataFrame(rows).astype({"trial": "Int64"})


# ---- trained ---------------------------------------------------------------------------------------------------------


def specification(
    card: Mapping[str, Any],
    answer: Mapping[str, Any],
    *,
    seeds: int = 1,
    resources: Mapping[str, Any] | None = None,
) -> SearchSpec:
    """The search that trains designs as the search that they come from trained its candidates, to the end.

    It measures on the validation split, so that predictions can be compared and the best be chosen; finalists of it are
    trained as of any other search. What its parent has trained in the same way is taken over.

    Args:
        card: of the search (see ``resolve.Search.card``).
        answer: as ``design_search.design_search`` gives it.
        seeds: trainings of each design.
        resources: what differs from the search's own resources, such as ``{"workers": 4}``.

    Raises:
        SpecError: a value is out of range.
    """
    parent, search_id = card["spec"], answer["search_id"]
    candidates = [
        {
            "genotype": [int(gene) for gene in one["genotype"]],
            "budget": {name: limit for name, limit in one["budget"].items() if limit is not None},
            "predicted": {"mean": one["predicted"], "std": one["std"], "epoch": answer["epoch"] or parent["fidelity"]},
        }
        for one in answer["designs"]
    ]
    different = len({tuple(one["genotype"]) for one in candidates})
    changes = {
        "name": f"designs of {search_id}",
        "controller": {"name": DESIGNS, "params": {"candidates": candidates, "seeds": seeds}},
        "budget": {"trials": max(1, different * seeds)},
        "resources": {**parent["resources"], **(resources or {})},
        "reuse": "completed",
        "warm_start": [],
        "parent": search_id,
    }
    return SearchSpec.from_mapping({**parent, **changes})


def key_of(spec: SearchSpec) -> str:
    """Idempotency key of a search of designs: asking for the same again gives the same search."""
    return child_key("designs", spec)
