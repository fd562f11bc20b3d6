"""Measuring a latency table: every operator that a space can have, then whole networks beside their sums."""

from __future__ import annotations

import functools
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar, get_args

import torch
from torch import nn

from xnas_ray.errors import SpecError
from xnas_ray.messages import Genotype
from xnas_ray.objectives.timing import Clock, device_name, time_rounds
from xnas_ray.randomness import Domain, canonical_json, rng
from xnas_ray.spaces.base import DataShape, Shape, Space
from xnas_ray.spaces.latency_table import Conditions, LatencyTable, TimedNetwork
from xnas_ray.spaces.operators import Operator, added_up, operators_of
from xnas_ray.training.determinism import isolated_randomness

SAVE_EVERY_S = 5.0
TOGETHER, NETWORKS_TOGETHER = 64, 16
"""Operators, and whole networks, that take turns: modules that are in memory at once."""
CLOCKS = get_args(Clock)
_SAMPLES, _NETWORKS, _ORDER = 40, 41, 42  # what is drawn: counters of its streams of random numbers

T = TypeVar("T")
TimeModules = Callable[[Sequence[tuple[nn.Module, Shape]]], list[float]]
"""Milliseconds of modules, each of which reads one input of a shape."""
Progress = Callable[[str, int, int], None]
"""Told what is measured (``"operators"`` or ``"networks"``), how many are done, and of how many."""


@dataclass(frozen=True)
class Stopwatch:
    """Median times of passes with random inputs on one device, in float32.

    Attributes:
        device: where modules are put.
        batch_size: samples of one pass.
        repeats: timed passes.
        warmup: passes before them.
        clock: see ``timing.time_rounds``.
    """

    device: torch.device
    batch_size: int = 1
    repeats: int = 31
    warmup: int = 5
    clock: Clock = "wall"

    def __post_init__(self) -> None:
        """Refuse numbers that measure nothing."""
        for name, low in (("batch_size", 1), ("repeats", 1), ("warmup", 0)):
            if getattr(self, name) < low:
                raise SpecError(f"must be at least {low}, got {getattr(self, name)}.", field=name)
        if self.clock not in CLOCKS:
            raise SpecError(f"there is no clock {self.clock!r}.", field="clock", got=self.clock, valid=CLOCKS)
        if self.clock == "cpu" and (self.device.type != "cpu" or torch.get_num_threads() > 1):
            raise SpecError(
                "the clock of the processor sees one thread alone.",
                field="clock",
                fix="Measure on the CPU with one thread, or take the wall's clock.",
            )

    def __call__(self, modules: Sequence[tuple[nn.Module, Shape]]) -> list[float]:
        """Milliseconds of modules, which are moved to the device and take turns."""
        placed = []
        for module, shape in modules:
            x = torch.randn(self.batch_size, *shape, generator=torch.Generator().manual_seed(0))
            placed.append((module.to(self.device), [x.to(self.device)]))
        times = time_rounds(placed, self.device, repeats=self.repeats, warmup=self.warmup, clock=self.clock)
        return [statistics.median(one) for one in times]

    def conditions(self, space: Space, shape: DataShape, device: str | None = None) -> Conditions:
        """What is measured, and how.

        Args:
            space: whose operators are.
            shape: what its networks take in and give out.
            device: what it is called; its own name by default.
        """
        return Conditions(
            device or device_name(self.device),
            self.device.type,
            torch.get_num_threads(),
            self.clock,
            self.batch_size,
            self.repeats,
            self.warmup,
            str(torch.__version__),
            space.unwrapped.name,
            json.loads(canonical_json(space.unwrapped.params)),  # as the file gives them again
            shape,
        )


