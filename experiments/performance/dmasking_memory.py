"""Memory and time of a training step as a search space of widths and resolutions grows: masks beside branches.

``python experiments/performance/dmasking_memory.py`` prints three tables, what Figure 3.7 of the FBNetV2 chapter shows
on a GPU. Memory is what autograd keeps for the backward pass: the bytes of all different storages that are saved in a
forward pass, parameters included, and the peak of what the allocator has given out during forward and backward. Time is
CPU time of both on one thread, the least of the repeats: what else runs on the machine can only add to it.

1. Convolutions, normalised and activated, with k options of their width, ``{c/k, 2c/k, ..., c}``: one branch an option,
   padded with zeros and summed by their weights (DNAS), and one convolution with a mask (DMasking).
2. The search's own supernet with k widths in each of its layers.
3. The search's own supernet on k resolutions, ``{h/k, 2h/k, ..., h}``, and one supernet a resolution. The one for all
   keeps the maps between its layers and computes inner maps again, those of one layer at one resolution at a time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.fbnetv2 import FBNetV2
from xnas_ray.supernets.dmasking_supernet import DMaskingSupernet
from xnas_ray.supernets.masks import prefixes

OPTIONS = (1, 2, 4, 8, 16, 32)
RESOLUTIONS = (1, 2, 4, 8)
CHANNELS, SIDE, BATCH, DEPTH, CLASSES = 32, 32, 8, 6, 10
MIB = 2**20


def widths(options: int, most: int = CHANNELS) -> list[int]:
    """So many equal steps up to the most."""
    return [most * (i + 1) // options for i in range(options)]


class Branches(nn.Module):
    """A layer of DNAS: every option is a convolution of its own, padded to the widest."""

    def __init__(self, inputs: int, options: list[int]) -> None:
        super().__init__()
        self.options = options
        self.alpha = nn.Parameter(torch.zeros(len(options)))
        self.convolutions = nn.ModuleList(nn.Conv2d(inputs, c, 3, padding=1, bias=False) for c in options)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c, track_running_stats=False) for c in options)

    def forward(self, x: Tensor) -> Tensor:
        """The branches' weighted sum."""
        weights = self.alpha.softmax(0)
        total: Tensor | None = None
        for weight, c, convolution, norm in zip(weights, self.options, self.convolutions, self.norms, strict=True):
            y = weight * functional.relu(norm(convolution(x)))
            y = functional.pad(y, (0, 0, 0, 0, 0, self.options[-1] - c))
            total = y if total is None else total + y
        assert total is not None
        return total


class Masked(nn.Module):
    """The same layer in DMaskingNAS: the widest convolution and one mask (Eq. 3.3)."""

    rows: Tensor

    def __init__(self, inputs: int, options: list[int]) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(len(options)))
        self.convolution = nn.Conv2d(inputs, options[-1], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(options[-1], track_running_stats=False)
        self.register_buffer("rows", prefixes(torch.tensor(options), options[-1]))

    def forward(self, x: Tensor) -> Tensor:
        """The convolution, every channel times its share."""
        mask = self.alpha.softmax(0) @ self.rows
        result: Tensor = functional.relu(self.norm(self.convolution(x))) * mask[None, :, None, None]
        return result


def stack(layer: Callable[[int, list[int]], nn.Module], options: int, depth: int = DEPTH) -> nn.Module:
    """Such layers one after the other, from an image, and a classifier."""
    found = [layer(3 if not i else CHANNELS, widths(options)) for i in range(depth)]
    return nn.Sequential(*found, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, CLASSES))


