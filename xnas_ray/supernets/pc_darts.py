"""PC-DARTS: a share of the channels is searched, edges have weights of their own (Xu et al., ICLR 2020)."""

from __future__ import annotations

from functools import partialmethod
from typing import ClassVar

from xnas_ray.supernets.darts import DartsSearch
from xnas_ray.supernets.registry import register_search


@register_search("pc_darts")
class PcDartsSearch(DartsSearch):
    """``DartsSearch`` with partial channels and edge normalisation, at the settings of its paper.

    Mixed operations work on 1/k of the channels (``mixed.PartialMixed``), so that k times larger batches fit, and with
    them a larger learning rate; a softmax over the edges that enter a node steadies which of them count. Weights are
    trained alone for the first epochs, and architecture gradients are of first order.

    All settings are those of ``DartsSearch``; what differs is the default of ``order`` (1), ``lr`` (0.1, for batches of
    256; the paper lowers it with the batch), ``architecture_lr`` (6e-4), ``warmup_epochs`` (15), ``partial`` (4; the
    channels of every stage must be divisible by it) and ``edge_normalisation``. The cosine ends at ``final_lr`` 0.001
    as in the official code; the paper says zero.

    Raises:
        SpecError: a setting is out of range or does not fit the space or the data.
        UnknownNameError: the space has no supernet, or the supernet no such size.
    """

    BATCH_SIZE: ClassVar[int] = 256

    __init__ = partialmethod(
        DartsSearch.__init__,
        order=1,
        lr=0.1,
        architecture_lr=6e-4,
        warmup_epochs=15,
        partial=4,
        edge_normalisation=True,
    )
