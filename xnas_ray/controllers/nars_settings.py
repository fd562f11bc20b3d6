"""Parameters of NARS, checked where they are given, and what its two modes make of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xnas_ray.controllers.early_stopping import FEWEST
from xnas_ray.controllers.parameters import FIELD, flag, one_of, whole
from xnas_ray.errors import SpecError

MODES = ("default", "paper")
FIRST_ROUNDS = ("space_filling", "random")
RECIPE_ROUNDS = 4
"""Rounds of the paper where recipes alone are searched."""
CLIP = True
"""Whether poor labels are equally poor where nobody says otherwise; not in mode ``"paper"``."""


@dataclass(frozen=True, slots=True)
class Mode:
    """What differs between the modes.

    Attributes:
        bins: default number of bins.
        rounds: default number of rounds.
        first_round: how the first one is drawn.
        members: networks of the predictor.
        share: of a round whose curves decide when the others stop.
        clip: whether poor labels are equally poor.
    """

    bins: int
    rounds: int
    first_round: str
    members: int
    share: float
    clip: bool


_MODES = {
    "default": Mode(bins=24, rounds=4, first_round="space_filling", members=4, share=0.75, clip=CLIP),
    "paper": Mode(bins=48, rounds=5, first_round="random", members=1, share=1.0, clip=False),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Complete, checked parameters; ``NARS`` describes them."""

    pool: int
    flops_range: tuple[float, float] | None
    bins: int
    rounds: int
    recipe_rounds: int  # where there is one architecture
    first_round: str
    members: int
    clip: bool
    frozen: bool
    caution: float
    early_stopping: bool
    threshold: float
    share: float
    winners: int
    budgets: tuple[float, ...]

    @classmethod
    def check(
        cls,
        *,
        mode: str,
        pool: int,
        flops_range: Sequence[float] | None,
        bins: int | None,
        rounds: int | None,
        first_round: str | None,
        members: int | None,
        clip: bool | None,
        frozen: bool,
        caution: float,
        early_stopping: bool,
        threshold: float,
        share: float | None,
        winners: int,
        budgets: Sequence[float],
    ) -> Settings:
        """The settings of a user's parameters.

        Raises:
            SpecError: naming the parameter, and the valid values.
        """
        given = _MODES[one_of("mode", mode, MODES)]
        turns = whole("rounds", given.rounds if rounds is None else rounds, 1)
        return cls(
            pool=whole("pool", pool, 2),
            flops_range=_range(flops_range),
            bins=whole("bins", given.bins if bins is None else bins, 1),
            rounds=turns,
            recipe_rounds=min(turns, RECIPE_ROUNDS) if rounds is None else turns,
            first_round=one_of("first_round", first_round or given.first_round, FIRST_ROUNDS),
            members=whole("members", given.members if members is None else members, 1),
            clip=flag("clip", given.clip if clip is None else clip),
            frozen=flag("frozen", frozen),
            caution=_caution(caution),
            early_stopping=flag("early_stopping", early_stopping),
            threshold=_share("threshold", threshold),
            share=_share("share", given.share if share is None else share),
            winners=whole("winners", winners, 1),
            budgets=_budgets(budgets),
        )

    @property
    def curves(self) -> int:
        """Complete curves from which the epoch is chosen at which later candidates stop."""
        # 0.29 * 100 is 28.999999999999996: what is meant is 29.
        return max(FEWEST, math.ceil(round(self.share * self.bins, 9)))


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _caution(value: Any) -> float:
    if not _number(value) or value < 0:
        raise SpecError(f"must be a number of at least 0, got {value!r}.", field=f"{FIELD}.caution")
    return float(value)


def _share(name: str, value: Any) -> float:
    if not _number(value) or not 0 < value <= 1:
        raise SpecError(f"must be a number above 0, at most 1, got {value!r}.", field=f"{FIELD}.{name}")
    return float(value)


def _numbers(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(_number(v) and v > 0 for v in value)


def _range(value: Any) -> tuple[float, float] | None:
    """Lowest and highest FLOPs."""
    if value is None:
        return None
    if not _numbers(value) or len(value) != 2 or value[0] >= value[1]:
        raise SpecError(
            f"must be two numbers, the lowest and the highest FLOPs, got {value!r}.",
            field=f"{FIELD}.flops_range",
            fix="Such as [400e6, 800e6].",
        )
    return float(value[0]), float(value[1])


def _budgets(value: Any) -> tuple[float, ...]:
    """Limits of FLOPs, in the order in which they take their turns."""
    if not _numbers(value) or len(set(value)) != len(value):
        raise SpecError(
            f"must be a list of different FLOPs above 0, got {value!r}.",
            field=f"{FIELD}.budgets",
            fix="Such as [450e6, 550e6, 650e6, 750e6], or leave it out: winners then keep to the search's constraints.",
        )
    return tuple(float(v) for v in value)