def supernet(options: int = 4, resolutions: int = 1, side: int = SIDE) -> DMaskingSupernet:
    """Two layers of stride 1 and 2 with all nine block types, expansion 2; inner maps are computed again."""
    rows = [[2, [CHANNELS // options, CHANNELS, CHANNELS // options], 1, s] for s in (1, 2)]
    space = FBNetV2(rows=rows, stem=16, head=64, resolutions=widths(resolutions, side))
    return DMaskingSupernet(space, DataShape(((3, side, side),), CLASSES), seed=0, recompute=resolutions > 1)


class BranchPerResolution(nn.Module):
    """One supernet a resolution, mixed at their outputs."""

    def __init__(self, resolutions: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(resolutions))
        self.branches = nn.ModuleList(self._branch(side) for side in widths(resolutions, SIDE))

    @staticmethod
    def _branch(resolution: int) -> DMaskingSupernet:
        whole = supernet()
        rows, stem, head = (whole.macro.params[name] for name in ("rows", "stem", "head"))
        space = FBNetV2(rows=rows, stem=stem, head=head, resolutions=[resolution])
        return DMaskingSupernet(space, whole.shape, seed=0)

    def forward(self, x: Tensor) -> Tensor:
        """The branches' weighted logits."""
        weights = self.alpha.softmax(0)
        return torch.stack([w * branch(x) for w, branch in zip(weights, self.branches, strict=True)]).sum(0)


def saved_bytes(model: nn.Module, x: Tensor) -> int:
    """What autograd keeps for the backward pass of one forward pass."""
    kept: dict[int, Tensor] = {}  # the tensors themselves, so that no storage is freed and its address used again

    def pack(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(x)
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del output
    return total


def peak_bytes(model: nn.Module, x: Tensor) -> int:
    """The most memory that is in use at a time during forward and backward, on top of the parameters."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        model(x).square().mean().backward()
    model.zero_grad(set_to_none=True)
    records = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(records, key=lambda event: event.start_ns())))


def step_cpu_s(models: list[nn.Module], x: Tensor, repeats: int) -> list[float]:
    """Least CPU seconds of forward and backward of each; they take turns, so that all meet the same machine."""
    found: list[list[float]] = [[] for _ in models]
    for _ in range(repeats + 1):
        for model, times in zip(models, found, strict=True):
            begun_s = time.process_time()
            model(x).square().mean().backward()
            times.append(time.process_time() - begun_s)
            model.zero_grad(set_to_none=True)
    return [min(times[1:]) for times in found]  # the first one warms up


def table(title: str, options: tuple[int, ...], columns: dict[str, list[nn.Module]], repeats: int) -> None:
    """Print memory and time of every model, by its number of options; in brackets against the first."""
    x = torch.randn(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    figures: dict[str, list[float]] = {}
    for name, models in columns.items():
        figures[f"{name}: kept MiB"] = [saved_bytes(model, x) / MIB for model in models]
        figures[f"{name}: peak MiB"] = [peak_bytes(model, x) / MIB for model in models]
        figures[f"{name}: s"] = step_cpu_s(models, x, repeats)
    print(f"\n{title}\n{'k':>4}" + "".join(f"{name:>22}" for name in figures))
    for i, k in enumerate(options):
        print(f"{k:>4}" + "".join(f"{own[i]:>13.3f} ({own[i] / own[0]:>6.3f})" for own in figures.values()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    kinds: dict[str, Callable[[int, list[int]], nn.Module]] = {"branches": Branches, "masks": Masked}
    layers = {name: [stack(kind, k) for k in OPTIONS] for name, kind in kinds.items()}
    table(f"{DEPTH} convolutions, k widths", OPTIONS, layers, given.repeats)
    table("supernet, k widths", OPTIONS, {"masks": [supernet(k) for k in OPTIONS]}, given.repeats)
    both: dict[str, list[nn.Module]] = {
        "branches": [BranchPerResolution(k) for k in RESOLUTIONS],
        "masks": [supernet(resolutions=k) for k in RESOLUTIONS],
    }
    both["masks"][0] = _recomputing(both["masks"][0])
    table("supernet, k resolutions", RESOLUTIONS, both, given.repeats)


def _recomputing(model: nn.Module) -> nn.Module:
    """With one resolution too inner maps are computed again here, so that only the number of resolutions differs."""
    assert isinstance(model, DMaskingSupernet)
    model.recompute = True
    return model


if __name__ == "__main__":
    main()
