"""Networks of inverted residuals from their definitions: FBNetV2, FBNetV3, and whatever a space of them samples.

Blocks: Sandler et al. 2018; squeeze-and-excitation on the depthwise channels and hard activations: Howard et al. 2019.
What each block looks like is decided in ``spaces.inverted_residuals``, which also counts what it costs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xnas_ray.messages import Genotype
from xnas_ray.networks.resolution import subsample
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.cost import image_input
from xnas_ray.spaces.defined import DefinedSpace
from xnas_ray.spaces.inverted_residuals import Definition, Head, Placed, Size, middle_channels, place
from xnas_ray.spaces.kinds import whole_space


def activation(name: str) -> nn.Module:
    """The activation of that name, one of ``spaces.inverted_residuals.ACTIVATIONS``; not in place."""
    return nn.Hardswish() if name == "hswish" else nn.ReLU()


class ConvNorm(nn.Sequential):
    """A convolution without bias, batch normalisation, and an activation where one is named.

    Attributes:
        conv: the convolution; weights start as He et al. 2015 (fan-out).
        norm: the normalisation.
    """

    conv: nn.Conv2d
    norm: nn.BatchNorm2d

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        padding: int | None = None,
        depthwise: bool = False,
        act: str | None = None,
    ) -> None:
        """Args are channels, the side of the kernel, stride, padding (half the kernel by default)."""
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        groups = inputs if depthwise else 1
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        self.norm = nn.BatchNorm2d(outputs)
        if act is not None:
            self.act = activation(act)


class SqueezeExcitation(nn.Module):
    """Weighs every channel by what the averages of all say (Hu et al. 2018), with a hard sigmoid.

    Attributes:
        squeeze: a linear layer from the channels to the inner ones, as 1 x 1 convolution with biases.
        excite: a linear layer back.
    """

    def __init__(self, channels: int, inner: int, act: str) -> None:
        """Args are channels and the activation between the two layers."""
        super().__init__()
        self.squeeze = nn.Conv2d(channels, inner, 1)
        self.act = activation(act)
        self.excite = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``n x channels x h x w`` to the same shape."""
        weights = self.excite(self.act(self.squeeze(x.mean(dim=(2, 3), keepdim=True))))
        return x * nn.functional.hardsigmoid(weights)


