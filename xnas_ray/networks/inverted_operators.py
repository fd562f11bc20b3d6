"""Operators of networks of inverted residuals as modules: the same ones that ``InvertedResidualNetwork`` is made of."""

from __future__ import annotations

from torch import Tensor, nn

from xnas_ray.networks.inverted_residual import ConvNorm, PooledHead, make_block
from xnas_ray.networks.resolution import subsample
from xnas_ray.spaces.inverted_operators import BlockOperator, ClassifierOperator, HeadOperator, StemOperator
from xnas_ray.spaces.inverted_residuals import Size


class SeeingStem(nn.Module):
    """A stem that subsamples its images to a size.

    Args:
        conv: the first convolution.
        size: height and width at which images are looked at.
    """

    def __init__(self, conv: nn.Module, size: Size) -> None:
        """Keep both."""
        super().__init__()
        self.conv = conv
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Map ``n x inputs x h x w`` to the first map."""
        result: Tensor = self.conv(subsample(x, self.size))
        return result


def build_stem(operator: StemOperator) -> nn.Module:
    """Subsampling and the first convolution."""
    stem = operator.stem
    conv = ConvNorm(operator.inputs, stem.width, stem.kernel, stem.stride, act=stem.activation)
    return SeeingStem(conv, operator.size)


def build_block(operator: BlockOperator) -> nn.Module:
    """An inverted residual, or a skip that changes the shape."""
    return make_block(operator.placed)


def build_head(operator: HeadOperator) -> nn.Module:
    """What follows the last block, up to the classifier."""
    return PooledHead(operator.head, operator.inputs)


def build_classifier(operator: ClassifierOperator) -> nn.Module:
    """The linear layer."""
    return nn.Linear(operator.inputs, operator.outputs)
