"""Networks of inverted residuals as backbones: their maps at several scales, for detection and segmentation.

``feature_pyramid`` gives what torchvision's detectors take, as in ``FasterRCNN(feature_pyramid(definition), 91)``.
Feature pyramids: Lin et al., CVPR 2017.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from xnas_ray.errors import SpecError
from xnas_ray.networks.inverted_residual import InvertedResidualNetwork
from xnas_ray.spaces.inverted_residuals import Definition, place

if TYPE_CHECKING:
    from torchvision.models.detection.backbone_utils import BackboneWithFPN

STRIDES = (4, 8, 16, 32)


class MultiScaleBackbone(nn.Module):
    """Stem and blocks of a network, and the last map at each of some scales.

    Images are taken as they are, of any size: there is no subsampling to the definition's resolution, and neither the
    head nor the classifier is used. Maps of strides that do not divide the images' sides are rounded up, as padded
    convolutions round.

    Args:
        network: whose modules are taken over, weights included; they are shared, not copied.
        definition: of that network.
        strides: scales, ascending: a map at stride 8 has an eighth of the image's height and width.

    Attributes:
        stem: the first convolution.
        blocks: up to the last that gives a map.
        strides: as given.
        out_channels: of each map, as a list, in the order of the strides.

    Raises:
        SpecError: a stride is not reached, or they do not rise; those that there are are named.
    """

    def __init__(
        self, network: InvertedResidualNetwork, definition: Definition, strides: Sequence[int] = STRIDES
    ) -> None:
        """Find the last block at each stride."""
        super().__init__()
        last = last_blocks(definition)
        if list(strides) != sorted(set(strides)) or not strides or not set(strides) <= set(last):
            raise SpecError(
                f"must rise and be strides of the network's maps, got {list(strides)}.", field="strides", valid=last
            )
        self.strides = tuple(strides)
        self.out_channels = [definition.blocks[last[stride]].width for stride in strides]
        self.stem = network.stem
        self.blocks = network.blocks[: last[strides[-1]] + 1]
        self._names = {last[stride]: str(i) for i, stride in enumerate(strides)}

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Maps ``"0"``, ``"1"``, … of the strides, ``n x out_channels[i] x h/stride x w/stride``."""
        maps: OrderedDict[str, Tensor] = OrderedDict()
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self._names:
                maps[self._names[i]] = x
        return maps


def last_blocks(definition: Definition) -> dict[int, int]:
    """The last block at every stride after the stem, by stride, ascending."""
    stride = definition.stem.stride
    found: dict[int, int] = {}
    for i, one in enumerate(place(definition)):
        stride *= one.block.stride
        found[stride] = i
    return found


def feature_pyramid(
    definition: Definition,
    *,
    inputs: int = 3,
    strides: Sequence[int] = STRIDES,
    width: int = 256,
    network: InvertedResidualNetwork | None = None,
) -> BackboneWithFPN:
    """A multi-scale backbone under a feature pyramid, as torchvision's detectors take it.

    Args:
        definition: of the network below, such as one that a search found.
        inputs: channels of the images.
        strides: scales at which the pyramid reads the network; a coarser one is added by pooling.
        width: channels of all maps of the pyramid, its ``out_channels``.
        network: a network of that definition whose (trained) weights are taken over; a new one by default.

    Returns:
        A module that gives maps ``"0"`` to ``"pool"`` for images; its ``body`` is a ``MultiScaleBackbone``.

    Raises:
        SpecError: see ``MultiScaleBackbone``.
    """
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

    if network is None:
        network = InvertedResidualNetwork(definition, inputs, 1)
    body = MultiScaleBackbone(network, definition, strides)
    pyramid = BackboneWithFPN(nn.Sequential(), {}, body.out_channels, width, LastLevelMaxPool())
    # It takes children of a sequential network by their names; ours gives its maps by itself.
    pyramid.body = body
    return pyramid
