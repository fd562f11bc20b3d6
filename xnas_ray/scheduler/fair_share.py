"""Stride scheduling over priority-weighted resource-seconds.

Waldspurger and Weihl, "Stride Scheduling: Deterministic Proportional-Share Resource Management" (1995): every search
has a pass; the search with the lowest pass is served and its pass grows by what it was given, divided by its priority.
What is given is (dominant share of the cluster) x (seconds): an estimate when a trial is dispatched, corrected when
its true duration is known. Searches of one worker shape compete for the same workers and have one virtual clock.
"""

from __future__ import annotations

from collections.abc import Iterable

from xnas_ray.scheduler.nodes import Shape
from xnas_ray.scheduler.records import Search

FIRST_ESTIMATE_S = 1.0
SHORTEST_S = 1e-6
CREDIT_ROUNDS = 2.0


class FairShare:
    """Keeps the passes of all searches."""

    def __init__(self) -> None:
        """All clocks begin at 0."""
        self._virtual_s: dict[Shape, float] = {}

    def wake(self, search: Search, others: Iterable[Search]) -> None:
        """A search begins to run, beside others: it starts at the current virtual time and banks no credit."""
        if any(other.shape == search.shape for other in others):
            level = self._virtual_s.get(search.shape, 0.0)
        else:
            level = max(self._virtual_s.values(), default=0.0)
        search.virtual_s = max(search.virtual_s, level)
        self._advance(search)

    @staticmethod
    def stride(search: Search, share: float, seconds: float | None = None) -> float:
        """By how much a trial of that many seconds, or of the search's recent trial time, moves the pass."""
        if seconds is None:
            seconds = search.trial_s if search.trial_s is not None else FIRST_ESTIMATE_S
        return max(seconds, SHORTEST_S) * share / search.config.priority

    def charge(self, search: Search, share: float) -> float:
        """Charge a dispatch by the search's recent trial time; returns the charge."""
        self._advance(search)
        charged = self.stride(search, share)
        search.virtual_s += charged
        return charged

    def _advance(self, search: Search) -> None:
        if search.virtual_s > self._virtual_s.get(search.shape, 0.0):
            self._virtual_s[search.shape] = search.virtual_s

    def correct(self, search: Search, share: float, charged: float, seconds: float) -> None:
        """Replace the charge of an attempt by what it really took."""
        search.virtual_s += self.stride(search, share, seconds) - charged

    def pass_over(self, search: Search, served: Search) -> None:
        """A search whose turn it was had nothing to run: it keeps no more credit than two rounds of the cluster.

        The two rounds let it catch up what it missed while its next candidates were on their way.
        """
        credit = CREDIT_ROUNDS * self.stride(search, 1.0) if search.coming else 0.0
        search.virtual_s = max(search.virtual_s, served.virtual_s - credit)


def lowest(searches: Iterable[Search]) -> Search | None:
    """Who is served next; ties go to the one submitted first."""
    return min(searches, key=lambda s: (s.virtual_s, s.order), default=None)
