"""PC-DARTS: a share of the channels is searched, edges have weights of their own (Xu et al., ICLR 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.supernets.darts import DartsSearch
from xnas_ray.supernets.search_data import SearchData
from xnas_ray.tasks.metrics import Loss
from xnas_ray.training.ranks import ALONE, Ranks


class PcDartsSearch(DartsSearch):
    """``DartsSearch`` with partial channels and edge normalisation, at the settings of its paper.

    Mixed operations work on 1/k of the channels (``mixed.PartialMixed``), so that k times larger batches fit, and with
    them a larger learning rate; a softmax over the edges that enter a node steadies which of them count. Weights are
    trained alone for the first epochs, and architecture gradients are of first order.

    Args:
        space: what is searched; it needs a supernet (``supernets.cells.SUPERNETS``).
        shape: of the task's data.
        data: what it learns from; PC-DARTS' batches are of 256.
        epochs: how long.
        seed: of everything random.
        device: where it runs.
        ranks: the processes that share the work.
        order: see ``DartsSearch``, as all that is not named here.
        lr: 0.1 for batches of 256; the paper lowers it with the batch.
        final_lr: what a cosine takes it down to, as in the official code (the paper says to zero).
        momentum: of the weights' optimizer.
        nesterov: whether it is Nesterov's.
        weight_decay: of the weights.
        grad_clip: largest norm of the weights' gradient; 0 is off.
        architecture_lr: learning rate of the architecture's Adam.
        architecture_betas: its decay rates.
        architecture_weight_decay: of the architecture variables.
        warmup_epochs: first epochs, in which weights alone are trained.
        partial: the k; the channels of every stage must be divisible by it.
        edge_normalisation: whether edges have weights of their own.
        supernet: size of the supernet, as its class names it.
        augment: of images: random_crop, horizontal_flip, cutout.
        discretize: how architectures are read off.
        tune_epochs: epochs that ``perturbation`` trains the weights between two decisions.
        loss: by name or as a function.

    Raises:
        SpecError: a setting is out of range or does not fit the space or the data.
        UnknownNameError: the space has no supernet, or the supernet no such size.
    """

    BATCH_SIZE: ClassVar[int] = 256

    def __init__(
        self,
        space: Space,
        shape: DataShape,
        data: SearchData,
        *,
        epochs: int = 50,
        seed: int,
        device: torch.device | str = "cpu",
        ranks: Ranks = ALONE,
        order: int = 1,
        lr: float = 0.1,
        final_lr: float = 0.001,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 3e-4,
        grad_clip: float = 5.0,
        architecture_lr: float = 6e-4,
        architecture_betas: tuple[float, float] = (0.5, 0.999),
        architecture_weight_decay: float = 1e-3,
        warmup_epochs: int = 15,
        partial: int = 4,
        edge_normalisation: bool = True,
        supernet: Mapping[str, int] | None = None,
        augment: Sequence[str] = (),
        discretize: Sequence[str | Mapping[str, Any]] = ("magnitude",),
        tune_epochs: int = 5,
        loss: str | Loss | None = None,
    ) -> None:
        """Make the supernet and its optimizers."""
        super().__init__(
            space,
            shape,
            data,
            epochs=epochs,
            seed=seed,
            device=device,
            ranks=ranks,
            order=order,
            lr=lr,
            final_lr=final_lr,
            momentum=momentum,
            nesterov=nesterov,
            weight_decay=weight_decay,
            grad_clip=grad_clip,
            architecture_lr=architecture_lr,
            architecture_betas=architecture_betas,
            architecture_weight_decay=architecture_weight_decay,
            warmup_epochs=warmup_epochs,
            partial=partial,
            edge_normalisation=edge_normalisation,
            supernet=supernet,
            augment=augment,
            discretize=discretize,
            tune_epochs=tune_epochs,
            loss=loss,
        )
