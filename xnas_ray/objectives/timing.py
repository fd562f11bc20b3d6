"""How long a module takes: the one clock of measured latencies and of latency tables."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Clock = Literal["wall", "cpu"]


def time_passes(
    module: nn.Module, inputs: Sequence[Tensor], device: torch.device, *, repeats: int, warmup: int
) -> list[float]:
    """Milliseconds of forward passes, by the wall's clock; see ``time_rounds``."""
    return time_rounds([(module, inputs)], device, repeats=repeats, warmup=warmup)[0]


def time_rounds(
    modules: Sequence[tuple[nn.Module, Sequence[Tensor]]],
    device: torch.device,
    *,
    repeats: int,
    warmup: int,
    clock: Clock = "wall",
) -> list[list[float]]:
    """Milliseconds of forward passes in evaluation mode; modes of modules stay.

    Every module has one pass a round: a pass finds caches as another one has left them, as it does within a network,
    and a device that becomes slower for a while becomes so for all. On CUDA each pass is waited for, before and after.
    The caller decides on precision (autocast).

    Args:
        modules: on ``device``, each with what it is called with, on ``device`` too.
        device: where they are.
        repeats: rounds that are timed.
        warmup: rounds before them, for caches, allocators and the choice of kernels.
        clock: ``"cpu"`` counts the time in which this thread computes, so that other programs on a busy machine do
            not; it sees neither a GPU nor other threads.

    Returns:
        ``repeats`` times a module.
    """
    now = time.thread_time if clock == "cpu" else time.perf_counter
    modes = [module.training for module, _ in modules]
    times: list[list[float]] = [[] for _ in modules]
    for module, _ in modules:
        module.eval()
    with torch.inference_mode():
        for _ in range(warmup + repeats):
            for (module, inputs), found in zip(modules, times, strict=True):
                _wait(device)
                started = now()
                module(*inputs)
                _wait(device)
                found.append(1e3 * (now() - started))
    for (module, _), mode in zip(modules, modes, strict=True):
        module.train(mode)
    return [found[warmup:] for found in times]


def device_name(device: torch.device) -> str:
    """What a device is called: the GPU's name, or the CPU's architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {platform.machine()}"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
