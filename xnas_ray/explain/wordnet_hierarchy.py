"""Hierarchies and WordNet: the tree of what classes are kinds of, and names for the nodes of any tree."""

from __future__ import annotations

from collections.abc import Sequence

from xnas_ray.errors import DataMissingError, HierarchyError, UnknownNameError
from xnas_ray.explain.hierarchy import Hierarchy, Node, check_classes, grow
from xnas_ray.explain.wordnet import WordNet, find_wordnet, wordnet_folder


def wordnet_hierarchy(
    wnids: Sequence[str], class_names: Sequence[str] | None = None, *, wordnet: WordNet | None = None
) -> Hierarchy:
    """The tree of hypernyms: each class below what it is a kind of, nodes without a choice left out.

    Of a synset with several hypernyms the first in WordNet's own order counts, so that every synset has one place.
    A class of which another class is a kind is a leaf beside that class, below a node of the same synset.

    Args:
        wnids: the classes in label order, as ``WordNet.find`` takes them: wnids, or words with one meaning.
        class_names: what they are called; by default by WordNet's usual words, where two are equal with their wnids.
        wordnet: by default the one that is found on this machine.

    Raises:
        UnknownNameError: WordNet does not know a class, or knows several.
        HierarchyError: two classes are the same, or classes share no hypernym.
        DataMissingError: there is no WordNet on this machine.
    """
    source = find_wordnet() if wordnet is None else wordnet
    synsets = [source.find(text) for text in wnids]
    own = check_classes(synset.wnid for synset in synsets)
    words = [synset.name for synset in synsets]
    default = [f"{word} {wnid}" if words.count(word) > 1 else word for word, wnid in zip(words, own, strict=True)]
    names = check_classes(default if class_names is None else class_names)
    if len(names) != len(own):
        raise HierarchyError(f"{len(names)} names do not fit {len(own)} wnids.", field="class_names")
    label = dict(zip(own, names, strict=True))
    children: dict[str, list[str]] = {}
    for wnid in own:
        _climb(source, wnid, children)
    roots = sorted(set(children) - {child for below in children.values() for child in below})
    if len(roots) > 1:
        raise HierarchyError(f"classes are kinds of {roots}, which share no hypernym.", field="wnids")

    def build(wnid: str, below: tuple[Node, ...]) -> Node:
        below = (Node.leaf(label[wnid], wnid), *below) if wnid in label else below
        return below[0] if len(below) == 1 else Node.over(below, source.synsets[wnid].name, wnid)

    return Hierarchy(grow(roots[0], children, build), names)


def _climb(wordnet: WordNet, wnid: str, children: dict[str, list[str]]) -> None:
    """Add the way from a synset to the root, up to where another one has been."""
    children.setdefault(wnid, [])
    while above := wordnet.synsets[wnid].hypernyms[:1]:
        known = above[0] in children
        if wnid not in children.setdefault(above[0], []):
            children[above[0]].append(wnid)
        if known:
            return
        wnid = above[0]


def named_by_wordnet(hierarchy: Hierarchy, wnids: Sequence[str | None], *, wordnet: WordNet | None = None) -> Hierarchy:
    """Every inner node called by the deepest synset that all its classes are kinds of.

    The root of WordNet, ``entity``, says nothing and names no node. Nodes whose classes share nothing below that root,
    or of which a class has no wnid, keep the names they have: a user's, or their classes. A node and the one above may
    be kinds of the same and then share a name: WordNet has no word between them.

    Args:
        hierarchy: of these classes.
        wnids: of the classes in label order, as ``WordNet.find`` takes them; None for a class that WordNet has not.
        wordnet: by default the one that is found on this machine.

    Raises:
        UnknownNameError: WordNet does not know a class, or knows several.
        HierarchyError: there is another number of classes.
        DataMissingError: there is no WordNet on this machine.
    """
    if len(wnids) != len(hierarchy.class_names):
        raise HierarchyError(f"{len(wnids)} wnids do not fit {len(hierarchy.class_names)} classes.", field="wnids")
    source = find_wordnet() if wordnet is None else wordnet
    own = {
        name: None if text is None else source.find(text).wnid
        for name, text in zip(hierarchy.class_names, wnids, strict=True)
    }

    def change(node: Node) -> tuple[str, str | None]:
        if node.is_leaf:
            return node.name, own[node.name]
        found = deepest_common(source, [own[leaf] for leaf in node.leaves])
        return (node.name, node.wnid) if found is None else (source.synsets[found].name, found)

    return hierarchy.mapped(change)


def named_where_known(hierarchy: Hierarchy, wnids: Sequence[str | None] | None) -> Hierarchy:
    """``named_by_wordnet``; the tree as it is where names cannot be had, for what cannot do without a tree.

    Args:
        hierarchy: of the classes.
        wnids: of the classes in label order; None where a task does not know them.

    Raises:
        HierarchyError: there is another number of classes.
    """
    if wnids is None or wordnet_folder() is None:
        return hierarchy
    try:
        return named_by_wordnet(hierarchy, wnids)
    except (UnknownNameError, DataMissingError):
        return hierarchy


def deepest_common(wordnet: WordNet, wnids: Sequence[str | None]) -> str | None:
    """The deepest synset that all are kinds of (or are), None where that is a root or one of them is not known.

    Of equally deep ones, by the longest way to the root, the one whose usual word comes first.
    """
    if None in wnids or not wnids:
        return None
    common: set[str] | None = None
    for wnid in wnids:
        above = wordnet.ancestors(str(wnid))
        common = {shared for shared in common if shared in above} if common is not None else set(above)
    below_root = [shared for shared in common or () if wordnet.synsets[shared].hypernyms]
    order = {shared: (-wordnet.max_depth(shared), wordnet.synsets[shared].name, shared) for shared in below_root}
    return min(below_root, key=order.__getitem__, default=None)
