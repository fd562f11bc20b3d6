"""The DARTS-IM experiments, at a size that takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xnas_ray.spaces.nasbench1shot1 import NASBench1Shot1
from xnas_ray.spaces.nasbench101 import NASBench101

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "reproduce" / "darts_im"


def test_theorems_are_better_the_smaller_the_change(script, capsys):
    theorems = script("theorems")
    theorems.main(["--supernets", "1", "--directions", "2", "--sizes", "0.3", "0.01"])
    head, _, large, small = capsys.readouterr().out.splitlines()
    names = [name.strip() for name in head.strip("| ").split(" | ")]
    assert names == ["size", "Theorem 1", "Schur", "Theorem 2, gained", "Theorem 2, whole"]
    at_large, at_small = (
        [float(cell.rstrip(" %")) for cell in line.strip("| ").split(" | ")] for line in (large, small)
    )
    assert (at_large[0], at_small[0]) == (0.3, 0.01)
    assert all(b < a / 4 and b < 5 for a, b in zip(at_large[1:4], at_small[1:4], strict=True))
    assert at_small[4] > 50, "Theorem 2 alone does not predict the whole change"


def test_solvers_see_the_curvature_or_do_not(script, capsys):
    solvers = script("solvers")
    solvers.main(["--supernets", "2"])
    lines = capsys.readouterr().out.splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    cosine = {name: float(first) for name, first, _, _ in rows}
    assert list(cosine) == [*solvers.SETTINGS, *(f"woodbury, N={n}" for n in solvers.FISHER)]
    assert abs(cosine["neumann, gamma 1e-3, K=3"] - cosine["identity"]) < 0.01
    assert cosine["neumann, gamma 1/λmax, K=100"] > 0.99 > cosine["neumann, gamma 1/λmax, K=3"] > cosine["identity"]
    assert cosine["cg, damping 1e-3"] > 0.99


def test_coverage_counts_classes_that_a_table_has(script, capsys, tmp_path):
    """Three rows: a cell of the space, one that is isomorphic to it, and one that the space has not."""
    coverage = script("coverage")
    space = NASBench1Shot1(variant=1)
    genotype = space.genotype((0, 1, 2, 0), ((0,), (0, 1), (0, 2), (1, 3), (2, 4)))
    whole = NASBench101()
    same = whole.member(whole.parse(space.format(genotype)), np.random.default_rng(0))
    texts = [space.format(genotype), whole.format(same), "010001000 input,conv3x3-bn-relu,output"]
    adjacency, ops = zip(*(text.split(" ") for text in texts), strict=True)
    pq.write_table(pa.table({"adjacency": adjacency, "ops": ops}), path := tmp_path / "table.parquet")
    coverage.main(["--table", str(path), "--variants", "1"])
    head, _, row = capsys.readouterr().out.splitlines()
    assert "in the table (2)" in head
    assert row == "| 1 | 2,685 | 1 | 0.04% |"


def test_coverage_without_a_table_says_what_to_do(script, capsys, monkeypatch):
    monkeypatch.delenv("XNAS_DATA", raising=False)
    coverage = script("coverage")
    with pytest.raises(SystemExit):
        coverage.main([])
    assert "--table" in capsys.readouterr().err
