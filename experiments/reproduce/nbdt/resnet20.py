"""A trained ResNet-20 and images of CIFAR-10: what the experiments with decision trees look at."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xnas_ray.tasks.datasets import data_file

WEIGHTS, IMAGES, WNIDS = "resnet20_cifar10.th", "cifar10_subset.npz", "cifar10_wnids.txt"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the inputs that the network was trained on."""

_HOW = "Set XNAS_DATA to the folder that has it."
_BATCH = 250


class Block(nn.Module):
    """Two convolutions and a shortcut without weights (option A of He et al., CVPR 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Halve the pixels where the channels grow."""
        super().__init__()
        self.stride = outputs // inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of twice the channels and half the width, or of the same size."""
        branch = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            more = (branch.shape[1] - x.shape[1]) // 2
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more, more))
        return functional.relu(branch + x)


class ResNet(nn.Module):
    """Three stages of blocks for small images (He et al., CVPR 2016, section 4.2), by default a ResNet-20.

    Args:
        blocks: of a stage.
        channels: of the first stage; every further one doubles them.
        classes: that it tells apart.
    """

    def __init__(self, blocks: int = 3, channels: int = 16, classes: int = 10) -> None:
        """Make it with random weights."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        widths = [channels, *(channels * 2**stage for stage in range(3) for _ in range(blocks))]
        made = [Block(inputs, outputs) for inputs, outputs in itertools.pairwise(widths)]
        stages = (nn.Sequential(*made[i * blocks : (i + 1) * blocks]) for i in range(3))
        self.layer1, self.layer2, self.layer3 = stages
        self.linear = nn.Linear(4 * channels, classes)

    def features(self, x: Tensor) -> Tensor:
        """What the last layer reads, of the published network ``n x 64``."""
        maps = functional.relu(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(maps))).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, of the published network ``n x 10``."""
        return self.linear(self.features(x))


@dataclass(frozen=True, eq=False)
class Images:
    """Images as the network reads them, and its view of them.

    Attributes:
        features: ``n x 64``.
        logits: ``n x 10``.
        labels: int64 ``n``.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor


def trained_network() -> ResNet:
    """The network with its published weights, in evaluation mode.

    Raises:
        DataMissingError: they are not in the folder that ``XNAS_DATA`` names.
    """
    state = torch.load(data_file(WEIGHTS, _HOW), weights_only=True, map_location="cpu")
    network = ResNet()
    network.load_state_dict({name.removeprefix("module."): value for name, value in state["state_dict"].items()})
    return network.eval()


def class_names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the ten classes, and their ids in WordNet.

    Raises:
        DataMissingError: a file is not in the folder that ``XNAS_DATA`` names.
    """
    with np.load(data_file(IMAGES, _HOW)) as arrays:
        names = tuple(map(str, arrays["classes"]))
    return names, tuple(data_file(WNIDS, _HOW).read_text(encoding="utf-8").split())


def pictures(split: str) -> tuple[Tensor, Tensor]:
    """Images of a split, ``"train"`` or ``"test"``: pixels, uint8 ``n x 32 x 32 x 3``, and labels, int64 ``n``.

    Raises:
        DataMissingError: they are not in the folder that ``XNAS_DATA`` names.
    """
    with np.load(data_file(IMAGES, _HOW)) as arrays:
        return torch.from_numpy(arrays[f"X_{split}"]), torch.from_numpy(arrays[f"y_{split}"].astype(np.int64))


def normalised(pixels: Tensor) -> Tensor:
    """Pixels as the network reads them, float32 ``n x 3 x 32 x 32``."""
    x = pixels.permute(0, 3, 1, 2).float() / 255
    return (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def seen(network: ResNet, split: str) -> Images:
    """All images of a split, ``"train"`` or ``"test"``, as the network sees them.

    Raises:
        DataMissingError: they are not in the folder that ``XNAS_DATA`` names.
    """
    pixels, labels = pictures(split)
    with torch.inference_mode():
        features = torch.cat([network.features(normalised(part)) for part in pixels.split(_BATCH)])
        return Images(features, network.linear(features), labels)
