"""How alike classes are by what they are kinds of: four measures on WordNet's graph, as XNAS takes them from NLTK."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xnas_ray.errors import ObjectiveError, StoreError, UnknownNameError
from xnas_ray.explain.wordnet import Synset, WordNet

if TYPE_CHECKING:
    import pandas as pd

DISTANCE = "distance"
MEASURES = ("path", "lch", "wup")
"""Those of which larger is more alike, which can be weights."""

FORMATS = (".csv", ".parquet", ".npy")
_FIELD = "similarities"
_CLASS = "class"


@dataclass(frozen=True, eq=False)
class Similarities:
    """Every measure of every pair of some classes.

    Attributes:
        names: what the classes are called, in their order.
        synsets: what they are.
        matrices: by ``"distance"``, ``"path"``, ``"lch"`` and ``"wup"``: float64 ``n x n``, symmetric.
    """

    names: tuple[str, ...]
    synsets: tuple[Synset, ...]
    matrices: Mapping[str, np.ndarray]

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """One row a pair of classes: ``first``, ``second`` (names), then the measures."""
        import pandas as pd

        i, j = np.triu_indices(len(self.names), 1)
        names = np.array(self.names, dtype=object)
        columns = {name: matrix[i, j] for name, matrix in self.matrices.items()}
        return pd.DataFrame({"first": names[i], "second": names[j], **columns})

    def correlations(self, method: str) -> pd.DataFrame:
        """Correlation of the measures over all pairs, measures x measures; NaN where one does not vary.

        Args:
            method: ``"pearson"`` or ``"spearman"``.
        """
        return self.pairs[list(self.matrices)].corr(method=method)


def class_similarities(
    wordnet: WordNet,
    classes: Sequence[str],
    names: Sequence[str] | None = None,
    *,
    measures: Sequence[str] = (DISTANCE, *MEASURES),
) -> Similarities:
    """Measures between classes.

    With ``d(a, b)`` the fewest steps from a up to a common hypernym and down to b, ``D = 19`` the depth of WordNet's
    nouns and ``c`` the deepest common hypernym:

    - ``distance``: the shortest path between a and b in the undirected graph of the classes and all that they are kinds
      of; below ``d`` where a way goes up, down and up again
    - ``path``: ``1 / (1 + d)``
    - ``lch``: ``-log((1 + d) / 2 D)`` (Leacock & Chodorow 1998)
    - ``wup``: ``2 k / (2 k + d(a, c) + d(b, c))``, k the length of the longest way from the root to c, in synsets
      (Wu & Palmer, ACL 1994)

    They are those of NLTK, which XNAS uses. Of several equally deep ``c`` the one whose usual word comes first counts.

    Args:
        wordnet: gives the graph.
        classes: as ``WordNet.find`` takes them: wnids, words, words with the number of a sense.
        names: what they are called in tables; by default as they are given.
        measures: which are computed; all four of 1,000 classes take seven seconds.

    Raises:
        UnknownNameError: a class is not in WordNet, has several meanings, or two are the same.
    """
    synsets = tuple(map(wordnet.find, classes))
    labels = tuple(str(name) for name in (names if names is not None else classes))
    seen: dict[str, str] = {}
    for label, synset in zip(labels, synsets, strict=True):
        if synset.wnid in seen:
            raise UnknownNameError(
                f"{seen[synset.wnid]!r} and {label!r} are the same: {synset.wnid}.", field="class", fix="Give one."
            )
        seen[synset.wnid] = label
    graph = _Graph(wordnet, [synset.wnid for synset in synsets])
    formulas: dict[str, Callable[[], np.ndarray]] = {
        DISTANCE: graph.distances,
        "path": lambda: 1 / (1 + graph.steps),
        "lch": lambda: -np.log((1 + graph.steps) / (2 * wordnet.depth)),
        "wup": graph.wu_palmer,
    }
    return Similarities(labels, synsets, {name: formulas[name]() for name in measures})


class _Graph:
    """The classes and all that they are kinds of.

    ``above`` orders the hypernyms so that the deepest come first, and of equally deep ones that of the first word.
    """

    def __init__(self, wordnet: WordNet, classes: list[str]) -> None:
        self.wordnet, self.classes = wordnet, classes
        found = {above for wnid in classes for above in wordnet.ancestors(wnid)}
        self.above = sorted(found, key=self._order)
        place = {wnid: index for index, wnid in enumerate(self.above)}
        self.own = np.array([place[wnid] for wnid in classes], dtype=np.int64)
        self.ups = np.full((len(classes), len(place)), np.inf, dtype=np.float32)  # steps are small whole numbers
        for row, wnid in enumerate(classes):
            for upper, steps in wordnet.ancestors(wnid).items():
                self.ups[row, place[upper]] = steps
        self.edges = [(place[w], place[p]) for w in self.above for p in wordnet.synsets[w].hypernyms]

    def _order(self, wnid: str) -> tuple[int, str, str]:
        return -self.wordnet.min_depth(wnid), self.wordnet.synsets[wnid].name.lower().replace(" ", "_"), wnid

    @cached_property
    def steps(self) -> np.ndarray:
        """``WordNet.distance`` of every pair."""
        found = np.stack([(self.ups + row).min(axis=1) for row in self.ups]) if len(self.ups) else np.zeros((0, 0))
        if not np.isfinite(found).all():
            i, j = np.argwhere(~np.isfinite(found))[0]
            raise UnknownNameError(f"{self.classes[i]} and {self.classes[j]} share no hypernym.", field="class")
        return found.astype(np.float64)

    def distances(self) -> np.ndarray:
        """Shortest paths of the undirected graph."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import shortest_path

        count = len(self.above)
        ends = np.array(self.edges, dtype=np.int64).reshape(-1, 2).T
        graph = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(count, count)).tocsr()
        found = shortest_path(graph, directed=False, unweighted=True, indices=self.own)
        return np.asarray(found)[:, self.own]

    def wu_palmer(self) -> np.ndarray:
        """See ``class_similarities``."""
        shares = np.isfinite(self.ups)
        depths = np.array([self.wordnet.min_depth(wnid) for wnid in self.above])
        found = np.ones((len(self.classes), len(self.classes)))
        for i, row in enumerate(shares):
            common = shares & row
            deepest = common.argmax(axis=1)  # the first: see ``above``
            for j in range(i + 1, len(shares)):
                best = deepest[j]
                for end in (self.own[i], self.own[j]):  # a class that is a kind of the other shares the other itself
                    if common[j, end] and depths[end] == depths[best]:
                        best = end
                found[i, j] = found[j, i] = self._wup(self.classes[i], self.classes[j], self.above[best])
        return found

    def _wup(self, first: str, second: str, common: str) -> float:
        twice = 2 * (self.wordnet.max_depth(common) + 1)
        ways = [self.wordnet.distance(end, common) or 0 for end in (first, second)]
        return twice / (twice + sum(ways))


