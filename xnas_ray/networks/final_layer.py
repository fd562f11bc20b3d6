"""The layer of a classifier that has a row of weights a class: a linear layer, or a convolution of one pixel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xnas_ray.errors import HierarchyError

_FIELD = "layer"


@dataclass(frozen=True, eq=False)
class FinalLayer:
    """Where a network's classes are.

    Attributes:
        name: of the module, as in ``named_modules``; of a state dictionary the key without ``.weight``.
        weight: ``K x D``, detached, on the device where it was; row k is class k.
    """

    name: str
    weight: Tensor


def final_layer(
    network: nn.Module, *, layer: str | None = None, classes: int | None = None, inputs: Sequence[Tensor] | None = None
) -> FinalLayer:
    """The last layer of a network that is linear in its features and has one output a class.

    Args:
        network: any classifier whose end is a linear layer or a convolution of one pixel; it is left as it was.
        layer: its name, as in ``named_modules``, where it shall not be searched.
        classes: how many outputs it must have, where that is known.
        inputs: a few samples, a tensor an input of the network. With them the layer that is called last counts, and one
            that is not called in evaluation mode, as an auxiliary head, does not; without them the last in the order in
            which modules were registered.

    Raises:
        HierarchyError: there is none, or ``layer`` names something else; lists the layers that could be meant.
    """
    found = {name: weight for name, module in network.named_modules() if (weight := _weight(module)) is not None}
    if layer is None and inputs is not None:
        last_calls = dict.fromkeys(reversed(_calls(network, found, inputs)))
        found = {name: found[name] for name in reversed(last_calls)}
    return _chosen(found, layer, classes, f"the network, a {type(network).__name__},")


def final_layer_of_state(
    state: Mapping[str, Tensor], *, layer: str | None = None, classes: int | None = None
) -> FinalLayer:
    """The same of a state dictionary, whose matrices are taken for layers in their order.

    Args:
        state: weights by name.
        layer: name of the layer, or of its weight.
        classes: how many rows it must have; without it a matrix that is no classifier, such as the last one of an
            attention, cannot be told from one.

    Raises:
        HierarchyError: there is no such matrix; lists those that could be meant.
    """
    found = {
        name.removesuffix(".weight"): rows
        for name, tensor in state.items()
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and (rows := _rows(tensor)) is not None
    }
    return _chosen(found, None if layer is None else layer.removesuffix(".weight"), classes, "the state dictionary")


def _chosen(found: Mapping[str, Tensor], layer: str | None, classes: int | None, what: str) -> FinalLayer:
    fitting = {name: weight for name, weight in found.items() if classes is None or len(weight) == classes}
    if layer is not None and layer in found and layer not in fitting:
        raise HierarchyError(
            f"{layer!r} has {len(found[layer])} outputs, not {classes}.", field=_FIELD, valid=list(fitting)
        )
    if layer is not None and layer not in fitting:
        raise HierarchyError(
            f"{what} has no linear layer or convolution of one pixel {layer!r}.",
            field=_FIELD,
            got=layer,
            valid=list(fitting),
        )
    if not fitting:
        outputs = f" with {classes} outputs" if classes is not None else ""
        raise HierarchyError(
            f"{what} has no linear layer or convolution of one pixel{outputs}.", field=_FIELD, valid=list(found)
        )
    name = layer if layer is not None else list(fitting)[-1]
    return FinalLayer(name, fitting[name].detach())


def _weight(module: nn.Module) -> Tensor | None:
    """Rows of a layer that applies one matrix to every place; None of other modules."""
    whole = isinstance(module, nn.modules.conv._ConvNd) and not module.transposed and module.groups == 1
    weight = module.weight if isinstance(module, nn.Linear) or whole else None
    return _rows(weight) if isinstance(weight, Tensor) and not nn.parameter.is_lazy(weight) else None


def _rows(weight: Tensor) -> Tensor | None:
    return weight.flatten(1) if weight.dim() >= 2 and weight[0, 0].numel() == 1 else None


def _calls(network: nn.Module, names: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[str]:
    """Names of the layers in the order in which they are called."""
    called: list[str] = []
    modules = {name: module for name, module in network.named_modules() if name in names}
    handles = [
        module.register_forward_hook(lambda *_, name=name: called.append(name)) for name, module in modules.items()
    ]
    modes = dict(_modes(network))
    try:
        with torch.no_grad():
            network.eval()(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    return called


def _modes(network: nn.Module) -> Iterator[tuple[nn.Module, bool]]:
    return ((module, module.training) for module in network.modules())
