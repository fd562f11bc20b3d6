"""What a differentiable search is: a supernet that contains every architecture, trained, then cut down to some."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.supernets.search_data import SearchData
from xnas_ray.training.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Discretization:
    """An architecture that was read off a trained supernet.

    Attributes:
        method: how: ``"magnitude"``, ``"influence"``.
        genotype: the architecture, a valid genotype of the space.
        strengths: how strongly the method speaks for each option, larger is better: by the name of a decision (an
            edge, a width) one number an option, in the order of ``options``. NaN for an option that was left out.
        options: names of the options of each decision.
        chosen: by the name of a decision the option that the architecture has; a decision that it leaves out, such as
            an edge that a node does not keep, is missing. None where it has the strongest option of every decision.
    """

    method: str
    genotype: Genotype
    strengths: Mapping[str, tuple[float, ...]]
    options: Mapping[str, tuple[str, ...]]
    chosen: Mapping[str, str] | None = None


class Supernet(nn.Module, ABC):
    """A network that contains every architecture of a space, and variables that say how much of each.

    Its forward pass takes the inputs of the task and gives logits (or regressed values). Batch normalisation uses
    the statistics of the batch and keeps none (``track_running_stats=False``): statistics that were gathered under
    one mixture are wrong for the next (AutoDL-Projects, issues 70 and 115).

    Args:
        space: whose architectures it contains, whole (``Space.unwrapped``).
        shape: of the task's data.
    """

    def __init__(self, space: Space, shape: DataShape) -> None:
        """Remember what for; the layers are the subclass's."""
        super().__init__()
        self.space = space
        self.shape = shape

    @abstractmethod
    def architecture_parameters(self) -> list[nn.Parameter]:
        """The variables of the architecture, in a fixed order."""

    def weight_parameters(self) -> list[nn.Parameter]:
        """All other parameters, in a fixed order."""
        architecture = {id(parameter) for parameter in self.architecture_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in architecture]

    @abstractmethod
    def probabilities(self) -> dict[str, Tensor]:
        """How much of each option there is: by the name of a decision a vector that sums to 1, detached."""

    @abstractmethod
    def options(self) -> dict[str, tuple[str, ...]]:
        """Names of the options of each decision, in the order of ``probabilities``."""


class RelaxedSupernet(Supernet):
    """A supernet of edges, each a weighted sum of its operations (Liu et al., ICLR 2019, Eq. 2).

    Attributes:
        edges: names of the edges, of all cell types one after the other; ``E`` of them.
        operations: names of the operations of every edge; ``O`` of them.
        nodes: names of the nodes of all cell types, and of the edges that enter each.
        alpha: ``E x O``, the logits of the mixing weights.
    """

    edges: tuple[str, ...]
    operations: tuple[str, ...]
    nodes: dict[str, tuple[str, ...]]
    alpha: nn.Parameter

    def mixing(self) -> Tensor:
        """The mixing weights ``E x O``: the softmax of every edge's logits."""
        return torch.softmax(self.alpha, dim=1)

    @abstractmethod
    def forward(self, *inputs: Tensor, mixing: Tensor | None = None) -> Tensor:
        """Logits.

        Args:
            *inputs: of the task.
            mixing: mixing weights ``E x O`` in place of ``mixing()``, free variables that need not sum to 1.
        """

    @abstractmethod
    def genotype(self, strengths: Tensor, *, keep_none: bool = False) -> Genotype:
        """The architecture that these strengths speak for, by the rule of the space.

        Args:
            strengths: ``E x O``; on each edge the strongest operation is taken, and where a node keeps only some of
                its edges, those whose strongest operation is strongest (Liu et al., section 2.4). NaN is never taken.
            keep_none: whether ``none`` may be taken.
        """

    def taken(self, strengths: Tensor, *, keep_none: bool = False) -> dict[int, int] | None:
        """The operation of each edge that is in ``genotype(strengths)``, by the index of the edge.

        None where an operation is in the architecture exactly if leaving it out changes the architecture.
        """
        return None

    def architecture_parameters(self) -> list[nn.Parameter]:
        """See ``Supernet.architecture_parameters``."""
        return [self.alpha]

    def probabilities(self) -> dict[str, Tensor]:
        """See ``Supernet.probabilities``."""
        return dict(zip(self.edges, self.mixing().detach(), strict=True))

    def options(self) -> dict[str, tuple[str, ...]]:
        """See ``Supernet.options``."""
        return dict.fromkeys(self.edges, self.operations)


