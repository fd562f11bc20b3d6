"""Stages of FBNetV3's search space: the paper's table, smaller forms of it, and stages read from parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from xnas_ray.errors import SpecError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import Choice

MOST = 1000
"""Options of one choice."""

KEYS = ("kernel", "first", "rest", "width", "layers", "stride", "squeeze", "shares")
NEEDED = ("kernel", "width", "layers", "stride")

StageSpec = Mapping[str, Any]
"""A row of the table, see ``FBNetV3``."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A form of the space.

    Attributes:
        stem: channels of the first convolution, as ``[lowest, highest, step]``.
        stem_stride: of the first convolution.
        stages: rows of the table.
        head: channels of the vector that the classifier reads.
        head_expansion: of the efficient last stage.
        resolutions: options of the height of the images.
    """

    stem: tuple[int, int, int]
    stem_stride: int
    stages: tuple[StageSpec, ...]
    head: int
    head_expansion: float
    resolutions: tuple[int, ...]


def _stage(**given: Any) -> StageSpec:
    return MappingProxyType({"kernel": (3, 5), "stride": 1, **given})


def _table(third_stride: int) -> tuple[StageSpec, ...]:
    """Table 4.2, with the stride of its third row, which low resolutions change."""
    return (
        _stage(first=1, width=(16, 24, 2), layers=(1, 4)),
        _stage(first=(4, 7), rest=(2, 5), width=(20, 32, 4), layers=(4, 7), stride=2),
        _stage(first=(4, 7), rest=(2, 5), width=(24, 48, 4), layers=(4, 7), stride=third_stride, squeeze=True),
        _stage(first=(4, 7), rest=(2, 5), width=(56, 84, 4), layers=(4, 8), stride=2),
        _stage(shares=3, width=(96, 144, 4), layers=(6, 10), squeeze=True),
        _stage(first=(4, 7), width=(180, 224, 4), layers=(5, 9), stride=2, squeeze=True),
        _stage(first=6, width=(180, 224, 4), layers=1, squeeze=True),
    )


def _small(widths: Sequence[tuple[int, int, int]], strides: Sequence[int]) -> tuple[StageSpec, ...]:
    """Four stages with all that the table has: a first without expansion, shared expansions, squeeze-and-excitation."""
    return (
        _stage(first=1, width=widths[0], layers=(1, 2), stride=strides[0]),
        _stage(first=(2, 4), rest=(1, 3), width=widths[1], layers=(1, 3), stride=strides[1]),
        _stage(first=(2, 4), rest=(1, 3), width=widths[2], layers=(1, 3), stride=strides[2], squeeze=True),
        _stage(shares=2, width=widths[3], layers=(1, 3), stride=strides[3], squeeze=True),
    )


PRESETS: Mapping[str, Preset] = {
    "imagenet": Preset((16, 24, 2), 2, _table(2), 1984, 6.0, tuple(range(224, 273, 8))),
    "cifar": Preset((16, 24, 2), 2, _table(1), 1984, 6.0, (32,)),
    "mnist": Preset(
        (8, 12, 2), 2, _small(((8, 12, 2), (12, 20, 4), (16, 32, 4), (24, 48, 8)), (1, 2, 1, 2)), 128, 3.0, (20, 24, 28)
    ),
    "digits": Preset(
        (8, 12, 2), 1, _small(((8, 12, 2), (12, 20, 4), (16, 32, 4), (24, 48, 8)), (1, 2, 1, 2)), 96, 3.0, (6, 7, 8)
    ),
}
"""``imagenet`` is Table 4.2. ``cifar`` is it at 32 x 32, with a stride of 1 in the second stage that has 2, as section
4.5 of the thesis makes the family fit CIFAR-10; there larger networks see enlarged images, which is a task's to give.
``mnist`` (28 x 28) and ``digits`` (8 x 8) are ours: the same form with networks of 0.1 to 3 million FLOPs."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One setting of a stage: its options, and where in a genotype it is chosen.

    Attributes:
        options: in ascending order.
        place: index into the genotype; None where there is a single option.
    """

    options: tuple[int, ...]
    place: int | None

    def value(self, genotype: Genotype) -> int:
        """The chosen option."""
        return self.options[0 if self.place is None else genotype[self.place]]


@dataclass(frozen=True, slots=True)
class Stage:
    """Layers that choose together; ``first`` and ``rest`` are expansions, and one slot where they are not told apart.

    Attributes:
        kernel: side of the depthwise kernels.
        first: expansion of the first layer.
        rest: expansion of the others.
        width: channels that every layer gives.
        layers: their number.
        stride: of the first layer.
        squeeze: whether they have squeeze-and-excitation.
    """

    kernel: Slot
    first: Slot
    rest: Slot
    width: Slot
    layers: Slot
    stride: int
    squeeze: bool

    @property
    def slots(self) -> tuple[Slot, ...]:
        """In the order of the text."""
        return self.kernel, self.first, self.rest, self.width, self.layers


class ChoiceList:
    """Choices in the order in which stages ask for them; settings with a single option ask for none.

    Attributes:
        choices: so far.
    """

    def __init__(self) -> None:
        """None so far."""
        self.choices: list[Choice] = []

    def slot(self, name: str, options: tuple[int, ...], *, ordered: bool = True) -> Slot:
        """A slot for a setting, and a choice of that name where there is something to choose."""
        if len(options) == 1:
            return Slot(options, None)
        self.choices.append(Choice(name, options, ordered=ordered))
        return Slot(options, len(self.choices) - 1)

    def always(self, name: str, options: tuple[int, ...]) -> Slot:
        """A slot with a choice whatever the options: a space needs at least one."""
        self.choices.append(Choice(name, options, ordered=True))
        return Slot(options, len(self.choices) - 1)


def read_stages(rows: Sequence[StageSpec], choices: ChoiceList) -> tuple[Stage, ...]:
    """The stages of some rows; their choices are appended.

    Raises:
        SpecError: the list is empty or a row is malformed; it is named by its place and key.
    """
    if isinstance(rows, str) or not isinstance(rows, Sequence) or not rows:
        raise _error("stages", f"must be a list with at least one entry, got {rows!r}.")
    found: list[Stage] = []
    for i, row in enumerate(rows):
        found.append(_read_stage(i, row, found, choices))
    return tuple(found)


def read_range(value: Any, field: str) -> tuple[int, ...]:
    """The whole numbers of a range: one number, ``[lowest, highest]`` or ``[lowest, highest, step]``.

    Raises:
        SpecError: it is none; ``space.params.<field>`` is named.
    """
    parts = [*value] if isinstance(value, Sequence) and not isinstance(value, str) else [value, value]
    numbers = len(parts) in (2, 3) and all(_positive(part) for part in parts)
    lowest, highest, step = [*parts, 1][:3] if numbers else (1, 0, 1)
    if not lowest <= highest < lowest + MOST * step:
        raise _error(
            field,
            f"{value!r} is no range of at most {MOST} values.",
            fix="Write one whole number, [lowest, highest] or [lowest, highest, step], above 0.",
        )
    return tuple(range(lowest, highest + 1, step))


def read_rising(value: Any, field: str, *, odd: bool = False) -> tuple[int, ...]:
    """A list of whole numbers that rise, or one number.

    Raises:
        SpecError: it is none, or has an even number where only odd ones fit; ``space.params.<field>`` is named.
    """
    parts = [*value] if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not parts or not all(_positive(part) for part in parts) or parts != sorted(set(parts)):
        raise _error(field, f"must be a list of whole numbers above 0 that rise, got {value!r}.")
    if odd and not all(part % 2 for part in parts):
        raise _error(field, f"kernels have odd sides, got {value!r}.")
    return tuple(parts)


def plain(value: Any) -> Any:
    """Lists and dictionaries in place of tuples and other mappings, so that parameters are JSON values."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    return [plain(v) for v in value] if isinstance(value, Sequence) and not isinstance(value, str) else value


