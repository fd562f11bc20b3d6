"""Values become strict JSON that says the same."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.report.columns import SharedTexts, number, plain


@given(st.floats())
def test_numbers_keep_nine_digits(value):
    found = number(value)
    if np.isfinite(value):
        assert found == pytest.approx(value, rel=1e-8, abs=5e-324) and len(json.dumps(found)) <= 25
        assert isinstance(found, int) == (float(f"{value:.9g}").is_integer() and abs(found) < 2**53)
    else:
        assert found is None


def test_whatever_a_table_holds_is_json():
    @dataclass(frozen=True)
    class Point:
        x: np.float64
        label: str

    given_values = [Point(np.float64(0.5), "p"), {1: (np.int64(2), np.nan)}, pd.NaT, pd.NA, None, np.bool_(True), b"x"]
    given_values.append(np.array([[1.0, np.inf]]))
    found = plain(given_values)
    assert found == [{"x": 0.5, "label": "p"}, {"1": [2, None]}, None, None, None, True, "b'x'", [[1, None]]]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@given(st.lists(st.sampled_from(["a", "b", "", None])))
def test_shared_texts_stand_once(texts):
    shared = SharedTexts()
    numbers = [shared.number(text) for text in texts]
    assert [shared.texts[i] for i in numbers] == [text or "" for text in texts]
    assert len(shared.texts) == len(set(shared.texts))