@dataclass
class Progress:
    """How far a search of supernets is, as its checkpoint says.

    Attributes:
        epoch: epochs that are done.
        curve: a record of each: ``epoch``, losses, temperature, expected cost, and ``entropy/<decision>`` and
            ``p/<decision>/<option>`` of every choice.
    """

    epoch: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)


class SupernetSearch(ABC):
    """One differentiable search: trains a supernet epoch by epoch and reads architectures off it.

    A subclass takes its settings as keywords and checks them when it is made. Everything random is a function of
    ``seed`` and of the place in the search (``training.augment.stream_seed``), so that a search that goes on from a
    checkpoint is the one that was not interrupted. With several ranks every one runs the same calls on its part of
    each batch; what it computes from data is averaged over the ranks before it changes anything (``Ranks.mean``), so
    that all hold the same variables at all times. The supernet itself is never wrapped: DistributedDataParallel has
    no second derivatives.

    Args:
        space: what is searched, whole.
        shape: of the task's data.
        data: what it learns from.
        epochs: how long.
        seed: of everything random.
        device: where it runs.
        ranks: the processes that share the work.
    """

    BATCH_SIZE: ClassVar[int] = 64
    """Samples of a batch, of all ranks together, where nobody says otherwise."""

    WEIGHT_SHARE: ClassVar[float] = 0.5
    """Share of the samples from which weights learn, where nobody says otherwise."""

    def __init__(
        self,
        space: Space,
        shape: DataShape,
        data: SearchData,
        *,
        epochs: int,
        seed: int,
        device: torch.device | str = "cpu",
        ranks: Ranks = ALONE,
    ) -> None:
        """Nothing is trained yet."""
        self.space = space
        self.shape = shape
        self.data = data
        self.epochs = epochs
        self.seed = seed
        self.device = torch.device(device)
        self.ranks = ranks
        self.progress = Progress()

    @property
    @abstractmethod
    def supernet(self) -> Supernet:
        """As it stands."""

    @abstractmethod
    def train_epoch(self) -> dict[str, float]:
        """Train epoch ``progress.epoch`` and return its record; who calls adds it to ``progress``."""

    @abstractmethod
    def discretize(self, methods: Sequence[str] | None = None) -> list[Discretization]:
        """The architectures that the supernet speaks for now.

        Args:
            methods: how to read them off; by default as the settings say.
        """

    @abstractmethod
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """By what they move: ``"weight"`` and ``"architecture"``."""

    def state(self) -> dict[str, Any]:
        """Variables, optimizers and progress, a copy; nothing random is carried.

        It is as ``training.checkpoint`` can store it: tensors, numbers, texts, lists.
        """
        return copy.deepcopy(
            {
                "supernet": self.supernet.state_dict(),
                **{f"{name}_optimizer": one.state_dict() for name, one in self.optimizers().items()},
                "epoch": self.progress.epoch,
                "curve": self.progress.curve,
            }
        )

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a ``state``."""
        self.supernet.load_state_dict(state["supernet"])
        for name, optimizer in self.optimizers().items():
            optimizer.load_state_dict(state[f"{name}_optimizer"])
        self.progress.epoch = int(state["epoch"])
        self.progress.curve = [dict(record) for record in state["curve"]]

    def run(self) -> dict[str, float]:
        """Train the next epoch and remember its record."""
        record = {"epoch": float(self.progress.epoch + 1), **self.train_epoch(), **self.choice_records()}
        self.progress.curve.append(record)
        self.progress.epoch += 1
        return record

    def choice_records(self) -> dict[str, float]:
        """Probability of every option and entropy (nats) of every decision, for the curves."""
        found: dict[str, float] = {}
        options = self.supernet.options()
        for decision, p in self.supernet.probabilities().items():
            values = p.double().clamp_min(1e-300)
            found[f"entropy/{decision}"] = float(-(values * values.log()).sum())
            found.update({f"p/{decision}/{o}": float(v) for o, v in zip(options[decision], p.tolist(), strict=True)})
        return found
