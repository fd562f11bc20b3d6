"""The command ``xnas latency-table``: how long each operator of a space takes on this device."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from xnas_ray.commands.application import command, parse_assignment
from xnas_ray.commands.console import nearby, note, say_json, say_pairs
from xnas_ray.commands.options import AsJson
from xnas_ray.errors import SpecError

if TYPE_CHECKING:
    import torch

    from xnas_ray.objectives.timing import Clock
    from xnas_ray.spaces.base import DataShape, Space
    from xnas_ray.spaces.latency_table import LatencyTable


@command(
    "latency-table",
    examples=[
        "xnas latency-table --space fbnetv3 --space-params preset=digits --shape 1x8x8 --out laptop.json",
        "xnas latency-table --task cifar10 --space nasbench201 --out laptop.json",
        "xnas latency-table --space fbnetv3 --shape 3x272x272 --outputs 1000 --samples 200 --out server.json",
    ],
)
def latency_table(
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="The table; one that is there is completed.", show_default=False),
    ],
    space: Annotated[
        str | None, typer.Option("--space", metavar="NAME", help="A registered space. Default: the task's.")
    ] = None,
    space_params: Annotated[
        list[str] | None,
        typer.Option("--space-params", metavar="KEY=VALUE", help="Keyword arguments of the space; repeatable."),
    ] = None,
    shape: Annotated[
        str | None, typer.Option("--shape", metavar="CxHxW", help="Channels, height and width. Default: the task's.")
    ] = None,
    outputs: Annotated[
        int, typer.Option("--outputs", min=1, metavar="N", help="Classes, or regressed values; with --shape.")
    ] = 10,
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK", help="Take the shape, and the space, from this task.")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, metavar="N", help="Operators of N sampled networks alone. Default: all."),
    ] = None,
    networks: Annotated[
        int, typer.Option("--networks", min=0, metavar="W", help="Whole networks to measure beside their sums.")
    ] = 20,
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, metavar="R", help="Timed passes; the median counts.")
    ] = 31,
    warmup: Annotated[int, typer.Option("--warmup", min=0, metavar="N", help="Passes before them.")] = 5,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, metavar="B", help="Samples of one pass.")] = 1,
    threads: Annotated[
        int, typer.Option("--threads", min=1, metavar="N", help="Of torch, on a CPU. A worker with one CPU has one.")
    ] = 1,
    clock: Annotated[
        str,
        typer.Option(
            "--clock", metavar="NAME", help="wall; cpu counts one thread, on a machine that is busy with more."
        ),
    ] = "wall",
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="cpu, cuda or cuda:1.")] = "cpu",
    name: Annotated[
        str | None, typer.Option("--name", metavar="TEXT", help="What the device is called. Default: its own name.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of what is sampled.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure how long operators take on this device.

    Every operator that networks of the space can have is timed alone, then some whole networks, to see how far the sum
    over operators is from them. The table serves the objective latency_table_ms, and constraints on it. What has been
    measured is in the file also when this is interrupted: the same command goes on.
    """
    import torch

    from xnas_ray.objectives.latency_measuring import Stopwatch, measure_table

    asked, data_shape = _asked(task, space, space_params or [], shape, outputs)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        watch = Stopwatch(_device(device), batch_size, repeats, warmup, cast("Clock", clock))
        conditions = watch.conditions(asked, data_shape, name)
        note(f"{conditions.device}, {threads} thread{'s' if threads > 1 else ''}, batches of {batch_size}")
        with _shown_progress() as progress:
            given: dict[str, Any] = {"samples": samples, "networks": networks, "seed": seed, "progress": progress}
            table = measure_table(asked, conditions, watch, out, **given)
    except KeyboardInterrupt:
        note(f"interrupted: what was measured is in {nearby(out.resolve())}, and the same command goes on")
        raise
    finally:
        torch.set_num_threads(before)
    if as_json:
        say_json({name: value for name, value in table.to_json().items() if name not in ("operators_ms", "networks")})
    else:
        _say(table)
    note(f"table: {nearby(out.resolve())}")


# ---- what is measured ------------------------------------------------------------------------------------------------


def _asked(
    task: str | None, space: str | None, params: list[str], shape: str | None, outputs: int
) -> tuple[Space, DataShape]:
    """The space and what its networks take in, from flags, or from a task where these say nothing."""
    from xnas_ray.spaces.registry import SPACES
    from xnas_ray.tasks.loading import load_task

    given = dict(parse_assignment(text, "--space-params") for text in params)
    if task is None:
        if space is None or shape is None:
            missing = "--space" if space is None else "--shape"
            raise SpecError("is missing.", field=missing, fix="Give --space and --shape, or a --task that has both.")
        return SPACES.create(space, given, field="--space"), _shape(shape, outputs)
    loaded = load_task(task)
    found = loaded.space(space or "task", given, field="--space")
    return found, _shape(shape, outputs) if shape else loaded.problem.shape or loaded.load_data().data_shape


def _shape(text: str, outputs: int) -> DataShape:
    from xnas_ray.spaces.base import DataShape

    sides = text.lower().split("x")
    if not all(side.isascii() and side.isdigit() and 0 < int(side) < 10**6 for side in sides):
        raise SpecError(f"{text!r} is no shape.", field="--shape", fix="Write channels, height and width like 3x32x32.")
    return DataShape((tuple(map(int, sides)),), outputs)


def _device(name: str) -> torch.device:
    import torch

    gpus = torch.cuda.device_count()
    valid = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{i}" for i in range(gpus))]
    if name not in valid:
        raise SpecError(f"there is no device {name!r} here.", field="--device", got=name, valid=valid)
    return torch.device(name)


# ---- what is shown ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _shown_progress() -> Iterator[Callable[[str, int, int], None]]:
    """What tells of progress on standard error: a bar on a terminal, elsewhere a line every tenth."""
    if sys.stderr.isatty() and os.environ.get("TERM", "") != "dumb":
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bars:
            rows = {what: bars.add_task(what, total=None) for what in ("operators", "networks")}
            yield lambda what, done, total: bars.update(rows[what], completed=done, total=total)
    else:
        told: dict[str, int] = {}

        def tell(what: str, done: int, total: int) -> None:
            tenth = 10 * done // total
            if tenth > told.get(what, 0):
                told[what] = tenth
                note(f"{done:,} of {total:,} {what}")

        yield tell


def _say(table: LatencyTable) -> None:
    of, error = table.conditions, table.error
    whose = "all that the space can have" if table.samples is None else f"of {table.samples} sampled networks"
    rows: list[tuple[str, object]] = [
        ("device", of.device),
        ("software", f"torch {of.torch}, threads {of.threads}"),
        ("passes", f"{of.repeats} of batches of {of.batch_size}, by the {of.clock} clock"),
        ("operators", f"{len(table.operators):,}, {whose}"),
    ]
    if error is not None:
        rows += [
            ("whole networks", error.networks),
            ("error of sums", f"{error.mape_percent:.1f} % (bias {error.bias_percent:+.1f} %)"),
            ("rank correlation", "none" if error.spearman is None else f"{error.spearman:.3f}"),
        ]
    say_pairs(rows)
