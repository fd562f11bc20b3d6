"""Which kind of space it is, for what is made for one kind alone."""

from __future__ import annotations

from typing import TypeVar

from xnas_ray.errors import SpecError
from xnas_ray.spaces.base import Space

S = TypeVar("S", bound=Space)


def whole_space(space: Space, kind: type[S]) -> S:
    """The whole space of which one is a part (``Space.unwrapped``), which has to be of a kind.

    Args:
        space: any space.
        kind: class that it should have.

    Raises:
        SpecError: it is another one.
    """
    whole = space.unwrapped
    if not isinstance(whole, kind):
        wanted = getattr(kind, "name", kind.__name__)
        raise SpecError(f"must be a space {wanted!r}, got {whole.name!r}.", field="space.name")
    return whole
