"""Mixed operations: what stands on every edge of a relaxed supernet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from xnas_ray.errors import SpecError

Operations = Sequence[nn.Module | None]
"""A module an operation of an edge, in the order of ``RelaxedSupernet.operations``; None where it gives zero."""


class MixedOperation(nn.Module):
    """``sum_o w_o o(x)`` over the operations of an edge (Liu et al., ICLR 2019, Eq. 2).

    An operation that gives zero whatever it reads (``none``) is not computed: neither the sum nor its derivatives
    change.

    Args:
        operations: that keep or shrink what they read alike; at least one of them gives something.
    """

    def __init__(self, operations: Operations) -> None:
        """Keep the operations under their index."""
        super().__init__()
        self.operations = nn.ModuleDict({str(i): one for i, one in enumerate(operations) if one is not None})

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """The weighted sum.

        Args:
            x: ``n x c x h x w``.
            weights: a number an operation.
        """
        total: Tensor | None = None
        for name, operation in self.operations.items():
            term = weights[int(name)] * operation(x)
            total = term if total is None else total + term
        assert total is not None
        return total


class PartialMixed(nn.Module):
    """A mixed operation on a share of the channels; the others go by (Xu et al., ICLR 2020, Eq. 2).

    With ``x1`` the first 1/k of the channels and ``x2`` the others, it is ``sum_o w_o shuffle([o(x1), x2])``: with
    weights that sum to 1 what the paper has, and linear in free weights too. ``x2`` is pooled where the edge has
    stride 2. The shuffle gives the next edges another 1/k.

    Args:
        mixed: of the first share.
        partial: the k.
        stride: of the operations.
    """

    def __init__(self, mixed: MixedOperation, partial: int, stride: int = 1) -> None:
        """Pooling rounds sizes up, as padded convolutions do."""
        super().__init__()
        self.mixed = mixed
        self.partial = partial
        self.bypass = nn.MaxPool2d(2, stride=2, ceil_mode=True) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """See ``MixedOperation.forward``; the result has the channels of ``x``."""
        share = x.shape[1] // self.partial
        worked = self.mixed(x[:, :share], weights)
        joined = torch.cat([worked, weights.sum() * self.bypass(x[:, share:])], dim=1)
        return shuffled(joined, self.partial)


def mixed_operation(
    make: Callable[[int], Operations], channels: int, *, partial: int = 1, stride: int = 1
) -> MixedOperation | PartialMixed:
    """The mixed operation of an edge.

    Args:
        make: gives the operations for a number of channels.
        channels: of what the edge reads and gives.
        partial: 1, or the k of partial channels.
        stride: of the operations.

    Raises:
        SpecError: the channels cannot be divided by ``partial``.
    """
    if channels % partial:
        raise SpecError(
            f"{channels} channels cannot be divided by {partial}.",
            field="controller.params.partial",
            valid=[k for k in range(1, channels + 1) if channels % k == 0],
        )
    mixed = MixedOperation(make(channels // partial))
    return mixed if partial == 1 else PartialMixed(mixed, partial, stride)


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Channels in the order of a perfect shuffle: the first of every group, then the second … (Zhang et al. 2018)."""
    n, channels, height, width = x.shape
    return x.view(n, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


def with_batch_statistics(module: nn.Module, *, affine: bool) -> nn.Module:
    """Make every batch normalisation in a module use the statistics of the batch alone; the module itself.

    Args:
        module: changed in place.
        affine: whether they have a learned scale and shift. Inside of searched cells they have none: a scale that is
            learned could undo the mixing weight before it (Liu et al., section 3.1.1).
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            plain = nn.BatchNorm2d(child.num_features, eps=child.eps, affine=affine, track_running_stats=False)
            setattr(module, name, plain)
        else:
            with_batch_statistics(child, affine=affine)
    return module
