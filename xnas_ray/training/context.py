"""What surrounds a trial while it trains: where it writes, whom it tells, and whether it must stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

Stop = Literal["", "cancel", "checkpoint"]


class TrialContext(Protocol):
    """The side of a worker that a training sees.

    Attributes:
        folder: where it may write, its checkpoint among others; None writes nothing.
        checkpoint_every_s: a checkpoint follows the end of an epoch when the last one is older.
        resume_from: a checkpoint to continue from.
    """

    @property
    def folder(self) -> Path | None:
        """See the class."""

    @property
    def checkpoint_every_s(self) -> float:
        """See the class."""

    @property
    def resume_from(self) -> Path | None:
        """See the class."""

    def report(self, record: Mapping[str, float]) -> None:
        """Take the record of an epoch; called once an epoch, must be quick."""

    def stop_requested(self) -> Stop:
        """``"cancel"``, ``"checkpoint"`` or ``""``; called before every batch, must be quick."""


@dataclass
class LocalContext:
    """A context within one process: records are kept, stopping is a field that anyone sets.

    Attributes:
        folder: see ``TrialContext``.
        checkpoint_every_s: see ``TrialContext``.
        resume_from: see ``TrialContext``.
        stop: what ``stop_requested`` answers.
        records: what was reported.
    """

    folder: Path | None = None
    checkpoint_every_s: float = 30.0
    resume_from: Path | None = None
    stop: Stop = ""
    records: list[dict[str, float]] = field(default_factory=list)

    def report(self, record: Mapping[str, float]) -> None:
        """Keep the record."""
        self.records.append(dict(record))

    def stop_requested(self) -> Stop:
        """The field ``stop``."""
        return self.stop
