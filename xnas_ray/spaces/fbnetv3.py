"""FBNetV3's search space: kernel, expansions, width and depth of every stage, and a resolution (Dai et al., CVPR 2021).

A network is a stem, stages of inverted residuals with h-swish, MobileNetV3's efficient last stage and a classifier. The
layers of a stage choose together, but for the expansion of the first, which has one of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.batch_costs import Batch, Layer
from xnas_ray.spaces.defined import DefinedSpace
from xnas_ray.spaces.fbnetv3_stages import (
    PRESETS,
    ChoiceList,
    Slot,
    Stage,
    StageSpec,
    plain,
    read_range,
    read_rising,
    read_stages,
)
from xnas_ray.spaces.inverted_residuals import (
    ACTIVATIONS,
    SQUEEZE,
    Block,
    Definition,
    Head,
    Stem,
    middle_channels,
    squeezed_channels,
)
from xnas_ray.spaces.registry import register_space
from xnas_ray.spaces.words import option_index, split_parts, split_words

ACTIVATION = "hswish"


@register_space("fbnetv3")
class FBNetV3(DefinedSpace):
    """The space of Table 4.2 of the thesis (Table 1 of the paper), or smaller ones of the same form.

    With ``preset = "imagenet"`` it has 29 choices and 175,878,910,771,200,000 genotypes without their 7 resolutions.
    Two stages share their expansions: that is one choice for both. The table's kernel of the last stage (``MBPool``)
    is no choice: there is no convolution that could have it.

    Inner channels of squeeze-and-excitation are a share of what a block reads, as in the published networks.

    ``key`` is the text of the genotype whose expansions are the lowest that give the same channels, with the lowest of
    all where no layer has it: channels are rounded to 8, so that several may mean the same. In the published space
    none do.

    The text is such as ``r224 c16 | k3 e1 c16 n2 | k5 e4/2 c24 n4 | …``: resolution and stem, then kernel, expansions
    (of the first layer, of the others), width and number of layers of every stage.

    Args:
        preset: ``"imagenet"``, ``"cifar"`` (32 x 32), ``"mnist"`` (28 x 28) or ``"digits"`` (8 x 8); what follows
            replaces its parts.
        stages: tables with ``kernel`` (a list), ``first`` and ``rest`` (expansions of the first layer and of the
            others; without ``rest`` one for all) or ``shares`` (the place of an earlier stage whose expansions are
            used), ``width``, ``layers``, ``stride`` (of the first layer) and ``squeeze`` (false by default). All but
            the first and the last two are one number, ``[lowest, highest]`` or ``[lowest, highest, step]``.
        stem: channels of the first convolution, in the same way.
        stem_stride: 2 officially; 1 suits small images.
        head: channels of the vector that the classifier reads.
        head_expansion: of the convolution before the average, as a multiple of the channels.
        resolutions: options of the images' height in pixels; the task's images are at least that large and are
            subsampled, their width in proportion.

    Raises:
        SpecError: a parameter is malformed or out of range.
    """

    name = "fbnetv3"

    def __init__(
        self,
        *,
        preset: str = "imagenet",
        stages: Sequence[StageSpec] | None = None,
        stem: int | Sequence[int] | None = None,
        stem_stride: int | None = None,
        head: int | None = None,
        head_expansion: float | None = None,
        resolutions: Sequence[int] | None = None,
    ) -> None:
        """Check and keep the parameters."""
        if not isinstance(preset, str) or preset not in PRESETS:
            raise SpecError(f"there is no preset {preset!r}.", field="space.params.preset", valid=PRESETS, got=preset)
        base = PRESETS[preset]
        given: dict[str, Any] = {
            "stages": stages,
            "stem": stem,
            "stem_stride": stem_stride,
            "head": head,
            "head_expansion": head_expansion,
            "resolutions": resolutions,
        }
        self.params = {"preset": preset, **{name: plain(value) for name, value in given.items() if value is not None}}
        chosen: dict[str, Any] = {
            name: getattr(base, name) if value is None else value for name, value in given.items()
        }
        if isinstance(chosen["stem_stride"], bool) or chosen["stem_stride"] not in (1, 2):
            raise SpecError(f"must be 1 or 2, got {stem_stride!r}.", field="space.params.stem_stride")
        self.stem_stride = int(chosen["stem_stride"])
        self.head = Head(read_range(chosen["head"], "head")[0], _expansion(chosen["head_expansion"]))
        choices = ChoiceList()
        self.stem: Slot = choices.slot("stem", read_range(chosen["stem"], "stem"))
        self.stages: tuple[Stage, ...] = read_stages(chosen["stages"], choices)
        self.resolution = choices.always("resolution", read_rising(chosen["resolutions"], "resolutions"))
        self.choices = tuple(choices.choices)

    # ---- what a genotype means --------------------------------------------------------------------------------------

    def key(self, genotype: Genotype) -> str:
        """The text of the canonical member."""
        return self.format(self.canonical(genotype))

    def canonical(self, genotype: Genotype) -> Genotype:
        """The member with the lowest expansions; all members are the same network."""
        found = list(self.check(genotype))
        uses: dict[Slot, list[tuple[int, bool]]] = {}
        inputs = self.stem.value(genotype)
        for stage in self.stages:
            width = stage.width.value(genotype)
            uses.setdefault(stage.first, []).append((inputs, stage.squeeze))
            rest = uses.setdefault(stage.rest, [])
            if stage.layers.value(genotype) > 1:
                rest.append((width, stage.squeeze))
            inputs = width
        for slot, places in uses.items():
            if slot.place is not None:
                found[slot.place] = _lowest(slot.options, tuple(places), genotype[slot.place])
        return tuple(found)

    def numeric(self, genotype: Genotype) -> tuple[float, ...]:
        """Widths, expansions, depths and the resolution in [0, 1], those of the canonical member."""
        return super().numeric(self.canonical(genotype))

    def definition(self, genotype: Genotype) -> Definition:
        """See ``DefinedSpace.definition``."""
        genotype = self.check(genotype)
        blocks = tuple(block for stage in self.stages for block in _blocks(stage, genotype))
        stem = Stem(self.stem.value(genotype), stride=self.stem_stride, activation=ACTIVATION)
        return Definition(self.resolution.value(genotype), stem, blocks, self.head)

    def batch(self, genotypes: np.ndarray) -> Batch:
        """See ``DefinedSpace.batch``."""

        def chosen(slot: Slot) -> np.ndarray:
            indices = np.zeros(len(genotypes), dtype=np.int64) if slot.place is None else genotypes[:, slot.place]
            return np.array(slot.options)[indices]

        activation = np.full(len(genotypes), ACTIVATIONS.index(ACTIVATION))

        def layers() -> Iterator[Layer]:
            for stage in self.stages:
                kernel, first, rest, width, depth = (chosen(slot) for slot in stage.slots)
                for i in range(max(stage.layers.options)):
                    expansion = (rest if i else first).astype(np.float64)
                    squeeze = SQUEEZE / expansion if stage.squeeze else np.zeros_like(expansion)
                    yield Layer(width, 1 if i else stage.stride, expansion, kernel, squeeze, activation, depth > i)

        stem = Stem(0, stride=self.stem_stride, activation=ACTIVATION)
        return Batch(chosen(self.resolution), stem, chosen(self.stem), layers(), self.head)

    def influences(self) -> Iterator[set[int]]:
        """See ``DefinedSpace.influences``: a layer depends on its stage, the width before it, and the resolution."""
        width, resolution = self.stem, self.resolution
        yield _places(width, resolution)
        for stage in self.stages:
            # Which layers there are is no matter: the deepest networks have all of them.
            yield _places(width, stage.kernel, stage.first, stage.width, resolution)
            yield _places(stage.kernel, stage.rest, stage.width, resolution)
            width = stage.width

    # ---- text -------------------------------------------------------------------------------------------------------

    def format(self, genotype: Genotype) -> str:
        """Such as ``r224 c16 | k3 e1 c16 n2 | k5 e4/2 c24 n4``."""
        genotype = self.check(genotype)
        parts = [f"r{self.resolution.value(genotype)} c{self.stem.value(genotype)}"]
        parts += [" ".join(_words(stage, [slot.value(genotype) for slot in stage.slots])) for stage in self.stages]
        return " | ".join(parts)

    def parse(self, text: str) -> Genotype:
        """The genotype of such a text.

        Raises:
            GenotypeError: naming the stage that is malformed or has an option that is not in the space.
        """
        example = self.format((0,) * len(self.choices))
        first, *parts = split_parts(text, len(self.stages), "stages", example)
        resolution, stem = split_words(first, 2, "the start", "r224 c16")
        found: dict[int, int] = {}
        _take(stem, "c", self.stem, "the stem", found)
        for i, (part, stage) in enumerate(zip(parts, self.stages, strict=True)):
            kernel, expansions, width, layers = split_words(part, 4, f"stage {i}", "k5 e4/2 c24 n4")
            one, slash, other = expansions.partition("/")
            if bool(slash) is (stage.first is stage.rest):
                raise GenotypeError(
                    f"stage {i} has {expansions!r}.",
                    field="architecture",
                    fix="Write one expansion where all layers share it, else two such as e4/2.",
                )
            words = (kernel, one, f"e{other}" if slash else one, width, layers)
            for word, letter, slot in zip(words, "keecn", stage.slots, strict=True):
                _take(word, letter, slot, f"stage {i}", found)
        _take(resolution, "r", self.resolution, "the start", found)
        return tuple(found[place] for place in range(len(self.choices)))


def _places(*slots: Slot) -> set[int]:
    return {slot.place for slot in slots if slot.place is not None}


def _blocks(stage: Stage, genotype: Genotype) -> Iterator[Block]:
    kernel, first, rest, width, layers = (slot.value(genotype) for slot in stage.slots)
    for i in range(layers):
        expansion = float(rest if i else first)
        squeeze = SQUEEZE / expansion if stage.squeeze else 0.0
        yield Block(width, 1 if i else stage.stride, expansion, kernel, ACTIVATION, squeeze)


@functools.lru_cache(maxsize=2**16)  # evolutions ask for thousands, and widths are few
def _lowest(expansions: tuple[int, ...], places: tuple[tuple[int, bool], ...], index: int) -> int:
    """The first expansion with the same channels as the one at ``index`` wherever it is used."""
    channels = [_channels(*place, expansions[index]) for place in places]
    return next(i for i, e in enumerate(expansions) if [_channels(*place, e) for place in places] == channels)


def _channels(inputs: int, squeeze: bool, expansion: int) -> tuple[int, int]:
    """Channels of the depthwise convolution, and inner ones of squeeze-and-excitation."""
    middle = middle_channels(inputs, float(expansion))
    return middle, squeezed_channels(middle, SQUEEZE / float(expansion)) if squeeze else 0


def _words(stage: Stage, values: Sequence[int]) -> tuple[str, str, str, str]:
    kernel, first, rest, width, layers = values
    expansions = f"e{first}" if stage.first is stage.rest else f"e{first}/{rest}"
    return f"k{kernel}", expansions, f"c{width}", f"n{layers}"


def _take(word: str, letter: str, slot: Slot, where: str, found: dict[int, int]) -> None:
    """Note the option that a word names; shared ones must be named equally wherever they stand."""
    valid = [f"{letter}{option}" for option in slot.options]
    index = option_index(word, valid, where)
    if slot.place is not None and found.setdefault(slot.place, index) != index:
        raise GenotypeError(
            f"{where} has {word!r}, the stage with which it shares its expansions has {valid[found[slot.place]]!r}.",
            field="architecture",
            fix="Write the same in both.",
        )


def _expansion(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 100:
        raise SpecError(f"must be a number above 0, at most 100, got {value!r}.", field="space.params.head_expansion")
    return float(value)
