"""Derivatives of a supernet's loss: gradients, Hessian-vector and mixed products, averaged over batches and ranks.

``θ ∈ R^P`` are the weights, one after the other in the order of ``weight_parameters``; ``p``, ``E x O``, the mixing
weights of the operations. With the loss ``L(θ, p)``

    g = ∂L/∂θ   [P],   H = ∂²L/∂θ∂θ   [P x P],   B = ∂²L/∂θ∂p   [P x EO].

No matrix is made: ``H v``, ``B u`` and ``Bᵀ v`` are gradients of scalar products of gradients (Pearlmutter, Neural
Computation 6(1), 1994), by autograd's double backward on the network as it is. DistributedDataParallel has none, so
every rank works on its own batches and the results are averaged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from xnas_ray.errors import InfluenceError, SpecError
from xnas_ray.supernets.base import RelaxedSupernet
from xnas_ray.supernets.search_data import Batch
from xnas_ray.tasks import metrics
from xnas_ray.training.ranks import ALONE, Ranks

Loss = Callable[[Tensor, Batch], Tensor]
"""``loss(mixing, batch)``: mixing weights ``E x O`` to the mean over this rank's samples of the batch, a scalar."""

PARAMETERISATIONS = ("weights", "logits")

_AT_ONCE = 64  # rows of a Hessian, each of which needs the memory of a backward pass


def supernet_loss(supernet: RelaxedSupernet, loss: metrics.Loss = functional.cross_entropy) -> Loss:
    """The loss of a supernet as a function of its mixing weights.

    Args:
        supernet: whose weights are meant.
        loss: ``loss(outputs, targets)``, a mean over the samples.
    """

    def of(mixing: Tensor, batch: Batch) -> Tensor:
        return loss(supernet(*batch.inputs, mixing=mixing), batch.targets)

    return of


