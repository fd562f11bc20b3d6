"""How long the jobs of an array stay."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.slurm.lifetimes import Lifetimes
from xnas_ray.slurm.parameters import SlurmParameters


def lives(count: int, **changes: int) -> list[int]:
    found = Lifetimes.of(SlurmParameters(**changes), count)
    return [found.seconds(task) for task in range(count)]


def test_by_example():
    assert lives(3, timeout_min=60, signal_s=120, stagger_s=60) == [3480, 3420, 3360]
    assert lives(3, timeout_min=60, signal_s=120, stagger_s=60, lifetime_min=30) == [1800, 1740, 1680]
    assert lives(3, timeout_min=60, signal_s=120, stagger_s=1000) == [3480, 2610, 1740], "not below half of it"
    assert lives(2, timeout_min=0) == [0, 0], "without a limit they stay"
    assert lives(2, timeout_min=0, lifetime_min=1) == [60, 30]
    assert lives(1, timeout_min=1, signal_s=30, stagger_s=3600) == [30]


@given(
    st.integers(1, 2000),
    st.integers(2, 10_000),
    st.integers(10, 65_535),
    st.integers(0, 86_400),
    st.integers(0, 10_000),
)
def test_all_leave_in_time_and_not_together(count, timeout_min, signal_s, stagger_s, lifetime_min):
    signal_s = min(signal_s, timeout_min * 30)
    changes = {"timeout_min": timeout_min, "signal_s": signal_s, "stagger_s": stagger_s}
    found = lives(count, **changes, lifetime_min=min(lifetime_min, timeout_min))
    longest = found[0]
    assert longest <= timeout_min * 60 - signal_s and (not lifetime_min or longest <= lifetime_min * 60)
    assert all(0 <= before - after <= stagger_s for before, after in itertools.pairwise(found))
    assert all(2 * life >= longest for life in found), "each stays for half of the longest time"
    if stagger_s and longest * 1000 >= 2 * 1000 * (count - 1):
        assert len(set(found)) == count, "no two leave together"
