"""Influences do not depend on the number of processes that compute them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

DRIVER = Path(__file__).with_name("influence_ranks_driver.py")


@pytest.mark.slow
def test_one_and_two_ranks_agree(gloo_ranks: Callable[..., None], tmp_path: Path) -> None:
    gloo_ranks(DRIVER, 1, tmp_path)
    gloo_ranks(DRIVER, 2, tmp_path)
    one, two = (torch.load(tmp_path / f"{size}.pt", weights_only=True) for size in (1, 2))
    assert list(one) == list(two) and len(one) > 20
    for name, alone in one.items():
        largest = max(1.0, float(alone.nan_to_num().abs().max()))
        assert torch.allclose(two[name], alone, rtol=0, atol=1e-10 * largest, equal_nan=True), name
        assert alone.nan_to_num().any(), name
