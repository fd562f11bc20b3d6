"""Hypotheses about the nodes of a tree: which unseen class belongs to which child, by WordNet or by a user."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from xnas_ray.errors import ExplanationError, UnknownNameError
from xnas_ray.explain.hierarchy import Hierarchy, Node
from xnas_ray.explain.node_meaning import Hypothesis
from xnas_ray.explain.wordnet import WordNet

_FIELD = "--hypothesis"


@dataclass(frozen=True, slots=True)
class Side:
    """What a child of a node is taken to stand for.

    Attributes:
        name: what it is called.
        labels: unseen classes that belong to it because they are named.
        wnids: synsets; unseen classes that are kinds of one belong to it.
    """

    name: str
    labels: frozenset[int] = frozenset()
    wnids: frozenset[str] = frozenset()


def side_of(wnid: str | None, sides: Sequence[Side], wordnet: WordNet | None, label: int | None = None) -> int | None:
    """The side that a class belongs to, None where it belongs to no side or to several.

    A class that is named belongs where it is named. Of synsets of which one is a kind of the other, as placental and
    vertebrate, the narrower one has the class: the other side then stands for the rest.

    Args:
        wnid: of the class, None where it is not known.
        sides: of a node.
        wordnet: None where there is none.
        label: of the class among the unseen ones.
    """
    named = [place for place, side in enumerate(sides) if label is not None and label in side.labels]
    if named:
        return named[0] if len(named) == 1 else None
    if wnid is None or wordnet is None:
        return None
    above = wordnet.ancestors(wnid)
    found = {place: mine for place, side in enumerate(sides) if (mine := [w for w in side.wnids if w in above])}
    if len(found) < 2:  # nearly always: most classes are far from most nodes
        return next(iter(found), None)
    wider = {
        place
        for place, mine in found.items()
        for other, others in found.items()
        if other != place and all(any(one != two and one in wordnet.ancestors(two) for two in others) for one in mine)
    }
    narrow = [place for place in found if place not in wider]
    return narrow[0] if len(narrow) == 1 else None


def hypothesis(
    tree: Hierarchy, node: int, sides: Sequence[Side], unseen_wnids: Sequence[str | None], wordnet: WordNet | None
) -> Hypothesis:
    """The hypothesis that the children of a node stand for these sides.

    Args:
        tree: over the network's classes, leaves with their wnids where these are known.
        node: an inner node.
        sides: one a child, in their order.
        unseen_wnids: of the unseen classes in label order, None where one is not known or the class is not unseen.
        wordnet: None where there is none.
    """
    children = tree.nodes[node].children
    unseen: list[set[int]] = [set() for _ in sides]
    for label, wnid in enumerate(unseen_wnids):
        place = side_of(wnid, sides, wordnet, label)
        if place is not None:
            unseen[place].add(label)
    number = {name: k for k, name in enumerate(tree.class_names)}
    seen = [{number[leaf] for leaf in child.leaves} for child in children]
    inside = set().union(*seen)
    for leaf in tree.nodes:
        if leaf.is_leaf and number[leaf.name] not in inside:
            place = side_of(leaf.wnid, sides, wordnet)
            if place is not None:
                seen[place].add(number[leaf.name])
    return Hypothesis(
        node, tuple(side.name for side in sides), tuple(map(frozenset, unseen)), tuple(map(frozenset, seen))
    )


def wordnet_hypotheses(tree: Hierarchy, unseen_wnids: Sequence[str | None], wordnet: WordNet) -> list[Hypothesis]:
    """What WordNet says of every inner node whose children all have a synset, each its own.

    Args:
        tree: named by WordNet.
        unseen_wnids: see ``hypothesis``.
        wordnet: it.
    """
    found = []
    for number, node in enumerate(tree.nodes):
        wnids = [child.wnid for child in node.children]
        if wnids and None not in wnids and len(set(wnids)) == len(wnids):
            sides = [_as_side(child) for child in node.children]
            found.append(hypothesis(tree, number, sides, unseen_wnids, wordnet))
    return found


def _as_side(child: Node) -> Side:
    return Side(child.name, wnids=frozenset({str(child.wnid)}))


def unseen_only(
    tree: Hierarchy, names: Sequence[str], wnids: Sequence[str] | None, wordnet: WordNet | None
) -> list[str | None]:
    """Wnids of classes that the network has not seen; None for those that are a class of the network, or a kind of one.

    Args:
        tree: over the network's classes.
        names: of the other task's classes.
        wnids: of them; by default names with one meaning are looked up.
        wordnet: None where there is none.
    """
    known = {leaf.wnid for leaf in tree.nodes if leaf.is_leaf and leaf.wnid}
    found: list[str | None] = [None] * len(names)
    if wordnet is None:
        return found
    for label, name in enumerate(names):
        with contextlib.suppress(UnknownNameError):
            wnid = wordnet.find(name if wnids is None else wnids[label]).wnid
            if name not in tree.class_names and known.isdisjoint(wordnet.ancestors(wnid)):
                found[label] = wnid
    return found


def user_sides(
    tree: Hierarchy, text: str, class_names: Sequence[str], wordnet: WordNet | None
) -> tuple[int, list[Side]]:
    """A user's hypothesis: ``"0=animal,vehicle"``, or with classes of the other task ``"0=elephant+lion,tank"``.

    Args:
        tree: over the network's classes.
        text: number of the node, ``=``, and a side a child, in their order, divided by commas; a side is one or more
            terms joined by ``+``: names of unseen classes, or what ``WordNet.find`` takes, of which all kinds count.
        class_names: of the unseen classes.
        wordnet: None where there is none.

    Returns:
        The node and what its children stand for.

    Raises:
        ExplanationError: there is no such node or term, or not one side a child.
        UnknownNameError: WordNet does not know a term, or knows several.
    """
    before, equals, after = text.partition("=")
    node, sides = before.strip(), [side.strip() for side in after.split(",")]
    inner = [number for number, one in enumerate(tree.nodes) if not one.is_leaf]
    if not equals or not node.isdecimal() or int(node) not in inner:
        raise ExplanationError(
            f"{text!r} does not begin with the number of a node that decides.", field=_FIELD, got=node, valid=inner
        )
    children = tree.nodes[int(node)].children
    if len(sides) != len(children) or not all(sides):
        raise ExplanationError(
            f"{text!r} does not say what each of the {len(children)} children stands for.",
            field=_FIELD,
            fix=f"Write {node}=" + ",".join(f"<{child.name}>" for child in children) + " with your own words.",
        )
    return int(node), [_side(side, class_names, wordnet) for side in sides]


def _side(text: str, class_names: Sequence[str], wordnet: WordNet | None) -> Side:
    labels, wnids = set(), set()
    for term in (part.strip() for part in text.split("+")):
        if term in class_names:
            labels.add(list(class_names).index(term))
        elif wordnet is not None:
            wnids.add(wordnet.find(term).wnid)
        else:
            raise ExplanationError(
                f"{term!r} is no class of the other task, and there is no WordNet on this machine.",
                field=_FIELD,
                got=term,
                valid=class_names,
            )
    return Side(text, frozenset(labels), frozenset(wnids))
