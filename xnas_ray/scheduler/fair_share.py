"""Stride scheduling over priority-weighted resource-seconds.

Waldspurger and Weihl, "Stride Scheduling: Deterministic Proportional-Share Resource Management" (1995): every search
has a pass; the runnable search with the lowest pass is served and its pass grows by what it was given, divided by its
priority. What is given is (dominant share of the cluster) x (seconds): an estimate when a trial is dispatched,
corrected when its true duration is known.
"""

from __future__ import annotations

from collections.abc import Iterable

from xnas_ray.scheduler.records import Search

FIRST_ESTIMATE_S = 1.0


class FairShare:
    """Keeps the passes of all searches on one virtual clock."""

    def __init__(self) -> None:
        """The clock begins at 0."""
        self.virtual_s = 0.0

    def wake(self, search: Search) -> None:
        """A search wants something again: it starts at the current virtual time and banks no credit."""
        if search.dormant:
            search.dormant = False
            search.virtual_s = max(search.virtual_s, self.virtual_s)

    @staticmethod
    def stride(search: Search, share: float, seconds: float | None = None) -> float:
        """By how much a dispatch moves the pass."""
        estimate = search.trial_s if search.trial_s is not None else FIRST_ESTIMATE_S
        return (estimate if seconds is None else seconds) * share / search.config.priority

    def charge(self, search: Search, share: float) -> float:
        """Charge a dispatch by the search's recent trial time; returns the charge."""
        self.virtual_s = max(self.virtual_s, search.virtual_s)
        charged = self.stride(search, share)
        search.virtual_s += charged
        return charged

    def correct(self, search: Search, share: float, charged: float, seconds: float) -> None:
        """Replace the charge of an attempt by what it really took."""
        search.virtual_s += self.stride(search, share, seconds) - charged


def lowest(searches: Iterable[Search]) -> Search | None:
    """Who is served next; ties go to the one submitted first."""
    return min(searches, key=lambda s: (s.virtual_s, s.order), default=None)
