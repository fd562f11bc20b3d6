"""What may be said of numbers: Holm's correction and three verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xnas_ray.report.findings import DIFFERENCE, SPEARMAN, Question, answered, holm


def question(value: float, p: float, statistic: str = SPEARMAN, **more: float) -> Question:
    return Question("motifs", "Do they?", "They do", "They do not", statistic, value, 20, "motifs", p, **more)


def test_holm_on_a_known_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0], "no p is above 1"


def test_what_was_not_tested_does_not_count():
    found = holm([0.02, np.nan, 0.02])
    assert found[0] == found[2] == 0.04 and math.isnan(found[1])
    assert holm([]) == []


def test_the_sign_decides_only_what_p_allows():
    good, bad, weak, unknown = answered(
        [question(0.8, 0.001), question(-0.8, 0.001), question(0.9, 0.06), question(1.0, np.nan)]
    )
    assert (good.verdict, bad.verdict, weak.verdict, unknown.verdict) == ("agree", "disagree", "undecided", "undecided")
    assert good.statement == "They do: rank correlation +0.80 over 20 motifs, p 0.001, corrected 0.003."
    assert bad.statement.startswith("They do not: rank correlation -0.80")
    assert (
        weak.statement == "These data do not decide it: rank correlation +0.90 over 20 motifs, p 0.06, corrected 0.06."
    )
    assert unknown.statement.endswith("over 20 motifs, too few motifs to test.")


def test_more_questions_need_more_evidence():
    alone = answered([question(0.5, 0.02)])
    beside = answered([question(0.5, 0.02), *[question(0.0, 0.9)] * 4])
    assert (
        alone[0].verdict == "agree" and beside[0].verdict == "undecided" and beside[0].p_adjusted == pytest.approx(0.1)
    )


def test_differences_have_their_interval():
    [found] = answered([question(1.5, 1e-9, DIFFERENCE, low=1.0, high=2.0)])
    assert (
        "difference +1.5 (95 % interval +1 to +2; positive is better) over 20 motifs, p < 0.0001, corrected < 0.0001"
        in found.statement
    )
