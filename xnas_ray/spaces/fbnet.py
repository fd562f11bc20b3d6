"""The published FBNets as a space: networks that are given, so that recipes for them can be searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xnas_ray.errors import SpecError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.defined import DefinedSpace
from xnas_ray.spaces.fbnet_published import FBNETV2_L3, PUBLISHED
from xnas_ray.spaces.inverted_residuals import Definition
from xnas_ray.spaces.named import NamedNetworks
from xnas_ray.spaces.registry import register_space

DEFINITIONS: Mapping[str, Definition] = {
    **{name: one.definition for name, one in PUBLISHED.items()},
    "fbnetv2_l3": FBNETV2_L3,
}
"""The thirteen of the authors' model zoo, and the one on which NARS searched recipes."""


@register_space("fbnet")
class PublishedFBNets(NamedNetworks, DefinedSpace):
    """Some of the published FBNetV2 and FBNetV3 networks; with one name it is the space of a single network.

    Each looks at images at the resolution that it was made for; the task's are at least that large.

    Args:
        names: such as ``["fbnetv2_l3"]``; all by default.

    Raises:
        SpecError: no name, one that there is not, or one twice.
    """

    name = "fbnet"

    def __init__(self, *, names: Sequence[str] = tuple(DEFINITIONS)) -> None:
        """Keep the names."""
        listed = [] if isinstance(names, str) or not isinstance(names, Sequence) else list(names)
        if not listed or not all(isinstance(name, str) for name in listed) or len(set(listed)) != len(listed):
            raise SpecError(
                f"must be a list of names, each once, got {names!r}.", field="space.params.names", valid=DEFINITIONS
            )
        for name in listed:
            if name not in DEFINITIONS:
                raise SpecError(
                    f"there is no published network {name!r}.", field="space.params.names", got=name, valid=DEFINITIONS
                )
        self.keep_names(listed)

    def definition(self, genotype: Genotype) -> Definition:
        """See ``DefinedSpace.definition``."""
        return DEFINITIONS[self.format(genotype)]
