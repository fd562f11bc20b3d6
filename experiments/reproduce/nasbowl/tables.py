"""The tables of these experiments by name: what to search, and the best that a search of it can find.

``cifar10``, ``cifar100``: all of NAS-Bench-201, validation accuracy after 200 epochs. ``nasbench101``: a subset of
NAS-Bench-101 after 108 epochs, searched within its rows. Both are read from the folder that ``XNAS_DATA`` names.
Every other accuracy of ``nasbench201.parquet`` is a table by the name of its column, such as ``cifar100_val_12``, or
``imagenet16_val_200`` of a file that ``xnas table import`` made.
``digits``: the project's own table of NAS-Bench-201, after three epochs on scikit-learn's digits.
"""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xnas_ray.benchmarks.table import TabularTask
from xnas_ray.errors import UnknownNameError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import Space
from xnas_ray.spaces.nasbench101 import NASBench101
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.datasets import data_file

OBJECTIVE = "val_accuracy"
NASBENCH201 = "nasbench201.parquet"
HOW_TO_GET = "Set XNAS_DATA to the folder that has it, or use the table 'digits', which comes with the project."
ACCURACY = re.compile(r"\w+_(val|test)_\d+")
DIGITS = Path(__file__).resolve().parents[2] / "digits" / "nasbench201_digits.parquet"


@dataclass(frozen=True)
class BenchmarkTable:
    """A table to search.

    Attributes:
        name: short.
        task: looks accuracies up, in percent.
        space: what to search.
    """

    name: str
    task: TabularTask
    space: Space

    @cached_property
    def genotypes(self) -> tuple[Genotype, ...]:
        """One genotype a key class, canonical: what a search can propose."""
        return tuple(self.space.enumerate())

    @cached_property
    def best(self) -> float:
        """The highest accuracy among ``genotypes``, in percent."""
        return float(self.accuracies(self.genotypes).max())

    def accuracies(self, genotypes: tuple[Genotype, ...] | list[Genotype]) -> np.ndarray:
        """Validation accuracies in percent."""
        return np.array([self.task.lookup(genotype).metrics[OBJECTIVE] for genotype in genotypes])


def load_table(name: str) -> BenchmarkTable:
    """A table by name.

    Raises:
        UnknownNameError: there is no such table.
        DataMissingError: its file is not there.
    """
    if name in TABLES:
        return TABLES[name]()
    if not ACCURACY.fullmatch(name):
        raise UnknownNameError(f"there is no table {name!r}.", field="table", got=name, valid=TABLES)
    columns = [column for column in pq.read_schema(_file(NASBENCH201)).names if ACCURACY.fullmatch(column)]
    if name not in columns:
        raise UnknownNameError(f"{NASBENCH201} has no column {name!r}.", field="table", got=name, valid=columns)
    return _nasbench201(name, name)


def table_name(text: str) -> str:
    """A table's name from the command line.

    Raises:
        ArgumentTypeError: no table has that name; argparse prints why.
    """
    if text in TABLES or ACCURACY.fullmatch(text):
        return text
    raise ArgumentTypeError(f"{text!r} is none of {', '.join(TABLES)} or a column such as cifar100_val_12")


def _file(name: str) -> Path:
    return data_file(name, HOW_TO_GET)


def _nasbench201(name: str, column: str) -> BenchmarkTable:
    task = TabularTask.from_parquet(_file(NASBENCH201), NASBench201(), objectives={OBJECTIVE: column})
    return BenchmarkTable(name, task, task.space)


def _digits() -> BenchmarkTable:
    space = NASBench201(channels=8, cells_per_stage=1, stages=1)
    return BenchmarkTable(
        "digits", TabularTask.from_parquet(DIGITS, space, objectives={OBJECTIVE: "val_accuracy_3"}), space
    )


def _nasbench101() -> BenchmarkTable:
    table = pq.read_table(_file("nasbench101_subset.parquet"), columns=[*NASBench101.table_columns, "val108"])
    table = table.append_column("percent", pc.multiply(table["val108"], 100.0))
    task = TabularTask(table, space=NASBench101(), objectives={OBJECTIVE: "percent"})
    return BenchmarkTable("nasbench101", task, task.restricted())


TABLES: dict[str, Callable[[], BenchmarkTable]] = {
    "cifar10": lambda: _nasbench201("cifar10", "cifar10_val_200"),
    "cifar100": lambda: _nasbench201("cifar100", "cifar100_val_200"),
    "nasbench101": _nasbench101,
    "digits": _digits,
}

HELP = ", ".join(TABLES) + ", or a column of nasbench201.parquet such as cifar100_val_12"
