"""From a genotype to its network."""

from __future__ import annotations

import importlib

from torch import nn

from xnas_ray.errors import UnknownNameError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import DataShape, Space


def build_network(space: Space, genotype: Genotype, shape: DataShape) -> nn.Module:
    """The network that the builder of the whole space makes; ``network(*inputs)`` gives ``n x outputs``.

    In training it may also give a pair, its outputs and those of an auxiliary head whose loss counts
    ``network.auxiliary_weight``; a method ``start_epoch(epoch, epochs)`` is called before every epoch, from 0, of a
    schedule of so many; and a method ``regularise`` takes the rates of a recipe (see ``networks.regularisation``).

    Raises:
        UnknownNameError: ``space.builder`` names no function.
        GenotypeError: the genotype does not belong to the space.
    """
    module, _, name = space.builder.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownNameError(
            f"cannot import the builder {space.builder!r} of space {space.name!r}: {error}.",
            field="space.builder",
            fix="It is 'module:function'; in a task folder f'{__package__}.module:function'.",
        ) from error
    network = function(space.unwrapped, space.check(genotype), shape)
    if not isinstance(network, nn.Module):
        raise UnknownNameError(
            f"{space.builder!r} gave {type(network).__name__}, not a torch.nn.Module.", field="space.builder"
        )
    return network
