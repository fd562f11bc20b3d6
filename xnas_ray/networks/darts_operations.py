"""Operations of the DARTS space (Liu, Simonyan & Yang, ICLR 2019, section 3.1) and what else its cells are made of.

Each maps ``n x c x h x w`` to ``n x c' x ceil(h / stride) x ceil(w / stride)``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from xnas_ray.networks.cells import ReluConvNorm


class FactorizedReduction(nn.Module):
    """ReLU, two 1 x 1 convolutions of stride 2, on even and on odd pixels, that give half of the channels each; norm.

    The official block fails on odd sizes and odd numbers of channels; here zeros stand for pixels beyond the border,
    and the first half is the smaller one. On even numbers it is the same.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """Args are channels."""
        super().__init__()
        self.even = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(inputs, outputs - outputs // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Halve height and width, rounded up."""
        x = functional.relu(x)
        beside = functional.pad(x, (-1, 1, -1, 1))  # one pixel to the left and up
        result: Tensor = self.norm(torch.cat([self.even(x), self.odd(beside)], dim=1))
        return result


class SeparableConv(nn.Sequential):
    """Twice ReLU, depthwise convolution, 1 x 1 convolution, norm; the first has the stride."""

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        """Args are channels, the side of the (odd) kernel and the stride."""
        layers: list[nn.Module] = []
        for own_stride in (stride, 1):
            layers += _depthwise(channels, kernel, own_stride, dilation=1)
        super().__init__(*layers)


class DilatedConv(nn.Sequential):
    """ReLU, depthwise convolution that reads every second pixel, 1 x 1 convolution, norm."""

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        """Args are channels, the side of the (odd) kernel and the stride."""
        super().__init__(*_depthwise(channels, kernel, stride, dilation=2))


def _depthwise(channels: int, kernel: int, stride: int, dilation: int) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(inplace=False),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    ]


def make_operation(name: str, channels: int, stride: int = 1) -> nn.Module | None:
    """The module of an operation; None for ``none``.

    Args:
        name: one of ``spaces.darts.OPERATIONS``, or ``none``.
        channels: that it reads and gives.
        stride: 1, or 2 where a reduction cell reads its inputs.
    """
    if name == "none":
        return None
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduction(channels, channels)
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride=stride, padding=1)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False)
    kind = SeparableConv if name.startswith("sep_conv") else DilatedConv
    return kind(channels, int(name[-1]), stride)


def preprocessing(before: int, last: int, channels: int, halved: bool) -> tuple[nn.Module, nn.Module]:
    """What brings the results of the two cells before to a cell's channels and size.

    Args:
        before: channels of the cell before the last one.
        last: channels of the last one.
        channels: of the cell's nodes.
        halved: whether the last cell was a reduction, so that the one before is twice as large.
    """
    first = FactorizedReduction(before, channels) if halved else ReluConvNorm(before, channels, 1)
    return first, ReluConvNorm(last, channels, 1)


class DropPath(nn.Module):
    """Zeroes whole samples with a probability, and scales the others up (Larsson et al., ICLR 2017).

    Attributes:
        probability: of a sample; ``DARTSNetwork.start_epoch`` sets it.
    """

    def __init__(self) -> None:
        """Nothing is dropped."""
        super().__init__()
        self.probability = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Map ``n x …`` to the same shape; the identity outside of training."""
        if not self.training or self.probability == 0.0:
            return x
        kept = 1 - self.probability
        mask = torch.empty(len(x), *(1,) * (x.dim() - 1), dtype=x.dtype, device=x.device).bernoulli_(kept)
        return x / kept * mask


class AuxiliaryHead(nn.Module):
    """A second classifier in the middle of the network, for training alone (Szegedy et al., CVPR 2015).

    It averages over 2 x 2 windows that overlap, each five eighths of the image wide (5 of the 8 pixels that there are
    on CIFAR), and has two convolutions before the linear layer, as officially.

    Args:
        channels: that it reads.
        outputs: as of the network.
        size: height and width of what it reads.
    """

    def __init__(self, channels: int, outputs: int, size: tuple[int, int]) -> None:
        """Make the layers."""
        super().__init__()
        if min(size) == 1:
            pool: nn.Module = nn.AdaptiveAvgPool2d(2)
        else:
            window = tuple(min(-(-5 * side // 8), side - 1) for side in size)
            between = tuple(side - own for side, own in zip(size, window, strict=True))
            pool = nn.AvgPool2d(window, stride=between)  # type: ignore[arg-type]
        self.features = nn.Sequential(
            nn.ReLU(inplace=False),
            pool,
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Linear(768, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``n x outputs``."""
        result: Tensor = self.head(self.features(x).flatten(1))
        return result
