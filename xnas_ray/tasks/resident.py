"""Data that stay in memory between trials: a worker reads each data set once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch

from xnas_ray.randomness import canonical_json
from xnas_ray.tasks.base import Data
from xnas_ray.tasks.loading import LoadedTask


class ResidentData:
    """Data sets by (task hash, device, parameters), the least recently used one out first.

    A data set larger than the whole capacity is still served: it stays on the CPU, and alone.

    Args:
        capacity_bytes: most memory that all of them take (``data_memory_bytes``).
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self._held: OrderedDict[tuple[str, str, str], Data] = OrderedDict()

    @property
    def bytes(self) -> int:
        """Memory that the data sets take now."""
        return sum(data.bytes for data in self._held.values())

    def __len__(self) -> int:
        """Number of data sets held."""
        return len(self._held)

    def get(
        self, task: LoadedTask, device: torch.device | str = "cpu", params: Mapping[str, Any] | None = None
    ) -> Data:
        """The task's data on the device when they fit there, else on the CPU.

        Raises:
            TaskError: load_data.py fails.
            DataMissingError: the files are not on this machine.
        """
        key = (task.hash, str(device), canonical_json(params or {}))
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        data = task.load_data(**(params or {}))
        self._make_room(data.bytes)
        if data.bytes <= self.capacity_bytes:
            data = _moved(data, torch.device(device))
        self._held[key] = data
        return data

    def _make_room(self, needed: int) -> None:
        while self._held and self.bytes + needed > self.capacity_bytes:
            self._held.popitem(last=False)


def _moved(data: Data, device: torch.device) -> Data:
    if device.type == "cpu":
        return data
    try:
        return data.to(device)
    except torch.OutOfMemoryError:  # networks may still fit: batches are then moved one by one
        torch.cuda.empty_cache()
        return data
