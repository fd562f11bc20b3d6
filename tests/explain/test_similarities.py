"""Measures against NLTK's formulas, written anew over the raw file, and against what is known of ImageNet's classes."""

from __future__ import annotations

import os
import re
from math import log
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from xnas_ray.errors import ObjectiveError, StoreError, UnknownNameError
from xnas_ray.explain.similarities import check_weights, class_similarities, read_matrix, write_matrix
from xnas_ray.explain.wordnet import DEBIAN, NOUNS, WordNet

SMALL = Path(__file__).parent / "small_wordnet"
needs_wordnet = pytest.mark.skipif(not (DEBIAN / NOUNS).is_file(), reason="Debian's wordnet-base is not installed")


class Nltk:
    """NLTK's measures (``nltk.corpus.reader.wordnet``) by their definitions, slowly, on a graph of its own."""

    def __init__(self, path: Path) -> None:
        self.up = nx.DiGraph()
        self.words: dict[str, str] = {}
        for line in path.read_text().splitlines():
            if line.startswith(" "):
                continue
            offset, _, _, _, word, *_ = line.split()
            self.words[f"n{offset}"] = word.lower()
            self.up.add_node(f"n{offset}")
            pointers = line.split(" | ")[0]
            self.up.add_edges_from((f"n{offset}", f"n{above}") for above in re.findall(r" @i? (\d{8}) n ", pointers))
        (self.root,) = [node for node, degree in self.up.out_degree if not degree]
        self.longest: dict[str, int] = {}
        self.known: dict[str, dict[str, int]] = {}
        for node in reversed(list(nx.topological_sort(self.up))):
            self.longest[node] = max((1 + self.longest[above] for above in self.up[node]), default=0)
        self.depth = max(self.longest.values())

    def ups(self, node: str) -> dict[str, int]:
        if node not in self.known:
            self.known[node] = dict(nx.single_source_shortest_path_length(self.up, node))
        return self.known[node]

    def steps(self, a: str, b: str) -> int:
        first, second = self.ups(a), self.ups(b)
        return min(first[c] + second[c] for c in first.keys() & second.keys())

    def path(self, a: str, b: str) -> float:
        return 1 / (self.steps(a, b) + 1)

    def lch(self, a: str, b: str) -> float:
        return -log((self.steps(a, b) + 1) / (2.0 * self.depth))

    def wup(self, a: str, b: str) -> float:
        shared = self.ups(a).keys() & self.ups(b).keys()
        depth = {c: self.ups(c)[self.root] for c in shared}
        deepest = [c for c in shared if depth[c] == max(depth.values())]
        ends = [c for c in (a, b) if c in deepest]
        common = ends[0] if ends else min(deepest, key=lambda c: (self.words[c], c))
        k = self.longest[common] + 1
        return 2 * k / (self.steps(a, common) + k + self.steps(b, common) + k)

    def distances(self, classes: list[str]) -> np.ndarray:
        """XNAS' ``nx_distance``: in the undirected graph of all classes and their hypernyms."""
        nodes = {above for c in classes for above in self.ups(c)}
        graph = self.up.subgraph(nodes).to_undirected()
        return np.array([[nx.shortest_path_length(graph, a, b) for b in classes] for a in classes], dtype=float)


def check_against(oracle: Nltk, wordnet: WordNet, classes: list[str]) -> None:
    found = class_similarities(wordnet, classes)
    for name in ("path", "lch", "wup"):
        expected = np.array([[getattr(oracle, name)(a, b) for b in classes] for a in classes])
        if name == "wup":  # NLTK may find a class less than alike itself, where a hypernym lies deeper than it
            np.fill_diagonal(expected, 1.0)
        assert np.allclose(found.matrices[name], expected, atol=1e-12), name
    assert np.array_equal(found.matrices["distance"], oracle.distances(classes))


def test_a_small_graph_equals_the_definitions():
    check_against(Nltk(SMALL / NOUNS), WordNet(SMALL / NOUNS), [f"n{number:08d}" for number in range(1, 13)])


def test_values_by_hand():
    found = class_similarities(WordNet(SMALL / NOUNS), ["dog", "cat", "car", "robot dog"])
    assert found.names == ("dog", "cat", "car", "robot dog")
    dog, cat, car, robot = range(4)
    matrix = found.matrices
    assert matrix["path"][dog, cat] == 1 / 3 and matrix["path"][dog, car] == 1 / 5
    assert matrix["lch"][dog, cat] == pytest.approx(-log(3 / 8))
    assert matrix["wup"][dog, cat] == pytest.approx(4 / 6) and matrix["wup"][dog, car] == pytest.approx(2 / 6)
    assert matrix["wup"][dog, robot] == pytest.approx(8 / 9)
    assert matrix["distance"][dog, car] == 3, "down to the robot dog, which is a vehicle too, and up again"
    assert [matrix[name][dog, dog] for name in ("distance", "path", "wup")] == [0, 1, 1]
    assert all(np.array_equal(m, m.T) for m in matrix.values())


def test_measures_are_computed_as_they_are_wanted():
    wordnet = WordNet(SMALL / NOUNS)
    whole, part = (class_similarities(wordnet, ["dog", "car"], **more) for more in ({}, {"measures": ("lch",)}))
    assert set(part.matrices) == {"lch"} and np.array_equal(part.matrices["lch"], whole.matrices["lch"])
    assert whole.matrices["path"].dtype == np.float64