class DropPath(nn.Module):
    """Leaves a whole branch out for some samples while training (Huang et al. 2016), and scales up the others.

    Attributes:
        rate: probability with which a sample's branch is left out.
    """

    def __init__(self, rate: float) -> None:
        """Remember the rate."""
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Map ``n x c x h x w`` to the same shape."""
        if not self.training or not self.rate:
            return x
        kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.rate
        return x * kept / (1 - self.rate)


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, squeeze-and-excitation and a linear projection; the input on top if it fits.

    Args:
        placed: the block where it stands.
        drop_path: probability with which everything but the shortcut is left out, in blocks that have one.

    Attributes:
        expand: 1 x 1 convolution, or None where the depthwise channels are those of the input.
        depthwise: convolution of each channel by itself.
        se: squeeze-and-excitation, or None.
        project: 1 x 1 convolution, without activation.
    """

    def __init__(self, placed: Placed, drop_path: float = 0.0) -> None:
        """Make the layers."""
        super().__init__()
        block, middle, act = placed.block, placed.middle, placed.block.activation
        self.expand = ConvNorm(placed.inputs, middle, act=act) if placed.expands else None
        self.depthwise = ConvNorm(
            middle, middle, block.kernel, block.stride, padding=block.padding, depthwise=True, act=act
        )
        self.se = SqueezeExcitation(middle, placed.squeezed, act) if placed.squeezed else None
        self.project = ConvNorm(middle, block.width)
        self.shortcut = placed.keeps_shape
        self.drop_path = DropPath(drop_path if self.shortcut else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``n x inputs x h x w`` to ``n x width`` and the map that ``Placed.result`` says."""
        y = x if self.expand is None else self.expand(x)
        y = self.depthwise(y)
        if self.se is not None:
            y = self.se(y)
        y = self.drop_path(self.project(y))
        return x + y if self.shortcut else y


def make_block(placed: Placed, drop_path: float = 0.0) -> nn.Module:
    """The module of a block; a skip is the identity, or a ``ConvNorm`` where it changes the shape."""
    block = placed.block
    if block.kernel:
        return InvertedResidual(placed, drop_path)
    if placed.keeps_shape:
        return nn.Identity()
    return ConvNorm(placed.inputs, block.width, stride=block.stride, act=block.activation)


class PooledHead(nn.Module):
    """From the last map to the vector that the classifier reads; see ``spaces.inverted_residuals.Head``.

    Attributes:
        before: convolution before the average, or None where an efficient last stage has nothing to expand.
        after: convolution on the averages without normalisation, or None in a plain head.
    """

    def __init__(self, head: Head, channels: int) -> None:
        """Args are the head and the channels that it reads."""
        super().__init__()
        middle = middle_channels(channels, head.expansion) if head.expansion else head.width
        unchanged = head.expansion and middle == channels
        self.before = None if unchanged else ConvNorm(channels, middle, act=head.activation)
        self.after = nn.Conv2d(middle, head.width, 1, bias=False) if head.expansion else None
        self.act = activation(head.activation)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``n x channels x h x w`` to ``n x width``."""
        y = x if self.before is None else self.before(x)
        y = y.mean(dim=(2, 3), keepdim=True)
        if self.after is not None:
            y = self.act(self.after(y))
        return y.flatten(1)


def growing(rate: float, number: int, blocks: int) -> float:
    """The rate of a block, from 0, when the last of so many has ``rate`` (Huang et al. 2016)."""
    return rate * (number + 1) / blocks


class InvertedResidualNetwork(nn.Module):
    """Stem, blocks, head and a linear classifier.

    Args:
        definition: the network.
        inputs: channels of the images.
        outputs: classes or regressed values.
        size: height and width at which images are looked at; larger ones are subsampled to it. By default the
            definition's resolution.
        dropout: share of the vector's values that are left out before the classifier while training.
        drop_path: of the last block; rates grow linearly from the first, as Huang et al. 2016 propose.
    """

    def __init__(
        self,
        definition: Definition,
        inputs: int,
        outputs: int,
        *,
        size: Size | None = None,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        """Make the layers."""
        super().__init__()
        stem = definition.stem
        self.size = size or (definition.resolution, definition.resolution)
        self.stem = ConvNorm(inputs, stem.width, stem.kernel, stem.stride, act=stem.activation)
        placed = list(place(definition, self.size))
        self.blocks = nn.Sequential(
            *(make_block(one, growing(drop_path, i, len(placed))) for i, one in enumerate(placed))
        )
        self.head = PooledHead(definition.head, placed[-1].block.width if placed else stem.width)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(definition.head.width, outputs)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def regularise(self, *, dropout: float | None = None, drop_path: float | None = None) -> None:
        """Set the rates anew; those that are not given stay."""
        if dropout is not None:
            self.dropout.p = dropout
        if drop_path is not None:
            for i, block in enumerate(self.blocks):
                if isinstance(block, InvertedResidual) and block.shortcut:
                    block.drop_path.rate = growing(drop_path, i, len(self.blocks))

    def features(self, x: Tensor) -> Tensor:
        """The vectors that the classifier reads: ``n x width of the head``."""
        result: Tensor = self.head(self.blocks(self.stem(subsample(x, self.size))))
        return result

    def forward(self, x: Tensor) -> Tensor:
        """Logits or regressed values, ``n x outputs``, of images ``n x inputs x h x w``."""
        result: Tensor = self.classifier(self.dropout(self.features(x)))
        return result


def build(space: Space, genotype: Genotype, shape: DataShape) -> nn.Module:
    """The network of a genotype.

    Args:
        space: one whose genotypes have definitions (a ``DefinedSpace``), or a part of one.
        genotype: a valid genotype of it.
        shape: one image input, and the number of outputs.

    Raises:
        SpecError: the space is another one, or the task's input is not one image that is large enough.
        GenotypeError: the genotype does not belong to the space.
    """
    whole = whole_space(space, DefinedSpace)  # type: ignore[type-abstract]
    inputs, *_ = image_input(shape, whole.name)
    checked = space.check(genotype)
    return InvertedResidualNetwork(
        whole.definition(checked), inputs, shape.outputs, size=whole.image_size(checked, shape)
    )
