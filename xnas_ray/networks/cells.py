"""Building blocks of cell-based networks: operations that keep the shape, and the residual block between stages."""

from __future__ import annotations

from torch import Tensor, nn


class ReluConvNorm(nn.Sequential):
    """ReLU, then a convolution without bias, then batch normalisation; padded so that only the stride shrinks.

    Maps ``n x inputs x h x w`` to ``n x outputs x ceil(h / stride) x ceil(w / stride)``.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        """Args are channels, the side of the (odd) kernel and the stride."""
        super().__init__(
            nn.ReLU(inplace=False),
            nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        )


class ResidualReduction(nn.Module):
    """A basic residual block of stride 2 (He et al. 2016), pre-activated, that doubles channels between two stages.

    ``y = pool_conv(x) + conv_b(conv_a(x))`` with the shortcut as an average over 2 x 2 and a 1 x 1 convolution. The
    official block fails on odd sizes; here the average is over what is left at the border, which rounds up as the
    strided convolution does and is the same on even sizes.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """Args are channels."""
        super().__init__()
        self.conv_a = ReluConvNorm(inputs, outputs, 3, stride=2)
        self.conv_b = ReluConvNorm(outputs, outputs, 3)
        self.downsample = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``n x inputs x h x w`` to ``n x outputs x ceil(h / 2) x ceil(w / 2)``."""
        result: Tensor = self.downsample(x) + self.conv_b(self.conv_a(x))
        return result
