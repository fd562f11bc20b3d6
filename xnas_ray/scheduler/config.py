"""Settings of the scheduler."""

from __future__ import annotations

from dataclasses import dataclass

MAX_LINE = 16
"""Trials that a worker holds at most."""


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """How the scheduler behaves; all times in seconds.

    Attributes:
        max_running_searches: searches that run at once; the others wait in the queue.
        prefetch_below_s: a worker holds one trial in advance while trials are shorter than this; 0 never.
        line_s: a worker holds more in advance, at most ``MAX_LINE``, while all that it holds is shorter than this:
            trials shorter than a call then travel several a call.
        infrastructure_retries: attempts that may die with a worker or node before the trial fails.
        backoff_s: waits before the first, second, third … new attempt; the last value repeats.
        failures_in_a_row: failed trials without a completed one between them that pause a search.
        gang_patience_s: after this, running trials make room for a gang by a checkpoint.
        lease_s: a worker that was not heard for this long is killed; None trusts for ever.
        kill_after_s: a worker that does not obey a stop for this long is killed.
        buffer_waste: candidates are proposed ahead when a worker would otherwise wait for a proposal for more than
            this share of its time.
        start_attempts: workers that may die one after the other while starting on a node before it gets a rest.
        start_rest_s: the first rest of such a node; it doubles, up to 64 times.
        turn_s: a shape that can only have the place of others gets a turn when they are so far ahead, in seconds of
            the whole cluster over priority.
    """

    max_running_searches: int = 8
    prefetch_below_s: float = 1.0
    line_s: float = 0.04
    infrastructure_retries: int = 5
    backoff_s: tuple[float, ...] = (1.0, 2.0, 4.0)
    failures_in_a_row: int = 10
    gang_patience_s: float = 600.0
    lease_s: float | None = 60.0
    kill_after_s: float = 10.0
    buffer_waste: float = 0.01
    start_attempts: int = 5
    start_rest_s: float = 30.0
    turn_s: float = 60.0
