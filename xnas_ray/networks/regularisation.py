"""Dropout and stochastic depth, set on a network after it is made: what a recipe asks for, whatever the space.

A network says what it can by a method ``regularise`` whose keywords are among ``SETTINGS``; a rate that is not given
stays what it is. A network without that method is taken by its modules: ``nn.Dropout``, and torchvision's
``StochasticDepth``. Of torchvision's classifiers the dropout is the one before the last layer, which not all of them
have of their own.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from xnas_ray.errors import SpecError
from xnas_ray.spaces.registry import SPACES

SETTINGS = ("dropout", "drop_path")
"""Keys of a recipe, and keywords of ``regularise``."""

_OTHERS = {"dropout": "any network of torchvision", "drop_path": "torchvision's networks with stochastic depth"}


def rates_in(recipe: object) -> dict[str, float]:
    """Rates of ``SETTINGS``, by setting.

    Args:
        recipe: has each of them as an attribute.
    """
    return {name: getattr(recipe, name) for name in SETTINGS}


def regularise(network: nn.Module, rates: Mapping[str, float], space: str) -> None:
    """Set the rates of ``SETTINGS`` that are above 0; the others stay what the network's space makes them.

    Draws no random numbers and adds no weights: a network starts with the same ones at any rate.

    Args:
        network: as its space makes it.
        rates: share of what is left out, in [0, 1), by setting.
        space: name of the space, for the error.

    Raises:
        SpecError: the network has no place for one of them; names the spaces whose networks do.
    """
    asked = {name: rate for name, rate in rates.items() if rate}
    for name in asked:
        if name not in accepted(network):
            raise SpecError(
                f"the networks of space {space!r} have no place for it.",
                field=f"recipe.{name}",
                fix=f"Set it to 0. Spaces whose networks do: {', '.join(spaces_that_accept(name))}; {_OTHERS[name]}.",
            )
    if not asked:
        return
    own: Callable[..., None] | None = getattr(network, "regularise", None)
    if own is not None:
        own(**asked)
        return
    for name, rate in asked.items():
        _MODULES[name][1](network, rate)


def accepted(network: nn.Module) -> tuple[str, ...]:
    """The ``SETTINGS`` that a network has a place for."""
    own = getattr(network, "regularise", None)
    if own is not None:
        return _keywords(own)
    return tuple(name for name in SETTINGS if _MODULES[name][0](network))


def spaces_that_accept(name: str) -> list[str]:
    """Registered spaces with a network in their builder's module that has a place for one of ``SETTINGS``."""
    found = []
    for space in SPACES.names():
        builder = getattr(SPACES.get(space), "builder", "")
        if not isinstance(builder, str) or not builder:  # the one of another space
            continue
        names = vars(importlib.import_module(builder.partition(":")[0])).values()
        networks = [one for one in names if inspect.isclass(one) and issubclass(one, nn.Module)]
        if any(name in _keywords(one.regularise) for one in networks if hasattr(one, "regularise")):
            found.append(space)
    return found


def _keywords(method: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(name for name in SETTINGS if name in inspect.signature(method).parameters)


def _dropouts(network: nn.Module) -> list[nn.Dropout]:
    return [module for module in network.modules() if isinstance(module, nn.Dropout)]


def _last_linear(network: nn.Module) -> tuple[nn.Module, str] | None:
    """Who holds the layer that gives a torchvision classifier's outputs, and its name there; None of other networks."""
    if not type(network).__module__.startswith("torchvision.models."):
        return None
    found = [
        (owner, name) for owner in network.modules() for name, m in owner.named_children() if isinstance(m, nn.Linear)
    ]
    return found[-1] if found else None


def _takes_dropout(network: nn.Module) -> bool:
    return bool(_dropouts(network)) or _last_linear(network) is not None


def _set_dropout(network: nn.Module, rate: float) -> None:
    """Of torchvision's classifiers what stands beside the last layer, not the dropout within blocks of attention."""
    found = _last_linear(network)
    modules = _dropouts(network)
    if found is not None:
        owner, name = found
        last = getattr(owner, name)
        near = [c for c in network.children() if isinstance(c, nn.Dropout) or any(m is last for m in c.modules())]
        modules = [module for child in near for module in _dropouts(child)]
        if not modules:
            from xnas_ray.networks.regularisable import DroppedLinear  # here: it imports torchvision, for seconds

            dropped = DroppedLinear(last)
            setattr(owner, name, dropped)
            modules = [dropped.dropout]
    for module in modules:
        module.p = rate


def _stochastic_depths(network: nn.Module) -> list[nn.Module]:
    """Torchvision's modules of that kind; no network has one before torchvision, which takes seconds, is imported."""
    torchvision = sys.modules.get("torchvision.ops.stochastic_depth")
    if torchvision is None:
        return []
    return [module for module in network.modules() if isinstance(module, torchvision.StochasticDepth)]


def _set_stochastic_depth(network: nn.Module, rate: float) -> None:
    modules: list[Any] = _stochastic_depths(network)
    for number, module in enumerate(modules, 1):
        module.p = rate * number / len(modules)


_MODULES: dict[str, tuple[Callable[[nn.Module], Any], Callable[[nn.Module, float], None]]] = {
    "dropout": (_takes_dropout, _set_dropout),
    "drop_path": (_stochastic_depths, _set_stochastic_depth),
}
"""Of each setting: the modules for it in a network that says nothing, and what sets their rate."""
