"""Finding a finished training of the same thing anywhere in the store, so that it need not be repeated."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from xnas_ray.messages import TrialStatus
from xnas_ray.store.layout import Layout
from xnas_ray.store.parts import PartReader, add_search_id, concat
from xnas_ray.store.schema import TRIALS

Identity = tuple[str, str, str, int, int]

_IDENTITY = ("task_hash", "key", "recipe", "fidelity", "train_seed")
_REPEATED = ("search_id", "status", "task", "task_hash", "space", "recipe", "worker", "node", "environment")


class ReuseIndex:
    """Completed trials of the whole store by what determines their training.

    Args:
        root: folder of the store.
        max_age_s: ``find`` looks for new parts when the last look is older.
    """

    def __init__(self, root: Path | str, *, max_age_s: float = 5.0) -> None:
        """Read nothing yet."""
        self._layout = Layout(root)
        self._max_age_s = max_age_s
        self._refreshed_s = -float("inf")
        self._readers: dict[str, PartReader] = {}
        self._tables: list[pa.Table] = []
        self._found: dict[Identity, tuple[int, int, bool]] = {}  # table, row, whether it was reused itself

    def find(self, task_hash: str, key: str, recipe_json: str, fidelity: int, train_seed: int) -> dict[str, Any] | None:
        """A completed trial of the same training, as its row; one that trained itself before one that was reused.

        Args:
            task_hash: of the task's code.
            key: isomorphism class of the architecture.
            recipe_json: the whole recipe, as ``TrialRow.recipe`` has it.
            fidelity: epochs.
            train_seed: seed of the training.

        Returns:
            Every column of the trial (``metric_<name>`` included, null ones too) or None.

        Raises:
            StoreError: a part is damaged.
        """
        if time.monotonic() - self._refreshed_s >= self._max_age_s:
            self.refresh()
        place = self._found.get((task_hash, key, recipe_json, fidelity, train_seed))
        if place is None:
            return None
        table, row, _ = place
        return self._tables[table].slice(row, 1).to_pylist()[0]

    def refresh(self) -> int:
        """Read the parts that are new since the last time; how many trainings are known now.

        Raises:
            StoreError: a part is damaged.
        """
        self._refreshed_s = time.monotonic()
        for search_id in self._layout.search_ids("trials"):
            folder = self._layout.table("trials", search_id)
            reader = self._readers.setdefault(search_id, PartReader(folder, TRIALS))
            tables = reader.read_new()
            if tables:
                self._add(add_search_id(concat(tables, TRIALS), search_id))
        return len(self._found)

    def _add(self, table: pa.Table) -> None:
        table = table.filter(pc.equal(table.column("status"), TrialStatus.COMPLETED.value))
        identities = zip(*(table.column(name).to_pylist() for name in _IDENTITY), strict=True)
        reused = table.column("reused_from").is_valid().to_pylist()
        number = len(self._tables)
        for row, (identity, copied) in enumerate(zip(identities, reused, strict=True)):
            known = self._found.get(identity)
            if known is None or (known[2] and not copied):
                self._found[identity] = (number, row, copied)
        self._tables.append(_compacted(table))


def _compacted(table: pa.Table) -> pa.Table:
    """The table with texts that repeat kept once."""
    for name in _REPEATED:
        index = table.column_names.index(name)
        table = table.set_column(index, name, table.column(index).dictionary_encode())
    return table.combine_chunks()
