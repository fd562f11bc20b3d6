"""A node that dies takes no epoch of a supernet with it: the job goes on elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from xnas_ray.service.verify import verify
from xnas_ray.store import load_explanations, load_trials
from xnas_ray.store.reader import load_log

DRIVER = Path(__file__).parent / "supernet_driver.py"


@pytest.mark.slow
def test_the_job_of_a_supernet_moves_to_other_nodes(root):
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(root)], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    end = json.loads(done.stdout.splitlines()[-1])  # Ray says on the same stream that a node died
    curve = load_explanations(root, "supernet", end["search_id"])
    epochs = curve.loc[curve["name"] == "train_loss", "epoch"].tolist()
    assert epochs == list(range(1, 26)) and 3 <= end["reached"] < 25
    assert load_trials(root, end["search_id"])["status"].tolist() == ["completed"]
    assert not (load_log(root, end["search_id"])["state"] == "retrying").any()
    assert verify(root, end["search_id"]).mismatch is None
