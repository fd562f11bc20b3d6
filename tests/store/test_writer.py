from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.errors import StoreError
from xnas_ray.store import load_curves, load_explanations, load_log, load_trials
from xnas_ray.store.rows import curve_rows
from xnas_ray.store.writer import StoreWriter


def test_a_commit_writes_one_part_a_table_and_search(make: SimpleNamespace, tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path) as writer:
        for search in (0, 1):
            writer.append(make.submitted(writer, search=search))
            for n in range(5):
                writer.append([make.asked(writer, n, search=search), make.trial(writer, n, search=search)])
        assert writer.pending_rows() == 22
        assert writer.commit() == 22
        assert (writer.pending_rows(), writer.commit()) == (0, 0)
    counts = {str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("part-*.parquet")}
    assert len(counts) == len(list(tmp_path.rglob("part-*.parquet"))) == 5
    assert load_trials(tmp_path, make.search_id(1))["trial"].tolist() == [0, 1, 2, 3, 4]


def test_only_parts_are_in_the_folders_of_tables(make: SimpleNamespace, tmp_path: Path) -> None:
    """DuckDB and polars fail on anything else there."""
    with StoreWriter.open(tmp_path) as writer:
        for n in range(40):
            writer.append(make.trial(writer, n))
            writer.commit()
        writer.compact()
    files = [path for path in (tmp_path / "trials").rglob("*") if path.is_file()]
    assert len(files) == 41 and all(path.match("part-*.parquet") for path in files)


def test_if_one_row_is_refused_none_is_appended(make: SimpleNamespace, tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path) as writer:
        with pytest.raises(StoreError):
            writer.append([make.trial(writer, 0), make.trial(writer, 2**31)])
        assert writer.pending_rows() == 0


def test_a_metric_keeps_its_spelling_within_a_search(make: SimpleNamespace, tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path) as writer:
        writer.append(make.trial(writer, 0, metrics={"Accuracy": 0.5}))
        with pytest.raises(StoreError, match="'Accuracy' already"):
            writer.append(make.trial(writer, 1, metrics={"accuracy": 0.5}))
        writer.append(make.trial(writer, 1, search=1, metrics={"accuracy": 0.5}))


def test_a_closed_writer_takes_nothing(make: SimpleNamespace, tmp_path: Path) -> None:
    writer = StoreWriter.open(tmp_path)
    writer.append(make.trial(writer, 0))
    writer.close()
    writer.close()
    assert len(load_trials(tmp_path)) == 1
    for action in (lambda: writer.append(make.trial(writer, 1)), writer.commit, writer.heartbeat, writer.compact):
        with pytest.raises(StoreError, match="closed"):
            action()


def test_an_error_inside_the_block_still_gives_the_store_back(make: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), StoreWriter.open(tmp_path) as writer:
        writer.append(make.trial(writer, 0))
        raise ZeroDivisionError
    StoreWriter.open(tmp_path).close()
    assert len(load_trials(tmp_path)) == 1


