"""The snippets of results/README.md do what the page says, on a store with every reason for them."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pandas as pd
import pytest

from xnas_ray.store import load_trials, schema
from xnas_ray.store.writer import StoreWriter

README = Path(__file__).parents[2] / "results" / "README.md"


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def store(make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two searches; merged parts beside the replaced ones; a metric that came later; a row written twice."""
    root = tmp_path / "results"
    with StoreWriter.open(root) as writer:
        for search in (0, 1):
            writer.append(make.submitted(writer, search=search))
            for n in range(6):
                extra = {"f.lops": float(n)} if n > 2 else {}
                writer.append(make.trial(writer, n, search=search, metrics={"val_accuracy": n / 8, **extra}))
                writer.commit()
        writer.append(make.trial(writer, 9, status="failed", metrics={}))
        writer.append(make.trial(writer, 3, metrics={"val_accuracy": 0.875}))
        writer.commit()
        writer.compact(whole=True)
    monkeypatch.chdir(tmp_path)
    return root


def same(frame: pd.DataFrame, expected: pd.DataFrame) -> bool:
    return frame.values.tolist() == expected[list(frame)].values.tolist()


def test_pandas(make: SimpleNamespace, store: Path) -> None:
    names: dict[str, pd.DataFrame] = {}
    exec(snippets("python")[0], names)
    assert names["trials"]["search_id"].unique().tolist() == [make.search_id(1)]
    assert names["best"]["trial"].tolist() == [5, 4, 3, 2, 1]
    assert len(names["searches"]) == 2 and names["curves"].empty


def test_duckdb(store: Path) -> None:
    found = duckdb.sql(snippets("sql")[0]).df()
    expected = load_trials(store)
    assert len(found) == 12 and same(found, expected[expected["status"] == "completed"])


def test_polars(store: Path) -> None:
    names: dict = {}
    exec(snippets("python")[1], names)
    found = names["trials"].select("search_id", "trial", "metric_val_accuracy", "metric_f.lops")
    expected = load_trials(store)[["search_id", "trial", "metric_val_accuracy", "metric_f.lops"]]
    assert len(found) == 13
    assert found.to_pandas().fillna(-1).values.tolist() == expected.fillna(-1).values.tolist()


def test_pandas_alone_reads_the_folder(make: SimpleNamespace, store: Path) -> None:
    frame = pd.read_parquet("results/trials")
    assert set(frame["search_id"]) == {make.search_id(0), make.search_id(1)}


def test_the_page_names_every_column() -> None:
    words = set(re.findall(r"\w+", README.read_text(encoding="utf-8")))
    for table in (schema.TRIALS, schema.EXPLANATIONS):
        assert set(table.schema.names) <= words
    for table in (schema.TRIALS, schema.LOG, schema.SEARCHES, schema.CURVES):
        assert set(table.key) <= words and table.name in words
