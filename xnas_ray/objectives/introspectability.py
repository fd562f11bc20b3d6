"""How differently a network activates for the classes that it predicts (XNAS' introspectability)."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from xnas_ray.errors import NanLossError, ObjectiveError
from xnas_ray.explain.similarities import check_weights
from xnas_ray.objectives.base import Activations, Objective
from xnas_ray.objectives.registry import register_objective
from xnas_ray.training.trained import TrainedCandidate, autocast, place

if TYPE_CHECKING:
    import pandas as pd

GroupBy = Literal["predicted", "label"]
MAX_SAMPLES = 25_000
LAYERS = "conv|activation"
SORTS: dict[str, tuple[type[nn.Module], ...]] = {
    "conv": (nn.modules.conv._ConvNd,),
    "activation": tuple(
        kind
        for kind in (getattr(nn.modules.activation, name) for name in nn.modules.activation.__all__)
        if kind not in (nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax)
    ),
}
"""What ``layers`` can name, joined by ``|``: the modules whose outputs count."""

_GRAM_COLUMNS = 1 << 20  # of class sums that are float64 at a time
_FIELD = "introspectability"


@dataclass(frozen=True, eq=False)
class Introspectability:
    """What ``introspectability`` found.

    Attributes:
        classes: numbers of the C classes that have samples, ascending.
        grams: by layer, in the order of the calls: C x C products of the sums of its activations over each class.
        weights: C x C weight of each pair, None for ones.
        means: by layer: C x D mean activations, float32 on the CPU; None unless asked for.
        normalised: whether weighted distances are divided by the sum of the weights, not by the number of pairs.
    """

    classes: tuple[int, ...]
    grams: Mapping[str, np.ndarray]
    weights: np.ndarray | None = None
    means: Mapping[str, np.ndarray] | None = None
    normalised: bool = False

    @cached_property
    def score(self) -> float:
        """Mean over the pairs of classes of the (weighted) cosine distance between their mean activations.

        All layers count as one long vector, so large layers and large activations count most. 0, the value of classes
        that activate alike, where there is no pair: with a single class or none that activates anything.
        """
        return self._mean(sum(self.grams.values(), np.zeros((len(self.classes),) * 2)))

    @cached_property
    def per_layer(self) -> pd.DataFrame:
        """One row a layer, in the order of the calls.

        Columns: ``layer``, ``score`` (as if it were the only one) and ``share`` of the squared length of the vectors,
        which says how much it counts in the whole.
        """
        import pandas as pd

        lengths = np.array([np.trace(gram) for gram in self.grams.values()])
        shares = lengths / lengths.sum() if lengths.sum() > 0 else np.zeros(len(lengths))
        scores = [self._mean(gram) for gram in self.grams.values()]
        return pd.DataFrame({"layer": list(self.grams), "score": scores, "share": shares})

    @cached_property
    def class_pairs(self) -> pd.DataFrame:
        """One row a pair of classes.

        Columns: ``first``, ``second``, ``distance`` (NaN where one of them activates nothing) and ``weight``.
        """
        import pandas as pd

        distances = _distances(sum(self.grams.values(), np.zeros((len(self.classes),) * 2)))
        i, j = np.triu_indices(len(self.classes), 1)
        numbers = np.array(self.classes, dtype=np.int64)
        weights = np.ones(len(i)) if self.weights is None else self.weights[i, j]
        return pd.DataFrame({"first": numbers[i], "second": numbers[j], "distance": distances[i, j], "weight": weights})

    def _mean(self, gram: np.ndarray) -> float:
        i, j = np.triu_indices(len(gram), 1)
        distances = _distances(gram)[i, j]
        known = ~np.isnan(distances)
        weights = np.ones(len(i)) if self.weights is None else self.weights[i, j]
        total = weights[known].sum() if self.normalised else known.sum()
        return float((weights * distances)[known].sum() / total) if total else 0.0


def introspectability(
    model: nn.Module,
    loader: Iterable[Sequence[Any]],
    *,
    layers: str = LAYERS,
    group_by: GroupBy = "predicted",
    weights: np.ndarray | Sequence[Sequence[float]] | None = None,
    max_samples: int = MAX_SAMPLES,
    predictions: Tensor | None = None,
    keep_means: bool = False,
    normalised: bool = False,
) -> Introspectability:
    """Introspectability of a network on samples (Carmichael, Moon & Jacobs, arXiv 2112.08645).

    The vector of a class is the mean, over the samples of the class, of the activations of all layers, flattened and
    concatenated. No such vector is ever made: of every layer the sums over each class are kept (C x its activations),
    and in the end their C x C products, which add up over layers. Nothing has to fit into memory but these sums and
    what a plain forward pass needs.

    Args:
        model: a classifier; it is measured in evaluation mode and left as it was.
        loader: gives batches ``(inputs…, targets)`` of tensors where the model is; it is read twice, in the same
            order, unless ``predictions`` or labels say the groups beforehand.
        layers: sorts of modules whose outputs count, joined by ``|``: ``"conv"``, ``"activation"``. A module that is
            called more than once counts once a call. What is called as a function (``F.relu``) is not seen.
        group_by: whether a sample belongs to the class that is predicted, as in the paper, or to its label.
        weights: of pairs of classes, classes x classes, symmetric, such as similarities: distances are multiplied and
            not divided by their sum (as XNAS does with ``activations-imagenet``), so values of different weights do
            not compare.
        max_samples: no more are looked at, the first ones.
        predictions: the predicted class of every sample, int64, where they are known already.
        keep_means: give the mean activations too: C rows of all activations, 72 MB for NAS-Bench-201 on CIFAR-10.
        normalised: divide by the sum of the weights after all: a mean distance again, whatever their scale.

    Raises:
        ObjectiveError: a parameter is malformed, or the network has no such layer.
        NanLossError: an activation is not finite.
    """
    kinds = _kinds(layers)
    if group_by not in ("predicted", "label"):
        raise ObjectiveError(
            f"must be predicted or label, got {group_by!r}.", field=f"{_FIELD}.group_by", valid=["predicted", "label"]
        )
    if isinstance(max_samples, bool) or not isinstance(max_samples, int) or max_samples < 1:
        raise ObjectiveError(f"must be a whole number from 1, got {max_samples!r}.", field=f"{_FIELD}.max_samples")
    with _evaluating(model):
        if group_by == "predicted" and predictions is None:
            parts = [model(*inputs).argmax(dim=1) for inputs, _ in _first(loader, max_samples)]
            predictions = torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)
        sums = _ClassSums(model, kinds)
        start = 0
        with sums.watching():
            for inputs, targets in _first(loader, max_samples):
                end = start + len(targets)
                groups = targets if group_by == "label" else _of(predictions, start, end)
                sums.group(groups)
                model(*(x.index_select(0, sums.order.to(x.device)) for x in inputs))
                start = end
    return replace(sums.result(_checked(weights), keep_means), normalised=normalised)


class _ClassSums:
    """Sums of activations over classes, taken while the network runs.

    The samples of a batch are ordered by class, so that those of a class lie together: their sum reads every
    activation once, where a scatter would also write a row a sample.
    """

    def __init__(self, model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
        self.watched = [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]
        self.sums: dict[str, dict[int, Tensor]] = {}
        self.order = torch.empty(0, dtype=torch.int64)
        self._counts: dict[int, int] = {}
        self._runs: list[tuple[int, int, int]] = []  # class, and where its samples begin and end
        self._calls: dict[str, int] = {}

    def group(self, classes: Tensor) -> None:
        """Say which class every sample of the next batch has."""
        self.order = torch.argsort(classes, stable=True)
        numbers, counts = torch.unique_consecutive(classes[self.order], return_counts=True)
        ends = list(itertools.accumulate(counts.tolist()))
        self._runs = list(zip(numbers.tolist(), [0, *ends], ends, strict=False))
        for number, begin, end in self._runs:
            self._counts[number] = self._counts.get(number, 0) + end - begin
        self._calls.clear()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at the outputs of the layers."""
        if not self.watched:
            raise ObjectiveError(
                "the network has no such layer.",
                field=f"{_FIELD}.layers",
                valid=sorted(SORTS),
                fix="Use modules such as nn.Conv2d and nn.ReLU; functions are not seen.",
            )
        handles = [module.register_forward_hook(self._hook(name)) for name, module in self.watched]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def look(module: nn.Module, inputs: Any, output: Tensor) -> None:
            call = self._calls[name] = self._calls.get(name, 0) + 1
            into = self.sums.setdefault(name if call == 1 else f"{name}#{call}", {})
            for number, start, end in self._runs:
                total = _sum(output[start:end])  # now: the next layer may work in place
                into[number] = into[number].add_(total) if number in into else total

        return look

    def result(self, weights: np.ndarray | None, keep_means: bool) -> Introspectability:
        """Products of the sums, layer by layer, and the means if they are wanted."""
        classes = tuple(sorted({number for sums in self.sums.values() for number in sums}))
        grams = {name: _gram(name, [sums[number] for number in classes]) for name, sums in self.sums.items()}
        if weights is not None:
            if classes and classes[-1] >= len(weights):
                raise ObjectiveError(
                    f"there are weights of {len(weights)} classes, and class {classes[-1]} is predicted.",
                    field=f"{_FIELD}.weights",
                )
            weights = weights[np.ix_(classes, classes)]
        means = {name: self._means(sums, classes) for name, sums in self.sums.items()} if keep_means else None
        return Introspectability(classes, grams, weights, means)

    def _means(self, sums: dict[int, Tensor], classes: Sequence[int]) -> np.ndarray:
        return np.stack([(sums[number] / self._counts[number]).cpu().numpy() for number in classes])


