"""Which architectures a search reads off its supernet: methods with their settings, each under a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xnas_ray.errors import SpecError
from xnas_ray.supernets.discretize import METHODS

_FIELD = "controller.params.discretize"


@dataclass(frozen=True)
class Reading:
    """One method with its settings.

    Attributes:
        label: what its architecture is called.
        method: a name in ``discretize.METHODS``.
        params: settings of the method.
    """

    label: str
    method: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Try the settings, so that a mistake shows before the supernet is trained."""
        METHODS.create(self.method, self.params, field=_FIELD)


def readings(given: Sequence[str | Mapping[str, Any]]) -> dict[str, Reading]:
    """What a search's ``discretize`` asks for, by label.

    Args:
        given: each a method's name, or a table with ``method``, its settings and, where a method comes twice, a
            ``label``: ``["magnitude", {method = "influential_magnitude", batches = 30, label = "im_30"}]``.

    Raises:
        UnknownNameError: no such method, or none with such a setting.
        SpecError: it is no list of these, a setting is out of range, or two have one label.
    """
    if isinstance(given, (str, Mapping)) or not isinstance(given, Sequence) or not given:
        raise SpecError(f"must be a list of methods, got {given!r}.", field=_FIELD, valid=METHODS.names())
    found: dict[str, Reading] = {}
    for one in given:
        table = {"method": one} if isinstance(one, str) else one
        if not isinstance(table, Mapping) or not isinstance(table.get("method"), str):
            raise SpecError(f"{one!r} names no method.", field=_FIELD, valid=METHODS.names())
        label = str(table.get("label", table["method"]))
        if label in found:
            raise SpecError(f"two methods are called {label!r}.", field=_FIELD, fix="Give one of them a label.")
        params = {name: value for name, value in table.items() if name not in ("method", "label")}
        found[label] = Reading(label, table["method"], params)
    return found
