"""NAS-Bench-201 with two objectives, and a duration for every architecture.

Validation accuracy on CIFAR-10 after 200 epochs and FLOPs of ``nasbench201.parquet``; an isomorphism class is looked up
through its cheapest member, for everybody. The table has no training times. Those of ``nasbench101_subset.parquet`` are
dealt to the classes, by a hash of the key: real in their spread, which is what decides how long a barrier waits. Both
files are read from the folder that ``XNAS_DATA`` names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from measures import ExactFront

from xnas_ray.benchmarks.table import TabularTask
from xnas_ray.messages import Genotype
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.datasets import data_file

ACCURACY, FLOPS = "val_accuracy", "flops"


class AccuracyAndFlops:
    """The task, its exact front, and how much of the front's hypervolume a search has found.

    Attributes:
        task: looks accuracy (percent) and FLOPs (millions) up.
    """

    def __init__(self, table: Path, times: Path) -> None:
        """Read both files."""
        self.space = NASBench201()
        self._times_s = pq.read_table(times, columns=["train_time_s"])["train_time_s"].to_numpy()
        self.task = TabularTask.from_parquet(
            table,
            self.space,
            objectives={ACCURACY: "cifar10_val_200", FLOPS: ("flops_m", "min")},
            duration_s=lambda row: self.duration_s(self.space.parse(row["arch"])),
        )

    def duration_s(self, genotype: Genotype) -> float:
        """Seconds of a training: always the same for a class."""
        digest = hashlib.blake2b(self.space.key(genotype).encode(), digest_size=8).digest()
        return float(self._times_s[int.from_bytes(digest, "big") % len(self._times_s)])

    def point(self, genotype: Genotype) -> tuple[float, float]:
        """Accuracy and negative FLOPs of a class: larger is better."""
        return self._signed(self.task.lookup(self.space.canonical(genotype)).metrics)

    @cached_property
    def exact(self) -> ExactFront:
        """The front of all classes."""
        return ExactFront(np.array([self.point(genotype) for genotype in self.space.enumerate()]))

    def share(self, points: Sequence[Sequence[float]] | np.ndarray) -> float:
        """Share of the exact front's hypervolume that these points dominate."""
        return self.exact.share(points)

    def share_of_frame(self, frame: Any) -> float:
        """The same of a simulated search."""
        return self.share(np.column_stack([frame[ACCURACY], -frame[FLOPS]]))

    @staticmethod
    def _signed(metrics: Mapping[str, float]) -> tuple[float, float]:
        return metrics[ACCURACY], -metrics[FLOPS]


def load() -> AccuracyAndFlops:
    """The task from ``XNAS_DATA``.

    Raises:
        DataMissingError: the variable is unset or the folder lacks a file.
    """
    files = ("nasbench201.parquet", "nasbench101_subset.parquet")
    return AccuracyAndFlops(*(data_file(name, "Set XNAS_DATA to the folder that has it.") for name in files))
