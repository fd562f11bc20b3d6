"""Who came from whom."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xnas_ray.report.material import Material


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where the finished trials of a search came from.

    Attributes:
        parents: by trial, those that have any.
        stages: by trial, how it was made, as its controller calls it (``"random"``, ``"mutation"`` …).
        generations: by trial, where its controller counts them.
    """

    parents: Mapping[int, tuple[int, ...]]
    stages: Mapping[int, str]
    generations: Mapping[int, int]


def lineage(material: Material) -> Lineage:
    """Read what controllers wrote into the trials' ``origin``."""
    parents, stages, generations = {}, {}, {}
    for trial, text in zip(material.numbers.tolist(), material.trials["origin"], strict=True):
        origin = json.loads(text or "{}")
        named = origin.get("parents")
        if isinstance(named, list) and named:
            parents[trial] = tuple(p for p in named if isinstance(p, int) and not isinstance(p, bool))
        if isinstance(origin.get("stage"), str):
            stages[trial] = origin["stage"]
        if isinstance(origin.get("generation"), int):
            generations[trial] = origin["generation"]
    return Lineage(parents, stages, generations)


def ancestors(parents: Mapping[int, tuple[int, ...]], trials: Iterable[int]) -> set[int]:
    """The trials and all that they descend from."""
    found: set[int] = set()
    waiting = list(trials)
    while waiting:
        trial = waiting.pop()
        if trial not in found:
            found.add(trial)
            waiting.extend(parents.get(trial, ()))
    return found
