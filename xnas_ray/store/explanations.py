"""Explanations before they are written: any table, with the columns by which the newest one is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from xnas_ray.errors import StoreError
from xnas_ray.store import schema
from xnas_ray.store.layout import EXPLANATIONS

if TYPE_CHECKING:
    import pandas as pd


def as_arrow(table: pa.Table | pd.DataFrame, kind: str, search_id: str) -> pa.Table:
    """What a controller or objective gave as an Arrow table, without the search's id.

    Raises:
        StoreError: reserved or ambiguous names of columns, values that Arrow cannot hold, or another search's id.
    """
    field = f"{EXPLANATIONS}/{kind}"
    if not isinstance(table, pa.Table):
        frame = table if type(table.index).__name__ == "RangeIndex" else table.reset_index()
        try:
            table = pa.Table.from_pandas(frame.rename(columns=str), preserve_index=False)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise StoreError(f"these explanations are no table that Arrow can hold: {error}.", field=field) from error
    names = table.column_names
    reserved = [name for name in names if name in schema.EXPLANATIONS.schema.names]
    if reserved or len({name.casefold() for name in names}) < len(names):
        raise StoreError("columns are reserved, or differ in their case only.", field=field, valid=names)
    if "search_id" not in names:
        return table
    if set(table.column("search_id").to_pylist()) - {search_id}:
        raise StoreError("these explanations name another search.", field=f"{field}.search_id", valid=[search_id])
    return table.drop_columns(["search_id"])


def stamped(table: pa.Table, epoch: int, seq: int) -> pa.Table:
    """The table with the columns by which readers find the newest one, and each row once."""
    count = table.num_rows
    stamps = [pa.repeat(pa.scalar(epoch, pa.int32()), count), pa.repeat(pa.scalar(seq, pa.int64()), count)]
    stamps.append(pa.array(range(count), pa.int64()))
    names = [*schema.EXPLANATIONS.schema.names, *table.column_names]
    return pa.Table.from_arrays([*stamps, *table.columns], names=names)
