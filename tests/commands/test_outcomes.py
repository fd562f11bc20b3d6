from __future__ import annotations

import json
import shlex
import shutil

import pandas as pd
import pytest

from xnas_ray.commands.outcomes import duckdb_line
from xnas_ray.store import Layout


@pytest.fixture
def mine(archive, tmp_path):
    """A copy of the archive that may be changed."""
    root = tmp_path / "copy"
    shutil.copytree(archive.root, root)
    return root


# ---- results --------------------------------------------------------------------------------------------------------


def test_table(xnas, archive):
    lines = xnas("results", archive.finished, "--root", archive.root).out.splitlines()
    assert len(lines) == 13 and lines[0].split()[:4] == ["trial", "status", "val_accuracy", "params"]
    failed = next(line for line in lines if " failed " in line)
    assert "exception: \\x1b[31m[bold]evil" in failed and len(failed) < 300


def test_the_table_marks_the_front_and_shows_lineage(xnas, archive):
    from xnas_ray.pareto import non_dominated

    out = xnas("results", archive.finished, "--root", archive.root, "--format", "json").out
    rows = [row for row in json.loads(out) if row["status"] == "completed"]
    points = [(row["metric_val_accuracy"], -row["metric_params"]) for row in rows]
    front = [rows[i]["trial"] for i in sorted(non_dominated(points))]
    assert [row["trial"] for row in rows if row["front"]] == front
    lines = xnas("results", archive.finished, "--root", archive.root, "--front").out.splitlines()
    assert [int(line.split()[0]) for line in lines[1:]] == front and all(" * " in line for line in lines[1:])
    assert lines[0].split()[4:6] == ["front", "parents"], "regularized evolution has no generations"
    child = next(row for row in rows if row["parents"])
    assert all(parent < child["trial"] for parent in child["parents"]) and child["generation"] is None


def test_the_front_in_files(xnas, archive, tmp_path):
    for suffix in ("csv", "json", "parquet"):
        out = tmp_path / f"front.{suffix}"
        assert xnas("results", archive.finished, "--root", archive.root, "--front", "--out", out).code == 0
        frame = getattr(pd, f"read_{suffix}")(out)
        assert frame["front"].all() and "generation" in frame and len(frame) < 11
        parents = frame["parents"][len(frame) - 1]
        assert isinstance(json.loads(parents) if isinstance(parents, str) else list(parents), list)


def test_sorted_by_the_objective(xnas, archive):
    printed = xnas("results", archive.finished, "--root", archive.root, "--format", "json", "--sort", "objective")
    rows = json.loads(printed.out)
    values = [row["metric_val_accuracy"] for row in rows]
    assert rows[0]["trial"] == archive.best and values[-1] is None
    assert values[:-1] == sorted(values[:-1], reverse=True)


def test_sorted_by_a_cost_and_by_a_column(xnas, archive):
    for name, column in (("params", "metric_params"), ("flops", "metric_flops"), ("duration_s", "duration_s")):
        printed = xnas("results", archive.finished, "--root", archive.root, "--format", "json", "--sort", name)
        values = [row[column] for row in json.loads(printed.out) if row[column] is not None]
        assert values == sorted(values)


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_files(xnas, archive, tmp_path, suffix):
    out = tmp_path / f"trials.{suffix}"
    printed = xnas("results", archive.finished, "--root", archive.root, "--out", out)
    assert printed.code == 0 and printed.out == "" and "12 trials" in printed.err
    frame = getattr(pd, f"read_{suffix}")(out)
    assert len(frame) == 12
    assert frame["metric_val_accuracy"].max() == frame.set_index("trial")["metric_val_accuracy"][archive.best]
    genotype = frame["genotype"][0]
    assert len(json.loads(genotype) if isinstance(genotype, str) else genotype) == 6


def test_csv_on_standard_output_is_what_the_file_has(xnas, archive, tmp_path):
    out = tmp_path / "t.csv"
    xnas("results", archive.finished, "--root", archive.root, "--out", out)
    printed = xnas("results", archive.finished, "--root", archive.root, "--format", "csv").out
    assert printed.replace("\r\n", "\n") == out.read_text().replace("\r\n", "\n")


def test_results_of_a_search_without_trials(xnas, archive):
    printed = xnas("results", archive.cancelled, "--root", archive.root)
    assert printed.code == 0 and len(printed.out.splitlines()) == 1
    assert xnas("results", archive.cancelled, "--root", archive.root, "--format", "json").out == "[]\n"


def test_duckdb_line_runs(archive):
    duckdb = pytest.importorskip("duckdb")
    objective = {"name": "val_accuracy", "maximize": True}
    program, option, query = shlex.split(duckdb_line(archive.root, archive.finished, objective))
    assert (program, option) == ("duckdb", "-c")
    rows = duckdb.sql(query).fetchall()
    assert len(rows) == 5 and rows[0][0] == archive.best and rows[0][1] >= rows[1][1]


