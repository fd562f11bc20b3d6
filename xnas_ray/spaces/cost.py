"""FLOPs and parameters of layers by arithmetic alone: what ``Space.cost`` adds up, without torch.

FLOPs are the multiply-accumulate operations of convolutions and linear layers for one sample, as NAS-Bench-201 counts
them: normalisation, activations, pooling and the additions of biases are free. Parameters are all trainable ones.
"""

from __future__ import annotations

from collections.abc import Iterable

from xnas_ray.errors import SpecError
from xnas_ray.messages import Cost
from xnas_ray.spaces.base import DataShape

FREE = Cost(flops=0, params=0)


def conv2d(
    inputs: int, outputs: int, kernel: int, size: tuple[int, int], *, groups: int = 1, bias: bool = False
) -> Cost:
    """A convolution with a square kernel.

    Args:
        inputs: channels that it reads.
        outputs: channels that it writes.
        kernel: height and width of the kernel.
        size: height and width of its OUTPUT.
        groups: groups of channels, a divisor of both numbers of channels.
        bias: whether every output channel has a bias.
    """
    weights = inputs // groups * outputs * kernel * kernel
    return Cost(flops=weights * size[0] * size[1], params=weights + (outputs if bias else 0))


def linear(inputs: int, outputs: int, *, bias: bool = True) -> Cost:
    """A fully connected layer."""
    return Cost(flops=inputs * outputs, params=inputs * outputs + (outputs if bias else 0))


def batch_norm(channels: int) -> Cost:
    """Batch normalisation with a learned scale and shift: no FLOPs by convention."""
    return Cost(flops=0, params=2 * channels)


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of costs."""
    flops = params = 0
    for cost in costs:
        flops += cost.flops
        params += cost.params
    return Cost(flops=flops, params=params)


def strided(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Height and width after a padded layer of that stride: rounded up."""
    return -(-size[0] // stride), -(-size[1] // stride)


def image_input(shape: DataShape, space: str) -> tuple[int, int, int]:
    """Channels, height and width of the one image that a space's networks read.

    Raises:
        SpecError: the task gives a vector, several inputs, or sizes below 1.
    """
    if len(shape.inputs) != 1 or len(shape.inputs[0]) != 3:
        raise SpecError(
            f"space {space!r} builds networks for one image, the task gives inputs of shapes {list(shape.inputs)}.",
            field="space.name",
            fix="Use a task whose input is (channels, height, width), or a space made for these inputs.",
        )
    channels, height, width = shape.inputs[0]
    if min(channels, height, width, shape.outputs) < 1:
        raise SpecError(
            f"images of shape {shape.inputs[0]} and {shape.outputs} outputs: every number must be at least 1.",
            field="task.shape",
        )
    return channels, height, width
