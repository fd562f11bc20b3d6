from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from xnas_ray.errors import SearchNotFoundError, StoreError
from xnas_ray.store import (
    list_searches,
    load_curves,
    load_explanations,
    load_log,
    load_spec,
    load_trials,
    resolve_search_id,
)
from xnas_ray.store.parts import PartFile, list_parts
from xnas_ray.store.writer import StoreWriter


@pytest.fixture
def root(make: SimpleNamespace, tmp_path: Path) -> Path:
    """Two searches, the second one ended; the trials of the first in two parts, a metric more in the later."""
    with StoreWriter.open(tmp_path) as writer:
        for search in (0, 1):
            writer.append([make.submitted(writer, search=search), make.trial(writer, 0, search=search)])
        writer.append(make.trial(writer, 1, status="failed", metrics={}, attempt=None, failure_kind="nan", genotype=()))
        writer.commit()
        writer.append(make.trial(writer, 2, metrics={"val_accuracy": 0.25, "flops": 7.0}))
        writer.append(make.transition(writer, "running", 5, reason="started"))
        writer.append(make.transition(writer, "finished", 9, search=1, summary='{"trials": 1, "best": 0.5}'))
    return tmp_path


def test_trials(make: SimpleNamespace, root: Path) -> None:
    frame = load_trials(root, make.search_id(0))
    assert frame["trial"].tolist() == [0, 1, 2]
    assert frame["genotype"].tolist() == [(0, 1, 2), (), (2, 1, 2)]
    assert frame["metric_flops"].isna().tolist() == [True, True, False]
    assert frame["attempt"].fillna(-1).tolist() == [0, -1, 0] and str(frame["attempt"].dtype) == "Int32"
    assert frame["asked_at"].iloc[2].timestamp() == make.now_s + 2
    assert frame["recipe"].tolist() == ['{"lr":0.1}'] * 3
    assert len(load_trials(root)) == 4


def test_columns_are_chosen(make: SimpleNamespace, root: Path) -> None:
    frame = load_trials(root, columns=["metric_flops", "search_id"])
    assert list(frame) == ["metric_flops", "search_id"]
    assert frame["metric_flops"].dropna().tolist() == [7.0]
    with pytest.raises(StoreError, match="Did you mean 'metric_flops'"):
        load_trials(root, columns=["metric_flop"])


def test_metrics_of_a_search_in_which_none_completed_yet(make: SimpleNamespace, tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path) as writer:
        writer.append(make.trial(writer, 0, status="failed", metrics={}))
    assert load_trials(tmp_path, columns=["trial", "metric_val_accuracy"]).isna().values.tolist() == [[False, True]]
    with pytest.raises(StoreError, match="Did you mean 'status'"):
        load_trials(tmp_path, columns=["stats", "metric_val_accuracy"])


def test_a_search_without_rows_gives_typed_empty_frames(make: SimpleNamespace, tmp_path: Path) -> None:
    assert list_searches(tmp_path).empty and load_trials(tmp_path).empty
    with StoreWriter.open(tmp_path) as writer:
        writer.append(make.submitted(writer))
    frame = load_trials(tmp_path, make.search_id(0))
    assert frame.empty and "genotype" in frame and str(frame["seq"].dtype) == "int64"
    assert load_log(tmp_path, "latest").empty and load_curves(tmp_path, "latest").empty
    assert list(load_trials(tmp_path, "latest", columns=["trial"])) == ["trial"]


def test_the_list_of_searches_reads_one_table(make: SimpleNamespace, root: Path) -> None:
    for folder in ("trials", "log"):
        (root / folder).mkdir(exist_ok=True)
        (root / folder).rename(root / f"{folder}-hidden")
    frame = list_searches(root)
    assert frame["search_id"].tolist() == [make.search_id(0), make.search_id(1)]
    assert frame["state"].tolist() == ["running", "finished"]
    assert frame["reason"].tolist() == ["started", ""]
    assert frame["name"].tolist() == ["search-0", "search-1"]
    assert frame["idempotency_key"].tolist() == ["key-0", "key-1"]
    assert [t.timestamp() - make.now_s for t in frame["updated_at"]] == [5, 9]
    assert frame["summary_best"].dropna().tolist() == [0.5]
    assert load_spec(root, "latest")["name"] == "search-1"


def test_prefixes(make: SimpleNamespace, root: Path) -> None:
    whole = make.search_id(1)
    assert resolve_search_id(root, whole) == resolve_search_id(root, "latest") == whole
    assert resolve_search_id(root, whole.lower().replace("0", "o")) == whole
    with pytest.raises(SearchNotFoundError, match="2 searches start"):
        resolve_search_id(root, whole[:-1])
    with pytest.raises(SearchNotFoundError, match="too short"):
        resolve_search_id(root, "01A")
    with pytest.raises(SearchNotFoundError, match=f"Did you mean '{whole}'"):
        load_trials(root, whole[:-1] + "Z")
    with pytest.raises(SearchNotFoundError, match="there is no search in"):
        resolve_search_id(root / "elsewhere", "latest")


def test_a_damaged_part_is_named_with_the_fix(make: SimpleNamespace, root: Path) -> None:
    folder = root / "trials" / f"search_id={make.search_id(0)}"
    part = folder / str(list_parts(folder)[0])
    whole = part.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:-1], bytes(len(whole)), whole[:40] + bytes(99) + whole[139:]):
        part.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"move it out of the store") as error:
            load_trials(root)
        assert str(part) in str(error.value)
    with pytest.raises(StoreError, match="cannot be read"):
        load_trials(root, make.search_id(0))
    assert len(load_trials(root, make.search_id(1))) == 1
    assert len(list_searches(root)) == 2


def test_parts_that_vanish_while_they_are_read_are_looked_for_again(
    make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = StoreWriter.open(tmp_path)
    for n in range(20):
        writer.append(make.trial(writer, n))
        writer.commit()
    opened = PartFile.__init__
    compactions = iter([0.0, 10_000.0])

    def open_later(self: PartFile, path: Path) -> None:
        if monkeypatch and (now_s := next(compactions, None)) is not None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(PartFile, "__init__", opened)
                writer.compact(now=now_s, whole=True)
        opened(self, path)

    monkeypatch.setattr(PartFile, "__init__", open_later)
    assert load_trials(tmp_path)["trial"].tolist() == list(range(20))
    assert len(list_parts(tmp_path / "trials" / f"search_id={make.search_id(0)}")) == 1


def test_explanations_that_nobody_wrote(root: Path) -> None:
    with pytest.raises(StoreError, match="no explanations"):
        load_explanations(root, "motifs")
