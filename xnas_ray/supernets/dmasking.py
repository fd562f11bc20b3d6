"""DMaskingNAS: weights and choices of a masked supernet, in turns, by gradient descent (Wan et al., CVPR 2020)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from xnas_ray.errors import NanLossError, SpecError, UnknownNameError
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.supernets.base import Discretization, SupernetSearch
from xnas_ray.supernets.bilevel import gradients
from xnas_ray.supernets.descent import clipped, take_step
from xnas_ray.supernets.dmasking_settings import DMaskingSettings
from xnas_ray.supernets.dmasking_supernet import DMaskingSupernet
from xnas_ray.supernets.gumbel import Temperature, gumbel_noise
from xnas_ray.supernets.registry import register_search
from xnas_ray.supernets.search_data import Batch, SearchData
from xnas_ray.supernets.slicing import sliced
from xnas_ray.supernets.tally import Tally
from xnas_ray.tasks.metrics import Loss, resolve_loss
from xnas_ray.training.augment import Augmentation, stream_seed
from xnas_ray.training.ranks import ALONE, Ranks

_NOISE = 32
_AUGMENT = 33
_WEIGHTS, _ARCHITECTURE = 0, 1
_LOSSES = {"classification": "cross_entropy", "regression": "mse"}


@register_search("dmasking")
class DMaskingSearch(SupernetSearch):
    """Trains a masked supernet: every epoch first the weights on their part of the data, then the choices on the other.

    Every step mixes the options by one Gumbel-softmax draw, the same for all samples and ranks. The temperature falls
    from epoch to epoch; in the end the likeliest option of every choice is taken, one variable at a time. Gradients
    are averaged over the ranks before they change anything; one rank and several differ only by the statistics of
    batch normalisation, which are those of a rank's part of a batch, and by augmentation, which every rank draws for
    itself.

    Args:
        space: an ``FBNetV2``.
        shape: of the task's data.
        data: what it learns from; the thesis gives 80 % of the samples to the weights (``WEIGHT_SHARE``).
        epochs: how long; the cosine of the learning rate ends with them.
        seed: of everything random.
        device: where it runs.
        ranks: the processes that share the work.
        lr: and what follows it: see ``DMaskingSettings``.
        tau: temperature of the first epoch.
        tau_decay: it falls by ``exp(-tau_decay)`` every epoch.
        affine: whether normalisation has a learned scale and shift.
        recompute: whether inner maps are computed again for the backward pass: by default where there are several
            resolutions, with which memory would grow otherwise; small networks are faster without.
        loss: by name or as a function; by default cross entropy, or the mean squared error of a regression.

    Attributes:
        settings: as checked.
        reference: cost by which the additive form divides.

    Raises:
        SpecError: a setting is out of range or does not fit the space or the data.
    """

    BATCH_SIZE: ClassVar[int] = 192
    """Samples of a batch, of all ranks together, where nobody says otherwise."""

    WEIGHT_SHARE: ClassVar[float] = 0.8
    """Share of the samples from which weights learn."""

    def __init__(
        self,
        space: Space,
        shape: DataShape,
        data: SearchData,
        *,
        epochs: int = 90,
        seed: int,
        device: torch.device | str = "cpu",
        ranks: Ranks = ALONE,
        lr: float = 0.1,
        final_lr: float = 0.0,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        grad_clip: float = 0.0,
        architecture_lr: float = 0.01,
        architecture_weight_decay: float = 5e-4,
        warmup_epochs: int = 10,
        tau: float = 5.0,
        tau_decay: float = 0.045,
        cost: str = "flops",
        cost_form: str = "additive",
        cost_weight: float = 1.0,
        cost_reference: float | None = None,
        cost_target: float | None = None,
        cost_scale: float = 0.2,
        cost_exponent: float = 0.6,
        sampling: str = "shared",
        augment: Sequence[str] = (),
        affine: bool = False,
        recompute: bool | None = None,
        loss: str | Loss | None = None,
    ) -> None:
        """Make the supernet and its optimizers."""
        super().__init__(space.unwrapped, shape, data, epochs=epochs, seed=seed, device=device, ranks=ranks)
        self.settings = DMaskingSettings(
            lr=lr,
            final_lr=final_lr,
            momentum=momentum,
            weight_decay=weight_decay,
            grad_clip=grad_clip,
            architecture_lr=architecture_lr,
            architecture_weight_decay=architecture_weight_decay,
            warmup_epochs=warmup_epochs,
            cost=cost,
            cost_form=cost_form,
            cost_weight=cost_weight,
            cost_reference=cost_reference,
            cost_target=cost_target,
            cost_scale=cost_scale,
            cost_exponent=cost_exponent,
            sampling=sampling,
            augment=augment,
        )
        if warmup_epochs >= epochs:
            raise SpecError(
                f"{warmup_epochs} of {epochs} epochs are for the weights alone: no choice would ever be made.",
                field="controller.params.warmup_epochs",
                fix="Leave epochs for the architecture.",
            )
        self.temperature = Temperature(tau, tau_decay)
        self.loss = resolve_loss(_LOSSES[shape.kind] if loss is None else loss)
        self._supernet = DMaskingSupernet(self.space, shape, seed=seed, affine=affine, recompute=recompute)
        self._supernet.to(self.device)
        self._weights = self._supernet.weight_parameters()
        self._weight_optimizer = torch.optim.SGD(self._weights, lr=lr, momentum=momentum, weight_decay=weight_decay)
        self._architecture_optimizer = torch.optim.Adam(
            self._supernet.architecture_parameters(), lr=architecture_lr, weight_decay=architecture_weight_decay
        )
        own_seed = stream_seed(seed, _AUGMENT, ranks.rank)
        self._augment = Augmentation(self.settings.recipe, shape, own_seed, self.device)
        with torch.no_grad():
            untrained = float(self._cost(self._supernet.mixing()))
        self.reference = untrained if cost_reference is None else float(cost_reference)

    @property
    def supernet(self) -> DMaskingSupernet:
        """As it stands."""
        return self._supernet

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """See ``SupernetSearch.optimizers``."""
        return {"weight": self._weight_optimizer, "architecture": self._architecture_optimizer}

    # ---- training --------------------------------------------------------------------------------------------------

    def train_epoch(self) -> dict[str, float]:
        """Pass once over the weights' part of the data, then, after the warm-up, once over the architecture's.

        Returns:
            ``lr``; ``tau``; ``train_loss`` and, of a classification, ``train_accuracy`` (percent) while weights were
            learned; the same as ``architecture_…`` where the choices were; ``objective``, the mean of what they
            minimised; ``flops`` and ``params``, the expected cost of the mixture in the end, without noise; the loss
            and accuracy of the likeliest architecture alone, cut out of the supernet, on the choices' part of the data
            as ``derived_…``: far below the mixture's while masks are soft.

        Raises:
            NanLossError: a loss is NaN or infinite.
        """
        epoch = self.progress.epoch
        record = {"lr": self.settings.rate(epoch, self.epochs), "tau": self.temperature(epoch)}
        for group in self._weight_optimizer.param_groups:
            group["lr"] = record["lr"]
        self._supernet.train()
        tally = Tally(self.shape.kind, self.device)
        for step, batch in self._augmented(self.data.batches(self.data.weight_indices, epoch), epoch, _WEIGHTS):
            self._learn_weights(batch, epoch, step, tally)
        record |= tally.means("train", self.ranks)
        if epoch >= self.settings.warmup_epochs:
            record |= self._learn_architecture(epoch) | self._derived(epoch)
        with torch.no_grad():
            expected = self._supernet.effective_cost()
        record |= {"flops": float(expected.flops), "params": float(expected.params)}
        for name, value in record.items():
            if not math.isfinite(value):
                raise NanLossError(
                    f"{name} is {value} in epoch {epoch + 1}.", field=name, fix="Lower lr or architecture_lr."
                )
        return record

    def _learn_weights(self, batch: Batch, epoch: int, step: int, tally: Tally) -> None:
        """One step of the weights' optimizer."""
        loss = self._batch_loss(batch, self._sample(epoch, _WEIGHTS, step).detach(), tally)
        found = gradients(loss, self._weights, self.ranks)
        take_step(self._weight_optimizer, self._weights, clipped(found, self.settings.grad_clip))

    def _learn_architecture(self, epoch: int) -> dict[str, float]:
        """Steps of the architecture's optimizer over its part of the data."""
        architecture = self._supernet.architecture_parameters()
        tally = Tally(self.shape.kind, self.device)
        total = torch.zeros(2, dtype=torch.float64, device=self.device)
        batches = self.data.batches(self.data.architecture_indices, epoch, purpose=1)
        for step, batch in self._augmented(batches, epoch, _ARCHITECTURE):
            mixing = self._sample(epoch, _ARCHITECTURE, step)
            loss = self._batch_loss(batch, mixing, tally)
            share = self.ranks.weight(len(batch.targets), batch.whole)
            objective = self.settings.objective(loss, self._cost(mixing), share, self.reference)
            take_step(self._architecture_optimizer, architecture, gradients(objective, architecture, self.ranks))
            total += torch.stack([objective.detach().double(), torch.ones_like(total[0])])
        value, count = self.ranks.total(total).tolist()
        return {**tally.means("architecture", self.ranks), "objective": value / count}

    def _augmented(self, batches: Iterator[Batch], epoch: int, phase: int) -> Iterator[tuple[int, Batch]]:
        """Numbered batches, their images changed in a way that is a function of the place in the search."""
        for step, batch in enumerate(batches):
            inputs, _ = self._augment(batch.inputs, 2 * epoch + phase, step)
            yield step, Batch(inputs, batch.targets, batch.whole)

    @torch.no_grad()
    def _derived(self, epoch: int) -> dict[str, float]:
        """What the likeliest architecture is worth as it stands; untrained weights of rare options count against it."""
        network = sliced(self._supernet, self._supernet.genotype())
        tally = Tally(self.shape.kind, self.device)
        for batch in self.data.batches(self.data.architecture_indices, epoch, purpose=1):
            outputs = network(*batch.inputs)
            tally.add(self.loss(outputs, batch.targets), outputs, batch.targets)
        return tally.means("derived", self.ranks)

    def _sample(self, epoch: int, phase: int, step: int) -> Tensor:
        """The mixing of a step, a function of the seed and the step alone (and of the rank where each has its own)."""
        rank = self.ranks.rank if self.settings.sampling == "per_rank" else 0
        noise = gumbel_noise(self._supernet.alpha.numel(), self.seed, _NOISE, epoch, phase, step, rank)
        return self._supernet.mixing(self.temperature(epoch), noise)

    def _batch_loss(self, batch: Batch, mixing: Tensor, tally: Tally) -> Tensor:
        """The loss of this rank's samples, weighted so that the mean over ranks is that of the batch."""
        outputs = self._supernet(*batch.inputs, mixing=mixing)
        mean = self.loss(outputs, batch.targets)
        tally.add(mean, outputs, batch.targets)
        return mean * self.ranks.weight(len(batch.targets), batch.whole)

    def _cost(self, mixing: Tensor) -> Tensor:
        """What a mixing costs, in the unit that the settings name."""
        found: Tensor = getattr(self._supernet.effective_cost(mixing), self.settings.cost)
        return found

    # ---- results ---------------------------------------------------------------------------------------------------

    def discretize(self, methods: Sequence[str] | None = None) -> list[Discretization]:
        """See ``SupernetSearch.discretize``: ``argmax``, the likeliest option of every choice.

        Raises:
            UnknownNameError: another method is asked for.
        """
        found = []
        for method in ("argmax",) if methods is None else methods:
            if method != "argmax":
                raise UnknownNameError(
                    f"DMaskingNAS has no discretization {method!r}.",
                    field="controller.params.methods",
                    got=method,
                    valid=["argmax"],
                )
            strengths = self._supernet.by_choice(self._supernet.mixing().detach())
            found.append(Discretization(method, self._supernet.genotype(), strengths, self._supernet.options()))
        return found
