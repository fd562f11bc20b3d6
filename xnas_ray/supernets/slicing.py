"""One architecture of a masked supernet as a network of its own, with the supernet's weights."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from xnas_ray.messages import Genotype
from xnas_ray.networks.inverted_residual import (
    ConvNorm,
    InvertedResidual,
    InvertedResidualNetwork,
    PooledHead,
    SqueezeExcitation,
)
from xnas_ray.spaces.fbnetv2 import NAMES
from xnas_ray.supernets.dmasking_supernet import DMaskingSupernet
from xnas_ray.supernets.masked_blocks import MaskedInvertedResidual, MaskedLayer
from xnas_ray.supernets.mixed import with_batch_statistics


def sliced(supernet: DMaskingSupernet, genotype: Genotype) -> nn.Module:
    """The network of a genotype with the first channels of the supernet's layers: without masks, at its own size.

    It normalises by the statistics of the batch, as the supernet does, in training and in evaluation, and so computes
    what the supernet computes with ``one_hot(genotype)``. A network that is to be judged is trained from scratch
    instead: ``space.build``.

    Args:
        supernet: whose weights are copied.
        genotype: of its space.

    Raises:
        GenotypeError: the genotype does not belong to the space.
    """
    with torch.random.fork_rng(devices=[]):  # initial weights are thrown away: nobody's random numbers are
        network = supernet.space.build(genotype, supernet.shape).to(supernet.alpha)
    assert isinstance(network, InvertedResidualNetwork)
    assert isinstance(network.head, PooledHead)
    affine = supernet.stem.norm.affine
    with_batch_statistics(network, affine=affine)
    blocks = [NAMES[index] for index in supernet.space.check(genotype)[:-1:3]]
    with torch.no_grad():
        _copy_convolution(supernet.stem, network.stem)
        for layer, name, own in zip(supernet.layers, blocks, network.blocks, strict=True):
            _copy_block(cast(MaskedLayer, layer), name, own)
        assert network.head.before is not None
        _copy_convolution(supernet.head.before, network.head.before)
        network.classifier.load_state_dict(supernet.classifier.state_dict())
    return network


def _copy_block(layer: MaskedLayer, name: str, own: nn.Module) -> None:
    if isinstance(own, InvertedResidual):
        _copy_residual(cast(MaskedInvertedResidual, layer.blocks[name]), own)
    elif isinstance(own, ConvNorm):
        assert layer.skip is not None
        _copy_convolution(layer.skip, own)


def _copy_residual(whole: MaskedInvertedResidual, own: InvertedResidual) -> None:
    if own.expand is not None:
        assert whole.expand is not None
        _copy_convolution(whole.expand, own.expand)
    _copy_convolution(whole.depthwise, own.depthwise)
    if own.se is not None:
        assert whole.se is not None
        _copy_gate(whole.se, own.se)
    _copy_convolution(whole.project, own.project)


def _copy_gate(whole: SqueezeExcitation, own: SqueezeExcitation) -> None:
    for source, target in ((whole.squeeze, own.squeeze), (whole.excite, own.excite)):
        _copy_first(source, target)


def _copy_convolution(whole: ConvNorm, own: ConvNorm) -> None:
    _copy_first(whole.conv, own.conv)
    if own.norm.affine:
        _copy_first(whole.norm, own.norm)


def _copy_first(whole: nn.Module, own: nn.Module) -> None:
    """Copy the first entries of every parameter along every dimension."""
    for name, target in own.named_parameters():
        source = whole.get_parameter(name)
        target.copy_(source[tuple(slice(length) for length in target.shape)])