# ---- files ---------------------------------------------------------------------------------------------------------


def write_matrix(path: Path, matrix: np.ndarray, names: Sequence[str]) -> None:
    """Write a matrix of classes: ``.csv`` and ``.parquet`` with their names, ``.npy`` without.

    Raises:
        StoreError: the format is unknown, or the file cannot be written.
    """
    import pandas as pd

    frame = pd.DataFrame(matrix, columns=list(names)).assign(**{_CLASS: list(names)})[[_CLASS, *names]]
    writers: dict[str, Callable[[], object]] = {
        ".csv": lambda: frame.to_csv(path, index=False, float_format="%.9g"),
        ".parquet": lambda: frame.to_parquet(path, index=False),
        ".npy": lambda: np.save(path, matrix, allow_pickle=False),
    }
    if path.suffix not in writers:
        raise StoreError(f"cannot write {path.name!r}.", field="--out", got=path.suffix, valid=FORMATS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writers[path.suffix]()
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}.", field="--out") from None


def read_matrix(path: Path, *names: Sequence[str]) -> np.ndarray:
    """Read what ``write_matrix`` wrote, or a user's own file of the same form.

    Args:
        path: ``.csv``, ``.parquet`` or ``.npy``.
        *names: what the classes may be called, in their order, for example their names and their wnids; a file with
            names must have one of these lists, in any order, and its rows and columns are put into the classes' order.

    Raises:
        ObjectiveError: it cannot be read, its rows and columns have other names, or it is no matrix of weights.
    """
    import pandas as pd

    try:
        if path.suffix == ".npy":
            return check_weights(np.load(path, allow_pickle=False), len(names[0]) if names else None)
        if path.suffix not in FORMATS:
            raise ObjectiveError(f"cannot read {path.name!r}.", field=_FIELD, got=path.suffix, valid=FORMATS)
        frame = pd.read_csv(path, dtype={_CLASS: str}) if path.suffix == ".csv" else pd.read_parquet(path)
        frame = frame.set_index(_CLASS)
        frame.index, frame.columns = frame.index.map(str), frame.columns.map(str)
        order = next((list(order) for order in names if sorted(order) == sorted(frame.index)), None)
        if order is None and names:
            raise ObjectiveError(
                f"{path.name} is about other classes: {_some(frame.index)}; the task has {_some(names[0])}.",
                field=_FIELD,
                fix="Name its rows and columns as the task's classes or their wnids.",
            )
        found = frame.loc[order, order] if order else frame
        return check_weights(found.to_numpy(dtype=float), len(frame))
    except (OSError, ValueError, KeyError) as error:
        raise ObjectiveError(
            f"cannot read {path}: {type(error).__name__}: {error}.",
            field=_FIELD,
            fix=f"It has a row and a column a class, and a column {_CLASS!r} with their names.",
        ) from None


def check_weights(values: object, classes: int | None = None, *, field: str = _FIELD) -> np.ndarray:
    """Weights of pairs of classes as a float64 matrix.

    Args:
        values: what shall be one.
        classes: how many there are, where that is known.
        field: to name in errors.

    Raises:
        ObjectiveError: it is not square, of another size, not symmetric, or a weight is negative or not finite.
    """

    def refused(message: str, fix: str) -> ObjectiveError:
        return ObjectiveError(message, field=field, fix=fix)

    try:
        given = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise refused("weights must be numbers.", "Give one row and one column a class.") from None
    if given.ndim != 2 or given.shape[0] != given.shape[1]:
        raise refused(f"weights have the shape {given.shape}.", "Give one row and one column a class.")
    if classes is not None and len(given) != classes:
        raise refused(f"there are weights of {len(given)} classes, and {classes} classes.", "Give one a class.")
    bad = np.argwhere(~np.isfinite(given) | (given < 0))
    if len(bad):
        i, j = (int(index) for index in bad[0])
        raise refused(f"the weight of classes {i} and {j} is {given[i, j]}.", "Give finite numbers from 0.")
    uneven = np.argwhere(~np.isclose(given, given.T))
    if len(uneven):
        i, j = (int(index) for index in uneven[0])
        values_of = f"{given[i, j]:g} one way and {given[j, i]:g} the other"
        raise refused(f"the weight of classes {i} and {j} is {values_of}.", "Give (weights + weights.T) / 2.")
    return given


def _some(names: Sequence[str]) -> str:
    more = "" if len(names) <= 3 else f" … ({len(names)})"
    return ", ".join(map(str, itertools.islice(names, 3))) + more
