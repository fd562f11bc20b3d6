"""The scripts that bring up a Slurm on one machine; test_real_slurm.py runs on what they bring up."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

DEV = Path(__file__).parents[2] / "slurm" / "dev"


@pytest.mark.parametrize("name", ["up.sh", "down.sh"])
def test_the_shell_is_sound(name):
    assert os.access(DEV / name, os.X_OK)
    subprocess.run(["bash", "-n", DEV / name], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed; bash -n was content")
    done = subprocess.run(["shellcheck", DEV / name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_printing_starts_nothing(tmp_path):
    environment = {**os.environ, "DEV_SLURM_DIR": str(tmp_path / "it's here")}
    line = subprocess.run(
        [DEV / "up.sh", "--print"], env=environment, capture_output=True, text=True, check=True
    ).stdout
    shown = subprocess.run(
        ["bash", "-c", f'{line}\nprintf %s "$SLURM_CONF"'], capture_output=True, text=True, check=True
    )
    assert shown.stdout == f"{tmp_path}/it's here/slurm.conf" and not any(tmp_path.iterdir())


def test_down_leaves_what_is_not_of_slurm_alone(tmp_path):
    """A pid file that is stale names a process of somebody else."""
    (tmp_path / "run").mkdir()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        for name in ("slurmctld.pid", "munged.pid", "slurmd.xn1.pid"):
            (tmp_path / "run" / name).write_text(str(stranger.pid))
        subprocess.run([DEV / "down.sh"], env={**os.environ, "DEV_SLURM_DIR": str(tmp_path)}, check=True, timeout=60)
        assert stranger.poll() is None
        stranger.kill()
    assert not list((tmp_path / "run").glob("*.pid"))
