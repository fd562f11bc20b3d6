"""What passes between controllers and the head: proposals one way, outcomes the other. Light: the head has no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass

from xnas_ray.messages import Candidate, Outcome
from xnas_ray.store.rows import Position


@dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate with all that the store and the workers must know of it.

    Attributes:
        candidate: what the controller proposed.
        key: its architecture's key.
        architecture: its architecture as the space writes it.
        recipe: canonical JSON of the whole recipe, the search's settings and the candidate's own.
        train_seed: seed of its training.
        flops: multiply-accumulates of one sample.
        params: trainable parameters.
        told_through: (epoch, seq) of the last outcome that the controller had been told.
        ask_s: seconds of CPU time that the proposal took.
        latency_table_ms: of a forward pass by the search's latency table; None where it has none.
    """

    candidate: Candidate
    key: str
    architecture: str
    recipe: str
    train_seed: int
    flops: int
    params: int
    told_through: Position
    ask_s: float
    latency_table_ms: float | None = None

    @property
    def costs(self) -> dict[str, float]:
        """What is known without training, as metrics."""
        latency = {} if self.latency_table_ms is None else {"latency_table_ms": self.latency_table_ms}
        return {"flops": float(self.flops), "params": float(self.params), **latency}

    def note(self) -> str:
        """JSON text of all but the candidate and what it had been told: kept in the asked row, for a restart."""
        names = ("key", "architecture", "recipe", "train_seed", "flops", "params")
        latency = {} if self.latency_table_ms is None else {"latency_table_ms": self.latency_table_ms}
        return json.dumps({**{name: getattr(self, name) for name in names}, **latency})

    @classmethod
    def from_note(cls, candidate: Candidate, told_through: Position, note: str) -> Proposal:
        """The proposal of an asked row."""
        return cls(candidate=candidate, told_through=told_through, ask_s=0.0, **json.loads(note))


@dataclass(frozen=True, slots=True)
class Told:
    """An outcome and its place in the store's order."""

    seq: Position
    outcome: Outcome
