"""A store is data: nothing in it is ever run by reading it. A pickle is a program, so none is ever loaded."""

from __future__ import annotations

import ast
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import xnas_ray
from xnas_ray.training.checkpoint import CheckpointError, load_checkpoint

PACKAGE = Path(xnas_ray.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
LOADERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle", "yaml"}
USES = {
    "training/checkpoint.py": {"UnpicklingError"},  # the name of an error
    "safe_pickle.py": {"Unpickler", "UnpicklingError"},  # gives plain data and knows no function
    "testing/space_case.py": {"dumps", "loads"},  # of an object made there
}
"""Modules that import such a library, and all that they take of it."""


# ---- the code --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {name: ast.parse((PACKAGE / name).read_text()) for name in MODULES}


def imported(tree: ast.Module) -> Iterator[str]:
    """Top-level names of everything that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_libraries_that_load_programs_are_imported_for_known_reasons_alone(trees):
    assert {name for name, tree in trees.items() if LOADERS & set(imported(tree))} == set(USES)
    for name, allowed in USES.items():
        taken = {
            node.attr
            for node in ast.walk(trees[name])
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in LOADERS
        }
        assert taken == allowed, name
        assert not any(isinstance(n, ast.ImportFrom) and n.module in LOADERS for n in ast.walk(trees[name])), name


def calls(tree: ast.AST) -> Iterator[tuple[str, dict[str, ast.expr]]]:
    """(dotted name, keyword arguments) of every call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: k.value for k in node.keywords if k.arg}


def test_every_load_is_one_of_data(trees):
    """``torch.load`` with weights alone, ``numpy.load`` without objects, nothing of pandas' and torch's kind."""
    found = 0
    for name, tree in trees.items():
        for function, given in calls(tree):
            if function == "torch.load":
                found += 1
                assert isinstance(given.get("weights_only"), ast.Constant) and given["weights_only"].value is True, name
            assert function.rpartition(".")[2] not in ("read_pickle", "to_pickle", "save_pickle"), name
            assert function not in ("eval", "exec", "torch.jit.load", "torch.package.PackageImporter"), name
            if function in ("np.load", "numpy.load") and "allow_pickle" in given:
                assert ast.literal_eval(given["allow_pickle"]) is False, name
    assert found >= 3


# ---- a store with bombs in it ----------------------------------------------------------------------------------------


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


def arm(path: Path, mark: Path, form: str) -> None:
    """Write a bomb in place of weights or a checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "torch":
        torch.save({"format": 1, "identity": "any", "state": Bomb(mark)}, path)
    else:
        path.write_bytes(pickle.dumps({"state": Bomb(mark)}, protocol=2))


def test_the_bombs_work(tmp_path):
    """Otherwise the tests below would prove nothing."""
    for form in ("torch", "plain"):
        mark = tmp_path / f"{form} went off"
        arm(tmp_path / form, mark, form)
        if form == "torch":
            torch.load(tmp_path / form, weights_only=False)
        else:
            pickle.loads((tmp_path / form).read_bytes())
        assert mark.is_dir()


READING = (
    ("list",),
    ("list", "--json"),
    ("show", "{id}"),
    ("show", "{id}", "--json"),
    ("watch", "{id}"),
    ("wait", "{id}"),
    ("results", "{id}"),
    ("results", "{id}", "--format", "csv"),
    ("best", "{id}"),
    ("verify", "{id}"),
    ("explain", "{id}"),
    ("explain", "{id}", "{best}"),
    ("explain", "{id}", "--model"),
    ("logs", "{id}"),
    ("logs", "{id}", "{best}"),
    ("gc",),
    ("doctor",),
    ("export", "{id}", "{best}", "--out", "{out}"),
)


@pytest.mark.parametrize("form", ["torch", "plain"])
def test_no_reading_command_sets_one_off(xnas, archive, tmp_path, form):
    root, mark, out = tmp_path / "store", tmp_path / "went off", tmp_path / "out"
    shutil.copytree(archive.root, root)
    attempts = [path for path in (root / "artifacts").glob("*/*/*") if path.is_dir()]
    assert attempts
    for folder in (*attempts, root, root / "searches", root / "tasks", root / "logs", root / "_tmp"):
        for name in ("weights.pt", "checkpoint.pt", "data.pkl", "state.pickle"):
            if folder in attempts or name.endswith(("pkl", "pickle")):
                arm(folder / name, mark, form)
    for words in READING:
        filled = [w.format(id=archive.finished, best=archive.best, out=out) for w in words]
        printed = xnas(*filled, "--root", root)
        assert printed.code == 0 or "such option" not in printed.err, (words, printed.err)
        assert not mark.exists(), words
    assert (out / "weights.pt").is_file(), "the weights were exported as they are; whoever loads them is told how"
    done = subprocess.run(
        [sys.executable, "-c", "import load; load.load_network()"], cwd=out, capture_output=True, text=True, timeout=120
    )
    assert "UnpicklingError" in done.stderr and not mark.exists(), done.stderr


@pytest.mark.parametrize("form", ["torch", "plain"])
def test_a_checkpoint_that_is_a_bomb_is_refused(tmp_path, form):
    mark = tmp_path / "went off"
    arm(tmp_path / "checkpoint.pt", mark, form)
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "checkpoint.pt", "any")
    assert not mark.exists()
