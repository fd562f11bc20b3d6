from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from xnas_ray.errors import StoreError
from xnas_ray.service import export
from xnas_ray.service.archive import stored_card, trial_records
from xnas_ray.service.export import export_trial


@pytest.fixture(scope="module")
def winner(archive, tmp_path_factory):
    return export_trial(archive.root, archive.finished, archive.best, tmp_path_factory.mktemp("x") / "winner")


def test_architecture(archive, winner):
    facts = json.loads((winner / "architecture.json").read_text())
    record = next(r for r in trial_records(archive.root, archive.finished) if r["trial"] == archive.best)
    assert facts["genotype"] == record["genotype"] and facts["architecture"] == record["architecture"]
    assert facts["space"]["source"] == "task" and facts["space"]["fingerprint"].startswith("nasbench201{")
    assert facts["metrics"]["val_accuracy"] == record["metrics"]["val_accuracy"] and len(facts["choices"]) == 6


def test_recipe(archive, winner):
    facts = json.loads((winner / "recipe.json").read_text())
    assert facts["recipe"]["optimizer"] == "sgd" and facts["epochs"] == 1 and facts["task"] == "toy"
    assert facts["task_hash"] == stored_card(archive.root, archive.finished)["task_hash"]


def test_the_loader_runs_elsewhere_and_rebuilds_the_network(archive, winner, tmp_path):
    """In another process and folder, with nothing of the store."""
    moved = tmp_path / "moved"
    shutil.copytree(winner, moved)
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import torch; torch.set_num_threads(1)\n"
        "from load import load_network; network = load_network()\n"
        "assert not network.training; x = torch.ones(2, 1, 8, 8)\n"
        "print(json.dumps(network(x).tolist()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(export.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(moved)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    state = torch.load(moved / "weights.pt", weights_only=True)
    expected = _network(archive)
    expected.load_state_dict(state)
    expected.eval()
    assert torch.allclose(torch.tensor(json.loads(done.stdout)), expected(torch.ones(2, 1, 8, 8)), atol=1e-6)


def _network(archive):
    from xnas_ray.service.resolve import open_search

    search = open_search(archive.root, stored_card(archive.root, archive.finished))
    record = next(r for r in trial_records(archive.root, archive.finished) if r["trial"] == archive.best)
    return search.space.build(tuple(record["genotype"]), search.shape)


def _load(folder):
    import importlib.util

    spec = importlib.util.spec_from_file_location("exported_loader", folder / "load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_weights_the_network_is_untrained(archive, tmp_path):
    folder = export_trial(archive.root, archive.finished, 0, tmp_path / "x")
    assert not (folder / "weights.pt").exists()
    assert sum(p.numel() for p in _load(folder).load_network().parameters()) == 102


def test_a_registered_space_needs_no_task_folder(archive, tmp_path, monkeypatch):
    card = stored_card(archive.root, archive.finished)
    params = {"channels": 4, "cells_per_stage": 1, "stages": 1}
    card["spec"]["space"] = {"name": "nasbench201", "params": params}
    monkeypatch.setattr(export, "stored_card", lambda root, search_id: card)
    folder = export_trial(archive.root, archive.finished, archive.best, tmp_path / "x")
    assert not (folder / "task").exists()
    assert json.loads((folder / "architecture.json").read_text())["space"]["source"] == "registry"
    assert _load(folder).load_network() is not None


def test_hostile_weights_are_not_run(archive, tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    folder = export_trial(archive.root, archive.finished, archive.best, tmp_path / "x")
    (folder / "weights.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(pickle.UnpicklingError):
        _load(folder).load_network()
    assert not (tmp_path / "pwned").exists()


def test_another_space_is_refused(archive, tmp_path):
    folder = export_trial(archive.root, archive.finished, archive.best, tmp_path / "x")
    problem = folder / "task" / "problem.py"
    problem.write_text(problem.read_text().replace("channels=4", "channels=5"))
    with pytest.raises(RuntimeError, match="channels"):
        _load(folder).load_network()


def test_refusals(archive, tmp_path):
    with pytest.raises(StoreError, match="no finished trial 77"):
        export_trial(archive.root, archive.finished, 77, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(StoreError, match="not empty"):
        export_trial(archive.root, archive.finished, 1, tmp_path / "full")
    with pytest.raises(StoreError, match="cannot write"):
        export_trial(archive.root, archive.finished, 1, tmp_path / "full" / "a" / "b")
