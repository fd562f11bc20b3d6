from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from xnas_ray.store import load_trials
from xnas_ray.store.compaction import FAN_IN, KEEP_S
from xnas_ray.store.parts import PartFile, list_parts
from xnas_ray.store.reader import list_searches
from xnas_ray.store.writer import StoreWriter


def folder_of(root: Path, make: SimpleNamespace) -> Path:
    return root / "trials" / f"search_id={make.search_id(0)}"


def fill(writer: StoreWriter, make: SimpleNamespace, first: int, parts: int) -> None:
    for n in range(first, first + parts):
        writer.append(make.trial(writer, n))
        writer.commit()


def levels(folder: Path) -> list[int]:
    return [part.level for part in list_parts(folder)]


def test_nothing_happens_below_the_fan_in(make: SimpleNamespace, tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path) as writer:
        fill(writer, make, 0, FAN_IN - 1)
        report = writer.compact(now=make.now_s)
        assert (report.merged, report.written, report.deleted) == (0, 0, 0)


def test_replaced_parts_stay_ten_minutes(make: SimpleNamespace, tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path) as writer:
        fill(writer, make, 0, FAN_IN)
        first = writer.compact(now=make.now_s)
        assert (first.merged, first.written, first.deleted) == (FAN_IN, 1, 0)
        assert levels(folder_of(tmp_path, make)) == [0] * FAN_IN + [1]
        assert writer.compact(now=make.now_s + KEEP_S - 1).deleted == 0
        assert writer.compact(now=make.now_s + KEEP_S).deleted == FAN_IN
        assert levels(folder_of(tmp_path, make)) == [1]
    assert load_trials(tmp_path)["trial"].tolist() == list(range(FAN_IN))


def test_parts_are_merged_level_by_level(
    make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xnas_ray.store.compaction.FAN_IN", 3)
    with StoreWriter.open(tmp_path) as writer:
        written = 0
        for round_number in range(9):
            fill(writer, make, 3 * round_number, 3)
            written += writer.compact(now=make.now_s + round_number).written
        assert written == 9 + 3 + 1
        top = list_parts(folder_of(tmp_path, make))[-1]
        footer = PartFile(folder_of(tmp_path, make) / str(top)).footer
        assert top.level == 3 and len(footer.replaces) == 27 + 9 + 3  # also what its parts had replaced
        assert writer.compact(now=make.now_s + 8 + KEEP_S).deleted == 39
        assert levels(folder_of(tmp_path, make)) == [3]
    assert load_trials(tmp_path)["trial"].tolist() == list(range(27))


def test_an_ended_search_becomes_one_part_a_table(make: SimpleNamespace, tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path) as writer:
        fill(writer, make, 0, 5)
        writer.append(make.trial(writer, 0, search=1))
        writer.commit()
        assert writer.compact(make.search_id(0), now=make.now_s, whole=True).written == 1
        again = writer.compact(now=make.now_s + KEEP_S, whole=True)
        assert (again.written, again.deleted) == (0, 5)


def test_another_writer_goes_on_where_one_stopped(make: SimpleNamespace, tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path) as writer:
        fill(writer, make, 0, FAN_IN)
        writer.compact(now=make.now_s)
    with StoreWriter.open(tmp_path) as writer:
        report = writer.compact(now=make.now_s + KEEP_S)
        assert (report.merged, report.deleted) == (0, FAN_IN)


def test_of_two_rows_of_a_trial_the_last_counts(make: SimpleNamespace, tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path) as writer:
        fill(writer, make, 0, 2)
    with StoreWriter.open(tmp_path) as writer:
        writer.append(make.trial(writer, 0, metrics={"val_accuracy": 0.75}))
        writer.commit()
        for _ in range(2):
            frame = load_trials(tmp_path)
            assert frame[["trial", "epoch", "metric_val_accuracy"]].values.tolist() == [[1, 1, 0.125], [0, 2, 0.75]]
            writer.compact(now=make.now_s, whole=True)


def test_large_parts_are_left_alone(make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with StoreWriter.open(tmp_path) as writer:
        fill(writer, make, 0, 4)
        size = max(path.stat().st_size for path in folder_of(tmp_path, make).iterdir())
        monkeypatch.setattr("xnas_ray.store.compaction._MOST_BYTES", 3 * size)
        report = writer.compact(now=make.now_s, whole=True)
        assert report.written >= 1 and load_trials(tmp_path)["trial"].tolist() == [0, 1, 2, 3]
        monkeypatch.setattr("xnas_ray.store.compaction._MOST_BYTES", size)
        assert writer.compact(now=make.now_s, whole=True).written == 0


def test_a_damaged_part_stops_only_its_folder(make: SimpleNamespace, tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path) as writer:
        fill(writer, make, 0, 3)
        for n in range(3):
            writer.append(make.trial(writer, n, search=1))
            writer.commit()
        damaged = folder_of(tmp_path, make) / str(list_parts(folder_of(tmp_path, make))[1])
        damaged.write_bytes(b"PAR1")
        report = writer.compact(now=make.now_s, whole=True)
        assert report.written == 1 and len(report.problems) == 1 and str(damaged) in report.problems[0]


def test_the_table_of_searches_is_compacted_alone(make: SimpleNamespace, tmp_path: Path) -> None:
    """Every listing reads it, and each transition is a part."""
    with StoreWriter.open(tmp_path) as writer:
        for n in range(2 * FAN_IN):
            writer.append([make.submitted(writer, search=n), make.trial(writer, n)])
            writer.commit()
        before = list_searches(tmp_path)
        report = writer.compact_searches(now=make.now_s)
        assert (report.merged, report.written) == (2 * FAN_IN, 1)
        assert levels(tmp_path / "searches") == [0] * 2 * FAN_IN + [1]
        assert levels(folder_of(tmp_path, make)) == [0] * 2 * FAN_IN
        assert list_searches(tmp_path).equals(before) and len(before) == 2 * FAN_IN
        assert writer.compact_searches(now=make.now_s + KEEP_S).deleted == 2 * FAN_IN
        assert list_searches(tmp_path).equals(before)
