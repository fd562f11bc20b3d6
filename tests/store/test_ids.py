from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.store.ids import is_search_id, new_search_id, normalised


@settings(deadline=None)
@given(st.lists(st.floats(0, 2**47 / 1000), min_size=2, max_size=50))
def test_ids_strictly_increase_whatever_the_clock_does(times_s: list[float]) -> None:
    ids = [new_search_id(t) for t in times_s]
    assert ids == sorted(set(ids))
    assert all(map(is_search_id, ids))


def test_the_first_ten_characters_are_the_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xnas_ray.store.ids._last", 0)
    assert new_search_id(1469918176.3855)[:10] == "01ARYZ6S41"  # the example in the ULID specification


@pytest.mark.parametrize(
    "text", ["", "01ARZ3NDEKTSV4RRFFQ69G5FA", "81ARZ3NDEKTSV4RRFFQ69G5FAV", "../../../../etc/passwd\0abc"]
)
def test_other_texts_are_no_ids(text: str) -> None:
    assert not is_search_id(text)


def test_what_people_type_is_read() -> None:
    assert normalised(" o1il ") == "0111"
