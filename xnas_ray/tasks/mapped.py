"""Images that stay in a file: tensors of which only what is asked for is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map


class MappedImages(Tensor):
    """Normalised images as a float32 tensor ``n x channels x height x width`` that has no memory of its own.

    ``index_select`` and slices of images read those images and give plain tensors, ``torch.cat`` of images of one file
    reads nothing; anything else that is done with it first reads all of them, so that it is right everywhere and cheap
    where batches are taken. Only the pages of the file that are read come into memory, and the system may drop them
    again.

    Args:
        pixels: uint8 ``m x channels x height x width``, usually a ``numpy.memmap``.
        rows: which of the images, in which order: int64 ``n``; all by default.
        mean: of each channel, subtracted.
        deviation: of each channel, divided by.
    """

    pixels: np.ndarray
    rows: np.ndarray
    shift: Tensor
    scale: Tensor

    @staticmethod
    def __new__(
        cls: type[MappedImages],
        pixels: np.ndarray,
        rows: np.ndarray | None = None,
        mean: Sequence[float] = (),
        deviation: Sequence[float] = (),
    ) -> MappedImages:
        """A tensor of the right shape and kind without storage."""
        shape = (len(pixels) if rows is None else len(rows), *pixels.shape[1:])
        made: MappedImages = Tensor._make_wrapper_subclass(cls, shape, dtype=torch.float32)
        return made

    def __init__(
        self,
        pixels: np.ndarray,
        rows: np.ndarray | None = None,
        mean: Sequence[float] = (),
        deviation: Sequence[float] = (),
    ) -> None:
        """Remember where the images are."""
        channels = pixels.shape[1]
        self.pixels = pixels
        self.rows = np.arange(len(pixels)) if rows is None else np.asarray(rows, dtype=np.int64)
        self.shift = torch.tensor(list(mean) or [0.0] * channels).view(-1, 1, 1)
        self.scale = torch.tensor(list(deviation) or [1.0] * channels).view(-1, 1, 1)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        """What it is, without reading it."""
        return f"MappedImages(shape={tuple(self.shape)})"

    def read(self, rows: np.ndarray | slice) -> Tensor:
        """These images, normalised."""
        wanted = self.rows[rows]
        order = np.argsort(wanted, kind="stable")  # in the order of the file, which disks prefer
        found = np.empty((len(wanted), *self.pixels.shape[1:]), dtype=np.uint8)
        found[order] = self.pixels[wanted[order]]
        return torch.from_numpy(found).float().sub_(self.shift).div_(self.scale)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """See the class. Reading replaces the operation as a whole: nothing is a view of what has no memory."""
        if func in _DESCRIPTIONS:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        if not kwargs and isinstance(args[0], MappedImages):
            if func is Tensor.__getitem__ and isinstance(args[1], slice):
                return args[0].read(args[1])
            if func in _SELECTIONS and args[1] == 0:
                return args[0].read(args[2].cpu().numpy())
        if func is torch.cat and len(args) == 1 and (kwargs or {}).get("dim", 0) == 0 and _of_one_file(args[0]):
            first, rows = args[0][0], np.concatenate([part.rows for part in args[0]])
            return cls(first.pixels, rows, first.shift.flatten().tolist(), first.scale.flatten().tolist())
        return cls.__torch_dispatch__(func, types, args, kwargs)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Any operation, on all images."""
        whole = tree_map(lambda x: x.read(slice(None)) if isinstance(x, MappedImages) else x, (args, kwargs or {}))
        return func(*whole[0], **whole[1])


def _of_one_file(parts: Sequence[Tensor]) -> bool:
    """Whether these are images of one file, normalised alike."""
    first = parts[0]
    return all(
        isinstance(part, MappedImages)
        and isinstance(first, MappedImages)
        and part.pixels is first.pixels
        and torch.equal(part.shift, first.shift)
        and torch.equal(part.scale, first.scale)
        for part in parts
    )


_SELECTIONS = (Tensor.index_select, torch.index_select)
_DESCRIPTIONS = {
    *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "layout", "ndim", "requires_grad")),
    *(getattr(Tensor, name) for name in ("size", "dim", "numel", "element_size", "is_floating_point", "__len__")),
}
"""What is known without reading."""
