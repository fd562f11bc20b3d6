"""Measured time of a forward pass."""

from __future__ import annotations

import statistics
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from xnas_ray.errors import ObjectiveError
from xnas_ray.objectives.base import Objective
from xnas_ray.objectives.registry import register_objective
from xnas_ray.objectives.timing import device_name, time_passes
from xnas_ray.training.trained import TrainedCandidate, autocast, place

if TYPE_CHECKING:
    import pandas as pd


@register_objective("latency_ms")
class Latency(Objective):
    """Median time of a forward pass on the worker's device, in evaluation mode, warmed up.

    Precision and memory format are those of the recipe. Latencies of different devices do not compare: the table
    ``latency`` notes the device, the threads and the spread.

    Args:
        batch_size: samples of one pass; validation samples are taken, repeated where there are fewer.
        repeats: timed passes.
        warmup: passes before them.
    """

    name = "latency_ms"
    direction = "min"
    unit = "ms"

    def __init__(self, *, batch_size: int = 1, repeats: int = 31, warmup: int = 5) -> None:
        for field, value, low in (("batch_size", batch_size, 1), ("repeats", repeats, 1), ("warmup", warmup, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ObjectiveError(f"must be a whole number from {low}, got {value!r}.", field=f"latency_ms.{field}")
        self.batch_size, self.repeats, self.warmup = batch_size, repeats, warmup
        self._times_ms: weakref.WeakKeyDictionary[TrainedCandidate, list[float]] = weakref.WeakKeyDictionary()

    def measure(self, trained: TrainedCandidate) -> float:
        """Median of ``repeats`` passes, in milliseconds."""
        self._times_ms[trained] = self._time(trained)
        return statistics.median(self._times_ms[trained])

    def tables(self, trained: TrainedCandidate) -> Mapping[str, pd.DataFrame]:
        """``latency``: one row with the device, the batch size and quartiles in milliseconds."""
        import pandas as pd

        times = self._times_ms.get(trained) or self._time(trained)
        low, middle, high = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
        row = {
            "device": device_name(trained.device),
            "threads": torch.get_num_threads(),
            "batch_size": self.batch_size,
            "repeats": self.repeats,
            "lower_quartile_ms": low,
            "median_ms": middle,
            "upper_quartile_ms": high,
        }
        return {"latency": pd.DataFrame([row])}

    def _time(self, trained: TrainedCandidate) -> list[float]:
        split, model, device = trained.data.validation, trained.model, trained.device
        rows = torch.arange(self.batch_size, device=split.targets.device) % len(split)
        inputs = tuple(place(x.index_select(0, rows), trained.recipe, device).to(device) for x in split.inputs)
        with autocast(trained.recipe, device):
            return time_passes(model, inputs, device, repeats=self.repeats, warmup=self.warmup)
