"""How many nodes a service should have: a pure function of what its searches could use, with patience."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from xnas_ray.errors import SpecError

if TYPE_CHECKING:
    from xnas_ray.scheduler.nodes import Node, Shape

FIELD = "slurm.elastic"


@dataclass(frozen=True, kw_only=True, slots=True)
class ElasticPolicy:
    """Follow the queue: more nodes when searches could use them, fewer when they have not for a while.

    Attributes:
        min: nodes that are kept, those of the service's own job included.
        max: nodes that are asked for at most, likewise.
        patience_s: a node is let go only when it was not needed for so long.
        grow_s: a node is asked for only when it was needed for so long.
        every_s: seconds between two looks.

    Raises:
        SpecError: a value is out of range, or ``max`` is below ``min``.
    """

    min: int = 1
    max: int
    patience_s: float = 300.0
    grow_s: float = 10.0
    every_s: float = 30.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        limits = {
            "min": (1, 10_000),
            "max": (1, 10_000),
            "patience_s": (0, 86_400),
            "grow_s": (0, 86_400),
            "every_s": (1, 3600),
        }
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise SpecError(f"must be from {least:g} to {most:g}, got {value!r}.", field=f"{FIELD}.{name}")
        if self.max < self.min:
            raise SpecError(f"is below min = {self.min}.", field=f"{FIELD}.max", got=self.max)

    @classmethod
    def from_mapping(cls, given: Any) -> ElasticPolicy:
        """The policy of a profile's table ``[slurm.elastic]``.

        Raises:
            SpecError: a name is unknown, a value is no number, ``max`` is missing, or a value is out of range.
        """
        kinds = {field.name: int if field.name in ("min", "max") else float for field in fields(cls)}
        if not isinstance(given, Mapping):
            raise SpecError("must be a table.", field=FIELD, valid=kinds)
        for name, value in given.items():
            if name not in kinds:
                raise SpecError("there is no such setting.", field=f"{FIELD}.{name}", got=name, valid=kinds)
            if isinstance(value, bool) or not isinstance(value, int if kinds[name] is int else (int, float)):
                wanted = "whole number" if kinds[name] is int else "number"
                raise SpecError(f"must be a {wanted}, got {value!r}.", field=f"{FIELD}.{name}")
        if "max" not in given:
            raise SpecError("is missing.", field=f"{FIELD}.max", fix="Say how many nodes there may be at most.")
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        """The mapping that ``from_mapping`` reads."""
        return asdict(self)


def nodes_for(demand: Iterable[tuple[Shape, float]], node: Shape, limit: int) -> int:
    """How many nodes hold all wanted workers, at most ``limit``.

    Workers are packed first fit, the largest shapes first; ones that do not fit on an empty node count for nothing.

    Args:
        demand: (cpus, gpus) of a worker, and how many of them could have a trial at once, perhaps infinitely many.
        node: CPUs and GPUs of a node.
        limit: where to stop.
    """
    from xnas_ray.scheduler.nodes import Node  # not needed to print a script

    nodes: list[Node] = []
    fitting = [(s, count) for s, count in demand if count > 0 and Node.of("", *node).could_hold(s)]
    for shape, count in sorted(fitting, key=lambda wanted: (wanted[0][1], wanted[0][0]), reverse=True):
        most = Node.of("", *node).places(shape, _places_bound(shape, node))
        left = min(count, limit * most)
        for old in nodes:
            left -= _fill(old, shape, left)
        while left > 0 and len(nodes) < limit:
            nodes.append(Node.of(str(len(nodes)), *node))
            left -= _fill(nodes[-1], shape, left)
    return len(nodes)


def _places_bound(shape: Shape, node: Shape) -> int:
    """No fewer than the workers of a shape that fit on a node."""
    bounds = [has / needs for has, needs in zip(node, shape, strict=True) if needs > 0]
    return math.ceil(min(bounds)) + 1 if bounds else 1


def _fill(node: Node, shape: Shape, left: float) -> int:
    count = node.places(shape, math.ceil(left))
    for _ in range(count):
        node.take(shape)
    return count


@dataclass(frozen=True, slots=True)
class Wish:
    """What was wanted lately.

    Attributes:
        more_since_s: since when more nodes are wanted than there are; None if they are not.
        fewer_since_s: since when fewer are.
        most: the most nodes that were wanted in that time.
    """

    more_since_s: float | None = None
    fewer_since_s: float | None = None
    most: int = 0


def desired_nodes(
    policy: ElasticPolicy, wanted: int, nodes: int, now_s: float, before: Wish | None = None
) -> tuple[int, Wish]:
    """How many nodes there should be from now on.

    More are asked for when more have been wanted for ``grow_s``, as many as are wanted now. Some are let go when fewer
    have been wanted for ``patience_s``, down to the most that were wanted in that time. So a number that goes up and
    down faster than that changes nothing.

    Args:
        policy: limits and patience.
        wanted: nodes that could be used now.
        nodes: nodes that there are, those that wait in Slurm's queue included, those that leave not.
        now_s: seconds of any clock that only goes forward.
        before: what the last call returned.

    Returns:
        The number of nodes, from ``min`` to ``max`` whenever it is not the present one, and what the next call needs.
    """
    before = before or Wish()
    wanted = min(max(wanted, policy.min), policy.max)
    if wanted > nodes:
        since_s = now_s if before.more_since_s is None else before.more_since_s
        if now_s - since_s >= policy.grow_s:
            return wanted, Wish()
        return nodes, Wish(more_since_s=since_s)
    if wanted < nodes:
        since_s = now_s if before.fewer_since_s is None else before.fewer_since_s
        most = wanted if before.fewer_since_s is None else max(before.most, wanted)
        if now_s - since_s >= policy.patience_s:
            return min(most, nodes), Wish()
        return nodes, Wish(fewer_since_s=since_s, most=most)
    return nodes, Wish()