def measure_table(
    space: Space,
    conditions: Conditions,
    time_modules: TimeModules,
    out: Path,
    *,
    samples: int | None = None,
    networks: int = 20,
    seed: int = 0,
    progress: Progress = lambda what, done, total: None,
) -> LatencyTable:
    """Measure what a file lacks, and write it again and again meanwhile: interrupted, it goes on where it was.

    Args:
        space: whose networks are taken apart.
        conditions: under which is measured; those of a file that is there must be the same.
        time_modules: the clock, such as a ``Stopwatch``.
        out: the file.
        samples: measure the operators of so many sampled genotypes; None for all that the space can have.
        networks: whole networks, sampled too, that are measured beside the sums of their operators.
        seed: of what is sampled.
        progress: told after every few measurements.

    Raises:
        SpecError: the space has no operators, or too many to list them all; the file is of other conditions.
        TableError: the file is no latency table.
        StoreError: the file cannot be written.
    """
    shape = conditions.shape
    drawn = list(_sampled(space, max(1, networks), seed, _NETWORKS))
    # Where the space is sampled, the sums of the whole networks may need operators of their own.
    wanted = operators_of(space, drawn, shape) | operators_of(space, _genotypes(space, samples, seed), shape)
    del drawn[networks:]
    # In no order of kinds and sizes: where the device changes its speed meanwhile, no kind is wronged.
    order = rng(seed, Domain.POOL, _ORDER).permutation(len(wanted))
    entries = list(wanted.items())
    wanted = dict(entries[i] for i in order.tolist())
    table = _started(out, conditions, samples)
    table = _with_operators(table, wanted, time_modules, out, progress)
    return _with_networks(table, space, drawn, time_modules, out, progress)


def _genotypes(space: Space, samples: int | None, seed: int) -> Iterable[Genotype]:
    if samples is not None:
        return _sampled(space, samples, seed, _SAMPLES)
    covering = space.covering()
    if covering is None:
        raise SpecError(
            f"space {space.unwrapped.name!r} has too many operators to measure them all.",
            field="--samples",
            fix="Narrow the space by its parameters, or give --samples N: a table of the operators of N genotypes.",
        )
    return covering


def _sampled(space: Space, count: int, seed: int, place: int) -> Iterable[Genotype]:
    """Canonical genotypes, each by a stream of its own, so that more are the same and more."""
    return (space.canonical(space.sample(rng(seed, Domain.POOL, place, i))) for i in range(count))


def _started(out: Path, conditions: Conditions, samples: int | None) -> LatencyTable:
    """The table of a file that is there, or one without figures."""
    if not out.exists():
        return LatencyTable(conditions, {}, (), samples)
    found = LatencyTable.load(out)
    for one in fields(conditions):
        here, there = (getattr(some, one.name) for some in (conditions, found.conditions))
        if here != there:
            raise SpecError(
                f"{out} was measured with {one.name} = {there!r}, not {here!r}.",
                field="--out",
                fix="Name another file, or remove this one.",
            )
    # What it holds of all operators stays true when a sample is asked for, not the other way round.
    return replace(found, samples=samples if found.samples is not None or not found.operators else None, hash="")


def _with_operators(
    table: LatencyTable, wanted: Mapping[str, Operator], time_modules: TimeModules, out: Path, progress: Progress
) -> LatencyTable:
    times, saved_s = dict(table.operators), time.monotonic()
    left = [operator for key, operator in wanted.items() if key not in times]
    try:
        for some in _batched(left, TOGETHER):
            modules = [(_made(operator.build), operator.reads) for operator in some]
            times |= zip((operator.key for operator in some), time_modules(modules), strict=True)
            progress("operators", len(wanted.keys() & times.keys()), len(wanted))
            if time.monotonic() - saved_s > SAVE_EVERY_S:
                replace(table, operators=times).save(out)
                saved_s = time.monotonic()
    finally:  # also on Ctrl-C
        table = replace(table, operators=times)
        table.save(out)
    return table


def _with_networks(
    table: LatencyTable,
    space: Space,
    genotypes: Iterable[Genotype],
    time_modules: TimeModules,
    out: Path,
    progress: Progress,
) -> LatencyTable:
    """Whole networks that were not measured yet."""
    shape, wanted = table.conditions.shape, {space.format(genotype): genotype for genotype in genotypes}
    found = {one.architecture: one for one in table.networks}
    for some in _batched([text for text in wanted if text not in found], NETWORKS_TOGETHER):
        build = [functools.partial(space.build, wanted[text], shape) for text in some]
        measured = time_modules([(_made(one), shape.inputs[0]) for one in build])
        for text, measured_ms in zip(some, measured, strict=True):
            summed_ms = added_up(space.operators(wanted[text], shape), table.ms)
            found[text] = TimedNetwork(text, measured_ms, summed_ms)
        table = replace(table, networks=tuple(found.values()))
        table.save(out)
        progress("networks", len(wanted.keys() & found.keys()), len(wanted))
    return table


def _made(build: Callable[[], nn.Module]) -> nn.Module:
    """An untrained module, always with the same weights."""
    with isolated_randomness(0, torch.device("cpu")):
        return build()


def _batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[i : i + size] for i in range(0, len(items), size))
