"""Findings: statements about a search with the statistic that they rest on, and one rule for what may be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["agree", "disagree", "undecided"]

SIGNIFICANT = 0.05
"""Below it, after Holm's correction, a finding is decided."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of two sources, and what the numbers are.

    Attributes:
        about: which part of the page it belongs to: ``"motifs"``, ``"influence"``, ``"layers"``, ``"tree"`` or
            ``"trials"``.
        asked: the question, as text.
        yes: what it means that they agree.
        no: what it means that they disagree.
        statistic: name of the number.
        value: the number; its sign says which of the two.
        n: how many things were compared.
        of: what these are.
        p: two-sided, before any correction; NaN where there is too little to test.
        low: lower end of a 95 % interval of the value, NaN where none is known.
        high: its upper end.
        units: what there have to be enough of for a test, where these are other things than were compared.
    """

    about: str
    asked: str
    yes: str
    no: str
    statistic: str
    value: float
    n: int
    of: str
    p: float
    low: float = np.nan
    high: float = np.nan
    units: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A question with its answer.

    Attributes:
        about: as ``Question`` has it, likewise ``asked``, ``statistic``, ``value``, ``n``, ``of``, ``p``, ``low``
            and ``high``.
        verdict: ``"agree"``, ``"disagree"``, or ``"undecided"`` where chance could have done as much.
        statement: the answer as a sentence.
        p_adjusted: after Holm's correction over all questions of the page; NaN where nothing was tested.
    """

    about: str
    asked: str
    verdict: Verdict
    statement: str
    statistic: str
    value: float
    n: int
    of: str
    p: float
    p_adjusted: float
    low: float
    high: float


def answered(questions: Sequence[Question]) -> tuple[Finding, ...]:
    """Answers in the order of the questions.

    A question is decided where p, corrected after Holm for all that were tested together, is below .05; the sign of the
    value decides. So at least 95 of 100 pages on which nothing goes with anything decide nothing.

    Args:
        questions: of one page.
    """
    adjusted = holm([question.p for question in questions])
    return tuple(_answer(question, p) for question, p in zip(questions, adjusted, strict=True))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p values (Scandinavian Journal of Statistics 6, 1979); NaN stays NaN and does not count."""
    values = np.asarray(p, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    scaled = values[order] * np.arange(len(order), 0, -1)
    adjusted = np.full(len(values), np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return [float(value) for value in adjusted]


def _answer(question: Question, adjusted: float) -> Finding:
    q = question
    verdict: Verdict = "undecided"
    if adjusted < SIGNIFICANT and q.value != 0:
        verdict = "agree" if q.value > 0 else "disagree"
    said = {"agree": q.yes, "disagree": q.no, "undecided": "These data do not decide it"}[verdict]
    return Finding(
        *(q.about, q.asked, verdict, f"{said}: {_numbers(q, adjusted)}.", q.statistic, q.value, q.n, q.of),
        *(q.p, adjusted, q.low, q.high),
    )


def _numbers(q: Question, adjusted: float) -> str:
    if q.statistic == SPEARMAN:
        value = f"{q.value:+.2f}"
    else:
        between = "" if np.isnan(q.low) else f"95 % interval {q.low:+.3g} to {q.high:+.3g}; "
        value = f"{q.value:+.3g} ({between}positive is better)"
    tested = f"too few {q.units or q.of} to test" if np.isnan(adjusted) else f"p {_p(q.p)}, corrected {_p(adjusted)}"
    return f"{q.statistic} {value} over {q.n} {q.of}, {tested}"


def _p(value: float) -> str:
    """Two digits: what is corrected is a multiple of what is not, and should look like one."""
    return f"{value:.2g}" if value >= 0.0001 else "< 0.0001"


SPEARMAN = "rank correlation"
DIFFERENCE = "difference"
