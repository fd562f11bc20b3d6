"""How long the jobs of worker arrays stay: a little less than their time limit, and never all equally long."""

from __future__ import annotations

from dataclasses import dataclass

from xnas_ray.slurm.parameters import SlurmParameters

CHECKPOINT_S = 15
"""Seconds after ``drain_s`` in which trials of a leaving node write checkpoints and their workers end.

The head waits 10 s for them (``kill_after_s``) and looks at the nodes every 2 s (``nodes_every_s``).
"""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """When each job of an array leaves, counted from its own start.

    The first one stays longest: ``signal_s`` less than the time limit, or ``lifetime_min`` if that is less. Each one
    after it leaves earlier by ``stagger_s``, or by as much less as it takes that the last one still stays for half of
    the longest time. Task ``i`` leaves after ``longest_s - floor(i * spacing_ms / 1000)`` seconds.

    Attributes:
        longest_s: of the first task; 0 for no end.
        spacing_ms: by how much each task leaves before the one with the next lower number.
    """

    longest_s: int
    spacing_ms: int

    @classmethod
    def of(cls, parameters: SlurmParameters, count: int) -> Lifetimes:
        """Those of an array of so many jobs."""
        limits_s = []
        if parameters.timeout_min:
            limits_s.append(parameters.timeout_min * 60 - parameters.signal_s)
        if parameters.lifetime_min:
            limits_s.append(parameters.lifetime_min * 60)
        longest_s = min(limits_s, default=0)
        spacing_ms = min(parameters.stagger_s * 1000, longest_s * 500 // max(1, count - 1))
        return cls(longest_s, spacing_ms)

    def seconds(self, task: int) -> int:
        """When the task leaves, 0 if never."""
        return self.longest_s - task * self.spacing_ms // 1000 if self.longest_s else 0
