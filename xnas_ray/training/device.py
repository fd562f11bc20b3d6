"""Devices: which one a worker trains on, its share of it, and what running out of memory looks like."""

from __future__ import annotations

import contextlib
import gc
import traceback
from collections.abc import Iterator

import torch

from xnas_ray.errors import OutOfMemoryError

_MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory", "cublas_status_alloc_failed")


def select_device(gpus: float) -> torch.device:
    """``cuda:0`` (Ray shows a worker only its own devices) when the worker holds a GPU that works, else ``cpu``."""
    return torch.device("cuda", 0) if gpus > 0 and torch.cuda.is_available() else torch.device("cpu")


def limit_threads(threads: int = 1) -> None:
    """Let torch use this many threads in this process; more give other (rounded) results on a CPU."""
    torch.set_num_threads(threads)


def warm_up(device: torch.device) -> None:
    """Pay what the first training of a process costs: torch's lazy imports (about 2 s) and the CUDA context.

    Draws no random numbers.
    """
    weight = torch.zeros(1, 1, 3, 3, device=device, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, fused=True)
    torch.nn.functional.conv2d(torch.zeros(1, 1, 8, 8, device=device), weight).sum().backward()
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def limit_gpu_memory(gpus: float, device: torch.device) -> None:
    """Keep a fractional worker within its share of a GPU's memory: Ray counts fractions but does not enforce them.

    Beyond the share torch raises out-of-memory in this process, instead of starving its neighbours.
    """
    if device.type == "cuda" and 0 < gpus < 1:
        torch.cuda.set_per_process_memory_fraction(gpus, device)


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring the peak memory of a trial."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_bytes(device: torch.device) -> int | None:
    """Most memory that torch held on a CUDA device since ``reset_peak_memory``; None on a CPU."""
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else None


@contextlib.contextmanager
def typed_memory_errors(device: torch.device) -> Iterator[None]:
    """Turn every way of running out of memory into ``OutOfMemoryError``, with the memory given back.

    The network lives on in the frames of the traceback, so these are cleared before the cache is emptied.

    Raises:
        OutOfMemoryError: says what to reduce.
    """
    text = ""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        if error.__traceback__ is not None:
            traceback.clear_frames(error.__traceback__)
    if not text:
        return
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    raise OutOfMemoryError(
        f"out of memory on {device} ({text}).",
        field="recipe.batch_size",
        fix="Reduce recipe.batch_size or recipe.eval_batch_size, or give workers more memory.",
    ) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, CUDA or the host ran out of memory."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(m in str(error).lower() for m in _MEMORY_MESSAGES)
