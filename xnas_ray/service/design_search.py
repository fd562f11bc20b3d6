"""Answers for new budgets from a stored search: its labels, its space, and a predictor that is fitted on the spot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xnas_ray.controllers.design import Design, Designer
from xnas_ray.controllers.design_evidence import Evidence
from xnas_ray.controllers.nars import NARS
from xnas_ray.errors import StoreError
from xnas_ray.messages import Genotype
from xnas_ray.service.archive import stored_card
from xnas_ray.service.designs import Query
from xnas_ray.service.resolve import Search, open_search
from xnas_ray.spaces.base import Space
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.store.replay import replay

FEW_LABELS = 20
"""Fewer than that are little to learn from."""
TRUSTED = 0.5
"""Rank correlation with held-out labels below which the order of designs says little."""


def design_search(root: Path, search_id: str, query: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a query from a search's stored trials alone, whether it has ended or not.

    Labels are the first objective; those of a NARS search are read at the epoch at which its candidates stop, as its
    own predictor reads them. Nothing is trained but the predictor.

    Args:
        root: folder of the store.
        search_id: whole id.
        query: as ``Query.to_json`` gives it.

    Returns:
        JSON: ``search_id``, ``objective`` (name, maximize, unit), ``epoch`` (at which labels were read, None for the
        end of their training), ``labels`` (their number), ``members``, ``held_out`` (folds, spearman, error, baseline,
        factor; see ``design_evidence.HeldOut``), ``warnings`` (sentences), and ``designs``, budget by budget and the
        best first: ``budget`` (flops, params), ``rank`` (from 1), ``architecture``, ``recipe`` (what the genotype
        decides), ``genotype``, ``predicted``, ``std``, ``flops``, ``params``, ``trial``, ``measured`` (None where it
        was not evaluated) and ``neighbours`` (trial, architecture, distance, measured). What is no number is None.

    Raises:
        SearchNotFoundError: no such search.
        ExplanationError: too few trials completed.
        StoreError: it is a search of finalists, whose measurements are of the test split.
        SpecError: nothing within a budget was found, or a number is out of range.
        XnasError: its task bundle was changed or cannot be imported.
    """
    asked = Query.from_json(query)
    card = stored_card(root, search_id)
    if card["spec"].get("measure_on") == "test":
        raise StoreError(
            f"search {search_id} measured its trials on the test split, by which nothing may be chosen.",
            field="search_id",
            fix=f"Ask the search that they come from: {card['spec']['parent']}.",
        )
    search = open_search(root, card)
    evidence, learning = _evidence(root, search_id, search)
    designer = Designer(
        search.space,
        search.shape,
        evidence,
        seed=search.spec.seed or 0,
        members=asked.members,
        pool=asked.pool,
        caution=asked.caution,
        **learning,
    )
    designs = [designer.design(budget, asked.top, asked.neighbours) for budget in asked.budgets]
    return {
        "search_id": search_id,
        "objective": card["objectives"][0],
        "epoch": evidence.epoch,
        "labels": len(evidence.labels),
        "members": asked.members,
        "held_out": {name: _number(value) for name, value in asdict(designer.held_out).items()},
        "warnings": _warnings(designer, designs),
        "designs": [_as_json(one, rank, search.space) for some in designs for rank, one in enumerate(some, start=1)],
    }


def _evidence(root: Path, search_id: str, search: Search) -> tuple[Evidence, dict[str, bool]]:
    """What the search's outcomes say, read as its controller reads them, and how a NARS search learns from them."""
    outcomes = replay(root, search_id).outcomes
    controller, epoch = search.controller(), None
    learning: dict[str, bool] = {}
    if isinstance(controller, NARS):
        for outcome in outcomes:
            controller.tell(outcome)
        epoch = controller.stopping.epoch
        learning = {"clip": controller.settings.clip, "frozen": controller.settings.frozen}
    return Evidence.read(outcomes, search.space, search.goals[0], epoch), learning


def _warnings(designer: Designer, designs: Sequence[Sequence[Design]]) -> list[str]:
    """Why the answers may be worth little."""
    evidence, spearman, found = designer.evidence, designer.held_out.spearman, []
    count = len(evidence.labels)
    if count < FEW_LABELS:
        found.append(f"{count} trials are few to learn from: give the search at least {FEW_LABELS}")
    if not spearman >= TRUSTED:
        shown = "none" if math.isnan(spearman) else f"{spearman:.2f}"
        found.append(f"the predictor hardly ranks trials that it does not know (rank correlation {shown})")
    flops, _ = designer.region.costs(evidence.labels.genotypes)
    for some in designs:
        best = some[0]
        if not flops.min() <= best.flops <= flops.max():
            found.append(
                f"with at most {best.budget} the best has {best.flops:,} FLOPs: the evaluated architectures have "
                f"{flops.min():,} to {flops.max():,}, beyond which predictions are guesses"
            )
    return found


def _as_json(design: Design, rank: int, space: Space) -> dict[str, Any]:
    return {
        "budget": {"flops": design.budget.flops, "params": design.budget.params},
        "rank": rank,
        "architecture": _architecture(space, design.genotype),
        "recipe": space.recipe(design.genotype),
        "genotype": list(design.genotype),
        **{name: getattr(design, name) for name in ("predicted", "std", "flops", "params", "trial", "measured")},
        "neighbours": [
            {
                "trial": one.trial,
                "architecture": _architecture(space, one.genotype),
                "distance": one.distance,
                "measured": one.measured,
            }
            for one in design.neighbours
        ],
    }


def _architecture(space: Space, genotype: Genotype) -> str:
    """An architecture as the field writes it, without its recipe."""
    whole = space.unwrapped
    if not isinstance(whole, JointSpace):
        return space.format(genotype)
    return whole.architectures.format(whole.split(genotype)[0])


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
