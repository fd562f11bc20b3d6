"""Which classes and images of a large data set are used: seeded choices, and what is withheld from training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xnas_ray.errors import TaskError
from xnas_ray.randomness import Domain, rng
from xnas_ray.tasks.splits import split_indices

_CLASSES, _WITHHELD_CLASSES, _WITHHELD_IMAGES = 1, 2, 3  # counters of the choices


@dataclass(frozen=True)
class Selection:
    """Which part of a folder is used; the same settings and the same folder give the same part.

    Attributes:
        classes: how many of the classes, a seeded choice, or which; None takes all.
        withheld_classes: share of these classes, or which of them, that nothing is trained on.
        withheld_images: share of the training images of every class that nothing is trained on.
        part: ``"kept"`` for what is left, ``"withheld"`` for what is withheld: with classes withheld only those, with
            images withheld only those images; both are split, trained and measured alike.
        seed: of all choices.
    """

    classes: int | str | Sequence[str] | None = None
    withheld_classes: float | Sequence[str] = 0.0
    withheld_images: float = 0.0
    part: str = "kept"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if self.part not in ("kept", "withheld"):
            raise TaskError("there is no such part.", field="data.part", got=self.part, valid=["kept", "withheld"])
        for name in ("withheld_classes", "withheld_images"):
            value = getattr(self, name)
            if isinstance(value, (bool, str)) or (isinstance(value, (int, float)) and not 0 <= value < 1):
                raise TaskError(f"must be a share from 0 to below 1, got {value!r}.", field=f"data.{name}")
        if self.part == "withheld" and not self.withheld_classes and not self.withheld_images:
            fix = "Set withheld_classes or withheld_images."
            raise TaskError("nothing is withheld.", field="data.part", fix=fix)

    def choose(self, found: Sequence[str]) -> tuple[str, ...]:
        """The classes of this part, sorted.

        Raises:
            TaskError: a class is not there, or fewer than two are left.
        """
        chosen = self._chosen(sorted(found))
        withheld = self._withheld(chosen)
        wanted = withheld if self.part == "withheld" and withheld else [c for c in chosen if c not in withheld]
        if len(wanted) < 2:
            raise TaskError(f"{len(wanted)} classes are left, too few.", field="data.classes", fix="Take more classes.")
        return tuple(wanted)

    def _chosen(self, found: list[str]) -> list[str]:
        if self.classes is None:
            return found
        if isinstance(self.classes, int):
            if not 2 <= self.classes <= len(found):
                raise TaskError(f"must be from 2 to {len(found)}, got {self.classes}.", field="data.classes")
            return sorted(rng(self.seed, Domain.SPLIT, _CLASSES).permutation(found)[: self.classes].tolist())
        return _listed(self.classes, found, "data.classes")

    def _withheld(self, chosen: list[str]) -> list[str]:
        if not isinstance(self.withheld_classes, (int, float)):
            return _listed(self.withheld_classes, chosen, "data.withheld_classes")
        count = round(self.withheld_classes * len(chosen))
        return sorted(rng(self.seed, Domain.SPLIT, _WITHHELD_CLASSES).permutation(chosen)[:count].tolist())

    def images(self, labels: np.ndarray) -> np.ndarray:
        """Which of the training images belong to this part: int64, ascending."""
        count = len(labels)
        if not self.withheld_images:
            return np.arange(count)
        fractions = (1 - self.withheld_images, self.withheld_images)
        generator = rng(self.seed, Domain.SPLIT, _WITHHELD_IMAGES)
        kept, withheld = split_indices(count, fractions, int(generator.integers(2**31)), labels)
        return withheld if self.part == "withheld" else kept


def _listed(given: Sequence[str] | str, valid: Sequence[str], field: str) -> list[str]:
    names = [given] if isinstance(given, str) else list(given)
    for name in names:
        if name not in valid:
            raise TaskError(f"there is no class {name!r}.", field=field, got=name, valid=valid)
    if len(set(names)) != len(names):
        raise TaskError("names a class twice.", field=field)
    return sorted(names)
