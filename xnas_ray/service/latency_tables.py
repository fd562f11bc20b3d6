"""Latency tables that searches name: read where a search is submitted, kept in the store, found there ever after.

A specification names a table as ``objective_params.latency_table_ms.table``:

- ``data/phone.json``: a file of the task's folder, which travels with the task, over HTTP too;
- ``/tables/phone.json``: any other file that the service can read. Its content is copied to
  ``latency_tables/<hash>.json`` of the store, and ``@`` and the hash are appended to the name, so that neither a
  restart nor a search that comes from this one depends on the file any longer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from xnas_ray.errors import SpecError, TableError
from xnas_ray.spaces.constrained import LATENCY
from xnas_ray.spaces.latency_table import LatencyTable, hash_of, read_bytes, write_whole
from xnas_ray.spec import SearchSpec, parse_constraint
from xnas_ray.store.layout import Layout

FIELD = f"objective_params.{LATENCY}.table"
_PINNED = re.compile(r"(.+)@([0-9a-f]{32})")
_FORMS = "It is the absolute path of a file that `xnas latency-table` wrote, or a path in the task's folder: data/…"


def looked_up(spec: SearchSpec) -> bool:
    """Whether a search's objectives or constraints are about the latency of a table."""
    return LATENCY in spec.objectives or any(parse_constraint(text)[0] == LATENCY for text in spec.constraints)


def pinned(root: Path, spec: SearchSpec) -> SearchSpec:
    """The specification with its table in the store; itself where none is named, or it is where it will be found.

    Args:
        root: folder of the store.
        spec: of a search that is submitted.

    Raises:
        SpecError: a latency is asked for, but no table is named.
        TableError: the file cannot be read, or is no latency table.
        StoreError: it cannot be copied.
    """
    if not looked_up(spec):
        return spec
    name = _name(spec)
    path, wanted = _parts(name)
    if _travels(name) or (wanted and Layout(root).latency_table(wanted).is_file()):
        return spec  # ``table_of`` reads it
    content = read_bytes(Path(path))
    found = LatencyTable.parse(content, path)
    if wanted and found.hash != wanted:
        raise TableError(f"{path} has other content than it had.", field=FIELD, fix=f"Leave out @{wanted}.")
    kept = Layout(root).latency_table(found.hash)
    if not kept.is_file():
        write_whole(kept, content)
    params = {**spec.objective_params, LATENCY: {**spec.objective_params[LATENCY], "table": f"{path}@{found.hash}"}}
    return spec.model_copy(update={"objective_params": params})


def table_of(root: Path, spec: SearchSpec, folder: Path) -> LatencyTable | None:
    """The table of a stored search; None for one that has none.

    Args:
        root: folder of the store.
        spec: of the search, ``pinned``.
        folder: the task's bundle.

    Raises:
        TableError: it is no longer there, or damaged.
    """
    return read_table(root, _name(spec), folder) if looked_up(spec) else None


def read_table(root: Path, name: str, folder: Path) -> LatencyTable:
    """The table of a pinned name.

    Raises:
        SpecError: the name has neither form, or leads out of the task's folder.
        TableError: the file is not there, damaged, or another one.
    """
    if _travels(name):
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise SpecError(f"{name!r} lies outside the task's folder.", field=FIELD, fix=_FORMS)
        return LatencyTable.load(path)
    path, wanted = Layout(root).latency_table(_parts(name)[1]), _parts(name)[1]
    content = read_bytes(path)
    if hash_of(content) != wanted:
        raise TableError(f"{path} is not what its name says.", field=FIELD, fix="Submit the search again.")
    return LatencyTable.parse(content, str(path))


def kept_hash(spec: Mapping[str, Any]) -> str:
    """Hash of the store's copy that a stored specification needs; empty where it needs none."""
    name = spec.get("objective_params", {}).get(LATENCY, {}).get("table", "")
    found = _PINNED.fullmatch(str(name))
    return found[2] if found else ""


def refuse_paths(root: Path, spec: SearchSpec) -> None:
    """Refuse a table that neither travels with its task nor is in the store: over HTTP a path is of the wrong machine.

    Args:
        root: folder of the store.
        spec: as a client sends it.

    Raises:
        SpecError: the table is named by a path, or by a hash that the store does not have.
    """
    if spec.objective_params.get(LATENCY, {}).get("table") is None:
        return
    name = _name(spec)
    if not _travels(name) and not ((kept := _parts(name)[1]) and Layout(root).latency_table(kept).is_file()):
        raise SpecError(
            f"{name!r} is a file of one machine, and files are not sent over HTTP.",
            field=FIELD,
            fix="Put it into the task's folder, and name it data/NAME.json: it travels with the task.",
        )


def _name(spec: SearchSpec) -> str:
    name = spec.objective_params.get(LATENCY, {}).get("table")
    if not isinstance(name, str) or not name.strip():
        got = "is missing" if name is None else f"must be a text, got {name!r}"
        raise SpecError(f"{got}.", field=FIELD, fix=_FORMS)
    return name


def _travels(name: str) -> bool:
    """Whether a name is one in the task's folder."""
    return not PurePosixPath(name).is_absolute() and not name.startswith("~")


def _parts(name: str) -> tuple[str, str]:
    """Path and hash, which is empty in a name that is not pinned."""
    found = _PINNED.fullmatch(name)
    path, wanted = (found[1], found[2]) if found else (name, "")
    return str(Path(path).expanduser()), wanted
