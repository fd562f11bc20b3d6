"""The training loop: one candidate, from its seed to its metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xnas_ray.errors import NanLossError, StoppedError
from xnas_ray.messages import Candidate, Genotype
from xnas_ray.networks.regularisation import rates_in, regularise
from xnas_ray.randomness import canonical_json
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.tasks.base import Data, Problem
from xnas_ray.training.augment import Augmentation, stream_seed
from xnas_ray.training.autoaugment import pixel_range
from xnas_ray.training.batch_loss import BatchLoss, TreeSource
from xnas_ray.training.build import build_network
from xnas_ray.training.checkpoint import CHECKPOINT_NAME, load_checkpoint, save_checkpoint
from xnas_ray.training.context import TrialContext
from xnas_ray.training.determinism import isolated_randomness, random_state, set_random_state
from xnas_ray.training.device import peak_memory_bytes, reset_peak_memory, typed_memory_errors
from xnas_ray.training.distillation import Teacher
from xnas_ray.training.ema import WeightAverage
from xnas_ray.training.optimizer import make_optimizer
from xnas_ray.training.ranks import ALONE, Ranks
from xnas_ray.training.recipe import Recipe
from xnas_ray.training.schedule import Schedule
from xnas_ray.training.trained import Evaluator, TrainedCandidate, autocast, place

SHUFFLE = 1
"""Purpose of the random numbers that order an epoch (``Augmentation.PURPOSE`` is 2)."""

RANK = 3
"""Purpose of those by which the ranks after the first differ from it."""


def train_candidate(
    *,
    space: Space,
    problem: Problem,
    data: Data,
    candidate: Candidate,
    recipe: Recipe,
    seed: int,
    context: TrialContext,
    device: torch.device | str = "cpu",
    report_test: bool = False,
    measure_once: bool = False,
    ranks: Ranks = ALONE,
    trees: TreeSource | None = None,
) -> TrainedCandidate:
    """Train a candidate for ``candidate.fidelity`` epochs of a schedule of ``candidate.schedule_epochs``.

    Everything random is a function of ``seed`` and of the place in the training: on one CPU thread the same arguments
    give bit-identical weights, after an interruption too, whatever ran before in the process; and a shorter fidelity
    of the same schedule is a prefix of a longer one.

    Args:
        space: where the genotype comes from.
        problem: loss and metrics.
        data: on ``device`` when they fit there, else on the CPU, from where batches are moved.
        candidate: genotype, fidelity and schedule.
        recipe: resolved settings, the candidate's own included.
        seed: of weights, order and augmentation, in [0, 2**63).
        context: where to write, whom to tell, when to stop.
        device: where to train.
        report_test: measure the test split too, after every epoch (``test_*``); for tables, never for selection.
        measure_once: measure the validation split after the last epoch alone.
        ranks: the processes that share each batch of the ``recipe``. All call this with the same arguments but for the
            device and the context: only the first rank's may have a folder, and none may stop alone.
        trees: where the trees of a recipe with a ``tree_loss`` come from.

    Raises:
        SpecError: the network has no place for the recipe's dropout or drop_path, its teacher cannot be used, or there
            is no tree for its ``tree_loss``.
        NanLossError: the loss or a metric is NaN or infinite.
        OutOfMemoryError: the device or the host has no memory left; what the training held is released.
        StoppedError: ``context`` asked for it; after ``"checkpoint"`` the checkpoint is written.
        CheckpointError: ``context.resume_from`` cannot be read or belongs to another training.
    """
    device = torch.device(device)
    with isolated_randomness(seed, device), typed_memory_errors(device):
        return _train(
            space, problem, data, candidate, recipe, seed, context, device, report_test, measure_once, ranks, trees
        )


def _train(
    space: Space,
    problem: Problem,
    data: Data,
    candidate: Candidate,
    recipe: Recipe,
    seed: int,
    context: TrialContext,
    device: torch.device,
    report_test: bool,
    measure_once: bool,
    ranks: Ranks,
    trees: TreeSource | None,
) -> TrainedCandidate:
    """``train_candidate`` in a frame of its own, which can be cleared when memory runs out."""
    started = time.perf_counter()
    reset_peak_memory(device)
    genotype = space.check(candidate.genotype)
    training = _Training(
        space,
        genotype,
        problem,
        data,
        candidate,
        recipe,
        seed,
        device,
        context,
        report_test,
        measure_once,
        ranks,
        trees,
    )
    build_s = time.perf_counter() - started
    training.run()
    training.optimizer.zero_grad(set_to_none=True)
    return TrainedCandidate(
        model=training.measured.eval(),
        space=space,
        genotype=genotype,
        candidate=candidate,
        problem=problem,
        data=data,
        device=device,
        recipe=recipe,
        outputs=training.outputs.cpu(),
        targets=data.validation.targets.cpu(),
        metrics=_metrics(training.curve[-1]),
        curve=tuple(training.curve),
        cost=space.cost(genotype, data.data_shape),
        duration_s=time.perf_counter() - started,
        build_s=build_s,
        train_s=training.elapsed_s(),
        peak_memory_bytes=peak_memory_bytes(device),
        tree=training.loss.tree,
    )


def _metrics(record: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in record.items() if name not in ("epoch", "lr", "elapsed_s")}


class _Training:
    """State of one training; ``run`` takes it from where it stands to the last epoch."""

    def __init__(
        self,
        space: Space,
        genotype: Genotype,
        problem: Problem,
        data: Data,
        candidate: Candidate,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        context: TrialContext,
        report_test: bool,
        measure_once: bool,
        ranks: Ranks,
        trees: TreeSource | None,
    ) -> None:
        self.data, self.recipe, self.seed, self.device = data, recipe, seed, device
        self.context, self.report_test, self.epochs = context, report_test, candidate.fidelity
        self.measure_once, self.ranks = measure_once, ranks
        network = build_network(space, genotype, data.data_shape)
        regularise(network, rates_in(recipe), space.unwrapped.name)
        self.model = ranks.prepare(_on_device(network, recipe, device))
        self.network = ranks.join(self.model)
        self.optimizer = make_optimizer(self.model, recipe)
        self.average = WeightAverage(self.model, recipe.ema_decay) if recipe.ema_decay else None
        self.scaler = torch.amp.GradScaler(
            device.type, enabled=recipe.amp and recipe.amp_dtype == "float16" and device.type == "cuda"
        )
        self.schedule_epochs = candidate.schedule_epochs
        self.loss = BatchLoss(problem, recipe, data.data_shape, self.model, self.schedule_epochs, trees, ranks)
        self.teacher = Teacher.of(recipe, data.data_shape, device)
        own_seed = seed if ranks.first else stream_seed(seed, RANK, ranks.rank)
        pixels = pixel_range(data.train.inputs[0]) if "autoaugment" in recipe.augment else None
        self.augment = Augmentation(recipe, data.data_shape, own_seed, device, pixels)
        self.evaluator = Evaluator(problem, recipe, device)
        self.steps_per_epoch = len(self._batches(0))
        self.schedule = Schedule(recipe, self.steps_per_epoch, self.schedule_epochs)
        self.identity = _identity(
            space, genotype, data.data_shape, candidate, recipe, seed, len(data.train), self.teacher
        )
        self.epoch, self.batch = 0, 0
        self.loss_sum = torch.zeros((), dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)
        self.outputs: Tensor = torch.empty(0)
        self.curve: list[dict[str, float]] = []
        self._elapsed_before_s = 0.0
        if context.resume_from is not None:
            self._restore(load_checkpoint(context.resume_from, self.identity, device))
        if not ranks.first:  # else every rank would drop out the same units of its samples
            torch.manual_seed(stream_seed(seed, RANK, ranks.rank, self.epoch))
        self._started_s = self._saved_s = time.perf_counter()

    @property
    def measured(self) -> nn.Module:
        """The network whose metrics count."""
        return self.average.model if self.average else self.model

    def elapsed_s(self) -> float:
        """Seconds of training, over all attempts."""
        return self._elapsed_before_s + time.perf_counter() - self._started_s

    def run(self) -> None:
        """Train the epochs that are left."""
        if self.epoch >= self.epochs:  # resumed where it had ended
            del self.curve[self.epochs :]
            self.curve[-1] |= self._measure()
        while self.epoch < self.epochs:
            self._train_epoch()
            self._finish_epoch()

    def _train_epoch(self) -> None:
        self.network.train()
        if start_epoch := getattr(self.model, "start_epoch", None):  # what a network changes as training goes on
            start_epoch(self.epoch, self.schedule_epochs)
        self.loss.start_epoch(self.epoch, resumed=self.batch > 0)
        batches = self._batches(self.epoch)
        while self.batch < len(batches):
            self._stop_if_asked()
            self._step(batches[self.batch])
            self.batch += 1

    def _batches(self, epoch: int) -> list[Tensor]:
        """Indices of the batches of an epoch; a last one without two samples a rank is left out, as batch norm asks."""
        generator = torch.Generator().manual_seed(stream_seed(self.seed, SHUFFLE, epoch))
        order = torch.randperm(len(self.data.train), generator=generator)
        batches = list(order.to(self.data.train.targets.device).split(self.recipe.batch_size))
        if len(batches) > 1 and len(batches[-1]) < 2 * self.ranks.size <= self.recipe.batch_size:
            batches.pop()
        return batches

    def _step(self, batch: Tensor) -> None:
        indices = self.ranks.share(batch)
        step = self.epoch * self.steps_per_epoch + self.batch
        rate = self.schedule(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        train = self.data.train
        inputs = tuple(place(x.index_select(0, indices), self.recipe, self.device) for x in train.inputs)
        targets = train.targets.index_select(0, indices).to(self.device, non_blocking=True)
        inputs, mixed = self.augment(inputs, self.epoch, self.batch)
        with autocast(self.recipe, self.device):
            taught = self.teacher(inputs) if self.teacher else None
            loss = self.loss(self.network(*inputs), targets, mixed, taught)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss * self.ranks.weight(len(indices), len(batch))).backward()
        if self.recipe.grad_clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update(self.model, step)
        self.loss_sum += loss.detach() * len(indices)

    def _finish_epoch(self) -> None:
        """Measure, report, and write a checkpoint when the last one is old."""
        seen = min(len(self.data.train), self.steps_per_epoch * self.recipe.batch_size)
        record = {"train_loss": self.ranks.total(self.loss_sum).item() / seen}
        _require_finite(record, self.epoch)
        if not self.measure_once or self.epoch + 1 == self.epochs:
            record |= self._measure()
        _require_finite(record, self.epoch)
        rate = self.optimizer.param_groups[0]["lr"]
        self.epoch, self.batch = self.epoch + 1, 0
        self.loss_sum.zero_()
        record = {"epoch": float(self.epoch), "lr": rate, **record, "elapsed_s": self.elapsed_s()}
        self.curve.append(record)
        self.context.report(record)
        unsaved_s = time.perf_counter() - self._saved_s
        if self.epoch < self.epochs and self.context.folder and unsaved_s >= self.context.checkpoint_every_s:
            self._save()

    def _measure(self) -> dict[str, float]:
        """Metrics as the network is now; the outputs are kept."""
        self.outputs = self.evaluator.predict(self.measured, self.data.validation)
        targets = self.data.validation.targets.to(self.device)
        found = self.evaluator.measure(self.outputs, targets, "val")
        if self.report_test:
            found |= self.evaluator(self.measured, self.data.test, "test")
        return found

    def _stop_if_asked(self) -> None:
        stop = self.context.stop_requested()
        if not stop:
            return
        where = f"in epoch {self.epoch + 1}, batch {self.batch + 1} of {self.steps_per_epoch}"
        if stop == "checkpoint" and self.context.folder:
            self._save()
            raise StoppedError(f"stopped {where}, with a checkpoint.")
        raise StoppedError(f"stopped {where}.")

    def _save(self) -> None:
        assert self.context.folder is not None
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.model.state_dict() if self.average else None,
            "scaler": self.scaler.state_dict(),
            "tree": self.loss.state(),
            "random": random_state(self.device),
            "epoch": self.epoch,
            "batch": self.batch,
            "loss_sum": self.loss_sum,
            "curve": self.curve,
            "elapsed_s": self.elapsed_s(),
        }
        save_checkpoint(self.context.folder / CHECKPOINT_NAME, self.identity, state)
        self._saved_s = time.perf_counter()

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.model.load_state_dict(state["average"])
        self.scaler.load_state_dict(state["scaler"])
        self.loss.restore(state["tree"])
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.loss_sum.copy_(state["loss_sum"])
        self.curve = [dict(record) for record in state["curve"]]
        self._elapsed_before_s = state["elapsed_s"]
        set_random_state(state["random"], self.device)


def _on_device(model: nn.Module, recipe: Recipe, device: torch.device) -> nn.Module:
    model = model.to(device)
    return model.to(memory_format=torch.channels_last) if device.type == "cuda" and recipe.channels_last else model


def _identity(
    space: Space,
    genotype: Genotype,
    shape: DataShape,
    candidate: Candidate,
    recipe: Recipe,
    seed: int,
    samples: int,
    teacher: Teacher | None,
) -> str:
    """What a checkpoint must share with a training: everything but how long it goes on."""
    return canonical_json(
        {
            "space": space.name,
            "genotype": list(genotype),
            "inputs": [list(s) for s in shape.inputs],
            "outputs": shape.outputs,
            "params": space.cost(genotype, shape).params,
            "recipe": {**recipe.as_mapping(), "teacher": ""},  # its content counts, not where it lies
            "schedule_epochs": candidate.schedule_epochs,
            "seed": seed,
            "samples": samples,
            "teacher": teacher.hash if teacher else "",
        }
    )


def _require_finite(record: Mapping[str, float], epoch: int) -> None:
    for name, value in record.items():
        if not math.isfinite(value):
            raise NanLossError(
                f"{name} is {value} in epoch {epoch + 1}.",
                field=name,
                fix="Lower recipe.lr, or set recipe.grad_clip or recipe.warmup_epochs.",
            )
