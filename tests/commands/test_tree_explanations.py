"""``xnas explain ID TRIAL --tree``: tables in the terminal, as JSON and in files, with and without kept samples."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from xnas_ray.client import Client
from xnas_ray.commands.tree_printed import SHOWN_NODES
from xnas_ray.explain import wordnet
from xnas_ray.explain.tree_table import ambiguous_table, similar_table, tree_of_trial
from xnas_ray.service.http_api import Api
from xnas_ray.service.http_app import make_app
from xnas_ray.service.http_server import HttpServer
from xnas_ray.service.store_access import LocalStore
from xnas_ray.store import StoreWriter, load_explanations, load_tree_samples, load_trials

TOKEN = "ab" * 32
SMALL = Path(__file__).parents[1] / "explain" / "small_wordnet"


@pytest.fixture
def with_wordnet(monkeypatch):
    monkeypatch.delenv("XNAS_DATA", raising=False)
    monkeypatch.setenv("WNSEARCHDIR", str(SMALL))


@pytest.fixture
def changed(tree_store, tmp_path):
    """A copy of the store that may be changed."""
    shutil.copytree(tree_store.root, tmp_path / "copy")
    return tmp_path / "copy"


def tree_of(root: Path, search_id: str, trial: int = 1) -> pd.DataFrame:
    return tree_of_trial(load_explanations(root, "decision_tree", search_id), trial)


def test_the_tree_in_the_terminal(xnas, tree_store):
    printed = xnas("explain", tree_store.search_id, 1, "--tree", "--root", tree_store.root)
    assert printed.code == 0 and printed.err == ""
    lines = printed.out.splitlines()
    architecture = load_trials(tree_store.root, tree_store.search_id).set_index("trial")["architecture"][1]
    assert lines[0] == f"trial 1: {architecture}" and lines[2].split()[:3] == ["decision", "node", "samples"]
    tree = tree_of(tree_store.root, tree_store.search_id)
    for line, row in zip(lines[3 : 3 + len(tree)], tree.to_dict("records"), strict=True):
        assert line.startswith("  " * row["depth"]) and str(row["visits"]) in line and f"{row['share']:.1%}" in line
    assert "most ambiguous: the largest path entropy, in nats" in lines
    assert "most like a node: label (sample), * of a class that is not below it" in lines
    assert all(len(line) <= 80 for line in lines) and "unseen" not in printed.out


def test_names_of_classes_cannot_control_a_terminal(xnas, tree_store):
    printed = xnas("explain", tree_store.search_id, 1, "--tree", "--root", tree_store.root)
    assert "\x1b" not in printed.out and "derrick\\x1b[2J" in printed.out
    shown = xnas("explain", tree_store.search_id, 1, "--tree", "--json", "--root", tree_store.root)
    names = [row["name"] for row in json.loads(shown.out)["decision_tree"]]
    assert "\x1b" not in shown.out and "derrick\x1b[2J" in names


def test_a_trial_without_motifs_shows_its_tree(xnas, tree_store):
    asked = xnas("explain", tree_store.search_id, 1, "--tree", "--root", tree_store.root)
    assert xnas("explain", tree_store.search_id, 1, "--root", tree_store.root).out == asked.out
    refused = xnas("explain", tree_store.search_id, 1, "--motifs", "--root", tree_store.root)
    assert refused.code == 2 and "has no motifs" in refused.err
    assert f"Decision trees: `xnas explain {tree_store.search_id} " in refused.err


def test_tables_of_a_search_mention_its_trees(xnas, tree_store, monkeypatch):
    stages = pd.DataFrame({"stage": ["evolved"]})
    monkeypatch.setattr("xnas_ray.service.explanations.derived_explanations", lambda *_: {"stages": stages})
    printed = xnas("explain", tree_store.search_id, "--root", tree_store.root)
    best = Client(tree_store.root).handle(tree_store.search_id).best(1)[0]["trial"]
    assert printed.code == 0 and "\nstages\n" in printed.out
    assert printed.out.endswith(f"decision trees of its trials: xnas explain {tree_store.search_id} {best}\n")


def test_json_has_the_whole_tables(xnas, tree_store):
    found = json.loads(xnas("explain", tree_store.search_id, 1, "--tree", "--json", "--root", tree_store.root).out)
    tree = tree_of(tree_store.root, tree_store.search_id)
    samples = load_tree_samples(tree_store.root, tree_store.search_id, 1)
    assert list(found) == ["trial", "architecture", "decision_tree", "ambiguous", "similar"] and found["trial"] == 1
    assert [row["visits"] for row in found["decision_tree"]] == tree["visits"].tolist()
    assert [row["sample"] for row in found["ambiguous"]] == ambiguous_table(tree, samples)["sample"].tolist()
    assert [row["own"] for row in found["similar"]] == similar_table(tree, samples)["own"].tolist()


def test_tables_and_figures_in_a_folder(xnas, tree_store, tmp_path, with_wordnet):
    printed = xnas(
        *("explain", tree_store.search_id, 1, "--unseen", tree_store.folder / "other"),
        *("--out", tmp_path / "why", "--root", tree_store.root),
    )
    assert printed.code == 0, printed.err
    tables = ("decision_tree", "ambiguous", "similar", "unseen_traversals")
    tables += ("superclasses", "node_meaning", "unseen_classes")
    figures = ("decision_tree", "ambiguous", "similar", "node_meaning")
    expected = {f"{name}.{kind}" for name in tables for kind in ("csv", "parquet")}
    expected |= {f"{name}.{kind}" for name in figures for kind in ("svg", "png")}
    assert {path.name for path in (tmp_path / "why").iterdir()} == expected
    tree = tree_of(tree_store.root, tree_store.search_id)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "why" / "decision_tree.parquet"), tree)
    assert pd.read_csv(tmp_path / "why" / "decision_tree.csv")["visits"].tolist() == tree["visits"].tolist()
    (tmp_path / "file").write_text("")
    refused = xnas("explain", tree_store.search_id, 1, "--tree", "--out", tmp_path / "file", "--root", tree_store.root)
    assert refused.code == 2 and "cannot write" in refused.err


def test_without_kept_files_the_tables_are_shown(xnas, tree_store, changed, tmp_path):
    (path,) = (changed / "artifacts").glob(f"{tree_store.search_id}/1/*/decision_tree.npz")
    path.unlink()
    printed = xnas("explain", tree_store.search_id, 1, "--tree", "--root", changed)
    assert printed.code == 0 and "no samples of the tree" in printed.out and "keep_weights = 'best'" in printed.out
    assert "animal" in printed.out and "most ambiguous" not in printed.out
    found = json.loads(xnas("explain", tree_store.search_id, 1, "--tree", "--json", "--root", changed).out)
    assert found["ambiguous"] is None and found["similar"] is None and found["decision_tree"]
    assert xnas("explain", tree_store.search_id, 1, "--tree", "--out", tmp_path / "x", "--root", changed).code == 0
    names = {path.name for path in (tmp_path / "x").iterdir()}
    assert names == {f"decision_tree.{kind}" for kind in ("csv", "parquet", "svg", "png")}


def test_a_damaged_file_is_said_to_be(xnas, tree_store, changed):
    (path,) = (changed / "artifacts").glob(f"{tree_store.search_id}/1/*/decision_tree.npz")
    path.write_bytes(b"nonsense")
    printed = xnas("explain", tree_store.search_id, 1, "--tree", "--root", changed)
    assert printed.code == 0 and "cannot read" in printed.out and "animal" in printed.out


def test_a_large_tree_is_cut_in_the_terminal(xnas, tree_store, changed, random_tree):
    from xnas_ray.objectives.tree_outcome import TreeOutcome

    torch = pytest.importorskip("torch")
    tree = random_tree(60, 1)
    outcome = TreeOutcome(tree, torch.randn(40, 60), torch.arange(40))
    with StoreWriter.open(changed, take_over=True) as writer:
        writer.append_explanation("decision_tree", tree_store.search_id, outcome.per_node().assign(trial=2))
    (path,) = (changed / "artifacts").glob(f"{tree_store.search_id}/2/*/decision_tree.npz")
    path.unlink()
    lines = xnas("explain", tree_store.search_id, 2, "--tree", "--root", changed).out.splitlines()
    (more,) = (line for line in lines if line.startswith("…"))
    assert int(more.split()[1]) >= len(tree.nodes) - SHOWN_NODES and "--json or --out" in more


# ---- another task ----------------------------------------------------------------------------------------------------


def test_unseen_classes(xnas, tree_store, with_wordnet):
    given = ("explain", tree_store.search_id, 1, "--unseen", tree_store.folder / "other", "--root", tree_store.root)
    printed = xnas(*given)
    assert printed.code == 0 and "superclasses of unseen classes" in printed.out
    found = json.loads(xnas(*given, "--json").out)
    (row,) = found["superclasses"]
    assert set(row["hypothesis"].split(" / ")) == {"animal", "vehicle"} and row["tree"] > 0.8
    assert f"{row['tree']:.1%}" in printed.out and {r["class"] for r in found["unseen_classes"]} == {"crane", "wagon"}
    assert all(len(line) <= 80 for line in printed.out.splitlines())
    named = xnas(*given, "--hypothesis", "0=Rex,wagon", "--json")
    assert {r["class"] for r in json.loads(named.out)["unseen_classes"]} == {"Rex", "wagon"}
    assert xnas(*given, "--data", "side=5").code == 2


def test_without_wordnet_and_words_it_is_shown_where_classes_end(xnas, tree_store, monkeypatch, tmp_path):
    for name in ("XNAS_DATA", "WNSEARCHDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(wordnet, "DEBIAN", tmp_path)
    given = ("explain", tree_store.search_id, 1, "--unseen", tree_store.folder / "other", "--root", tree_store.root)
    printed = xnas(*given)
    assert printed.code == 0 and "there is no WordNet" in printed.out and "superclasses" not in printed.out
    found = json.loads(xnas(*given, "--json").out)
    ends = [row for row in found["unseen_traversals"] if row["class"] == "Rex" and row["leaf"]]
    assert "superclasses" not in found and sum(row["share"] for row in ends) == pytest.approx(1)
    best = max(ends, key=lambda row: row["share"])
    (line,) = (line for line in printed.out.splitlines() if line.startswith("Rex"))
    assert line.split()[1] == best["name"] == "dog" and f"{best['share']:.0%}" in line


def test_over_http_the_tables_are_shown(xnas, tree_store, fake_head, monkeypatch, tmp_path):
    server = HttpServer(lambda: make_app(Api(fake_head, LocalStore(tree_store.root), TOKEN, "1.2.3")), "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XNAS_TOKEN", TOKEN)
    monkeypatch.setenv("XNAS_ADDRESS", server.address)
    try:
        printed = xnas("explain", tree_store.search_id, 1, "--tree")
        assert printed.code == 0 and "animal" in printed.out and "needs the folder of the store" in printed.out
        refused = xnas("explain", tree_store.search_id, 1, "--unseen", tree_store.folder / "other")
        assert refused.code != 0 and "needs the folder of the store" in refused.err
    finally:
        server.stop()
        server.join(10)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--tree"], "`xnas best"),
        ([1, "--tree", "--motifs"], "--motifs and --tree are different things"),
        ([1, "--tree", "--kind", "motifs"], "--kind and --tree are different things"),
        ([1, "--hypothesis", "0=a,b"], "--unseen"),
        ([99, "--tree"], "trial 99 has no decision tree"),
    ],
)
def test_what_cannot_be_asked(xnas, tree_store, given, message):
    printed = xnas("explain", tree_store.search_id, *given, "--root", tree_store.root)
    assert printed.code == 2 and message in printed.err and printed.out == ""


def test_a_search_without_trees(xnas, archive):
    printed = xnas("explain", archive.finished, archive.best, "--tree", "--root", archive.root)
    assert printed.code == 2 and "has no decision_tree" in printed.err and "such as nbdt_gap" in printed.err


def test_a_running_search_shows_the_trees_that_it_has(xnas, tree_store, tmp_path, played_search, fake_head):
    from ..service.tree_search import write_tree_search

    search_id = write_tree_search(tmp_path, played_search, trials=2, state="running")
    printed = xnas("explain", search_id, 1, "--tree", "--root", tmp_path / "store")
    assert printed.code == 0 and "most ambiguous" in printed.out and fake_head.calls == []


# ---- the whole way ---------------------------------------------------------------------------------------------------


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_from_a_search_to_its_tree(tmp_path):
    """A real search of digits, then what its best network decides."""

    def run(*arguments: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "xnas_ray", *map(str, arguments), "--root", str(tmp_path / "store")],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=tmp_path,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(
        *("run", "--task", "digits", "--trials", 3, "--fidelity", 2, "--keep-weights", "best", "--workers", 1),
        *("--objectives", "val_accuracy", "--objectives", "nbdt_gap", "--seed", 1),
    )
    frame = load_trials(tmp_path / "store")
    best = int(frame.loc[frame["metric_val_accuracy"].idxmax(), "trial"])
    kept = {path.parent.parent.name for path in (tmp_path / "store" / "artifacts").glob("*/*/*/decision_tree.npz")}
    assert kept == {str(best)}, "samples of trials that were surpassed are removed with their weights"
    assert "most ambiguous" in run("explain", "latest", best)
    sides = "0=0+1+2+3+4,5+6+7+8+9"
    run("explain", "latest", best, "--unseen", "digits", "--hypothesis", sides, "--out", "figures")
    assert len(list((tmp_path / "figures").glob("*.svg"))) == 4
