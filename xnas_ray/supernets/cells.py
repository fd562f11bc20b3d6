"""Supernets of stacked cells: one set of architecture variables that all cells of a type share."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from xnas_ray.errors import GenotypeError, SpecError, UnknownNameError
from xnas_ray.messages import Genotype
from xnas_ray.registry import build
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.supernets.base import RelaxedSupernet
from xnas_ray.training.augment import stream_seed
from xnas_ray.training.determinism import isolated_randomness

INITIAL_STD = 1e-3
"""Standard deviation of the first architecture variables (the official codes of DARTS and PC-DARTS)."""

SUPERNETS = {
    "darts": "xnas_ray.supernets.darts_cells:DartsSupernet",
    "nasbench1shot1": "xnas_ray.supernets.nasbench1shot1:NASBench1Shot1Supernet",
    "nasbench201": "xnas_ray.supernets.nasbench201:NASBench201Supernet",
}
"""Spaces with a relaxed supernet, and its class."""

SizedSpace = TypeVar("SizedSpace", bound=Space)

_WEIGHTS = 21


class CellSupernet(RelaxedSupernet):
    """A relaxed supernet of cells, with edge normalisation where it is wanted.

    Edge normalisation (Xu et al., ICLR 2020, Eq. 3) weighs the edges that enter a node by a softmax of their own
    variables ``beta``: the mixing weights are ``p = softmax(beta)_e softmax(alpha_e)_o``, and a row of them sums to
    the weight of its edge.

    Args:
        space: whose architectures it contains, whole.
        shape: of the task's data.
        nodes: for every node of every cell type its name and those of the edges that enter it; the order of all edges.
        operations: names of the operations of an edge.
        edge_normalisation: whether edges have weights of their own.

    Attributes:
        nodes: names of nodes, and of the edges that enter each.
        beta: logits of the weights of edges, None without edge normalisation.
    """

    beta: nn.Parameter | None

    def __init__(
        self,
        space: Space,
        shape: DataShape,
        *,
        nodes: Mapping[str, Sequence[str]],
        operations: Sequence[str],
        edge_normalisation: bool = False,
    ) -> None:
        """Draw the architecture variables, from torch's global random numbers as all weights."""
        super().__init__(space, shape)
        self.nodes = {node: tuple(edges) for node, edges in nodes.items()}
        self.edges = tuple(edge for edges in self.nodes.values() for edge in edges)
        self.operations = tuple(operations)
        self.alpha = nn.Parameter(INITIAL_STD * torch.randn(len(self.edges), len(self.operations)))
        self.beta = nn.Parameter(INITIAL_STD * torch.randn(len(self.edges))) if edge_normalisation else None

    def architecture_parameters(self) -> list[nn.Parameter]:
        """``alpha``, then ``beta`` where there is one."""
        return [self.alpha] if self.beta is None else [self.alpha, self.beta]

    def edge_weights(self) -> Tensor:
        """How much each edge counts at its node, ``E``; 1 without edge normalisation."""
        if self.beta is None:
            return torch.ones_like(self.alpha[:, 0])
        parts = self.beta.split([len(edges) for edges in self.nodes.values()])
        return torch.cat([torch.softmax(part, dim=0) for part in parts])

    def mixing(self) -> Tensor:
        """The mixing weights ``E x O``; see the class."""
        within = torch.softmax(self.alpha, dim=1)
        return within if self.beta is None else self.edge_weights()[:, None] * within

    def probabilities(self) -> dict[str, Tensor]:
        """Of the operations of every edge and, with edge normalisation, of the edges of every node."""
        found = dict(zip(self.edges, torch.softmax(self.alpha.detach(), dim=1), strict=True))
        if self.beta is not None:
            parts = self.edge_weights().detach().split([len(edges) for edges in self.nodes.values()])
            found |= dict(zip(self.nodes, parts, strict=True))
        return found

    def options(self) -> dict[str, tuple[str, ...]]:
        """See ``Supernet.options``."""
        found = super().options()
        return found if self.beta is None else found | self.nodes

    @abstractmethod
    def selection(self, genotype: Genotype) -> Tensor:
        """Mixing weights ``E x O`` of one architecture: 1 at each operation that it has, 0 elsewhere."""

    def strongest(self, strengths: Tensor, *, keep_none: bool) -> tuple[list[int], list[float]]:
        """The strongest operation of every edge, the first of equals, and its strength.

        An edge for which there is no strength at all has the operation -1 and the strength ``-inf``.

        Args:
            strengths: ``E x O``, NaN for what must not be taken.
            keep_none: whether ``none`` may be taken.

        Raises:
            GenotypeError: the strengths have another shape.
        """
        if strengths.shape != self.alpha.shape:
            raise GenotypeError(
                f"strengths of shape {tuple(strengths.shape)} do not fit {tuple(self.alpha.shape)}.", field="strengths"
            )
        values = strengths.detach().double().cpu().nan_to_num(-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        if not keep_none and "none" in self.operations:
            values[:, self.operations.index("none")] = -torch.inf
        best = values.argmax(dim=1).tolist()
        found = values.max(dim=1).values.tolist()
        return [i if v > -torch.inf else -1 for i, v in zip(best, found, strict=True)], found


def sized(space: SizedSpace, **sizes: int | None) -> SizedSpace:
    """The space at the size of a supernet, whose numbers it checks; None keeps the space's own.

    Raises:
        SpecError: a size is out of range.
    """
    given = {name: value for name, value in sizes.items() if value is not None}
    try:
        return type(space)(**{**space.params, **given})
    except SpecError as error:
        name = (error.field or "").rpartition(".")[2]
        raise SpecError(error.message, field=f"controller.params.supernet.{name}") from None


def make_supernet(
    space: Space,
    shape: DataShape,
    *,
    seed: int,
    params: Mapping[str, int] | None = None,
    partial: int = 1,
    edge_normalisation: bool = False,
) -> CellSupernet:
    """The relaxed supernet of a space, on the CPU; its weights and variables are a function of the seed.

    Args:
        space: what is searched; of a part of a space, the whole one's supernet.
        shape: of the task's data.
        seed: of weights and architecture variables.
        params: size of the supernet, as its class names it: ``channels``, ``layers`` …
        partial: 1, or the k of partial channels.
        edge_normalisation: whether edges have weights of their own.

    Raises:
        UnknownNameError: the space has no relaxed supernet, or the supernet no such parameter.
        SpecError: a parameter is out of range, or the task's input is not one image.
    """
    whole = space.unwrapped
    if whole.name not in SUPERNETS:
        raise UnknownNameError(
            f"there is no relaxed supernet of space {whole.name!r}.",
            field="space.name",
            got=whole.name,
            valid=sorted(SUPERNETS),
        )
    fixed: dict[str, Any] = {"partial": partial, "edge_normalisation": edge_normalisation}
    if taken := sorted(fixed.keys() & dict(params or {}).keys()):
        raise UnknownNameError(f"{taken[0]!r} is no size of a supernet.", field="controller.params.supernet")
    module, _, name = SUPERNETS[whole.name].partition(":")
    kind: type[CellSupernet] = getattr(importlib.import_module(module), name)
    with isolated_randomness(stream_seed(seed, _WEIGHTS), torch.device("cpu")):
        return build(
            kind,
            dict(params or {}),
            whole,
            shape,
            what=f"the supernet of {whole.name!r}",
            field="controller",
            **fixed,
        )
