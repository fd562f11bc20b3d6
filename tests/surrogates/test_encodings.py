"""Rows of architectures: once a key, unordered and numeric choices apart."""

from __future__ import annotations

import numpy as np
import pytest

from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import Choice
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.surrogates.encodings import Encodings

CELLS = NASBench201(cells_per_stage=1, channels=4, stages=1)
JOINT = JointSpace(architecture=CELLS, recipe={"lr": {"log": [1e-3, 1.0], "levels": 4}, "optimizer": ["sgd", "adam"]})


def test_the_same_key_gives_the_same_row():
    encodings = Encodings(CELLS)
    member = next(g for g in CELLS.genotypes() if CELLS.canonical(g) != g)
    row = encodings.add(CELLS.canonical(member))
    assert encodings.add((3,) * 6) == row + 1
    assert encodings.add(member) == row
    assert len(encodings) == 2


def test_many_rows_keep_their_options():
    encodings = Encodings(CELLS)
    genotypes = list(CELLS.enumerate())[:300:3]
    rows = encodings.add_all(genotypes)
    assert rows.tolist() == list(range(100))
    assert [tuple(row) for row in encodings.options(rows)] == genotypes
    assert encodings.numeric(rows).shape == (100, 0)


def test_genes_of_a_recipe_are_coordinates():
    encodings = Encodings(JOINT)
    assert encodings.numeric_columns == 0
    genotypes: list[Genotype] = [(3, 3, 3, 3, 3, 3, 0, 0), (3, 3, 3, 3, 3, 3, 3, 1)]
    rows = encodings.add_all(genotypes)
    assert encodings.numeric_columns == len(JOINT.numeric(genotypes[0]))
    assert encodings.numeric(rows) == pytest.approx(np.array([JOINT.numeric(g) for g in genotypes]))
    assert 6 not in encodings.unordered and set(range(6)) <= set(encodings.unordered)


def test_choices_without_a_choice_are_left_out():
    class Fixed(NASBench201):
        def __init__(self) -> None:
            super().__init__()
            self.choices = (Choice("fixed", ("only",)), *self.choices[1:])

    assert Encodings(Fixed()).unordered == (1, 2, 3, 4, 5)
