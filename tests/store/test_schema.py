from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xnas_ray.errors import StoreError
from xnas_ray.store import load_trials, schema
from xnas_ray.store.parts import PartFile, list_parts
from xnas_ray.store.writer import StoreWriter

ALL = [schema.TRIALS, schema.LOG, schema.SEARCHES, schema.CURVES, schema.EXPLANATIONS]


@pytest.mark.parametrize("table", ALL, ids=lambda t: t.name)
def test_keys_and_orders_are_columns(table: schema.Table) -> None:
    assert {*table.key, *table.order} <= set(table.schema.names)
    assert len(set(table.schema.names)) == len(table.schema.names)
    assert schema.table_of(table.name) is table


def test_conform_fills_casts_and_orders() -> None:
    found = schema.conform(
        pa.table({"metric_b": [1.0], "seq": pa.array([4], pa.int32()), "junk": [1], "metric_a": [2.0]}), schema.TRIALS
    )
    assert found.column_names == [*schema.TRIALS.schema.names, "metric_a", "metric_b"]
    assert found.schema.types[: len(schema.TRIALS.schema)] == schema.TRIALS.schema.types
    assert (found.column("seq").to_pylist(), found.column("worker").to_pylist()) == ([4], [None])
    assert schema.conform(found, schema.TRIALS, ["metric_b", "seq"]).column_names == ["seq", "metric_b"]


def test_a_store_of_an_older_version_is_read(
    make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 2 renames ``worker`` to ``worker_name`` and counts ``fidelity`` in steps; version 3 changes nothing."""
    with StoreWriter.open(tmp_path) as writer:
        writer.append([make.submitted(writer), make.trial(writer, 0, worker="w1"), make.trial(writer, 1, worker=None)])

    def rename(table: pa.Table) -> pa.Table:
        names = ["worker_name" if name == "worker" else name for name in table.column_names]
        steps = pa.compute.multiply(table.column("fidelity"), pa.scalar(100, pa.int32()))
        table = table.set_column(table.column_names.index("fidelity"), "fidelity", steps)
        return table.rename_columns(names)

    fields = [f.with_name("worker_name") if f.name == "worker" else f for f in schema.TRIALS.schema]
    newer = schema.Table("trials", pa.schema(fields), key=("trial",), order=schema.POSITION)
    for module in ("schema", "parts"):
        monkeypatch.setattr(f"xnas_ray.store.{module}.SCHEMA_VERSION", 3)
    monkeypatch.setitem(schema.UPGRADES, ("trials", 1), rename)
    monkeypatch.setattr(schema, "TRIALS", newer)

    frame = load_trials(tmp_path, columns=["trial", "worker_name", "fidelity"])
    assert frame.fillna("-").values.tolist() == [[0, "w1", 300], [1, "-", 300]]

    with StoreWriter.open(tmp_path) as writer:  # compaction writes the new version
        report = writer.compact(make.search_id(0), whole=True)
        assert report.problems == []
        writer.append(make.submitted(writer, search=1))
        writer.commit()
        writer.compact(whole=True)
    parts = [tmp_path / "searches" / str(part) for part in list_parts(tmp_path / "searches")]
    assert {PartFile(path).footer.version for path in parts} == {1, 3}


@pytest.mark.parametrize("version", [0, schema.SCHEMA_VERSION + 1])
def test_other_versions_are_refused(version: int) -> None:
    with pytest.raises(StoreError, match="newer xnas-ray"):
        schema.upgrade(pa.table({}), "trials", version)


def test_a_foreign_file_is_named(make: SimpleNamespace, tmp_path: Path) -> None:
    folder = tmp_path / "trials" / f"search_id={make.search_id(0)}"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"trial": [1]}), folder / "part-0-000001-00000001.parquet")
    with pytest.raises(StoreError, match=r"part-0-000001-00000001\.parquet was not written by xnas-ray"):
        load_trials(tmp_path)
