"""Places for dropout and stochastic depth in torchvision's classifiers that were made without.

The modules that are put in have no weights and rates of 0: networks compute what they did, the names of their weights
stay, and published checkpoints fit. ``networks.regularisation`` finds them and sets the rates that a recipe asks for.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torchvision.models.mnasnet import _InvertedResidual as MnasBlock
from torchvision.models.mobilenetv2 import InvertedResidual as MobileNetV2Block
from torchvision.models.mobilenetv3 import InvertedResidual as MobileNetV3Block
from torchvision.models.regnet import ResBottleneckBlock
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import StochasticDepth


class DroppedLinear(nn.Linear):
    """A linear layer that leaves out some of what it reads while training.

    Attributes:
        dropout: does it.
    """

    def __init__(self, layer: nn.Linear) -> None:
        """Take over the layer's weights; no random number is drawn."""
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.dropout = nn.Dropout(0.0)

    def forward(self, input: Tensor) -> Tensor:
        """As the layer's, on what is left of the input."""
        return super().forward(self.dropout(input))


class DroppedNorm(nn.BatchNorm2d):
    """The last normalisation of a residual branch, which leaves out the branch of some samples while training.

    Attributes:
        stochastic_depth: does it.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        """Take over the normalisation's weights and averages."""
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device="meta"
        )
        self._parameters.update(norm._parameters)
        self._buffers.update(norm._buffers)
        self.stochastic_depth = StochasticDepth(0.0, "row")

    def forward(self, input: Tensor) -> Tensor:
        """As the normalisation's, zero for the samples that are left out."""
        dropped: Tensor = self.stochastic_depth(super().forward(input))
        return dropped


def make_regularisable(network: nn.Module, outputs: int) -> None:
    """Put dropout before the last linear layer, and stochastic depth into residual branches, where there is none.

    Blocks are those of ResNets, RegNets, MobileNets and MNASNets; stochastic depth has no place in other networks that
    have none, such as DenseNets.

    Args:
        network: one of torchvision's classifiers.
        outputs: of its last layer.
    """
    if not any(isinstance(module, nn.Dropout) for module in network.modules()):
        last = [(o, n) for o, n, m in _children(network) if isinstance(m, nn.Linear) and m.out_features == outputs]
        if last:
            owner, name = last[-1]
            setattr(owner, name, DroppedLinear(getattr(owner, name)))
    if not any(isinstance(module, StochasticDepth) for module in network.modules()):
        for owner, name in list(_branch_ends(network)):
            norm = getattr(owner, name)
            if isinstance(norm, nn.BatchNorm2d):
                setattr(owner, name, DroppedNorm(norm))


def _children(network: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    return [(owner, name, module) for owner in network.modules() for name, module in owner.named_children()]


def _branch_ends(network: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Owner and name of the last normalisation of every residual branch, in the order of the blocks."""
    for block in network.modules():
        if isinstance(block, BasicBlock):
            yield block, "bn2"
        elif isinstance(block, Bottleneck):
            yield block, "bn3"
        elif isinstance(block, ResBottleneckBlock):
            yield block.f.c, "1"
        elif isinstance(block, MobileNetV2Block) and block.use_res_connect:
            yield block.conv, str(len(block.conv) - 1)
        elif isinstance(block, MobileNetV3Block) and block.use_res_connect:
            yield block.block[-1], "1"
        elif isinstance(block, MnasBlock) and block.apply_residual:
            yield block.layers, str(len(block.layers) - 1)