def test_threads_append_while_others_commit(make: SimpleNamespace, tmp_path: Path) -> None:
    """Whatever was appended before a commit was called is durable when it returns."""
    writer = StoreWriter.open(tmp_path)
    broken: list[int] = []

    def work(first: int) -> None:
        for n in range(first, first + 40):
            writer.append(make.trial(writer, n))
            if n % 8 == 0:
                writer.commit()
                if n not in set(load_trials(tmp_path, columns=["trial"])["trial"]):
                    broken.append(n)

    threads = [threading.Thread(target=work, args=(1000 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    frame = load_trials(tmp_path)
    assert broken == []
    assert sorted(frame["trial"]) == [1000 * k + n for k in range(4) for n in range(40)]
    assert frame["seq"].is_unique and frame["seq"].is_monotonic_increasing


@settings(deadline=None, max_examples=15)
@given(
    st.lists(
        st.tuples(st.sampled_from(["commit", "compact", "whole", "delete", "reopen"]), st.integers(0, 4)),
        max_size=12,
    )
)
def test_any_order_of_commits_and_compactions_keeps_every_row(
    make: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    root = tmp_path_factory.mktemp("store")
    writer, count, later_s = StoreWriter.open(root), 0, make.now_s
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xnas_ray.store.compaction.FAN_IN", 2)
        for action, rows in steps:
            for count in range(count + 1, count + 1 + rows):  # noqa: B020
                writer.append([make.asked(writer, count), make.trial(writer, count, metrics={f"m{count % 3}": count})])
            writer.commit()
            if action == "reopen":
                writer.close()
                writer = StoreWriter.open(root)
            elif action != "commit":
                later_s += 1000 if action == "delete" else 1
                assert writer.compact(now=later_s, whole=action == "whole").problems == []
            frame = load_trials(root)
            assert frame["trial"].tolist() == list(range(1, count + 1))
            assert [row[f"metric_m{row['trial'] % 3}"] for row in frame.to_dict("records")] == frame["trial"].tolist()
            assert count == 0 or load_log(root, make.search_id(0))["trial"].tolist() == frame["trial"].tolist()
    writer.close()


# ---- curves and explanations ----------------------------------------------------------------------------------------


def test_curves(make: SimpleNamespace, tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path) as writer:
        first = [{"epoch": 1, "loss": 0.9}, {"epoch": 2, "loss": 0.8}]
        writer.append(curve_rows(make.search_id(0), 3, (1, 0), first))
        writer.commit()
        writer.append(curve_rows(make.search_id(0), 3, (1, 0), first))  # sent again
        writer.append(curve_rows(make.search_id(0), 3, (1, 1), [{"epoch": 2, "loss": 0.7}, {"epoch": 3, "loss": 0.6}]))
    frame = load_curves(tmp_path, make.search_id(0))
    assert frame[["trial", "epoch", "metric", "value"]].values.tolist() == [
        [3, 1, "loss", 0.9],
        [3, 2, "loss", 0.7],
        [3, 3, "loss", 0.6],
    ]
    assert load_curves(tmp_path, all_attempts=True)["value"].tolist() == [0.9, 0.8, 0.7, 0.6]


def test_the_newest_explanations_count(make: SimpleNamespace, tmp_path: Path) -> None:
    one, other = make.search_id(0), make.search_id(1)
    with StoreWriter.open(tmp_path) as writer:
        writer.append_explanation("motifs", one, pd.DataFrame({"motif": ["a", "a"], "score": [1, 1]}))
        writer.commit()
        writer.append_explanation("motifs", one, pd.DataFrame({"motif": ["b", "b"], "score": [2.5, None]}))
        writer.append_explanation("motifs", other, pa.table({"search_id": [other], "motif": ["c"]}))
        assert writer.pending_rows() == 3
        assert writer.commit() == 3
        for _ in range(2):
            frame = load_explanations(tmp_path, "motifs")
            assert frame["search_id"].tolist() == [one, one, other]
            assert frame["motif"].tolist() == ["b", "b", "c"]
            assert not [name for name in frame if name.startswith("written_")]
            writer.compact(whole=True)


def test_explanations_of_trials_replace_those_of_the_same_trial(make: SimpleNamespace, tmp_path: Path) -> None:
    one = make.search_id(0)
    with StoreWriter.open(tmp_path) as writer:
        for trial, depth in ((0, 1), (1, 2), (0, 3)):
            frame = pd.DataFrame({"trial": [trial] * 2, "depth": [depth] * 2, "note": [None, f"n{depth}"]})
            writer.append_explanation("trees", one, frame)
            writer.commit()
        writer.append_explanation("trees", one, pd.DataFrame({"trial": [2], "depth": ["deep"]}))  # another type
        writer.commit()
        assert load_explanations(tmp_path, "trees", one)[["trial", "depth"]].values.tolist() == [
            [1, 2],
            [1, 2],
            [0, 3],
            [0, 3],
            [2, "deep"],
        ]


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"written_seq": [1]}),
        pd.DataFrame({"A": [1], "a": [2]}),
        pd.DataFrame({"search_id": ["another"]}),
        pd.DataFrame({"mixed": [1, "x", object()]}),
    ],
)
def test_tables_that_cannot_be_kept_are_refused(make: SimpleNamespace, tmp_path: Path, table: pd.DataFrame) -> None:
    with StoreWriter.open(tmp_path) as writer:
        with pytest.raises(StoreError, match="explanations/motifs"):
            writer.append_explanation("motifs", make.search_id(0), table)
        for kind, search_id in (("../motifs", make.search_id(0)), ("motifs", "..")):
            with pytest.raises(StoreError):
                writer.append_explanation(kind, search_id, pd.DataFrame({"a": [1]}))


def test_an_index_with_a_meaning_is_kept(make: SimpleNamespace, tmp_path: Path) -> None:
    frame = pd.DataFrame({"score": [1.0, 2.0]}, index=pd.Index(["a", "b"], name="motif"))
    with StoreWriter.open(tmp_path) as writer:
        writer.append_explanation("motifs", make.search_id(0), frame)
    assert load_explanations(tmp_path, "motifs")["motif"].tolist() == ["a", "b"]


# ---- imports --------------------------------------------------------------------------------------------------------


def test_importing_the_store_imports_nothing_heavy() -> None:
    code = (
        "import sys, xnas_ray.store\n"
        "assert not {'pyarrow', 'pandas', 'numpy'} & set(sys.modules)\n"
        "from xnas_ray.store import load_trials, load_curves, list_searches, StoreWriter\n"
        "import xnas_ray.store.replay, xnas_ray.store.reuse\n"
        "assert not {'pandas', 'torch', 'ray'} & set(sys.modules), sorted(sys.modules)\n"
        "assert set(xnas_ray.store.__all__) == set(xnas_ray.store._HOME)\n"
        "assert all(hasattr(xnas_ray.store, name) for name in xnas_ray.store.__all__)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
