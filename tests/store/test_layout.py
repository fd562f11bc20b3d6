from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.errors import StoreError
from xnas_ray.store.layout import Layout

HOSTILE = [
    "..",
    "../x",
    "/etc",
    "a/b",
    "",
    ".",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV/..",
    "01ARZ3NDEKTSV4RRFFQ69G5FA\n",
    "é" * 26,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_could_leave_the_root_are_refused(tmp_path: Path, name: str) -> None:
    layout = Layout(tmp_path)
    for path_of in (
        lambda: layout.table("trials", name),
        lambda: layout.table(f"explanations/{name}"),
        lambda: layout.artifacts(name, 0, (1, 0)),
        lambda: layout.task(name),
    ):
        with pytest.raises(StoreError):
            path_of()


@settings(deadline=None)
@given(st.text(max_size=40))
def test_every_path_is_inside(name: str) -> None:
    layout = Layout("/store")
    for path_of in (layout.task, lambda n: layout.table("trials", n), lambda n: layout.table(f"explanations/{n}")):
        try:
            path = path_of(name)
        except StoreError:
            continue
        assert ".." not in path.parts and path.is_relative_to("/store") and path != Path("/store")


def test_paths(tmp_path: Path) -> None:
    layout, one = Layout(tmp_path), "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    assert layout.table("trials", one) == tmp_path / "trials" / f"search_id={one}"
    assert layout.table("explanations/motifs", one) == tmp_path / "explanations" / "motifs" / f"search_id={one}"
    assert layout.artifacts(one, 7, (2, 1)) == tmp_path / "artifacts" / one / "7" / "2-1"
    with pytest.raises(StoreError):
        layout.artifacts(one, -1, (1, 0))


def test_artifacts_are_named_relative_to_the_root(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "store")
    (tmp_path / "store").mkdir()
    assert layout.relative(tmp_path / "store" / "artifacts" / "x") == "artifacts/x"
    assert layout.inside("artifacts/x") == tmp_path / "store" / "artifacts" / "x"
    (tmp_path / "store" / "link").symlink_to("/etc")
    for outside in ("../other", "/etc/passwd", "link/passwd"):
        with pytest.raises(StoreError, match="outside"):
            layout.inside(outside)


def test_searches_of_a_table(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert layout.search_ids("trials") == []
    for name in (
        "search_id=01ARZ3NDEKTSV4RRFFQ69G5FAW",
        "search_id=01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "search_id=..x",
        "other",
    ):
        (tmp_path / "trials" / name).mkdir(parents=True)
    assert layout.search_ids("trials") == ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAW"]
