"""FBNetV2's search spaces: block, width and expansion of every layer, and one resolution (Wan et al., CVPR 2020).

A network is a stem, layers in stages of falling resolution, a 1 x 1 convolution, the average and a classifier. Every
layer chooses one of eight inverted residuals (Table 3.3: kernel 3 or 5, ReLU or h-swish, with or without
squeeze-and-excitation) or a skip, its width and its expansion; the whole network has one input resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xnas_ray.errors import SpecError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import Choice
from xnas_ray.spaces.batch_costs import Batch
from xnas_ray.spaces.batch_costs import Layer as BatchLayer
from xnas_ray.spaces.defined import DefinedSpace
from xnas_ray.spaces.fbnetv2_macros import MACROS, Layer, one_or_two, read_layers, read_resolutions, whole
from xnas_ray.spaces.inverted_residuals import (
    ACTIVATIONS,
    SQUEEZE,
    Block,
    Definition,
    Head,
    Stem,
    middle_channels,
)
from xnas_ray.spaces.registry import register_space
from xnas_ray.spaces.words import option_index, split_parts, split_words

if TYPE_CHECKING:
    import networkx as nx

SKIP = "skip"

BLOCKS: Mapping[str, tuple[int, str, float]] = {
    "ir_k3": (3, "relu", 0.0),
    "ir_k5": (5, "relu", 0.0),
    "ir_k3_hs": (3, "hswish", 0.0),
    "ir_k5_hs": (5, "hswish", 0.0),
    "ir_k3_se": (3, "relu", SQUEEZE),
    "ir_k5_se": (5, "relu", SQUEEZE),
    "ir_k3_se_hs": (3, "hswish", SQUEEZE),
    "ir_k5_se_hs": (5, "hswish", SQUEEZE),
    SKIP: (0, "relu", 0.0),
}
"""Kernel, activation and squeeze-and-excitation of every block type, in the order of Table 3.3."""

NAMES = tuple(BLOCKS)


@register_space("fbnetv2")
class FBNetV2(DefinedSpace):
    """The F, L and P spaces of FBNetV2, or smaller ones of the same form.

    Without their resolutions they have 4.39e40 (F, 17 layers), 1.78e45 (L, 18) and 1.78e49 (P, 19) genotypes; the paper
    says more than 1e35, of 22 layers where its table of L has 18.

    ``key`` is the text of the genotype whose expansions are the lowest that give the same depthwise channels, with the
    lowest of all in a skip, which has none: expansions are rounded to 8 channels, so that several mean the same block.
    A skip that changes nothing is not seen through: where in a stage it stands tells genotypes apart.

    The text is such as ``r128 | ir_k3_se e1 c16 | skip e0.75 c24 | …``: resolution, then block, expansion and width of
    every layer.

    Args:
        macro: ``"F"`` (few operations), ``"L"`` (large) or ``"P"`` (few parameters); what follows replaces its parts.
        rows: groups of layers as ``[expansion, width, layers, stride]``, expansion and width one number or
            ``[lowest, highest, step]``; the stride is that of the first layer of the group.
        stem: channels of the first convolution.
        stem_stride: 2 officially; 1 suits small images.
        head: channels before the average.
        resolutions: options of the images' height in pixels; the task's images are at least that large and are
            subsampled, their width in proportion.

    Raises:
        SpecError: a parameter is malformed or out of range.
    """

    name = "fbnetv2"

    def __init__(
        self,
        *,
        macro: str = "F",
        rows: Sequence[Sequence[Any]] | None = None,
        stem: int | None = None,
        stem_stride: int = 2,
        head: int | None = None,
        resolutions: Sequence[int] | None = None,
    ) -> None:
        """Check and keep the parameters."""
        if not isinstance(macro, str) or macro not in MACROS:
            raise SpecError(f"there is no macro space {macro!r}.", field="space.params.macro", valid=MACROS, got=macro)
        base = MACROS[macro]
        given = {"rows": rows, "stem": stem, "head": head, "resolutions": resolutions}
        changed = {name: _plain(value) for name, value in given.items() if value is not None}
        self.params = {"macro": macro, "stem_stride": stem_stride, **changed}
        stride = one_or_two(stem_stride, "stem_stride")
        self.stem = Stem(whole(base.stem if stem is None else stem, "stem"), stride=stride)
        self.head = Head(whole(base.head if head is None else head, "head"))
        self.resolutions = read_resolutions(base.resolutions if resolutions is None else resolutions)
        self.layers = read_layers(base.rows if rows is None else rows)
        self.choices = (
            *(choice for i, layer in enumerate(self.layers) for choice in _choices(i, layer)),
            Choice("resolution", self.resolutions, ordered=True),
        )

    def key(self, genotype: Genotype) -> str:
        """The text of the canonical member."""
        return self.format(self.canonical(genotype))

    def canonical(self, genotype: Genotype) -> Genotype:
        """The member with the lowest expansions; all members are the same network."""
        found = list(self.check(genotype))
        inputs = self.stem.width
        for i, layer in enumerate(self.layers):
            block, expansion, width = found[3 * i : 3 * i + 3]
            if NAMES[block] == SKIP:
                found[3 * i + 1] = 0
            else:
                middle = middle_channels(inputs, layer.expansions[expansion])
                found[3 * i + 1] = next(
                    e for e, option in enumerate(layer.expansions) if middle_channels(inputs, option) == middle
                )
            inputs = layer.widths[width]
        return tuple(found)

    def graphs(self, genotype: Genotype) -> Mapping[str, nx.DiGraph]:
        """``{"network": graph}``: the chain of block types; skips that change nothing are contracted.

        Widths, expansions and the resolution are ordered: kernels get them as ``numeric``, not as labels.
        """
        from xnas_ray.spaces.graphs import INPUT, OUTPUT, chain

        labels = [INPUT]
        inputs = self.stem.width
        for block in self.definition(genotype).blocks:
            identity = not block.kernel and block.stride == 1 and block.width == inputs
            labels += [] if identity else [block.label]
            inputs = block.width
        return {"network": chain([*labels, OUTPUT])}

    def numeric(self, genotype: Genotype) -> tuple[float, ...]:
        """Widths, expansions and the resolution in [0, 1], those of the canonical member."""
        return super().numeric(self.canonical(genotype))

    def definition(self, genotype: Genotype) -> Definition:
        """See ``DefinedSpace.definition``."""
        genotype = self.check(genotype)
        blocks = []
        for i, layer in enumerate(self.layers):
            name, expansion, width = genotype[3 * i : 3 * i + 3]
            kernel, activation, squeeze = BLOCKS[NAMES[name]]
            blocks.append(
                Block(
                    layer.widths[width],
                    layer.stride,
                    layer.expansions[expansion] if kernel else 1.0,
                    kernel,
                    activation,
                    squeeze,
                )
            )
        return Definition(self.resolutions[genotype[-1]], self.stem, tuple(blocks), self.head)

    def batch(self, genotypes: np.ndarray) -> Batch:
        """See ``DefinedSpace.batch``."""
        kernels, squeezes = (np.array([form[i] for form in BLOCKS.values()]) for i in (0, 2))
        activations = np.array([ACTIVATIONS.index(activation) for _, activation, _ in BLOCKS.values()])
        present = np.ones(len(genotypes), dtype=bool)
        layers = (
            BatchLayer(
                np.array(layer.widths)[genotypes[:, 3 * i + 2]],
                layer.stride,
                np.array(layer.expansions)[genotypes[:, 3 * i + 1]],
                kernels[genotypes[:, 3 * i]],
                squeezes[genotypes[:, 3 * i]],
                activations[genotypes[:, 3 * i]],
                present,
            )
            for i, layer in enumerate(self.layers)
        )
        stem = np.full(len(genotypes), self.stem.width)
        return Batch(np.array(self.resolutions)[genotypes[:, -1]], self.stem, stem, layers, self.head)

    def influences(self) -> Iterator[set[int]]:
        """See ``DefinedSpace.influences``: a layer depends on its choices, the width before it, and the resolution."""
        resolution = len(self.choices) - 1
        for i in range(len(self.layers)):
            yield {*range(3 * i, 3 * i + 3), resolution, *([3 * i - 1] if i else [])}

    def format(self, genotype: Genotype) -> str:
        """Such as ``r128 | ir_k3_se e1 c16 | skip e0.75 c24``."""
        genotype = self.check(genotype)
        parts = [f"r{self.resolutions[genotype[-1]]}"]
        for i, layer in enumerate(self.layers):
            name, expansion, width = genotype[3 * i : 3 * i + 3]
            parts.append(f"{NAMES[name]} e{layer.expansions[expansion]:g} c{layer.widths[width]}")
        return " | ".join(parts)

    def parse(self, text: str) -> Genotype:
        """The genotype of such a text.

        Raises:
            GenotypeError: naming the layer that is malformed or has an option that is not in the space.
        """
        example = self.format((0,) * len(self.choices))
        first, *layers = split_parts(text, len(self.layers), "layers", example)
        found: list[int] = []
        for i, (part, layer) in enumerate(zip(layers, self.layers, strict=True)):
            words = split_words(part, 3, f"layer {i}", "ir_k3_se e1.5 c24")
            options = (NAMES, [f"e{e:g}" for e in layer.expansions], [f"c{w}" for w in layer.widths])
            found += [option_index(word, one, f"layer {i}") for word, one in zip(words, options, strict=True)]
        return (*found, option_index(first, [f"r{r}" for r in self.resolutions], "the resolution"))


def _choices(i: int, layer: Layer) -> tuple[Choice, Choice, Choice]:
    return (
        Choice(f"{i}.block", NAMES),
        Choice(f"{i}.expansion", layer.expansions, ordered=True),
        Choice(f"{i}.width", layer.widths, ordered=True),
    )


def _plain(value: Any) -> Any:
    """Lists in place of tuples, so that parameters are JSON values."""
    return [_plain(v) for v in value] if isinstance(value, Sequence) and not isinstance(value, str) else value
