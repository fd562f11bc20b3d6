"""Shows the latest search of a store as DuckDB reads it: ``python -m xnas_ray.commands.duckdb_peek [STORE]``.

For machines that have DuckDB's Python package but not its command, which ``xnas run`` suggests.
"""

from __future__ import annotations

import sys
from pathlib import Path

from xnas_ray.client import Client
from xnas_ray.commands.console import say, say_table
from xnas_ray.commands.outcomes import duckdb_query, objectives_of


def peek(root: Path | None) -> None:
    """Print the query and its result.

    Raises:
        SearchNotFoundError: the store has no search.
    """
    import duckdb

    handle = Client(root).handle("latest")
    if handle.results().empty:
        say(f"search {handle.id} has no finished trial")
        return
    query = duckdb_query(handle.client.root, handle.id, objectives_of(handle)[0])
    found = duckdb.sql(query)
    say(query)
    say_table(found.columns, found.fetchall())


if __name__ == "__main__":
    peek(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
