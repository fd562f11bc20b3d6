"""How many architectures of NAS-Bench-1Shot1 a table of NAS-Bench-101 has: searches can be compared only on these.

``XNAS_DATA=data python experiments/reproduce/darts_im/coverage.py`` reads ``nasbench101_subset.parquet`` in the folder
that ``XNAS_DATA`` names; ``--table`` names another table with the columns ``adjacency`` and ``ops``. Architectures are
classes of isomorphic cells without loose ends. The third space has 118,524 cells to tell apart: half a minute.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from xnas_ray.spaces.nasbench1shot1 import PARENTS, NASBench1Shot1
from xnas_ray.spaces.nasbench101 import NASBench101
from xnas_ray.spaces.nasbench101_cell import PrunedCell, representatives

TABLE = "nasbench101_subset.parquet"


@dataclass(frozen=True)
class Coverage:
    """Classes of a space, and how many of them a table has."""

    variant: int
    classes: int
    found: int

    @property
    def share(self) -> float:
        """Of the classes, from 0 to 1."""
        return self.found / self.classes


def class_of(cell: PrunedCell) -> PrunedCell:
    """The first of all cells that are isomorphic to this one."""
    return representatives(cell, NASBench101().network)[0]


def classes_of_table(path: Path) -> set[PrunedCell]:
    """Classes of the cells of a table."""
    space = NASBench101()
    rows = pq.read_table(path, columns=list(space.table_columns)).to_pydict()
    pairs = zip(rows["adjacency"], rows["ops"], strict=True)
    return {class_of(space.cell(space.parse(f"{adjacency} {ops}"))) for adjacency, ops in pairs}


def coverage(variant: int, known: set[PrunedCell]) -> Coverage:
    """Count the classes of a variant, and those among ``known``."""
    classes = {class_of(cell) for cell in NASBench1Shot1(variant=variant).cells()}
    return Coverage(variant, len(classes), len(classes & known))


def default_table() -> Path | None:
    """The table in the folder that ``XNAS_DATA`` names."""
    folder = os.environ.get("XNAS_DATA")
    return Path(folder) / TABLE if folder else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row a variant."""
    parser = argparse.ArgumentParser(description="Architectures of NAS-Bench-1Shot1 in a table of NAS-Bench-101.")
    parser.add_argument("--table", type=Path, default=default_table(), help=f"default: {TABLE} in XNAS_DATA")
    parser.add_argument("--variants", type=int, nargs="+", choices=list(PARENTS), default=list(PARENTS))
    given = parser.parse_args(arguments)
    if given.table is None:
        parser.error("XNAS_DATA is not set: name a table with --table.")
    known = classes_of_table(given.table)
    print(f"| space | architectures | in the table ({len(known):,}) | share |\n|---|---|---|---|")
    for variant in given.variants:
        found = coverage(variant, known)
        print(f"| {variant} | {found.classes:,} | {found.found:,} | {found.share:.2%} |", flush=True)


if __name__ == "__main__":
    main()
