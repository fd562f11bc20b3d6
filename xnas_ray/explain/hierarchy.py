"""A tree over classes: what a decision tree that is read off a network decides, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from xnas_ray.errors import HierarchyError

_FIELD = "hierarchy"
_SHOWN = 3
_SAME = "The classes of a hierarchy are those of the network, each once."

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Node:
    """A node with all that is below it.

    Attributes:
        name: what it is called; of a leaf the name of its class.
        leaves: names of the classes below, from left to right; of a leaf its own.
        children: none of a leaf, else two or more.
        wnid: WordNet's id of what it stands for (``"n02084071"``), where that is known.
    """

    name: str
    leaves: tuple[str, ...]
    children: tuple[Node, ...] = ()
    wnid: str | None = None

    @classmethod
    def leaf(cls, name: str, wnid: str | None = None) -> Node:
        """The node of one class."""
        return cls(name, (name,), wnid=wnid)

    @classmethod
    def over(cls, children: Sequence[Node], name: str | None = None, wnid: str | None = None) -> Node:
        """The parent of some nodes; without a name it is called by its classes, ``"cat / dog"``."""
        leaves = tuple(leaf for child in children for leaf in child.leaves)
        return cls(classes_name(leaves) if name is None else name, leaves, tuple(children), wnid)

    @property
    def is_leaf(self) -> bool:
        """Whether it stands for one class and decides nothing."""
        return not self.children

    def __repr__(self) -> str:
        return f"<Node {self.name!r} of {len(self.leaves)} classes>"


@dataclass(frozen=True, eq=False, repr=False)
class Hierarchy:
    """A tree whose leaves are the classes of a task.

    Attributes:
        root: holds every class.
        class_names: the classes in label order.

    Raises:
        HierarchyError: there are fewer than two classes, the leaves are not the classes, or an inner node has a single
            child, so that there is nothing to decide.
    """

    root: Node
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check that leaves and classes are the same."""
        names = check_classes(self.class_names)
        object.__setattr__(self, "class_names", names)
        leaves = self.root.leaves
        twice = next((leaf for i, leaf in enumerate(leaves) if leaf in leaves[:i]), None) if _repeats(leaves) else None
        if twice is not None:
            raise HierarchyError(f"class {twice!r} is at two leaves.", field=_FIELD, fix=_SAME)
        classes, found = set(names), set(leaves)
        if missing := [name for name in names if name not in found]:
            raise HierarchyError(f"class {missing[0]!r} is at no leaf.", field=_FIELD, got=missing[0], valid=leaves)
        if unknown := [leaf for leaf in leaves if leaf not in classes]:
            raise HierarchyError(f"leaf {unknown[0]!r} is no class.", field=_FIELD, got=unknown[0], valid=names)
        for node in self.nodes:
            if len(node.children) == 1:
                raise HierarchyError(f"{node!r} has a single child.", field=_FIELD, fix="Leave it out.")

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, each before what is below it and left before right; their numbers are places in here."""
        return tuple(node for node, _ in self.walk())

    @cached_property
    def depth(self) -> int:
        """Decisions on the longest way from the root to a class."""
        return max(depth for _, depth in self.walk())

    def walk(self) -> Iterator[tuple[Node, int]]:
        """Nodes in the order of ``nodes``, and how many decisions lie before each."""
        waiting = [(self.root, 0)]
        while waiting:  # chains of a thousand nodes are too deep for recursion
            node, depth = waiting.pop()
            yield node, depth
            waiting += [(child, depth + 1) for child in reversed(node.children)]

    def smallest(self, *classes: str) -> Node:
        """The smallest node that holds all these classes.

        Raises:
            HierarchyError: one of them is no class.
        """
        wanted = set(classes)
        if unknown := sorted(wanted - set(self.class_names)):
            raise HierarchyError(
                f"there is no class {unknown[0]!r}.", field=_FIELD, got=unknown[0], valid=self.class_names
            )
        return [node for node in self.nodes if wanted <= set(node.leaves)][-1]

    def mapped(self, change: Callable[[Node], tuple[str, str | None]]) -> Hierarchy:
        """The same tree with other names and wnids of its nodes; leaves keep their names.

        Args:
            change: gives the name and the wnid of a node.
        """

        def build(number: int, children: tuple[Node, ...]) -> Node:
            node = self.nodes[number]
            name, wnid = change(node)
            return Node(name if children else node.name, node.leaves, children, wnid)

        return Hierarchy(grow(0, self.children, build), self.class_names)

    def renamed(self, names: Mapping[Iterable[str], str]) -> Hierarchy:
        """The same tree with a user's names of some nodes.

        Args:
            names: by classes, in any order: ``{("cat", "dog"): "pets"}`` names the node of exactly these classes.

        Raises:
            HierarchyError: there is no node of exactly these classes, or a leaf would be called otherwise.
        """
        given = {self._exactly(classes): name for classes, name in names.items()}
        return self.mapped(lambda node: (given.get(frozenset(node.leaves), node.name), node.wnid))

    def _exactly(self, classes: Iterable[str]) -> frozenset[str]:
        wanted = frozenset(classes)
        found = self.smallest(*wanted)
        if set(found.leaves) != wanted or found.is_leaf:
            others = ", ".join(leaf for leaf in found.leaves if leaf not in wanted) or "no decision"
            raise HierarchyError(
                f"no node decides between exactly {sorted(wanted)}; the smallest with all of them has also {others}.",
                field=f"{_FIELD}.names",
            )
        return wanted

    @cached_property
    def children(self) -> Mapping[int, list[int]]:
        """Numbers of the children of every node, by its number."""
        number = {id(node): i for i, node in enumerate(self.nodes)}
        return {i: [number[id(child)] for child in node.children] for i, node in enumerate(self.nodes)}

    def __repr__(self) -> str:
        return f"<Hierarchy of {len(self.class_names)} classes, {len(self.nodes)} nodes, depth {self.depth}>"

    def __str__(self) -> str:
        """One line a node, indented by its depth."""
        return "\n".join("  " * depth + node.name for node, depth in self.walk())


def grow(root: Key, children: Mapping[Key, Sequence[Key]], build: Callable[[Key, tuple[Node, ...]], Node]) -> Node:
    """The node of a root, made from the leaves up without recursion.

    Args:
        root: where it begins.
        children: of every key that has some; there are no circles.
        build: makes the node of a key from those of its children.
    """
    order = [root]
    for key in order:  # it grows meanwhile
        order += children.get(key, ())
    made: dict[Key, Node] = {}
    for key in reversed(order):
        made[key] = build(key, tuple(made.pop(child) for child in children.get(key, ())))
    return made[root]


def check_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Names of classes as a tuple of texts.

    Raises:
        HierarchyError: there are fewer than two, or two are the same.
    """
    found = tuple(map(str, names))
    if len(found) < 2:
        raise HierarchyError(f"{len(found)} classes leave nothing to decide.", field="class_names", fix="Give two.")
    if _repeats(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise HierarchyError(f"two classes are called {twice!r}.", field="class_names", fix="Call them differently.")
    return found


def classes_name(classes: Sequence[str]) -> str:
    """What a group is called that nobody has named: ``"cat / dog"``, ``"bird / cat / … (6 classes)"``."""
    if len(classes) <= _SHOWN:
        return " / ".join(classes)
    return " / ".join((*classes[: _SHOWN - 1], f"… ({len(classes)} classes)"))


def _repeats(names: Sequence[str]) -> bool:
    return len(set(names)) != len(names)
