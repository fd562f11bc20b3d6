"""Milliseconds of operators on one device: a table that is measured once and looked up for every network."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from xnas_ray.durable import whole_file
from xnas_ray.errors import StoreError, TableError
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.operators import Operator
from xnas_ray.spec import toml_value

FORMAT = "xnas-latency-table"
VERSION = 1
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Conditions:
    """What the figures of a table depend on, beside the operators.

    Attributes:
        device: what it is called.
        device_type: ``"cpu"`` or ``"cuda"``.
        threads: of torch on the CPU.
        clock: ``"wall"``, or ``"cpu"`` for the time in which the one thread computed.
        batch_size: samples of one pass.
        repeats: timed passes, of which the median is taken.
        warmup: passes before them.
        torch: its version.
        space: name of the space whose operators were measured.
        space_params: of the space.
        shape: what its networks take in and give out.
    """

    device: str
    device_type: str
    threads: int
    clock: str
    batch_size: int
    repeats: int
    warmup: int
    torch: str
    space: str
    space_params: Mapping[str, Any]
    shape: DataShape

    def command(self, out: Path | str = "FILE") -> str:
        """The command that measures a table under these conditions; with the same file it adds what is missing."""
        texts = (shlex.quote(f"{name}={toml_value(value)}") for name, value in self.space_params.items())
        params = "".join(f" --space-params {text}" for text in texts)
        image = "x".join(map(str, self.shape.inputs[0]))
        return (
            f"xnas latency-table --space {self.space}{params} --shape {image} --outputs {self.shape.outputs} "
            f"--batch-size {self.batch_size} --repeats {self.repeats} --warmup {self.warmup} "
            f"--threads {self.threads} --clock {self.clock} --device {self.device_type} "
            f"--name {shlex.quote(self.device)} --out {out}"
        )


@dataclass(frozen=True, slots=True)
class TimedNetwork:
    """A whole network beside what the table says of it.

    Attributes:
        architecture: as its space writes it.
        measured_ms: of the whole network.
        summed_ms: of its operators, added up.
    """

    architecture: str
    measured_ms: float
    summed_ms: float


@dataclass(frozen=True, slots=True)
class SumError:
    """How far sums over operators are from whole networks.

    Attributes:
        networks: that were measured.
        mape_percent: mean of ``|sum - measured| / measured``.
        bias_percent: mean of ``(sum - measured) / measured``: above 0 where sums are too long.
        spearman: rank correlation; None where all sums or all measurements are equal.
    """

    networks: int
    mape_percent: float
    bias_percent: float
    spearman: float | None


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds by operator.

    Attributes:
        conditions: under which they were measured.
        operators: median milliseconds by ``Operator.key``.
        networks: whole ones that were measured on the same device.
        samples: of so many sampled genotypes were the operators asked for; None for all that the space can have.
        hash: blake2b-16 hex of the file that it was read from; empty for one that was not.
    """

    conditions: Conditions
    operators: Mapping[str, float]
    networks: tuple[TimedNetwork, ...] = ()
    samples: int | None = None
    hash: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Refuse times that are none."""
        networks = (ms for one in self.networks for ms in (one.measured_ms, one.summed_ms))
        for what, ms in (*self.operators.items(), *(("a whole network", ms) for ms in networks)):
            if isinstance(ms, bool) or not isinstance(ms, int | float) or not math.isfinite(ms) or ms <= 0:
                raise TableError(f"{what} has {ms!r}, not a time in milliseconds above 0.", field="latency table")

    def ms(self, operator: Operator) -> float:
        """Milliseconds of an operator.

        Raises:
            TableError: it was not measured; says by which command it is.
        """
        found = self.operators.get(operator.key)
        if found is None:
            raise self.missing([operator.key])
        return found

    def missing(self, keys: Sequence[str]) -> TableError:
        """What to raise where operators are not in the table."""
        more = f" and {len(keys) - 1:,} more that the space can have" if len(keys) > 1 else ""
        return TableError(
            f"the latency table of {self.conditions.device!r} has no operator {keys[0]!r}{more}.",
            field="objective_params.latency_table_ms.table",
            fix=f"It is of another space or input, or not complete. {self.conditions.command()} measures the operators "
            "of that space and input; give those of your search.",
        )

    @property
    def error(self) -> SumError | None:
        """Of the sums, against whole networks; None where none were measured."""
        if not self.networks:
            return None
        from scipy.stats import spearmanr

        measured = np.array([one.measured_ms for one in self.networks])
        summed = np.array([one.summed_ms for one in self.networks])
        relative = 100 * (summed - measured) / measured
        ranked = len(set(measured.tolist())) > 1 and len(set(summed.tolist())) > 1
        return SumError(
            len(self.networks),
            float(np.abs(relative).mean()),
            float(relative.mean()),
            float(spearmanr(measured, summed).statistic) if ranked else None,
        )

    # ---- the file ---------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """As the file has it, with the error for those who read it."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "conditions": asdict(self.conditions),
            "samples": self.samples,
            "error": None if self.error is None else asdict(self.error),
            "operators_ms": dict(self.operators),
            "networks": [asdict(one) for one in self.networks],
        }

    @classmethod
    def from_json(cls, found: Any, name: str = "the latency table", hash: str = "") -> LatencyTable:
        """The table of ``to_json``; its ``error`` is computed anew.

        Raises:
            TableError: it is not one; ``name`` is named.
        """
        if not isinstance(found, Mapping) or found.get("format") != FORMAT:
            raise TableError(f"{name} is no latency table.", fix="`xnas latency-table` writes one.")
        if found.get("version") != VERSION:
            raise TableError(f"{name} is of version {found.get('version')!r}.", valid=[VERSION], fix="Measure it anew.")
        try:
            given = dict(found["conditions"])
            shape = given.pop("shape")
            inputs = tuple(tuple(int(side) for side in one) for one in shape["inputs"])
            conditions = Conditions(**given, shape=DataShape(inputs, int(shape["outputs"]), str(shape["kind"])))
            _check_types(conditions)
            operators = {str(key): ms for key, ms in dict(found["operators_ms"]).items()}
            networks = tuple(TimedNetwork(**one) for one in found["networks"])
            samples = None if found["samples"] is None else int(found["samples"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise TableError(f"{name} is a damaged latency table ({problem}).", fix="Measure it anew.") from None
        return cls(conditions, operators, networks, samples, hash)

    @property
    def content(self) -> bytes:
        """The file's content."""
        return (json.dumps(self.to_json(), indent=1) + "\n").encode()

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            StoreError: it cannot be written.
        """
        write_whole(path, self.content)

    @classmethod
    def load(cls, path: Path) -> LatencyTable:
        """Read a file.

        Raises:
            TableError: it cannot be read, or is no latency table.
        """
        return cls.parse(read_bytes(path), str(path))

    @classmethod
    def parse(cls, content: bytes, name: str) -> LatencyTable:
        """The table of a file's content.

        Raises:
            TableError: it is none; ``name`` is named.
        """
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise TableError(f"{name} is no JSON ({error}).", fix="`xnas latency-table` writes a table.") from None
        return cls.from_json(found, name, hash_of(content))


def hash_of(content: bytes) -> str:
    """blake2b-16 hex."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def read_bytes(path: Path) -> bytes:
    """The content of a table's file.

    Raises:
        TableError: it cannot be read, or is too large to be one.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise TableError(
            f"cannot read the latency table {path}: {error.strerror or error}.", fix="`xnas latency-table` writes one."
        ) from None
    if len(content) > MAX_BYTES:
        raise TableError(f"{path} is larger than {MAX_BYTES // 2**20} MiB: no latency table.")
    return content


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all: beside, then renamed.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        with whole_file(path) as file:
            file.write(content)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}.", field="--out") from error


def _check_types(conditions: Conditions) -> None:
    """Refuse conditions of other types: a file may say anything.

    Raises:
        ValueError: one is not what it is declared as.
    """
    kinds = {"int": int, "str": str}
    for one in fields(conditions):
        kind = kinds.get(str(one.type))
        if kind is not None and type(getattr(conditions, one.name)) is not kind:
            raise ValueError(f"conditions.{one.name} must be of type {one.type}")
    if not isinstance(conditions.space_params, Mapping):
        raise ValueError("conditions.space_params must be a table")
