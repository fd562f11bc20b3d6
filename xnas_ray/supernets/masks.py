"""Masks of a layer whose widths are chosen: which share of every channel is there (FBNetV2, Eqs. 3.1 to 3.3).

A layer has the channels of its widest option and is run once; option ``i`` is its first ``c_i`` channels, and the
options together are ``M = sum_i g_i 1[channel < c_i]``. What depends on two choices has the product of their weights:
the depthwise channels of a block follow from the width before it and from its expansion. With one-hot weights every
mask is ones, then zeros, exactly the channels of the network that they stand for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xnas_ray.spaces.inverted_residuals import SQUEEZE, middle_channels, squeezed_channels


@dataclass(frozen=True)
class LayerChoices:
    """Weights of the options of one layer; each sums to 1.

    Attributes:
        inputs: of the widths that come in.
        block: of the block types.
        expansion: of the expansions.
        width: of the widths that go out.
    """

    inputs: Tensor
    block: Tensor
    expansion: Tensor
    width: Tensor


@dataclass(frozen=True)
class LayerMasks:
    """Shares of the channels of one layer; vectors as long as there are channels.

    Attributes:
        expanded: depthwise channels that a 1 x 1 convolution makes.
        passed: depthwise channels that are the input's, in blocks that expand nothing.
        middle: depthwise channels, the sum of both.
        squeezed: inner channels of squeeze-and-excitation.
        output: channels that go out.
        shortcut: channels that go out in cases in which as many come in, where the layer keeps the map.
    """

    expanded: Tensor
    passed: Tensor
    middle: Tensor
    squeezed: Tensor
    output: Tensor
    shortcut: Tensor


def prefixes(counts: Tensor, length: int) -> Tensor:
    """A row a count: ones, then zeros, ``length`` in all; float32."""
    return (torch.arange(length, device=counts.device) < counts.reshape(-1, 1)).to(torch.float32)


class LayerShapes(nn.Module):
    """What follows from the options of one layer.

    Args:
        inputs: widths that may come in.
        expansions: options.
        widths: options of what goes out.
        stride: of the layer; with 2 there is no shortcut.

    Attributes:
        middles: depthwise channels, a row an input width, a column an expansion.
        squeezed: inner channels of squeeze-and-excitation, likewise.
        same: whether a block expands nothing, likewise.
        equal: whether as many channels go out as come in: a row an input width, a column an output width.
    """

    inputs: Tensor
    widths: Tensor
    middles: Tensor
    squeezed: Tensor
    same: Tensor
    equal: Tensor
    _middle_rows: Tensor
    _squeezed_rows: Tensor
    _width_rows: Tensor

    def __init__(
        self, inputs: tuple[int, ...], expansions: tuple[float, ...], widths: tuple[int, ...], stride: int
    ) -> None:
        """Apply the rules of ``spaces.inverted_residuals``."""
        super().__init__()
        middles = [[middle_channels(c, e) for e in expansions] for c in inputs]
        squeezed = [[squeezed_channels(m, SQUEEZE) for m in row] for row in middles]
        self._keep("inputs", torch.tensor(inputs))
        self._keep("widths", torch.tensor(widths))
        self._keep("middles", torch.tensor(middles))
        self._keep("squeezed", torch.tensor(squeezed))
        self._keep("same", self.middles == self.inputs[:, None])
        self._keep("equal", (self.inputs[:, None] == self.widths) & (stride == 1))
        self.most_inputs, self.most_outputs = max(inputs), max(widths)
        self.most_middle, self.most_squeezed = int(self.middles.max()), int(self.squeezed.max())
        self.expands, self.passes = not bool(self.same.all()), bool(self.same.any())
        self.may_keep = bool(self.equal.any())
        self._keep("_middle_rows", prefixes(self.middles, self.most_middle))
        self._keep("_squeezed_rows", prefixes(self.squeezed, self.most_squeezed))
        self._keep("_width_rows", prefixes(self.widths, self.most_outputs))

    def _keep(self, name: str, value: Tensor) -> None:
        """A constant: it moves with the module and is in no checkpoint."""
        self.register_buffer(name, value, persistent=False)

    def masks(self, choices: LayerChoices) -> LayerMasks:
        """Masks for these weights, differentiable by them."""
        joint = choices.inputs[:, None] * choices.expansion
        rows = self._middle_rows.to(joint.dtype)
        expanded = (joint * ~self.same).reshape(-1) @ rows
        passed = (joint * self.same).reshape(-1) @ rows
        agreeing = choices.width * (choices.inputs @ self.equal.to(joint.dtype))
        return LayerMasks(
            expanded=expanded,
            passed=passed,
            middle=expanded + passed,
            squeezed=joint.reshape(-1) @ self._squeezed_rows.to(joint.dtype),
            output=choices.width @ self._width_rows.to(joint.dtype),
            shortcut=agreeing @ self._width_rows.to(joint.dtype),
        )
