"""Files of hierarchies: networkx's node-link JSON, as the package ``nbdt`` ships it (``graph-induced-ResNet18.json``).

``{"directed", "multigraph", "graph", "nodes": [{"id", "label"}], "links": [{"source": parent, "target": child}]}``,
with WordNet's ids where there are some. What is added here, and ignored there: ``graph.classes``, the ids of the leaves
in label order, and ``wnid`` of nodes that share theirs with another, which therefore is not their id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xnas_ray.errors import HierarchyError
from xnas_ray.explain.hierarchy import Hierarchy, Node, grow
from xnas_ray.explain.wordnet import WNID

_FIELD = "hierarchy"
_SHOWN = 3
_SAME = "The classes of a hierarchy are those of the network, each once."


def hierarchy_to_json(hierarchy: Hierarchy) -> dict[str, Any]:
    """The node-link graph of a hierarchy."""
    ids = _ids(hierarchy)
    nodes, leaf = [], {}
    for node, name in zip(hierarchy.nodes, ids, strict=True):
        known = {"wnid": node.wnid} if node.wnid not in (None, name) else {}
        nodes.append({"id": name, "label": node.name, **known})
        if node.is_leaf:
            leaf[node.name] = name
    links = [{"source": ids[i], "target": ids[child]} for i, below in hierarchy.children.items() for child in below]
    graph = {"classes": [leaf[name] for name in hierarchy.class_names]}
    return {"directed": True, "multigraph": False, "graph": graph, "nodes": nodes, "links": links}


def hierarchy_from_json(
    graph: Mapping[str, Any], *, class_names: Sequence[str] | None = None, wnids: Sequence[str] | None = None
) -> Hierarchy:
    """The hierarchy of a node-link graph; nodes with a single child are left out.

    Args:
        graph: see the module; ``"edges"`` instead of ``"links"`` is read too.
        class_names: what the classes are called, in label order; by default the labels of the leaves.
        wnids: ids of the leaves in label order, such as the lines of ``wnids/CIFAR10.txt``; by default the file's
            ``graph.classes``; without these leaves are found by ``class_names``, else their order is that of ``nodes``.

    Raises:
        HierarchyError: it is no tree, or its leaves are not the classes.
    """
    return _Graph(graph).hierarchy(class_names, wnids)


def write_hierarchy(path: Path | str, hierarchy: Hierarchy) -> None:
    """Write the graph to a file.

    Raises:
        HierarchyError: it cannot be written.
    """
    text = json.dumps(hierarchy_to_json(hierarchy), ensure_ascii=False, indent=1)
    try:
        Path(path).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise _refused(
            f"cannot write {path}: {error.strerror or error}.", "Name a file in a folder that exists."
        ) from None


def read_hierarchy(
    path: Path | str, *, class_names: Sequence[str] | None = None, wnids: Sequence[str] | None = None
) -> Hierarchy:
    """Read a file of this package or of ``nbdt``; see ``hierarchy_from_json``.

    Raises:
        HierarchyError: it cannot be read, is no JSON, or see ``hierarchy_from_json``.
    """
    try:
        graph = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _refused(f"cannot read {path}: {error}.", "Give a graph as write_hierarchy writes it.") from None
    return hierarchy_from_json(graph, class_names=class_names, wnids=wnids)


def _ids(hierarchy: Hierarchy) -> list[str]:
    """One a node, of leaves first: its wnid where no other has taken that, else a class's name or a number."""
    ids = [""] * len(hierarchy.nodes)
    taken: set[str] = set()
    for i, node in sorted(enumerate(hierarchy.nodes), key=lambda entry: not entry[1].is_leaf):
        own = node.name if node.is_leaf else f"f{i:08d}"
        ids[i] = own if node.wnid is None or node.wnid in taken else node.wnid
        while ids[i] in taken:  # a class may be called like another's wnid
            ids[i] += "_"
        taken.add(ids[i])
    return ids


class _Graph:
    """A node-link graph that was checked to be a tree."""

    def __init__(self, graph: Mapping[str, Any]) -> None:
        try:
            self.facts = {str(node["id"]): dict(node) for node in graph["nodes"]}
            links = graph["links"] if "links" in graph else graph["edges"]
            pairs = [(str(link["source"]), str(link["target"])) for link in links]
            self.order = [str(name) for name in graph.get("graph", {}).get("classes", ())]
        except (KeyError, TypeError, AttributeError) as error:
            raise _refused(f"this is no node-link graph: {error!r}.", "It has nodes with ids, and links.") from None
        self.below: dict[str, list[str]] = {name: [] for name in self.facts}
        above: dict[str, str] = {}
        for parent, child in pairs:
            if unknown := {parent, child} - set(self.facts):
                raise _refused(f"a link names {min(unknown)!r}, which is no node.", "List every node.")
            if child in above:
                raise _refused(f"{child!r} has two parents, {above[child]!r} and {parent!r}.", "Keep one of the links.")
            above[child] = parent
            self.below[parent].append(child)
        roots = [name for name in self.facts if name not in above]
        if len(roots) != 1:
            raise _refused(f"there are {len(roots)} roots: {roots[:_SHOWN]}.", "A tree has one node without a parent.")
        self.root = roots[0]
        reached = {self.root}
        waiting = [self.root]
        while waiting:
            waiting += (found := self.below[waiting.pop()])
            reached.update(found)
        if cut := [name for name in self.facts if name not in reached]:
            raise _refused(f"{cut[0]!r} is part of a circle.", "Every node is below the root.")

    def hierarchy(self, class_names: Sequence[str] | None, wnids: Sequence[str] | None) -> Hierarchy:
        called = self._classes(class_names, wnids)

        def build(name: str, children: tuple[Node, ...]) -> Node:
            if len(children) == 1:
                return children[0]
            wnid = self.facts[name].get("wnid", name if WNID.fullmatch(name) else None)
            if children:
                return Node.over(children, self.facts[name].get("label"), wnid)
            return Node.leaf(called[name], wnid)

        return Hierarchy(grow(self.root, self.below, build), tuple(called.values()))

    def _classes(self, class_names: Sequence[str] | None, wnids: Sequence[str] | None) -> dict[str, str]:
        """Names of the classes by the ids of their leaves, in label order."""
        leaves = {name: str(self.facts[name].get("label") or name) for name in self.facts if not self.below[name]}
        if wnids is None and class_names is not None and not self.order:
            by_name = {label: name for name, label in leaves.items()} | {name: name for name in leaves}
            order = [by_name.get(name, name) for name in class_names]
        else:
            order = list(wnids) if wnids is not None else self.order or list(leaves)
        if class_names is not None and len(class_names) != len(order):
            raise _refused(f"{len(class_names)} names do not fit {len(order)} classes.", _SAME)
        for name in order:
            if name not in leaves:
                raise HierarchyError(f"class {name!r} is at no leaf.", field=_FIELD, got=name, valid=leaves, fix=_SAME)
        if extra := [name for name in leaves if name not in set(order)]:
            raise HierarchyError(f"leaf {extra[0]!r} is no class.", field=_FIELD, got=extra[0], valid=order, fix=_SAME)
        return {name: class_names[i] if class_names is not None else leaves[name] for i, name in enumerate(order)}


def _refused(message: str, fix: str) -> HierarchyError:
    return HierarchyError(message, field=_FIELD, fix=fix)