def _read_stage(i: int, row: StageSpec, earlier: Sequence[Stage], choices: ChoiceList) -> Stage:
    field = f"stages.{i}"
    if not isinstance(row, Mapping):
        raise _error(field, f"must be a table, got {row!r}.", valid=KEYS)
    for key in row:
        if key not in KEYS:
            raise _error(f"{field}.{key}", "unknown key.", got=key, valid=KEYS)
    for key in NEEDED:
        if key not in row:
            raise _error(f"{field}.{key}", "is missing.", valid=KEYS)
    kernel = choices.slot(f"{i}.kernel", read_rising(row["kernel"], f"{field}.kernel", odd=True), ordered=False)
    first, rest = _expansions(i, row, earlier, choices)
    if isinstance(row["stride"], bool) or row["stride"] not in (1, 2):
        raise _error(f"{field}.stride", f"the stride must be 1 or 2, got {row['stride']!r}.")
    squeeze = row.get("squeeze", False)
    if not isinstance(squeeze, bool):
        raise _error(f"{field}.squeeze", f"must be true or false, got {squeeze!r}.")
    return Stage(
        kernel,
        first,
        rest,
        choices.slot(f"{i}.width", read_range(row["width"], f"{field}.width")),
        choices.slot(f"{i}.layers", read_range(row["layers"], f"{field}.layers")),
        int(row["stride"]),
        squeeze,
    )


def _expansions(i: int, row: StageSpec, earlier: Sequence[Stage], choices: ChoiceList) -> tuple[Slot, Slot]:
    """Slots of the first layer and of the rest: a pair of its own, one for both, or those of an earlier stage."""
    field = f"stages.{i}"
    if "shares" in row:
        shares = row["shares"]
        if "first" in row or "rest" in row:
            raise _error(f"{field}.shares", "a stage that shares expansions has none of its own.")
        if isinstance(shares, bool) or not isinstance(shares, int) or not 0 <= shares < i:
            raise _error(f"{field}.shares", f"must be the place of an earlier stage, got {shares!r}.", valid=range(i))
        return earlier[shares].first, earlier[shares].rest
    if "first" not in row:
        raise _error(f"{field}.first", "is missing.", fix="Give its expansions, or shares = the place of a stage.")
    own = read_range(row["first"], f"{field}.first")
    if "rest" not in row:
        both = choices.slot(f"{i}.expansion", own)
        return both, both
    others = read_range(row["rest"], f"{field}.rest")
    return choices.slot(f"{i}.first", own), choices.slot(f"{i}.rest", others)


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _error(field: str, message: str, **details: Any) -> SpecError:
    return SpecError(message, field=f"space.params.{field}", **details)
