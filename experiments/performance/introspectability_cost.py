"""What introspectability costs: the hooked pass beside a plain one, and beside concatenating all activations.

``python experiments/performance/introspectability_cost.py`` measures the network of CIFAR-10's size (NAS-Bench-201's
macro skeleton, N = 5, C = 16, batches of 512) on one thread, with made-up images and a cell of one operation.

Memory: each of the three runs in a fresh process. What counts is the highest resident memory of the pass (``VmHWM``,
which Linux lets a process reset) beyond what was resident before it; the plain pass's is taken off the two others. So
everything counts that torch, numpy and the allocator take, and nothing that the process had anyway. Concatenating keeps
the activations of every layer of a batch, flattened, and makes one row a sample of them, as the definition says.

Time: both passes alternate in one process, in CPU seconds of its one thread, because a shared machine's clock says
little; the ratio is that of the quickest pass of each. The C allocator is told to keep what it has, as CUDA's does:
left alone it gives every activation above 32 MiB back to the kernel, and either pass then takes up to twice as long,
from one run to the next, for pages that the kernel clears.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xnas_ray.objectives.introspectability import SORTS, introspectability
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import NASBench201

SHAPE = DataShape(inputs=((3, 32, 32),), outputs=10)
BATCH = 512
CELL = "|{0}~0|+|{0}~0|{0}~1|+|{0}~0|{0}~1|{0}~2|"
OPERATIONS = ("nor_conv_3x3", "nor_conv_1x1")
MEMORY_TARGET, TIME_TARGET = 0.05, 1.3

Pass = Callable[[nn.Module, Tensor, Tensor], object]


def plain(model: nn.Module, images: Tensor, classes: Tensor) -> None:
    """Predictions alone: what a validation pass does."""
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            model(images[start : start + BATCH])


def hooked(model: nn.Module, images: Tensor, classes: Tensor) -> float:
    """The score by class sums, with the classes known from the validation pass, as every trial knows them."""
    parts = zip(images.split(BATCH), classes.split(BATCH), strict=True)
    return introspectability(model, parts, group_by="label").score


def concatenated(model: nn.Module, images: Tensor, classes: Tensor) -> float:
    """The score by its definition, on one row a sample with the activations of all layers."""
    from scipy.spatial.distance import pdist

    kept: list[np.ndarray] = []
    kinds = tuple(kind for sort in SORTS.values() for kind in sort)
    handles = [
        module.register_forward_hook(lambda one, given, out: kept.append(out.detach().clone().flatten(1).numpy()))
        for module in model.modules()
        if isinstance(module, kinds)
    ]
    rows = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            model(images[start : start + BATCH])
            rows.append(np.concatenate(kept, axis=1))
            kept.clear()
    for handle in handles:
        handle.remove()
    groups = classes.numpy()
    sums = sum(np.stack([part[own == c].sum(axis=0) for c in range(10)]) for part, own in _aligned(rows, groups))
    return float(pdist(sums.astype(np.float64), metric="cosine").mean())


def _aligned(rows: list[np.ndarray], groups: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches of rows with the classes of their samples."""
    return [(part, groups[i * BATCH : i * BATCH + len(part)]) for i, part in enumerate(rows)]


KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(10**12)}
PASSES: dict[str, Pass] = {"plain": plain, "hooked": hooked, "concatenated": concatenated}


def prepared(operation: str, samples: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The network, images and a class for each."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    space = NASBench201(channels=16, cells_per_stage=5)
    model = space.build(space.parse(CELL.format(operation)), SHAPE).eval()
    return model, torch.randn(samples, 3, 32, 32), torch.randint(10, (samples,))


def measure_memory(name: str, operation: str, samples: int) -> dict[str, float]:
    """Bytes beyond those before the pass, at most, and the score; run in a process of its own."""
    model, images, classes = prepared(operation, samples)
    plain(model, images[:8], classes[:8])  # kernels are chosen and compiled
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    score = PASSES[name](model, images, classes)
    return {"bytes": _resident("VmHWM") - before, "score": float(score or 0.0)}  # type: ignore[arg-type]


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"no {field} in /proc/self/status")


def measure_times(operation: str, samples: int, pairs: int) -> list[tuple[float, float]]:
    """CPU seconds of a plain and a hooked pass, pair by pair."""
    model, images, classes = prepared(operation, samples)
    found = []
    for number in range(pairs + 1):
        seconds = []
        for run in (plain, hooked):
            started_s = time.process_time()
            run(model, images, classes)
            seconds.append(time.process_time() - started_s)
        if number:  # the first pair warms up
            found.append((seconds[0], seconds[1]))
    return found


def in_new_process(what: str, operation: str, samples: int, *more: str, **environment: str) -> Any:
    """What a fresh process measures: memory of a pass, or ``"times"``."""
    command = [sys.executable, __file__, "--measure", what, "--operation", operation, "--samples", str(samples), *more]
    whole = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=whole).stdout)


def report(operation: str, samples: int, time_samples: int, pairs: int) -> None:
    """Measure one cell and print its lines."""
    found = {name: in_new_process(name, operation, samples) for name in PASSES}
    extra = {name: found[name]["bytes"] - found["plain"]["bytes"] for name in ("hooked", "concatenated")}
    share = extra["hooked"] / extra["concatenated"]
    times = in_new_process("times", operation, time_samples, "--pairs", str(pairs), **KEEP_MEMORY)
    quickest = [min(pair[i] for pair in times) for i in (0, 1)]
    print(f"{operation}: memory of {samples} samples, CPU seconds of {time_samples}, the least of {pairs} passes")
    print(f"  plain pass           {found['plain']['bytes'] / 1e6:9.1f} MB   {quickest[0]:7.2f} s")
    print(f"  hooked, extra        {extra['hooked'] / 1e6:9.1f} MB   {quickest[1]:7.2f} s")
    print(f"  concatenated, extra  {extra['concatenated'] / 1e6:9.1f} MB")
    print(f"  hooked / concatenated {share:8.2%}  (target below {MEMORY_TARGET:.0%})")
    print(f"  hooked / plain time   {quickest[1] / quickest[0]:8.3f}  (target at most {TIME_TARGET})")
    print(f"  score {found['hooked']['score']:.8f}, by its definition {found['concatenated']['score']:.8f}")


def main() -> None:
    """Measure, or be the process in which one thing is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=BATCH, help="for the memory; 7.4 GB a batch are concatenated")
    parser.add_argument("--time-samples", type=int, default=BATCH)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--operation", choices=OPERATIONS, help="default: each")
    parser.add_argument("--measure", choices=[*PASSES, "times"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure == "times":
        print(json.dumps(measure_times(given.operation, given.samples, given.pairs)))
        return
    if given.measure:
        print(json.dumps(measure_memory(given.measure, given.operation, given.samples)))
        return
    for operation in [given.operation] if given.operation else OPERATIONS:
        report(operation, given.samples, given.time_samples, given.pairs)


if __name__ == "__main__":
    main()
