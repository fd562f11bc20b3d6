"""Files of arrays: whatever happened to one, it comes back whole or is refused with a StoreError."""

from __future__ import annotations

import numpy as np
import pytest

from xnas_ray.errors import StoreError
from xnas_ray.store.arrays import read_arrays


@pytest.fixture(params=[np.savez, np.savez_compressed])
def path(request, tmp_path):
    rng = np.random.default_rng(0)
    request.param(tmp_path / "a.npz", first=rng.standard_normal((5, 7)), second=np.arange(9))
    return tmp_path / "a.npz"


def test_all_or_some(path):
    assert list(read_arrays(path)) == ["first", "second"]
    assert read_arrays(path, ["second"])["second"].tolist() == list(range(9))
    with pytest.raises(StoreError, match=r"cannot read .*third"):
        read_arrays(path, ["first", "third"])
    with pytest.raises(StoreError, match="cannot read"):
        read_arrays(path.with_name("b.npz"))


def test_wrong_bytes(path):
    whole, rng, refused = path.read_bytes(), np.random.default_rng(1), 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            read_arrays(path)
        except StoreError:
            refused += 1
    assert refused > 100
