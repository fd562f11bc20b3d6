"""DARTS: weights and mixing weights by gradient descent, in turns (Liu, Simonyan & Yang, ICLR 2019, Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from xnas_ray.errors import NanLossError
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.supernets.base import Discretization, SupernetSearch
from xnas_ray.supernets.bilevel import LossAt, gradients, unrolled_gradients
from xnas_ray.supernets.cells import CellSupernet, make_supernet
from xnas_ray.supernets.darts_settings import DartsSettings
from xnas_ray.supernets.descent import Descent, take_step
from xnas_ray.supernets.discretize import Evidence, discretize
from xnas_ray.supernets.readings import Reading, readings
from xnas_ray.supernets.registry import register_search
from xnas_ray.supernets.search_data import Batch, SearchData
from xnas_ray.supernets.tally import Tally
from xnas_ray.tasks.metrics import Loss, resolve_loss
from xnas_ray.training.augment import Augmentation, stream_seed
from xnas_ray.training.ranks import ALONE, Ranks

_AUGMENT = 22
TUNE_FACTOR = 0.1
"""Learning rate of ``perturbation``'s tuning, as a share of the search's first (darts-pt's ``lr / 10``)."""

_LOSSES = {"classification": "cross_entropy", "regression": "mse"}


@register_search("darts")
class DartsSearch(SupernetSearch):
    """Trains a relaxed supernet: at every step the architecture variables, then the weights.

    The architecture learns from one part of the training split, by Adam, the weights from the other, by stochastic
    gradient descent. Gradients are averaged over the ranks before they change anything, so that one rank and several
    do the same, but for what is computed over a rank's part of a batch: the statistics of batch normalisation, and
    augmentation, which every rank draws for itself.

    Args:
        space: what is searched; it needs a supernet (``supernets.cells.SUPERNETS``).
        shape: of the task's data.
        data: what it learns from; DARTS' batches are of 64.
        epochs: how long; the cosine of the learning rate ends with them.
        seed: of everything random.
        device: where it runs.
        ranks: the processes that share the work.
        order: 1 takes architecture gradients at the weights as they are, 2 at those one step further (Eq. 7).
        lr: first learning rate of the weights.
        final_lr: what a cosine takes it down to, epoch by epoch.
        momentum: of the weights' optimizer.
        nesterov: whether it is Nesterov's; NAS-Bench-201's searches have it, DARTS has not.
        weight_decay: of the weights; NAS-Bench-201's searches have 5e-4.
        grad_clip: largest norm of the weights' gradient; 0 is off.
        architecture_lr: learning rate of the architecture's Adam.
        architecture_betas: its decay rates.
        architecture_weight_decay: of the architecture variables.
        warmup_epochs: first epochs, in which weights alone are trained.
        partial: 1, or the k of partial channels (``PcDartsSearch``).
        edge_normalisation: whether edges have weights of their own.
        supernet: size of the supernet, as its class names it.
        augment: of images: random_crop, horizontal_flip, cutout.
        discretize: how architectures are read off: methods of ``supernets.discretize`` and their settings, see
            ``supernets.readings``.
        tune_epochs: epochs that ``perturbation`` trains the weights between two decisions; 0 leaves them alone.
        loss: by name or as a function; by default cross entropy, or the mean squared error of a regression.

    Raises:
        SpecError: a setting is out of range or does not fit the space or the data.
        UnknownNameError: the space has no supernet, or the supernet no such size.
    """

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
        order: int = 2,
        lr: float = 0.025,
        final_lr: float = 0.001,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 3e-4,
        grad_clip: float = 5.0,
        architecture_lr: float = 3e-4,
        architecture_betas: tuple[float, float] = (0.5, 0.999),
        architecture_weight_decay: float = 1e-3,
        warmup_epochs: int = 0,
        partial: int = 1,
        edge_normalisation: bool = False,
        supernet: Mapping[str, int] | None = None,
        augment: Sequence[str] = (),
        discretize: Sequence[str | Mapping[str, Any]] = ("magnitude",),
        tune_epochs: int = 5,
        loss: str | Loss | None = None,
    ) -> None:
        """Make the supernet and its optimizers."""
        super().__init__(space.unwrapped, shape, data, epochs=epochs, seed=seed, device=device, ranks=ranks)
        self.settings = DartsSettings(
            epochs=epochs,
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
            supernet=supernet if supernet is not None else {},
            augment=augment,
            tune_epochs=tune_epochs,
        )
        self.readings = readings(discretize)
        self.loss = resolve_loss(_LOSSES[shape.kind] if loss is None else loss)
        self._supernet = make_supernet(
            self.space,
            shape,
            seed=seed,
            params=self.settings.supernet,
            partial=partial,
            edge_normalisation=edge_normalisation,
        ).to(self.device)
        self._make_optimizers()
        own_seed = stream_seed(seed, _AUGMENT, ranks.rank)
        self._augment = Augmentation(self.settings.recipe, shape, own_seed, self.device)

    def _make_optimizers(self) -> None:
        settings = self.settings
        architecture = self._supernet.architecture_parameters()
        own = {id(parameter) for parameter in architecture}
        named = {name: p for name, p in self._supernet.named_parameters() if id(p) not in own}
        self._weight_names, self._weights = list(named), list(named.values())
        self._descent = Descent(self._weights, settings, settings.lr)
        self._architecture_optimizer = torch.optim.Adam(
            architecture,
            lr=settings.architecture_lr,
            betas=settings.architecture_betas,
            weight_decay=settings.architecture_weight_decay,
        )

    @property
    def supernet(self) -> CellSupernet:
        """As it stands."""
        return self._supernet

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """See ``SupernetSearch.optimizers``."""
        return {"weight": self._descent.optimizer, "architecture": self._architecture_optimizer}

    # ---- training --------------------------------------------------------------------------------------------------

    def train_epoch(self) -> dict[str, float]:
        """Pass once over the weights' part of the data.

        Returns:
            ``lr``; ``train_loss`` and, of a classification, ``train_accuracy`` (percent) while weights were learned;
            the same as ``architecture_…`` where architecture gradients were taken: with order 2 one step further.

        Raises:
            NanLossError: a loss is NaN or infinite.
        """
        epoch = self.progress.epoch
        rate = self.settings.rate(epoch)
        self._descent.set_rate(rate)
        searching = epoch >= self.settings.warmup_epochs
        tally = {name: Tally(self.shape.kind, self.device) for name in ("train", "architecture")}
        others = self._architecture_batches(epoch)
        self._supernet.train()
        for step, batch in enumerate(self.data.batches(self.data.weight_indices, epoch)):
            batch = self._augmented(batch, 2 * epoch, step)
            if searching:
                self._learn_architecture(batch, self._augmented(next(others), 2 * epoch + 1, step), tally)
            self._learn_weights(batch, tally)
        record = {"lr": rate}
        for name in ("train", "architecture") if searching else ("train",):
            record |= tally[name].means(name, self.ranks)
        for name, value in record.items():
            if not math.isfinite(value):
                raise NanLossError(
                    f"{name} is {value} in epoch {epoch + 1}.", field=name, fix="Lower lr or architecture_lr."
                )
        return record

    def _learn_architecture(self, batch: Batch, other: Batch, tally: Mapping[str, Tally]) -> None:
        """One step of the architecture's optimizer; ``other`` is of its own part of the data."""
        architecture = self._supernet.architecture_parameters()
        validation = self._loss_at(other, tally["architecture"])
        if self.settings.order == 1:
            found = gradients(validation(None), architecture, self.ranks)
        else:
            found = unrolled_gradients(
                architecture, self._weights, self._loss_at(batch), validation, self._descent.next_step(), self.ranks
            )
        take_step(self._architecture_optimizer, architecture, found)

    def _learn_weights(self, batch: Batch, tally: Mapping[str, Tally]) -> None:
        """One step of the weights' optimizer."""
        found = gradients(self._loss_at(batch, tally["train"])(None), self._weights, self.ranks)
        self._descent.step(found)

    def _loss_at(self, batch: Batch, tally: Tally | None = None) -> LossAt:
        """The loss of a batch as a function of the weights; what it is at a call is counted."""

        def loss(weights: Sequence[Tensor] | None) -> Tensor:
            outputs: Tensor
            if weights is None:
                outputs = self._supernet(*batch.inputs)
            else:
                values = dict(zip(self._weight_names, weights, strict=True))
                outputs = functional_call(self._supernet, values, batch.inputs)
            mean = self.loss(outputs, batch.targets)
            if tally is not None:
                tally.add(mean, outputs, batch.targets)
            return mean * self.ranks.weight(len(batch.targets), batch.whole)

        return loss

    def _architecture_batches(self, epoch: int) -> Iterator[Batch]:
        """Batches of the architecture's part without end, every round in an order of its own."""
        turn = 1
        while True:
            yield from self.data.batches(self.data.architecture_indices, epoch, purpose=turn)
            turn += 1

    def _augmented(self, batch: Batch, epoch: int, step: int) -> Batch:
        inputs, _ = self._augment(batch.inputs, epoch, step)
        return Batch(inputs, batch.targets, batch.whole)

    # ---- results ---------------------------------------------------------------------------------------------------

    def discretize(self, methods: Sequence[str] | None = None) -> list[Discretization]:
        """See ``SupernetSearch.discretize``.

        Args:
            methods: labels of the setting ``discretize``, or methods with their defaults; by default all that is set.

        Raises:
            UnknownNameError: no such method.
            InfluenceError: a solver does not converge.
        """
        evidence = Evidence(
            self.data,
            loss=self.loss,
            ridge=self.settings.weight_decay,
            seed=self.seed,
            tune=self._tune if self.settings.tune_epochs else None,
        )
        chosen = [self.readings.get(name) or Reading(name, name) for name in methods or self.readings]
        return [discretize(self._supernet, one.method, evidence, one.params, label=one.label) for one in chosen]

    def _tune(self, mixing: Tensor, step: int) -> None:
        """Train the weights for some epochs with fixed mixing weights, at a tenth of the first learning rate.

        As between the decisions of DARTS-PT (Wang et al., ICLR 2021); the search's own optimizer is left alone.
        """
        settings = self.settings
        descent = Descent(self._weights, settings, settings.lr * TUNE_FACTOR)
        for epoch in range(settings.tune_epochs):
            for number, batch in enumerate(self.data.batches(self.data.weight_indices, epoch, purpose=1 + step)):
                place = 2 * (self.epochs + step * settings.tune_epochs + epoch)
                batch = self._augmented(batch, place, number)
                loss = self.loss(self._supernet(*batch.inputs, mixing=mixing), batch.targets)
                loss = loss * self.ranks.weight(len(batch.targets), batch.whole)
                descent.step(gradients(loss, self._weights, self.ranks))
