"""Decision trees of a search's best trials, and samples on their ways through them, as a page draws them."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.errors import StoreError
from xnas_ray.explain.tree_table import hangs_together
from xnas_ray.report.material import Material
from xnas_ray.store.layout import Layout
from xnas_ray.store.tree_samples import AMBIGUOUS, TREE_SAMPLES_FILE, TreeSamples, read_tree_samples

if TYPE_CHECKING:
    import pandas as pd

TREE = "decision_tree"
"""Kind of explanations, see ``objectives.tree_outcome``."""

NUMBERS = ("trial", "node", "parent", "visits", "right", "entropy")
TEXTS = ("name", "wnid")
"""Columns that are drawn; a table without them is shown as the table that it is."""

MOST_TREES = 16
MOST_NODES = 24_000
"""Of all trees together: a thousand classes have two thousand nodes."""
MOST_DECISIONS = 300_000
"""Probabilities of all samples together."""
PICTURES_BYTES = 1_200_000
"""Of the pictures of a report, which make up a third more of its file."""
SIDE = 64
"""Longest side of a picture; larger ones are made smaller."""

SCALE = 10_000
NO_SAMPLES = "None of its samples are kept; a search with keep_weights = 'best', 'front' or 'all' keeps some."
DAMAGED = "The file of its samples is damaged."
OTHERS = "The file of its samples belongs to another tree."


@dataclass(frozen=True, slots=True)
class ShownSample:
    """A sample that somebody can follow through a tree.

    Attributes:
        group: ``"ambiguous"``, or ``"similar"`` of an example of a node.
        node: of which it is an example, -1 of an ambiguous one.
        sample: its place in the validation split.
        target: the leaf of its class.
        network: the leaf of the class that the network predicts.
        soft: the leaf that the tree predicts by soft inference.
        hard: the leaf that it predicts by hard inference.
        path_entropy: in nats.
        decisions: by node, how probable the decision for it is where its parent is reached, in ten-thousandths; None
            where that never is, empty where there were too many.
        picture: its place in ``pictures``; None where it is no picture, or there were too many.
    """

    group: str
    node: int
    sample: int
    target: int
    network: int
    soft: int
    hard: int
    path_entropy: float
    decisions: tuple[int | None, ...]
    picture: int | None


@dataclass(frozen=True, slots=True)
class ShownTree:
    """The tree of one trial; columns have a value a node, each node stands before what is below it.

    Attributes:
        trial: whose it is.
        parents: -1 of the root, which is the first.
        names: of a leaf the name of its class.
        wnids: empty where none is known.
        visits: how many validation samples come by, by hard inference.
        right: the share of the samples of its classes that come by; NaN where there are none.
        entropy: mean of its decisions in nats; NaN where none comes by.
        samples: the ambiguous ones first.
        note: why there are none, if there are none.
    """

    trial: int
    parents: tuple[int, ...]
    names: tuple[str, ...]
    wnids: tuple[str, ...]
    visits: tuple[float, ...]
    right: tuple[float, ...]
    entropy: tuple[float, ...]
    samples: tuple[ShownSample, ...]
    note: str


@dataclass(frozen=True, slots=True)
class TreesInfo:
    """What a report shows of the decision trees of a search.

    Attributes:
        kinds: kinds of explanations that need not be shown beside it.
        trees: at most ``MOST_TREES``.
        of: how many trials have one.
        pictures: PNG files as data URIs, each once.
        notes: trials whose table is no tree.
    """

    kinds: frozenset[str]
    trees: tuple[ShownTree, ...]
    of: int
    pictures: tuple[str, ...]
    notes: tuple[str, ...]


def trees_info(material: Material, trials: Sequence[int], *, pictures_bytes: int = PICTURES_BYTES) -> TreesInfo | None:
    """The trees of some trials; None where the search has none.

    Files of samples may be damaged or gone: a tree is shown without them then, and says so.

    Args:
        material: the search.
        trials: their numbers, those to be shown first come first.
        pictures_bytes: of all PNG files together. Every tree has an equal share, and what others leave of theirs.
    """
    table = material.tables.get(TREE)
    if table is None or not _is_of_trees(table):
        return None
    picked, notes = _picked(table, trials)
    album, trees = _Album(), []
    for i, (trial, frame) in enumerate(picked):
        album.limit = album.bytes + (pictures_bytes - album.bytes) // (len(picked) - i)
        trees.append(_shown(material, trial, frame, album, MOST_DECISIONS // len(picked)))
    return TreesInfo(
        kinds=frozenset({TREE}),
        trees=tuple(trees),
        of=int(table["trial"].nunique()),
        pictures=tuple(album.pictures),
        notes=tuple(notes),
    )


def _is_of_trees(table: pd.DataFrame) -> bool:
    kinds = {name: table[name].dtype.kind for name in (*NUMBERS, *TEXTS) if name in table}
    return len(kinds) == len(NUMBERS) + len(TEXTS) and all(kinds[name] in "iuf" for name in NUMBERS)


def _picked(table: pd.DataFrame, trials: Sequence[int]) -> tuple[list[tuple[int, pd.DataFrame]], list[str]]:
    """As many trees as there is room for, and what is said of those that are none."""
    by_trial = dict(iter(table.groupby("trial")))
    found: list[tuple[int, pd.DataFrame]] = []
    notes, nodes = [], 0
    for trial in trials:
        if trial not in by_trial:
            continue
        frame = by_trial[trial].sort_values("node")
        nodes += len(frame)
        if len(found) == MOST_TREES or (found and nodes > MOST_NODES):
            break
        if hangs_together(frame):
            found.append((trial, frame))
        else:
            notes.append(f"The table {TREE} of trial {trial} is no tree.")
    return found, notes


def _shown(material: Material, trial: int, frame: pd.DataFrame, album: _Album, decisions: int) -> ShownTree:
    parents = tuple(map(int, frame["parent"]))
    names = tuple(map(str, frame["name"]))
    found, note = _samples(material, trial)
    samples: tuple[ShownSample, ...] = ()
    if found is not None:
        inner = set(parents)
        leaves = {name: node for node, name in enumerate(names) if node not in inner}
        if found.reach.shape[1] == len(names) and set(found.classes) == set(leaves):
            samples = tuple(_on_their_ways(found, parents, leaves, album, decisions))
        else:
            note = OTHERS
    return ShownTree(
        trial=trial,
        parents=parents,
        names=names,
        wnids=tuple(str(wnid or "") for wnid in frame["wnid"]),
        visits=tuple(map(float, frame["visits"])),
        right=tuple(map(float, frame["right"])),
        entropy=tuple(map(float, frame["entropy"])),
        samples=samples,
        note=note,
    )


def _samples(material: Material, trial: int) -> tuple[TreeSamples | None, str]:
    """What the trial left behind, or why there is nothing."""
    folders = dict(zip(material.numbers.tolist(), material.trials.get("artifacts", ()), strict=False))
    folder = folders.get(trial)
    if material.root is None or not isinstance(folder, str):
        return None, NO_SAMPLES
    try:
        path = Layout(material.root).inside(folder) / TREE_SAMPLES_FILE
        return (read_tree_samples(path), "") if path.is_file() else (None, NO_SAMPLES)
    except StoreError:
        return None, DAMAGED


def _on_their_ways(
    found: TreeSamples, parents: tuple[int, ...], leaves: dict[str, int], album: _Album, decisions: int
) -> Iterator[ShownSample]:
    leaf = np.array([leaves[name] for name in found.classes])
    above = np.maximum(np.array(parents), 0)
    for i in _most_wanted(found, set(leaves.values())):
        decisions -= len(parents)
        yield ShownSample(
            group=str(found.group[i]),
            node=int(found.node[i]),
            sample=int(found.sample[i]),
            **{name: int(leaf[getattr(found, name)[i]]) for name in ("target", "network", "soft", "hard")},
            path_entropy=float(found.path_entropy[i]),
            decisions=_decisions(found.reach[i], above) if decisions >= 0 else (),
            picture=album.place(found.images[i]) if found.has_images else None,
        )


def _most_wanted(found: TreeSamples, leaves: set[int]) -> list[int]:
    """Ambiguous samples, then one example a node, of leaves first, then the second ones, for room may end."""
    times: Counter[int] = Counter()
    order = []
    for i, (group, node) in enumerate(zip(found.group.tolist(), found.node.tolist(), strict=True)):
        order.append((group != AMBIGUOUS, times[node] if group != AMBIGUOUS else 0, node not in leaves, i))
        times[node] += 1
    return [i for *_, i in sorted(order)]


def _decisions(reach: np.ndarray, above: np.ndarray) -> tuple[int | None, ...]:
    """Of every node the probability of being chosen once its parent is reached, in ten-thousandths."""
    exact = reach.astype(float)
    known = exact[above] > 0
    shares = np.divide(exact, exact[above], out=np.zeros(len(exact)), where=known).clip(0, 1)
    whole = np.round(shares * SCALE).astype(int).tolist()
    return tuple(one if there else None for one, there in zip(whole, known.tolist(), strict=True))


class _Album:
    """Pictures, each once, until there is no room.

    Attributes:
        pictures: as data URIs.
        bytes: of the PNG files so far.
        limit: beyond which nothing is added.
    """

    def __init__(self) -> None:
        self.pictures: list[str] = []
        self.bytes = self.limit = 0
        self._places: dict[tuple[tuple[int, ...], bytes], int] = {}

    def place(self, image: np.ndarray) -> int | None:
        """The place of an image ``H x W x C``, added where it is new; None where there is no room."""
        key = (image.shape, image.tobytes())
        if key not in self._places:
            file = _png(image) if self.bytes < self.limit else b""
            if not file or self.bytes + len(file) > self.limit:
                return None
            self.bytes += len(file)
            self._places[key] = len(self.pictures)
            self.pictures.append(f"data:image/png;base64,{base64.b64encode(file).decode()}")
        return self._places[key]


def _png(image: np.ndarray) -> bytes:
    from PIL import Image

    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    picture.thumbnail((SIDE, SIDE))  # leaves small ones as they are
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
