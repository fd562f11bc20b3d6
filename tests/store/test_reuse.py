from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from xnas_ray.store.reuse import ReuseIndex
from xnas_ray.store.writer import StoreWriter

IDENTITY = {"task_hash": "ab" * 32, "key": "key-1", "recipe_json": '{"lr":0.1}', "fidelity": 3, "train_seed": 1001}


def test_a_training_is_found_by_everything_that_determines_it(make: SimpleNamespace, tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path) as writer:
        writer.append([make.trial(writer, n) for n in range(3)])
    index = ReuseIndex(tmp_path)
    row = index.find(**IDENTITY)
    assert row is not None
    assert (row["search_id"], row["trial"], row["metric_val_accuracy"]) == (make.search_id(0), 1, 0.125)
    assert row["genotype"] == [1, 1, 2] and row["environment"] == "{}"
    others = {"task_hash": "cd", "key": "key-2", "recipe_json": "{}", "fidelity": 4, "train_seed": 1}
    assert [index.find(**(IDENTITY | {name: value})) for name, value in others.items()] == [None] * 5


def test_only_completed_trials_count_and_originals_before_copies(make: SimpleNamespace, tmp_path: Path) -> None:
    index = ReuseIndex(tmp_path, max_age_s=0)
    assert index.find(**IDENTITY) is None
    with StoreWriter.open(tmp_path) as writer:
        writer.append(make.trial(writer, 1, status="failed", metrics={}))
        writer.commit()
        assert index.find(**IDENTITY) is None
        writer.append(make.trial(writer, 1, search=1, reused_from=f"{make.search_id(2)}/1"))
        writer.commit()
        row = index.find(**IDENTITY)
        assert row is not None and row["search_id"] == make.search_id(1)
        writer.append(make.trial(writer, 1, search=2))
        writer.commit()
        row = index.find(**IDENTITY)
        assert row is not None and row["search_id"] == make.search_id(2)


def test_each_part_is_read_once(make: SimpleNamespace, tmp_path: Path, monkeypatch) -> None:
    index = ReuseIndex(tmp_path, max_age_s=0)
    read: list[int] = []
    add = ReuseIndex._add
    monkeypatch.setattr(ReuseIndex, "_add", lambda self, table: (read.append(table.num_rows), add(self, table)))
    with StoreWriter.open(tmp_path) as writer:
        for n in range(20):
            writer.append(make.trial(writer, n))
            writer.commit()
            assert index.refresh() == n + 1
        writer.compact(now=0.0, whole=True)
        assert index.refresh() == 20  # the merged part has nothing new
        writer.compact(now=1000.0)
        writer.append(make.trial(writer, 20))
        writer.commit()
        assert index.refresh() == 21
    assert read == [1] * 21
    assert index.find(**IDENTITY) is not None
    assert ReuseIndex(tmp_path).refresh() == 21


def test_looks_are_rare_unless_asked_for(make: SimpleNamespace, tmp_path: Path) -> None:
    index = ReuseIndex(tmp_path, max_age_s=1000)
    assert index.find(**IDENTITY) is None
    with StoreWriter.open(tmp_path) as writer:
        writer.append(make.trial(writer, 1))
    assert index.find(**IDENTITY) is None
    assert index.refresh() == 1 and index.find(**IDENTITY) is not None