class Derivatives:
    """First and second derivatives of ``L(θ, p) = mean over batches of loss + ridge/2 |θ|²``.

    Every pass is over the same batches. They are fixed when this is made, so no two factors of a product can see
    different ones; weights are those that the supernet has at the time of the call. A vector of weights is flat, of
    P numbers; one of mixing weights is ``E x O``.

    Args:
        supernet: never wrapped; batch normalisation with the batch's statistics, none kept; no dropout.
        loss: of a batch, without the ridge (``supernet_loss``).
        batches: this rank's, either its part of each (``SearchData.fixed``) or whole ones (``SearchData.dealt``).
        ridge: η, the search's weight decay.
        parameterisation: ``"weights"`` differentiates by the mixing weights themselves, as free variables;
            ``"logits"`` by the supernet's ``alpha``, so that ``B`` holds the softmax.
        ranks: who has the other batches.

    Attributes:
        variables: ``E x O``, where the derivatives are taken: mixing weights or logits.
        count: N, batches of all ranks together.
        size: P, number of weights.

    Raises:
        SpecError: no batch, or no such parameterisation.
        InfluenceError: the network draws random numbers or changes its buffers when it is called, so that no two
            passes would be of one function.
    """

    def __init__(
        self,
        supernet: RelaxedSupernet,
        loss: Loss,
        batches: Sequence[Batch],
        *,
        ridge: float = 0.0,
        parameterisation: str = "weights",
        ranks: Ranks = ALONE,
    ) -> None:
        """Count the batches, and try whether the network can be called twice."""
        if parameterisation not in PARAMETERISATIONS:
            raise SpecError(
                f"there is no parameterisation {parameterisation!r}.",
                field="parameterisation",
                got=parameterisation,
                valid=PARAMETERISATIONS,
            )
        self.loss = loss
        self.ridge = ridge
        self.parameterisation = parameterisation
        self.ranks = ranks
        self.weights = [weight for weight in supernet.weight_parameters() if weight.requires_grad]
        self.size = sum(weight.numel() for weight in self.weights)
        self._edges = supernet.mixing().detach().sum(1, keepdim=True)  # 1, unless edges have weights of their own
        start = supernet.mixing() if parameterisation == "weights" else supernet.alpha
        self.variables = start.detach().clone().requires_grad_()
        self._take(batches)
        if self.batches:
            _check_repeatable(supernet, lambda: self._loss(self.batches[0]))

    def at(self, variables: Tensor) -> Derivatives:
        """The same loss and batches at other mixing weights (or logits), ``E x O``."""
        other = copy.copy(self)
        other.variables = variables.detach().clone().requires_grad_()
        return other

    def over(self, batches: Sequence[Batch]) -> Derivatives:
        """The same loss at the same place over other batches, such as those of another part of the data.

        Raises:
            SpecError: there is none.
        """
        other = copy.copy(self)
        other._take(batches)
        return other

    def _take(self, batches: Sequence[Batch]) -> None:
        self.batches = tuple(batches)
        parts = sum(len(batch.targets) / batch.whole for batch in self.batches)
        parts_of_all = torch.tensor(parts, dtype=torch.float64, device=self.variables.device)
        self.count = round(float(self.ranks.total(parts_of_all)))
        if not self.count:
            raise SpecError("derivatives need at least one batch.", field="batches")

    # ---- values and gradients --------------------------------------------------------------------------------------

    def value(self) -> float:
        """``L``."""
        total = self.variables.new_zeros(())
        with torch.no_grad():
            for loss in self._losses():
                total = total + loss
            self.ranks.mean([total])
            return float(total + self.ridge / 2 * sum((weight.square().sum() for weight in self.weights), start=0.0))

    def gradient(self) -> Tensor:
        """``g``, of P numbers."""
        gradient = self._mean(self.size, lambda loss: _gradients(loss, self.weights))
        return gradient + self.ridge * self.flat_weights() if self.ridge else gradient

    def mixing_gradient(self) -> Tensor:
        """``∂L/∂p``, ``E x O``."""
        gradient = self._mean(self.variables.numel(), lambda loss: _gradients(loss, [self.variables]))
        return gradient.view_as(self.variables)

    def gradient_rows(self) -> Tensor:
        """The gradients in the weights of single batches, those that this rank owns: ``n x P``, without the ridge.

        Batch j of all belongs to rank ``j mod size``, where it is row ``j div size``.
        """
        rows = []
        for number, batch in enumerate(self.batches):
            own, whole = len(batch.targets), batch.whole
            row = _flat(_gradients(self._loss(batch), self.weights))
            if own < whole:  # a part: every rank has one, and their mean is the row
                row = row * self.ranks.weight(own, whole)
                self.ranks.mean([row])
                if number % self.ranks.size != self.ranks.rank:
                    continue
            rows.append(row)
        return torch.stack(rows) if rows else self.weights[0].new_zeros(0, self.size)

    # ---- second derivatives ----------------------------------------------------------------------------------------

    def hessian_product(self, vector: Tensor) -> Tensor:
        """``H v``, of P numbers, for a ``v`` of P numbers."""
        product = self._product(self.weights, self.weights, vector)
        return product + self.ridge * vector if self.ridge else product

    def mixed_product(self, direction: Tensor) -> Tensor:
        """``B u``, of P numbers, for a ``u`` of ``E x O``."""
        return self._product([self.variables], self.weights, direction.reshape(-1))

    def mixed_product_transposed(self, vector: Tensor) -> Tensor:
        """``Bᵀ v``, ``E x O``, for a ``v`` of P numbers."""
        return self._product(self.weights, [self.variables], vector).view_as(self.variables)

    def mixing_hessian_product(self, direction: Tensor) -> Tensor:
        """``∂²L/∂p∂p u``, ``E x O``, for a ``u`` of ``E x O``."""
        return self._product([self.variables], [self.variables], direction.reshape(-1)).view_as(self.variables)

    def hessian(self) -> Tensor:
        """``H`` itself, ``P x P``, symmetric: P products, some at once, for small networks."""
        eye = torch.eye(self.size, dtype=self.weights[0].dtype, device=self.weights[0].device)

        def rows(loss: Tensor) -> list[Tensor]:
            gradient = _flat(_gradients(loss, self.weights, create_graph=True))
            return [self._rows(gradient, some) for some in eye.split(_AT_ONCE)]

        found = self._mean(self.size**2, rows).view(self.size, self.size)
        return (found + found.T) / 2 + self.ridge * eye

    # ---- weights as one vector -------------------------------------------------------------------------------------

    def flat_weights(self) -> Tensor:
        """θ, of P numbers, a copy."""
        return _flat([weight.detach() for weight in self.weights])

    def set_weights(self, flat: Tensor) -> None:
        """Give the supernet these weights, of P numbers."""
        with torch.no_grad():
            for weight, part in zip(self.weights, self._parts(flat, self.weights), strict=True):
                weight.copy_(part)

    # ---- passes over the batches -----------------------------------------------------------------------------------

    def _loss(self, batch: Batch) -> Tensor:
        if self.parameterisation == "logits":
            return self.loss(self._edges * torch.softmax(self.variables, dim=1), batch)
        return self.loss(self.variables, batch)

    def _losses(self) -> Iterator[Tensor]:
        """Losses of this rank's batches, so weighted that their sum's mean over the ranks is that of all batches."""
        for batch in self.batches:
            yield self._loss(batch) * (self.ranks.weight(len(batch.targets), batch.whole) / self.count)

    def _mean(self, size: int, derive: Callable[[Tensor], Sequence[Tensor]]) -> Tensor:
        total = self.weights[0].new_zeros(size)
        for loss in self._losses():
            total += _flat(derive(loss))
        self.ranks.mean([total])
        return total

    def _product(self, first: Sequence[Tensor], then: Sequence[Tensor], vector: Tensor) -> Tensor:
        """``∂/∂then <∂L/∂first, vector>``, flat."""
        parts = self._parts(vector, first)

        def derive(loss: Tensor) -> Sequence[Tensor]:
            return _products(_gradients(loss, first, create_graph=True), then, parts)

        return self._mean(sum(tensor.numel() for tensor in then), derive)

    def _rows(self, gradient: Tensor, vectors: Tensor) -> Tensor:
        """Products with several vectors, ``n x P``."""
        found = torch.autograd.grad(
            gradient, self.weights, vectors, retain_graph=True, materialize_grads=True, is_grads_batched=True
        )
        return torch.cat([product.reshape(len(vectors), -1) for product in found], dim=1)

    @staticmethod
    def _parts(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
        parts = flat.split([tensor.numel() for tensor in like])
        return [part.view_as(tensor) for part, tensor in zip(parts, like, strict=True)]


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _gradients(loss: Tensor, inputs: Sequence[Tensor], *, create_graph: bool = False) -> Sequence[Tensor]:
    """Zeros for what the loss does not depend on, such as weights of a removed branch."""
    return torch.autograd.grad(loss, inputs, create_graph=create_graph, materialize_grads=True)


def _products(gradients: Sequence[Tensor], inputs: Sequence[Tensor], vectors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Gradients of ``<gradients, vectors>``; a gradient that is constant (a linear layer's alone) contributes none."""
    pairs = [(g, v) for g, v in zip(gradients, vectors, strict=True) if g.requires_grad]
    if not pairs:
        return [torch.zeros_like(tensor) for tensor in inputs]
    outputs, grad_outputs = zip(*pairs, strict=True)
    return torch.autograd.grad(outputs, inputs, grad_outputs, materialize_grads=True)


def _check_repeatable(supernet: RelaxedSupernet, call: Callable[[], Tensor]) -> None:
    """Call once; buffers that this changed are restored before it is refused."""
    before = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    drawn = _random_states(supernet)
    with torch.no_grad():
        call()
    after = dict(supernet.named_buffers())
    changed = [name for name, value in before.items() if not torch.equal(after[name], value)]
    if changed:
        for name, value in before.items():
            after[name].copy_(value)
        raise InfluenceError(
            f"the supernet changes its buffer {changed[0]!r} when it is called.",
            field="supernet",
            fix="Batch normalisation in a supernet keeps no statistics: track_running_stats=False.",
        )
    if any(not torch.equal(a, b) for a, b in zip(drawn, _random_states(supernet), strict=True)):
        raise InfluenceError(
            "the supernet draws random numbers when it is called.",
            field="supernet",
            fix="Switch dropout and drop-path off.",
        )


def _random_states(supernet: RelaxedSupernet) -> list[Tensor]:
    devices = {parameter.device for parameter in supernet.parameters() if parameter.is_cuda}
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in sorted(devices, key=str))]
