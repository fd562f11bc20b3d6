"""The supernet of DMaskingNAS: all widths, expansions, block types and resolutions in one network (Wan et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from xnas_ray.errors import SpecError
from xnas_ray.messages import Genotype
from xnas_ray.networks.inverted_residual import ConvNorm
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.cost import image_input
from xnas_ray.spaces.fbnetv2 import BLOCKS, FBNetV2
from xnas_ray.spaces.inverted_residuals import Size, after, subsampled
from xnas_ray.supernets.base import Supernet
from xnas_ray.supernets.effective_cost import EffectiveCost, convolution, layer_cost, mean_area
from xnas_ray.supernets.gumbel import gumbel_softmax
from xnas_ray.supernets.masked_blocks import MaskedHead, MaskedLayer, at_resolutions
from xnas_ray.supernets.masks import LayerChoices, LayerShapes
from xnas_ray.supernets.mixed import with_batch_statistics
from xnas_ray.training.augment import stream_seed

_INITIAL = 31
_FORMS = tuple((kernel, bool(squeeze)) for kernel, _, squeeze in BLOCKS.values())


class DMaskingSupernet(Supernet):
    """A network whose choices are weighted, by masks where options share their weights.

    Weights of all options of all choices stand in one vector, the ``mixing``, in the order of ``space.choices``; those
    of each choice sum to 1. A forward pass takes any such vector: a Gumbel-softmax sample while it is trained, or
    ``one_hot`` of a genotype, with which it computes what ``slicing.sliced`` of that genotype does.

    Args:
        space: an ``FBNetV2``, whole.
        shape: of the task's data, one image at least as large as the largest resolution.
        seed: of the initial weights.
        affine: whether normalisation has a learned scale and shift; without them, as searches commonly do, none can
            undo a mixing weight (Liu et al., ICLR 2019, section 3.1.1).
        recompute: whether inner maps are computed again for the backward pass, so that memory does not grow with the
            number of resolutions; by default where there are several.

    Attributes:
        alpha: logits of all options, from 0: every option is as likely as the others.
        sizes: number of options of every choice.
        maps: height and width of every map at every resolution: the image's first, the last layer's last.

    Raises:
        SpecError: the space is another one, or the images are too small.
    """

    map_sizes: Tensor

    def __init__(
        self, space: Space, shape: DataShape, *, seed: int, affine: bool = False, recompute: bool | None = None
    ) -> None:
        """Make the layers."""
        super().__init__(space, shape)
        if not isinstance(space, FBNetV2):
            raise SpecError(
                f"DMaskingNAS searches the space 'fbnetv2', not {space.name!r}.",
                field="controller.name",
                valid=["fbnetv2"],
            )
        self.macro = space
        self.sizes = [len(choice.options) for choice in space.choices]
        self.alpha = nn.Parameter(torch.zeros(sum(self.sizes)))
        self.recompute = len(space.resolutions) > 1 if recompute is None else recompute
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, _INITIAL))
            self._make_layers(space, image_input(shape, space.name)[0])
        for part in (self.stem, self.layers, self.head):
            with_batch_statistics(part, affine=affine)
        self._keep_map_sizes(space)

    def _make_layers(self, space: FBNetV2, colours: int) -> None:
        stem = space.stem
        self.stem = ConvNorm(colours, stem.width, stem.kernel, stem.stride, act=stem.activation)
        inputs: tuple[int, ...] = (stem.width,)
        layers = []
        for layer in space.layers:
            layers.append(MaskedLayer(LayerShapes(inputs, layer.expansions, layer.widths, layer.stride), layer.stride))
            inputs = layer.widths
        self.layers = nn.ModuleList(layers)
        self.head = MaskedHead(max(inputs), space.head.width, space.head.activation)
        self.classifier = nn.Linear(space.head.width, self.shape.outputs)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def _keep_map_sizes(self, space: FBNetV2) -> None:
        """Keep ``maps``, as numbers and as the tensor that costs are computed from."""
        _, height, width = image_input(self.shape, space.name)
        current = [subsampled((height, width), resolution) for resolution in space.resolutions]
        maps = [current]
        current = [after(one, space.stem.kernel, space.stem.stride, space.stem.kernel // 2) for one in current]
        maps.append(current)
        for layer in space.layers:
            current = [after(one, 1, layer.stride, 0) for one in current]
            maps.append(current)
        self.maps: list[list[Size]] = maps
        self.register_buffer("map_sizes", torch.tensor(maps, dtype=torch.float64), persistent=False)

    # ---- choices ---------------------------------------------------------------------------------------------------

    def architecture_parameters(self) -> list[nn.Parameter]:
        """See ``Supernet.architecture_parameters``: one vector."""
        return [self.alpha]

    def mixing(self, temperature: float = 1.0, noise: Tensor | None = None) -> Tensor:
        """Weights of all options: the softmax of every choice's logits, of a Gumbel sample where there is noise.

        Args:
            temperature: of the softmax.
            noise: as long as ``alpha`` (``gumbel.gumbel_noise``).
        """
        parts = zip(self.alpha.split(self.sizes), self._parts(noise), strict=True)
        return torch.cat([gumbel_softmax(logits, temperature, own) for logits, own in parts])

    def _parts(self, noise: Tensor | None) -> Sequence[Tensor | None]:
        return [None] * len(self.sizes) if noise is None else noise.to(self.alpha.device).split(self.sizes)

    def one_hot(self, genotype: Genotype) -> Tensor:
        """The mixing that is one architecture alone."""
        checked = self.space.check(genotype)
        rows = [nn.functional.one_hot(torch.tensor(i), size) for i, size in zip(checked, self.sizes, strict=True)]
        return torch.cat(rows).to(self.alpha)

    def named(self, mixing: Tensor) -> dict[str, Tensor]:
        """The weights of each choice, by its name."""
        names = [choice.name for choice in self.space.choices]
        return dict(zip(names, mixing.split(self.sizes), strict=True))

    def probabilities(self) -> dict[str, Tensor]:
        """See ``Supernet.probabilities``; choices with a single option are left out."""
        named = self.named(self.mixing().detach())
        return {name: weights for name, weights in named.items() if len(weights) > 1}

    def options(self) -> dict[str, tuple[str, ...]]:
        """See ``Supernet.options``."""
        several = [choice for choice in self.space.choices if len(choice.options) > 1]
        return {choice.name: tuple(_shown(option) for option in choice.options) for choice in several}

    def genotype(self) -> Genotype:
        """The likeliest option of every choice, the first of several; canonical."""
        likeliest = (int(part.argmax()) for part in self.alpha.detach().split(self.sizes))
        return self.space.canonical(tuple(likeliest))

    def _choices(self, mixing: Tensor) -> tuple[list[LayerChoices], Tensor]:
        """Weights layer by layer, and those of the resolutions."""
        named = self.named(mixing)
        incoming = mixing.new_ones(1)
        found = []
        for i in range(len(self.layers)):
            layer = LayerChoices(incoming, named[f"{i}.block"], named[f"{i}.expansion"], named[f"{i}.width"])
            found.append(layer)
            incoming = layer.width
        return found, named["resolution"]

    @property
    def shapes(self) -> list[LayerShapes]:
        """What follows from the options of every layer."""
        return [cast(MaskedLayer, layer).shapes for layer in self.layers]

    # ---- the network -----------------------------------------------------------------------------------------------

    def forward(self, *inputs: Tensor, mixing: Tensor | None = None) -> Tensor:
        """Logits or regressed values, ``n x outputs``.

        Args:
            *inputs: images ``n x channels x h x w``.
            mixing: weights of all options; ``mixing()`` by default.
        """
        choices, resolution = self._choices(self.mixing() if mixing is None else mixing)
        largest = [sizes[-1] for sizes in self.maps]
        kept = {"recompute": self.recompute}
        x = at_resolutions(self.stem, inputs[0], resolution, self.maps[0], largest[1], **kept)
        for i, (layer, shapes, own) in enumerate(zip(self.layers, self.shapes, choices, strict=True), start=1):
            masks = shapes.masks(own)
            x = at_resolutions(layer, x, resolution, self.maps[i], largest[i + 1], masks, own.block, **kept)
        features = at_resolutions(self.head, x, resolution, self.maps[-1], None, **kept)
        result: Tensor = self.classifier(features)
        return result

    def effective_cost(self, mixing: Tensor | None = None) -> EffectiveCost:
        """What the mixture costs for one image, differentiable by its weights.

        With ``one_hot(g)`` it is ``space.cost(g, shape)``, exactly.

        Args:
            mixing: weights of all options; ``mixing()`` by default.
        """
        choices, resolution = self._choices(self.mixing() if mixing is None else mixing)
        areas = [mean_area(sizes, resolution) for sizes in self.map_sizes]
        one = areas[0].new_ones(())
        stem = self.macro.stem
        total = convolution(one * self.stem.conv.in_channels, one * stem.width, areas[1], stem.kernel)
        for i, (shapes, own) in enumerate(zip(self.shapes, choices, strict=True), start=1):
            total = total + layer_cost(shapes, own, _FORMS, areas[i], areas[i + 1])
        last = choices[-1].width.double() @ self.shapes[-1].widths.double()
        width, outputs = self.macro.head.width, self.shape.outputs
        total = total + convolution(last, one * width, areas[-1])
        return total + EffectiveCost(one * width * outputs, one * (width + 1) * outputs)

    def by_choice(self, values: Tensor) -> Mapping[str, tuple[float, ...]]:
        """Numbers of the options of every choice that has several, by its name."""
        named = self.named(values)
        return {name: tuple(own.tolist()) for name, own in named.items() if len(own) > 1}


def _shown(option: object) -> str:
    return f"{option:g}" if isinstance(option, float) else str(option)