def test_pairs_and_correlations():
    found = class_similarities(WordNet(SMALL / NOUNS), ["dog", "cat", "car", "bird"])
    pairs = found.pairs
    assert list(pairs.columns) == ["first", "second", "distance", "path", "lch", "wup"]
    assert len(pairs) == 6 and tuple(pairs.loc[0, ["first", "second"]]) == ("dog", "cat")
    spearman = found.correlations("spearman")
    assert spearman.loc["path", "lch"] == pytest.approx(1), "both fall with the same steps"
    pearson = found.correlations("pearson")
    expected = np.corrcoef(pairs["path"], pairs["wup"])[0, 1]
    assert pearson.loc["path", "wup"] == pytest.approx(expected)


def test_one_class_twice_is_refused():
    with pytest.raises(UnknownNameError, match="'car' and 'auto' are the same: n00000006"):
        class_similarities(WordNet(SMALL / NOUNS), ["car", "auto"])


@pytest.fixture(scope="module")
def real() -> WordNet:
    return WordNet(DEBIAN / NOUNS)


@needs_wordnet
def test_random_synsets_equal_the_definitions(real):
    oracle = Nltk(DEBIAN / NOUNS)
    generator = np.random.default_rng(0)
    picked = sorted(generator.choice(list(real.synsets), 60, replace=False).tolist())
    check_against(oracle, real, picked)


@needs_wordnet
def test_values_that_nltk_documents(real):
    """From NLTK's own examples: dog and cat; the similarity of a synset with itself."""
    found = class_similarities(real, ["n02084071", "n02121620"], ["dog", "cat"])
    assert found.matrices["path"][0, 1] == pytest.approx(0.2)
    assert found.matrices["lch"][0, 1] == pytest.approx(2.0281482472922856)
    assert found.matrices["wup"][0, 1] == pytest.approx(0.8571428571428571)
    assert found.matrices["lch"][0, 0] == pytest.approx(3.6375861597263857)


def _labels() -> list[str]:
    path = Path(os.environ.get("XNAS_DATA") or "/nonexistent") / "imagenet_resized.labels"
    return path.read_text().split() if path.is_file() else []


@needs_wordnet
@pytest.mark.skipif(len(_labels()) < 120, reason="imagenet_resized.labels is not in the folder that XNAS_DATA names")
def test_the_classes_of_imagenet16_120(real):
    path = class_similarities(real, _labels()[:120]).pairs["path"]
    assert len(path) == 7140
    assert (path.min(), path.max(), path.median()) == (0.0625, pytest.approx(1 / 3), 0.125)
    assert path.mean() == pytest.approx(0.1317, abs=5e-5)


# ---- files -----------------------------------------------------------------------------------------------------------

NAMES = ("dog", "cat", "a, car")


@pytest.fixture
def matrix() -> np.ndarray:
    return np.array([[1.0, 1 / 3, 0.2], [1 / 3, 1.0, 0.2], [0.2, 0.2, 1.0]])


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
def test_what_is_written_is_read(tmp_path, matrix, suffix):
    path = tmp_path / "new" / f"weights{suffix}"
    write_matrix(path, matrix, NAMES)
    assert np.allclose(read_matrix(path, NAMES), matrix, atol=1e-9)


def test_rows_come_in_the_order_of_the_classes(tmp_path, matrix):
    write_matrix(tmp_path / "w.csv", matrix, NAMES)
    found = read_matrix(tmp_path / "w.csv", ("a, car", "dog", "cat"))
    assert np.allclose(found, matrix[np.ix_([2, 0, 1], [2, 0, 1])], atol=1e-9)
    by_wnid = read_matrix(tmp_path / "w.csv", ("x", "y", "z"), NAMES)
    assert np.allclose(by_wnid, matrix, atol=1e-9)


def test_files_of_other_classes_are_refused(tmp_path, matrix):
    write_matrix(tmp_path / "w.csv", matrix, NAMES)
    with pytest.raises(ObjectiveError, match="about other classes: dog, cat, a, car; the task has bird"):
        read_matrix(tmp_path / "w.csv", ("bird", "cat", "dog"))
    write_matrix(tmp_path / "w.npy", matrix, NAMES)
    with pytest.raises(ObjectiveError, match="weights of 3 classes, and 2"):
        read_matrix(tmp_path / "w.npy", ("bird", "cat"))


@pytest.mark.parametrize(
    ("name", "content"),
    [("w.csv", "a,b\n1,2\n"), ("w.csv", "class,a\na,many\n"), ("w.npy", "text"), ("w.parquet", "text"), ("w.xls", "")],
)
def test_damaged_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(ObjectiveError, match=rf"cannot read .*{name}"):
        read_matrix(tmp_path / name, ("a",))


def test_unknown_formats_are_refused(tmp_path, matrix):
    with pytest.raises(StoreError, match=r"\.xlsx|Valid: \.csv"):
        write_matrix(tmp_path / "w.xlsx", matrix, NAMES)


@pytest.mark.parametrize(
    ("weights", "what"),
    [
        ([1.0, 2.0], "shape"),
        ([[1.0, 2.0]], "shape"),
        ([[1.0]], "1 classes, and 2"),
        ([[1.0, float("nan")], [float("nan"), 1.0]], "weight of classes 0 and 1 is nan"),
        ([[1.0, -0.5], [-0.5, 1.0]], "is -0.5"),
        ([[1.0, 0.5], [0.25, 1.0]], "0.5 one way and 0.25 the other"),
        ([["a", "b"], ["c", "d"]], "must be numbers"),
    ],
)
def test_what_is_no_matrix_of_weights_is_refused(weights, what):
    with pytest.raises(ObjectiveError, match=what) as caught:
        check_weights(weights, 2, field="here")
    assert caught.value.field == "here" and caught.value.fix