@register_objective("introspectability")
class IntrospectabilityObjective(Objective):
    """Mean cosine distance between the activations of the classes that are predicted, on the validation split.

    See ``introspectability``. The predictions are those of the validation pass that every trial makes, so one more
    pass is needed. Networks that predict one class only get 0.

    Args:
        layers: sorts of modules whose outputs count.
        group_by: ``"predicted"`` or ``"label"``.
        max_samples: of the validation split, the first ones.
    """

    name = "introspectability"
    direction = "max"
    unit = ""
    requires = "classification"

    def __init__(
        self, *, layers: str = LAYERS, group_by: GroupBy = "predicted", max_samples: int = MAX_SAMPLES
    ) -> None:
        """Remember the parameters; they are checked when something is measured."""
        self.layers, self.group_by, self.max_samples = layers, group_by, max_samples
        self._found: weakref.WeakKeyDictionary[TrainedCandidate, Introspectability] = weakref.WeakKeyDictionary()

    def measure(self, trained: TrainedCandidate) -> float:
        """The score, from 0 to 2."""
        self._found[trained] = self._introspect(trained)
        return self._found[trained].score

    def tables(self, trained: TrainedCandidate) -> Mapping[str, pd.DataFrame]:
        """``introspectability_layers`` and ``introspectability_pairs``, the latter with the names of the classes."""
        found = self._found.get(trained) or self._introspect(trained)
        names = trained.data.classes or ()
        pairs = found.class_pairs
        for column in ("first", "second"):
            pairs[column] = [names[number] for number in pairs[column]]
        return {"introspectability_layers": found.per_layer, "introspectability_pairs": pairs}

    def activations(self, trained: TrainedCandidate) -> Activations | None:
        """Mean activations of the classes that are predicted; None where ``measure`` was not told to keep them."""
        found = self._found.get(trained)
        return None if found is None or found.means is None else (found.classes, found.means)

    def _introspect(self, trained: TrainedCandidate) -> Introspectability:
        split, recipe, device = trained.data.validation, trained.recipe, trained.device
        count = min(len(split), self.max_samples)
        predictions = trained.outputs[:count].argmax(dim=1)
        groups = predictions if self.group_by == "predicted" else trained.targets[:count].cpu()
        order = torch.argsort(groups, stable=True)  # a batch then has few classes, however many there are

        def batches() -> Iterator[tuple[Tensor, ...]]:
            for rows in order.split(recipe.eval_batch_size):
                inputs = (place(x.index_select(0, rows.to(x.device)), recipe, device) for x in split.inputs)
                yield (*inputs, groups[rows])

        with autocast(recipe, device):
            return introspectability(
                trained.model,
                batches(),
                layers=self.layers,
                group_by="label",  # the third tensor of a batch is the group, whatever it stands for
                max_samples=self.max_samples,
                keep_means=self.keep_activations,
            )


