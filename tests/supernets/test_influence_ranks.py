"""Influences do not depend on the number of processes that compute them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

DRIVER = Path(__file__).with_name("influence_ranks_driver.py")


def found(folder: Path, size: int) -> dict[str, torch.Tensor]:
    """What ``size`` processes compute."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(DRIVER), str(rank), str(size), str(folder)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        for rank in ranks:
            _, error = rank.communicate(timeout=240)
            assert rank.returncode == 0, error
    finally:
        for rank in ranks:
            rank.kill()
    return torch.load(folder / f"{size}.pt", weights_only=True)


@pytest.mark.slow
def test_one_and_two_ranks_agree(tmp_path: Path) -> None:
    one, two = found(tmp_path, 1), found(tmp_path, 2)
    assert list(one) == list(two) and len(one) > 20
    for name, alone in one.items():
        largest = max(1.0, float(alone.nan_to_num().abs().max()))
        assert torch.allclose(two[name], alone, rtol=0, atol=1e-10 * largest, equal_nan=True), name
        assert alone.nan_to_num().any(), name
