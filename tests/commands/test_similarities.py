import json
from pathlib import Path

import numpy as np
import pytest

from xnas_ray.explain.similarities import read_matrix

SMALL = Path(__file__).parents[1] / "explain" / "small_wordnet"
LOAD_DATA = """
import torch

from xnas_ray.tasks.base import Data, Split


def load_data(*, classes=3):
    split = Split(torch.zeros(classes, 1, 4, 4), torch.arange(classes))
    names, wnids = ("Hund", "Katze", "Auto"), ("n00000004", "n00000005", "n00000006")
    return Data(split, split, split, classes=names[:classes], wnids=wnids[:classes])
"""
PROBLEM = """
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.base import Problem

problem = Problem(space=NASBench201(channels=4, cells_per_stage=1, stages=1))
"""


@pytest.fixture(autouse=True)
def small_wordnet(monkeypatch):
    monkeypatch.delenv("XNAS_DATA", raising=False)
    monkeypatch.setenv("WNSEARCHDIR", str(SMALL))


def test_a_table_and_two_correlations(xnas):
    printed = xnas("similarities", "dog", "cat", "car", "crane:2")
    assert printed.code == 0, printed.err
    lines = printed.out.splitlines()
    assert lines[0].split() == ["first", "second", "distance", "path", "lch", "wup"]
    assert lines[1].split()[:4] == ["dog", "cat", "2", "0.333333"]
    assert "Pearson correlation over the pairs" in printed.out and "Spearman" in printed.out


def test_json(xnas):
    found = json.loads(xnas("similarities", "dog", "n00000005", "--json").out)
    assert found["classes"][1] == {"name": "n00000005", "wnid": "n00000005"}
    assert found["pairs"][0]["path"] == pytest.approx(1 / 3)
    assert set(found["spearman"]) == {"distance", "path", "lch", "wup"}


def test_classes_get_the_names_of_the_user(xnas, tmp_path):
    printed = xnas("similarities", "Kranich=crane:2", "Kran=n00000008", "--out", tmp_path / "w.csv")
    assert printed.code == 0, printed.err
    assert (tmp_path / "w.csv").read_text().splitlines()[0] == "class,Kranich,Kran"


def test_weights_and_a_drawing_are_written(xnas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = xnas(
        "similarities", "dog", "cat", "car", "--measure", "wup", "--out", "w.csv", "--drawing", "pictures/tree.svg"
    )
    assert printed.code == 0, printed.err
    assert "weights (wup): w.csv" in printed.err and "pictures/tree.svg" in printed.err
    assert read_matrix(tmp_path / "w.csv", ("dog", "cat", "car"))[0, 1] == pytest.approx(2 / 3)
    assert (tmp_path / "pictures" / "tree.svg").read_text().startswith("<?xml")


def test_the_classes_of_a_task(xnas, tmp_path):
    task = tmp_path / "tiere"
    task.mkdir()
    (task / "load_data.py").write_text(LOAD_DATA)
    (task / "problem.py").write_text(PROBLEM)
    printed = xnas("similarities", "--task", task, "--out", task / "weights.csv")
    assert printed.code == 0, printed.err
    assert printed.out.splitlines()[1].split()[:2] == ["Hund", "Katze"]
    assert np.allclose(read_matrix(task / "weights.csv", ("Hund", "Katze", "Auto"))[0], [1, 1 / 3, 1 / 5], atol=1e-8)


def test_a_part_of_the_classes_of_a_task(xnas, tmp_path):
    (tmp_path / "load_data.py").write_text(LOAD_DATA)
    (tmp_path / "problem.py").write_text(PROBLEM)
    found = json.loads(xnas("similarities", "--task", tmp_path, "--data", "classes=2", "--json").out)
    assert [entry["name"] for entry in found["classes"]] == ["Hund", "Katze"]
    assert "Valid: classes" in xnas("similarities", "--task", tmp_path, "--data", "clases=2").err


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "give classes or a task"),
        (("dog",), "two classes"),
        (("dog", "cat", "--task", "digits"), "give classes or a task"),
        (("dog", "cat", "--measure", "wupp"), "Did you mean 'wup'"),
        (("dog", "crane"), "2 meanings"),
        (("dog", "unicorn"), "no noun 'unicorn'"),
        (("dog", "cat", "--out", "w.xlsx"), "cannot write 'w.xlsx'"),
    ],
)
def test_mistakes_are_named(xnas, arguments, what):
    printed = xnas("similarities", *arguments)
    assert printed.code == 2
    assert what in printed.err
