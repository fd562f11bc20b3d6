"""Reading a store, also while it is being written: tables as pandas frames, and finding searches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from xnas_ray.errors import SearchNotFoundError, StoreError
from xnas_ray.store import schema
from xnas_ray.store.ids import is_search_id, normalised
from xnas_ray.store.layout import EXPLANATIONS, Layout, check_kind
from xnas_ray.store.parts import PartReader, add_search_id, read_table
from xnas_ray.store.schema import conform

if TYPE_CHECKING:
    import pandas as pd

LATEST = "latest"
SHORTEST_PREFIX = 4
_SHOWN = 10
_LISTED = (
    *("search_id", "epoch", "seq", "at", "state", "reason", "name", "task", "controller", "summary"),
    *("idempotency_key", "submitted_by"),
)
"""What a listing needs: everything but specifications, which are nearly all of the table's bytes."""
_LASTING = ("name", "task", "controller", "idempotency_key", "submitted_by", "summary")


def load_trials(
    root: Path | str, search_id: str | None = None, *, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Finished trials, each once, in the order in which their outcomes were told; later searches last.

    Genotypes are tuples; ``recipe``, ``origin`` and ``environment`` are JSON text; a metric that a trial does not have
    is NaN.

    Args:
        root: folder of the store.
        search_id: one search (an id, a unique prefix of one, or ``"latest"``), None for all.
        columns: only these, in this order; None for all.

    Raises:
        SearchNotFoundError: no such search.
        StoreError: a part is damaged, or no such column.
    """
    layout = Layout(root)
    partitions = _chosen(layout, "trials", search_id)
    found = read_table(layout, "trials", partitions, columns)
    if columns is None:
        return _frame(found)
    missing = [name for name in columns if name not in found.column_names]
    if missing:
        found = _with_metrics(found, missing, read_table(layout, "trials", partitions).column_names)
    return _frame(found.select(list(columns)))


def _with_metrics(table: pa.Table, missing: Sequence[str], known: Sequence[str]) -> pa.Table:
    """The table with metrics that no trial has yet, because none completed; other missing columns are a mistake."""
    if any(name.startswith(schema.METRIC_PREFIX) for name in known):
        wrong = missing[0]
    else:
        wrong = next((name for name in missing if not name.startswith(schema.METRIC_PREFIX)), "")
    if wrong:
        raise StoreError(f"the trials have no column {wrong!r}.", field="columns", got=wrong, valid=known)
    for name in missing:
        table = table.append_column(name, pa.nulls(table.num_rows, pa.float64()))
    return table


def load_curves(root: Path | str, search_id: str | None = None, *, all_attempts: bool = False) -> pd.DataFrame:
    """Learning curves: one row a (search_id, trial, epoch, metric), with ``value``.

    Args:
        root: folder of the store.
        search_id: as for ``load_trials``.
        all_attempts: also what attempts measured that were later repeated; otherwise the last attempt's value counts.

    Raises:
        SearchNotFoundError: no such search.
        StoreError: a part is damaged.
    """
    layout = Layout(root)
    frame = _frame(read_table(layout, "curves", _chosen(layout, "curves", search_id)))
    if not all_attempts:
        frame = frame.drop_duplicates(["search_id", "trial", "epoch", "metric"], keep="last", ignore_index=True)
    return frame


def load_log(root: Path | str, search_id: str) -> pd.DataFrame:
    """What happened to the trials of a search before they ended, in order.

    Raises:
        SearchNotFoundError: no such search.
        StoreError: a part is damaged.
    """
    layout = Layout(root)
    return _frame(read_table(layout, "log", _chosen(layout, "log", search_id)))


def load_explanations(root: Path | str, kind: str, search_id: str | None = None) -> pd.DataFrame:
    """The newest explanations of a kind; of tables with a column ``trial`` the newest of each trial.

    Args:
        root: folder of the store.
        kind: such as ``"motifs"``.
        search_id: as for ``load_trials``.

    Raises:
        SearchNotFoundError: no such search.
        StoreError: no explanations of this kind, or a part is damaged.
    """
    import pandas as pd

    layout = Layout(root)
    if check_kind(kind) not in layout.explanation_kinds():
        raise StoreError(
            "the store has no explanations of this kind.", field="kind", got=kind, valid=layout.explanation_kinds()
        )
    table = f"{EXPLANATIONS}/{kind}"
    frames = [_newest(layout, table, one) for one in _chosen(layout, table, search_id)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"search_id": []})


def _newest(layout: Layout, table: str, search_id: str) -> pd.DataFrame:
    """Explanations of one search; parts whose columns have other types are joined by pandas, which is lenient."""
    import pandas as pd

    kind = schema.EXPLANATIONS
    tables = PartReader(layout.table(table, search_id), kind).read_new()
    if not tables:
        return pd.DataFrame({"search_id": []})
    frames = [_frame(add_search_id(conform(one, kind), search_id)) for one in tables]
    stamps = list(kind.key)
    frame = pd.concat(frames, ignore_index=True).drop_duplicates(stamps).sort_values(stamps, ignore_index=True)
    age = frame.groupby(["written_epoch", "written_seq"]).ngroup()
    newest = age.groupby(frame["trial"], dropna=False).transform("max") if "trial" in frame else age.max()
    return frame[age == newest].drop(columns=stamps).reset_index(drop=True)


# --------------------------------------------------------------------------------------------------------------------
# Searches
# --------------------------------------------------------------------------------------------------------------------


def list_searches(root: Path | str) -> pd.DataFrame:
    """One row a search, in the order of submission; reads ``searches/`` only.

    Columns: search_id, name, task, controller, state, reason, submitted_at, updated_at, idempotency_key,
    submitted_by, and ``summary_<name>`` for what the latest summary says.

    Raises:
        StoreError: a part is damaged.
    """
    return searches_frame(search_records(root))


def search_records(root: Path | str) -> list[dict[str, Any]]:
    """The rows of ``list_searches`` as mappings."""
    return [_search(rows) for rows in search_rows(Layout(root), _LISTED).values()]


def searches_frame(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """What ``list_searches`` makes of ``search_records``."""
    import pandas as pd

    columns = ["search_id", "name", "task", "controller", "state", "reason", "submitted_at", "updated_at"]
    return pd.DataFrame(list(records), columns=None if records else [*columns, "idempotency_key", "submitted_by"])


def _search(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the transitions of one search add up to."""
    known = {name: last_of(rows, name) for name in _LASTING}
    summary = json.loads(known["summary"] or "{}")
    return {
        "search_id": rows[0]["search_id"],
        "name": known["name"],
        "task": known["task"],
        "controller": known["controller"],
        "state": rows[-1]["state"],
        "reason": rows[-1]["reason"],
        "submitted_at": rows[0]["at"],
        "updated_at": rows[-1]["at"],
        "idempotency_key": known["idempotency_key"],
        "submitted_by": known["submitted_by"],
        **{f"summary_{name}": value for name, value in summary.items()},
    }


def search_rows(
    layout: Layout, columns: Sequence[str] | None = None, *, only: str | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Transitions of every search in order, by search id; searches in the order of submission.

    Args:
        layout: of the store.
        columns: only these, None for all.
        only: whole id of the one search that is wanted, None for all.
    """
    table = read_table(layout, "searches", [None], columns)
    if only is not None:
        table = table.filter(pc.equal(table.column("search_id"), only))
    found: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        found.setdefault(row["search_id"], []).append(row)
    return found


def last_of(rows: Sequence[dict[str, Any]], column: str) -> Any:
    """The last value of a column that is not null, None if there is none."""
    return next((row[column] for row in reversed(rows) if row[column] is not None), None)


def load_spec(root: Path | str, search_id: str) -> dict[str, Any]:
    """The resolved specification of a search, as last submitted or extended.

    Args:
        root: folder of the store.
        search_id: an id, a unique prefix of one, or ``"latest"``.

    Raises:
        SearchNotFoundError: no such search.
        StoreError: a part is damaged.
    """
    whole = resolve_search_id(root, search_id)
    spec = last_of(search_rows(Layout(root), ["search_id", "spec"])[whole], "spec")
    return json.loads(spec or "{}")


def kept_file(root: Path | str, search_id: str, trial: int, name: str) -> Path | None:
    """A file that a trial left behind; None where it is not kept.

    Args:
        root: folder of the store.
        search_id: the whole id.
        trial: number of a finished trial.
        name: of the file, such as ``weights.pt``.

    Raises:
        StoreError: no such trial, or its row names a place outside the store.
    """
    frame = load_trials(root, search_id, columns=["trial", "artifacts"])
    found = dict(zip(frame["trial"].tolist(), frame["artifacts"].tolist(), strict=True))
    if trial not in found:
        raise StoreError(f"search {search_id} has no finished trial {trial}.", field="trial", got=trial)
    path = Layout(root).inside(found[trial]) / name if isinstance(found[trial], str) else None
    return path if path is not None and path.is_file() else None


def resolve_search_id(root: Path | str, prefix: str) -> str:
    """The id of the search that is meant.

    Args:
        root: folder of the store.
        prefix: at least 4 characters with which one id starts, in any case, or ``"latest"``.

    Raises:
        SearchNotFoundError: none, or several start like this; the message lists them, or the newest ones.
        StoreError: a part is damaged.
    """
    ids = list(search_rows(Layout(root), ["search_id"]))
    newest = ids[: -_SHOWN - 1 : -1]
    if prefix == LATEST and ids:
        return ids[-1]
    wanted = normalised(prefix)
    matches = [one for one in ids if one.startswith(wanted)] if len(wanted) >= SHORTEST_PREFIX else []
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise SearchNotFoundError(
            f"{len(matches)} searches start with {wanted!r}.",
            field="search_id",
            valid=matches[: -_SHOWN - 1 : -1],
            fix="Give more characters.",
        )
    if len(wanted) < SHORTEST_PREFIX:
        problem = f"{prefix!r} is too short to name a search: give at least {SHORTEST_PREFIX} characters."
    else:
        problem = f"no search starts with {prefix!r}." if ids else f"there is no search in {Layout(root).root}."
    raise SearchNotFoundError(problem, field="search_id", got=wanted, valid=newest)


def _chosen(layout: Layout, table: str, search_id: str | None) -> list[str]:
    """Partitions to read: all, or the one of the search that is meant."""
    if search_id is None:
        return layout.search_ids(table)
    if is_search_id(search_id) and layout.table(table, search_id).is_dir():
        return [search_id]
    return [resolve_search_id(layout.root, search_id)]


# --------------------------------------------------------------------------------------------------------------------
# Frames
# --------------------------------------------------------------------------------------------------------------------


def _frame(table: pa.Table) -> pd.DataFrame:
    """Arrow to pandas: integers stay integers beside nulls, genotypes become tuples."""
    import pandas as pd

    nullable = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}
    gaps = [f.name for f in table.schema if f.type in nullable and table.column(f.name).null_count]
    frame = table.to_pandas(ignore_metadata=True)
    for name in gaps:
        values = table.column(name)
        frame[name] = pd.array(values.to_pylist(), dtype=nullable[values.type])
    if "genotype" in table.column_names:
        frame["genotype"] = pd.Series(list(map(tuple, table.column("genotype").to_pylist())), dtype=object)
    return frame