def _kinds(layers: str) -> tuple[type[nn.Module], ...]:
    names = layers.split("|") if isinstance(layers, str) else []
    unknown = [name for name in names if name not in SORTS]
    if unknown or not names:
        raise ObjectiveError(
            f"must be sorts of layers joined by |, got {layers!r}.", field=f"{_FIELD}.layers", valid=sorted(SORTS)
        )
    return tuple(kind for name in names for kind in SORTS[name])


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def _first(loader: Iterable[Sequence[Any]], count: int) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
    """Inputs and targets of the first samples, batch by batch."""
    left = count
    for *inputs, targets in loader:
        if left <= 0:
            return
        yield tuple(x[:left] for x in inputs), targets[:left]
        left -= len(targets)


def _of(predictions: Tensor | None, start: int, end: int) -> Tensor:
    if predictions is None or len(predictions) < end:
        raise ObjectiveError(
            "there are fewer predictions than samples.",
            field=f"{_FIELD}.predictions",
            fix="Give one a sample, and a loader that can be read twice.",
        )
    return predictions[start:end]


def _sum(samples: Tensor) -> Tensor:
    """Sum over the samples, flattened; float32 also of half precision.

    On a CPU a product with ones reads the samples up to four times as fast as a reduction over the first dimension.
    """
    if samples.device.type != "cpu" or samples.dtype != torch.float32:
        return samples.sum(dim=0, dtype=torch.float32).flatten()
    return torch.mv(samples.flatten(1).T, samples.new_ones(len(samples)))


def _gram(name: str, sums: list[Tensor]) -> np.ndarray:
    """C x C products, float64; parts of the sums are float64 at a time."""
    rows = torch.stack(sums)
    gram = torch.zeros(len(sums), len(sums), dtype=torch.float64, device=rows.device)
    for part in rows.split(max(1, _GRAM_COLUMNS // len(sums)), dim=1):
        wide = part.double()
        gram += wide @ wide.T
    found = gram.cpu().numpy()
    if not np.isfinite(found).all():
        raise NanLossError(f"activations of layer {name} are not finite.", field=_FIELD, fix="Train more gently.")
    return found


def _distances(gram: np.ndarray) -> np.ndarray:
    """Cosine distances; NaN where a class activates nothing."""
    lengths = np.sqrt(np.diag(gram))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(1 - gram / np.outer(lengths, lengths))


def _checked(weights: np.ndarray | Sequence[Sequence[float]] | None) -> np.ndarray | None:
    return None if weights is None else check_weights(weights, field=f"{_FIELD}.weights")