def test_duckdb_peek(archive, capsys, tmp_path):
    pytest.importorskip("duckdb")
    from xnas_ray.commands.duckdb_peek import peek

    root = tmp_path / "it's a store"
    shutil.copytree(archive.root, root)
    for search_id in (archive.cancelled, archive.unfinished):
        _forget(root, search_id)
    peek(root)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("select distinct") and len(lines) == 7 and lines[2].split()[0] == str(archive.best)


def _forget(root, search_id):
    """Take a search out of the searches table."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for part in (root / "searches").glob("*.parquet"):
        table = pq.read_table(part)
        kept = table.filter(pc.not_equal(table["search_id"], search_id))
        pq.write_table(kept.replace_schema_metadata(table.schema.metadata), part)


def test_duckdb_line_quotes_the_path(tmp_path):
    line = duckdb_line(tmp_path / "it's $HOME", "01", {"name": "params", "maximize": False})
    assert "it''s $HOME" in shlex.split(line)[2] and "order by 2 asc" in line


# ---- best -----------------------------------------------------------------------------------------------------------


def test_best(xnas, archive):
    found = json.loads(xnas("best", archive.finished, "--root", archive.root, "-n", "3", "--json").out)
    assert found[0]["trial"] == archive.best and len(found) == 3
    assert found[0]["weights"] and not found[1]["weights"] and found[0]["front"]
    lines = xnas("best", archive.finished, "--root", archive.root).out.splitlines()
    assert len(lines) == 6 and "front" in lines[0] and "*" in lines[1] and "kept" in lines[1]


def test_best_of_nothing(xnas, archive):
    assert xnas("best", archive.cancelled, "--root", archive.root).out.startswith("no completed trial")
    assert xnas("best", archive.cancelled, "--root", archive.root, "--json").out == "[]\n"


# ---- export and verify ----------------------------------------------------------------------------------------------


def test_export_lists_what_it_wrote(xnas, archive, tmp_path):
    out = tmp_path / "winner"
    printed = xnas("export", archive.finished, archive.best, "--out", out, "--root", archive.root)
    assert printed.code == 0 and printed.err == ""
    assert [line.rsplit("/", 1)[1] for line in printed.out.splitlines()] == sorted(p.name for p in out.iterdir())
    other = xnas("export", archive.finished, "1", "--out", tmp_path / "other", "--root", archive.root)
    assert other.code == 0 and "were not kept" in other.err


def test_verify(xnas, archive):
    printed = xnas("verify", archive.finished, "--root", archive.root)
    assert printed.code == 0 and printed.out.startswith("12 proposals derived again from 10 outcomes: all equal")
    assert json.loads(xnas("verify", archive.unfinished, "--root", archive.root, "--json").out)["mismatch"] is None


def test_verify_says_where_it_differs(xnas, archive, monkeypatch):
    from xnas_ray.service import verify

    mismatch = verify.Mismatch(3, "genotype", (0, 1), (1, 0))
    monkeypatch.setattr(verify, "verify", lambda root, one: verify.Verification(one, 12, 3, 2, mismatch))
    printed = xnas("verify", archive.finished, "--root", archive.root)
    assert printed.code == 1 and "trial 3 differs in genotype" in printed.out and "(0, 1)" in printed.out
    assert json.loads(xnas("verify", archive.finished, "--root", archive.root, "--json").out)["mismatch"]["trial"] == 3


# ---- gc -------------------------------------------------------------------------------------------------------------


def test_gc_lists_first_and_removes_with_yes(xnas, archive, mine):
    unwanted = Layout(mine).artifacts(archive.finished, 1, (1, 0))
    unwanted.mkdir(parents=True)
    (unwanted / "weights.pt").write_bytes(b"x" * 2000)
    listed = xnas("gc", "--root", mine)
    assert f"artifacts/{archive.finished}/1/1-0" in listed.out and "2.0 kB" in listed.out
    assert "xnas gc --yes" in listed.err and unwanted.exists()
    assert json.loads(xnas("gc", "--root", mine, "--json").out)["bytes"] == 2000
    assert json.loads(xnas("gc", "--root", mine, "--logs", "0", "--json").out)["bytes"] == 2000
    removed = xnas("gc", "--root", mine, "--yes")
    assert removed.code == 0 and "removed" in removed.out and not unwanted.exists()
    assert xnas("gc", "--root", mine).out == "0 leftovers, 0 B\n"
    assert len(json.loads(xnas("best", archive.finished, "--root", mine, "--json").out)) == 5


def test_gc_reports_what_it_could_not_remove(xnas, archive, mine, monkeypatch):
    from xnas_ray.service import leftovers

    monkeypatch.setattr(leftovers, "remove", lambda root, found: ["x: busy"])
    printed = xnas("gc", "--root", mine, "--yes")
    assert printed.code == 1 and "not removed: x: busy" in printed.err
