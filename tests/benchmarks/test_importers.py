"""Official benchmark files, made small: their values come out right, and hostile or damaged ones are refused."""

from __future__ import annotations

import base64
import bz2
import collections
import json
import math
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from xnas_ray.benchmarks.importers import detect_kind, import_table
from xnas_ray.benchmarks.table import TabularTask
from xnas_ray.benchmarks.tfrecord import checksums
from xnas_ray.errors import DataMissingError, TableError, UnknownNameError
from xnas_ray.spaces.nasbench201 import NASBench201

SPACE = NASBench201()
TEXTS = [SPACE.format(genotype) for genotype in ((0,) * 6, (1,) * 6, (3,) * 6)]
SETS = {"cifar10-valid": ["x-valid", "ori-test"], "cifar10": ["ori-test"], "cifar100": ["x-valid", "x-test"]}


def trial(index: int, dataset: str, seed: int, epochs: int, *, as_numpy: bool = False) -> dict[str, Any]:
    """The state of the official ``ResultsCount``."""
    number = np.float64 if as_numpy else float
    accuracies = {
        f"{name}@{epoch}": number(10 * index + seed / 1000 + epoch + (100 if name == "x-valid" else 0))
        for name in SETS[dataset]
        for epoch in range(epochs)
    }
    return {
        "name": "infer.tiny",
        "net_state_dict": None,
        "train_acc1es": collections.OrderedDict((e, 50.0) for e in range(epochs)),
        "train_acc5es": None,
        "train_losses": collections.OrderedDict((e, 1.0) for e in range(epochs)),
        "train_times": collections.OrderedDict((e, number(2.0 + index)) for e in range(epochs)),
        "arch_config": {"channel": 16, "num_cells": 5, "arch_str": TEXTS[index], "class_num": 10},
        "params": number(0.1 * (index + 1)),
        "flop": 5.0 * (index + 1),
        "seed": seed,
        "epochs": epochs,
        "latency": [0.01, 0.03] if index else [],
        "eval_names": SETS[dataset],
        "eval_acc1es": accuracies,
        "eval_losses": dict(accuracies),
        "eval_times": dict(accuracies),
    }


def results(index: int, epochs: int, seeds: tuple[int, ...] = (777, 888), **kinds: bool) -> dict[str, Any]:
    """The state of the official ``ArchResults``."""
    return {
        "arch_index": index,
        "arch_str": TEXTS[index],
        "all_results": {(d, s): trial(index, d, s, epochs, **kinds) for d in SETS for s in seeds},
        "dataset_seed": {d: list(seeds) for d in SETS},
        "clear_net_done": True,
    }


def archive(names: dict[str, int], **kinds: bool) -> dict[str, Any]:
    return {
        "meta_archs": TEXTS,
        "arch2infos": {i: {name: results(i, e, **kinds) for name, e in names.items()} for i in (2, 0, 1)},
        "evaluated_indexes": {0, 1, 2},
    }


def check_rows(path: Path, short: str = "12", long: str = "200") -> None:
    """The values that ``trial`` makes: means over the seeds 777 and 888 at the last epoch."""
    table = pq.read_table(path).to_pylist()
    assert [row["arch"] for row in table] == TEXTS
    assert [row["index"] for row in table] == [0, 1, 2]
    for index, row in enumerate(table):
        seeds = (777 + 888) / 2000
        for name, epochs in ((short, 3), (long, 5)):
            assert row[f"cifar10_val_{name}"] == pytest.approx(10 * index + seeds + epochs - 1 + 100)
            assert row[f"cifar10_test_{name}"] == pytest.approx(10 * index + seeds + epochs - 1)
            assert row[f"cifar100_test_{name}"] == pytest.approx(10 * index + seeds + epochs - 1)
            assert row[f"cifar10_train_time_s_{name}"] == pytest.approx(epochs * (2 + index))
            assert math.isnan(row[f"imagenet16_val_{name}"])
        assert row["params_m"] == pytest.approx(0.1 * (index + 1))
        assert row["flops_m"] == 5.0 * (index + 1)
        assert math.isnan(row["latency_ms"]) if index == 0 else row["latency_ms"] == pytest.approx(20.0)


def save_pbz2(path: Path, value: Any, protocol: int = 4) -> Path:
    with bz2.open(path, "wb") as file:
        pickle.dump(value, file, protocol=protocol)
    return path


# ---- NAS-Bench-201 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("as_numpy", [False, True])
def test_nasbench201_file(tmp_path: Path, zipped: bool, as_numpy: bool):
    torch = pytest.importorskip("torch")
    source = tmp_path / "NAS-Bench-201-v1_1-096897.pth"
    torch.save(archive({"less": 3, "full": 5}, as_numpy=as_numpy), source, _use_new_zipfile_serialization=zipped)
    report = import_table(source, None, tmp_path / "out" / "table.parquet")
    assert (report.kind, report.rows, report.incomplete) == ("nasbench201", 3, 3)
    check_rows(report.out)
    assert report.columns == tuple(pq.read_schema(report.out).names)
    task = TabularTask.from_parquet(report.out, objectives={"val_accuracy": "cifar10_val_200"})
    assert task.lookup((3,) * 6).metrics["val_accuracy"] == pytest.approx(124.8325)


def test_nasbench201_folder_with_weights(tmp_path: Path):
    torch = pytest.importorskip("torch")
    folder = tmp_path / "NAS-Bench-201-v1_1-archive"
    folder.mkdir()
    for index in range(3):
        entry = {"full": results(index, 5), "less": results(index, 3)}
        for state in entry["full"]["all_results"].values():
            state["net_state_dict"] = {"stem.0.weight": torch.ones(2)}
        torch.save(entry, folder / f"{index:06d}-FULL.pth")
    check_rows(import_table(folder, None, tmp_path / "t.parquet").out)


# ---- NATS-Bench ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("as_numpy", [False, True])
def test_natsbench_file(tmp_path: Path, protocol: int, as_numpy: bool):
    source = tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2"
    save_pbz2(source, archive({"12": 3, "200": 5}, as_numpy=as_numpy), protocol)
    report = import_table(source, None, tmp_path / "t.parquet")
    assert report.kind == "natsbench"
    check_rows(report.out)


def test_natsbench_simple_folder(tmp_path: Path):
    folder = tmp_path / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    save_pbz2(folder / "meta.pickle.pbz2", {"meta_archs": TEXTS, "evaluated_indexes": {0, 1, 2}})
    for index in range(3):
        save_pbz2(folder / f"{index:06d}.pickle.pbz2", {"12": results(index, 3), "200": results(index, 5)})
    check_rows(import_table(folder, None, tmp_path / "t.parquet").out)
    (folder / "000001.pickle.pbz2").unlink()
    report = import_table(folder, "natsbench", tmp_path / "t.parquet")
    assert (report.rows, pq.read_table(report.out)["index"].to_pylist()) == (2, [0, 2])


def test_natsbench_size_space_and_weights_are_skipped(tmp_path: Path):
    torch = pytest.importorskip("torch")
    state = results(0, 3)
    for one in state["all_results"].values():
        one["net_state_dict"] = collections.OrderedDict(weight=torch.ones(3), scale=torch.nn.Parameter(torch.ones(2)))
    source = save_pbz2(
        tmp_path / "NATS-sss-v1_0-50262.pickle.pbz2",
        {"meta_archs": ["8:16:24:32:64"], "arch2infos": {0: {"90": state}}, "evaluated_indexes": [0]},
    )
    (row,) = pq.read_table(import_table(source, None, tmp_path / "t.parquet").out).to_pylist()
    assert row["arch"] == "8:16:24:32:64"
    assert row["cifar10_test_90"] == pytest.approx(2.8325)


# ---- hostile and damaged ---------------------------------------------------------------------------------------------


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


class GetAttributeBomb(Bomb):
    """Reaches for the same through ``getattr``."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr(os, "system"), (f"touch {self.trace}",)  # noqa: B009


def hostile_pickles(trace: Path) -> list[bytes]:
    """Pickles that run a command when they are loaded by ``pickle.load``."""
    dumped = [
        pickle.dumps({"meta_archs": bomb(trace)}, protocol=p) for bomb in (Bomb, GetAttributeBomb) for p in (0, 2, 4)
    ]
    by_name = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93" + pickle.dumps(f"open({str(trace)!r}, 'w')", protocol=0)[:-1]
    dotted = b"\x80\x04\x8c\x0bcollections\x8c\x1aOrderedDict.fromkeys.__cal\x93)R."
    return [*dumped, by_name + b"\x85R.", dotted]


def test_hostile_pickles_really_are(tmp_path: Path):
    trace = tmp_path / "trace"
    pickle.loads(hostile_pickles(trace)[0])
    assert trace.exists()


def test_hostile_natsbench_files_are_refused_without_executing(tmp_path: Path):
    trace = tmp_path / "trace"
    source, out = tmp_path / "NATS-tss.pickle.pbz2", tmp_path / "t.parquet"
    for hostile in hostile_pickles(trace):
        source.write_bytes(bz2.compress(hostile))
        with pytest.raises(TableError, match="refused, nothing was executed"):
            import_table(source, None, out)
    assert not trace.exists()
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


@pytest.mark.parametrize("zipped", [False, True])
def test_hostile_torch_files_are_refused_without_executing(tmp_path: Path, zipped: bool):
    torch = pytest.importorskip("torch")
    trace, source = tmp_path / "trace", tmp_path / "NAS-Bench-201.pth"
    torch.save({"meta_archs": Bomb(trace)}, source, _use_new_zipfile_serialization=zipped)
    with pytest.raises(TableError, match=r"asks for posix\.system.*nothing in it was executed"):
        import_table(source, None, tmp_path / "t.parquet")
    assert not trace.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.pop("meta_archs"),
        lambda a: a.update(meta_archs=[1, 2, 3]),
        lambda a: a.pop("arch2infos"),
        lambda a: a.update(arch2infos={7: {}}),
        lambda a: a["arch2infos"][1]["12"].pop("all_results"),
        lambda a: a["arch2infos"][1].update({"12": None}),
        lambda a: next(iter(a["arch2infos"][1]["12"]["all_results"].values())).pop("epochs"),
        lambda a: next(iter(a["arch2infos"][1]["12"]["all_results"].values())).update(params="many"),
    ],
)
def test_other_layouts_are_refused(tmp_path: Path, change: Any):
    value = archive({"12": 3})
    change(value)
    source = save_pbz2(tmp_path / "NATS.pickle.pbz2", value)
    with pytest.raises(TableError, match="layout"):
        import_table(source, None, tmp_path / "t.parquet")


def test_damaged_files_are_refused(tmp_path: Path):
    whole = bz2.compress(pickle.dumps(archive({"12": 3})))
    for name, data in (
        ("cut.pickle.pbz2", whole[: len(whole) // 2]),
        ("text.pickle.pbz2", b"no bz2 at all"),
        ("empty.pickle.pbz2", b""),
        ("text.pth", b"no torch file"),
        ("none.pth", b""),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(TableError, match=name.replace(".", r"\.")):
            import_table(tmp_path / name, None, tmp_path / "t.parquet")


# ---- NAS-Bench-101 ---------------------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def metrics(params: int, evaluations: list[tuple[float, float, float, float, float]]) -> str:
    """A ``ModelMetrics`` message; evaluations are epoch, seconds, accuracies on train, validation and test."""
    message = b""
    for values in evaluations:
        body = b"".join(bytes([i << 3 | 1]) + struct.pack("<d", value) for i, value in enumerate(values, start=1))
        body += b"\x32" + varint(200) + b"c" * 200  # checkpoint_path
        message += b"\x0a" + varint(len(body)) + body
    message += b"\x10" + varint(params) + b"\x19" + struct.pack("<d", 99.0)
    return base64.b64encode(message).decode()


def crc32c(data: bytes) -> int:
    """Masked CRC-32C, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", crc32c(length)) + data + struct.pack("<I", crc32c(data))


def record(key: str, epochs: int, seed: int, **changes: Any) -> bytes:
    base = epochs / 1000 + seed / 100
    evaluations = [(0.0, 0.0, 0.1, 0.1, 0.1), (0.0, 10.0, base, base + 0.1, base + 0.2)]
    evaluations.append((0.0, 20.0 + seed, base + 0.3, base + 0.4, base + 0.5))
    row = [key, epochs, "010001000", "input,conv3x3-bn-relu,output", metrics(2_694_282, evaluations)]
    for position, value in changes.items():
        row[int(position[1:])] = value
    return frame(json.dumps(row).encode())


def test_checksums_are_crc32c():
    assert int(checksums([b"123456789"])[0]) == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF
    blocks = [b"", b"a", bytes(range(256)) * 20, b"abc", os.urandom(5000)]
    assert [int(value) for value in checksums(blocks)] == [crc32c(block) for block in blocks]
    assert checksums([]).shape == (0,)


def test_nasbench101_file(tmp_path: Path):
    source = tmp_path / "nasbench_full.tfrecord"
    source.write_bytes(b"".join(record(key, e, s) for key in ("aa", "bb") for e in (4, 108) for s in (0, 1, 2)))
    report = import_table(source, None, tmp_path / "t.parquet")
    assert (report.kind, report.rows, report.incomplete) == ("nasbench101", 2, 0)
    for key, row in zip(("aa", "bb"), pq.read_table(report.out).to_pylist(), strict=True):
        assert (row["key"], row["adjacency"], row["ops"]) == (key, "010001000", "input,conv3x3-bn-relu,output")
        assert (row["n_vertices"], row["params"], row["repeats4"], row["repeats108"]) == (3, 2_694_282, 3, 3)
        assert row["val4"] == pytest.approx(0.004 + 0.01 + 0.4)
        assert row["test108"] == pytest.approx(0.108 + 0.01 + 0.5)
        assert row["train108"] == pytest.approx(0.108 + 0.01 + 0.3)
        assert row["val108_half"] == pytest.approx(0.108 + 0.01 + 0.1)
        assert row["train_time_s"] == row["train_time_s_108"] == pytest.approx(21.0)


@pytest.mark.parametrize("at", [0, 9, 20, -1])
def test_a_flipped_bit_is_noticed(tmp_path: Path, at: int):
    data = bytearray(record("aa", 108, 0) + record("aa", 108, 1))
    data[at] ^= 1
    source = tmp_path / "nasbench_only108.tfrecord"
    source.write_bytes(data)
    with pytest.raises(TableError, match=r"checksum|cut short|not a TFRecord"):
        import_table(source, None, tmp_path / "t.parquet")


@pytest.mark.parametrize("length", [1, 11, 40, 4000])
def test_a_file_cut_short_is_noticed(tmp_path: Path, length: int):
    source = tmp_path / "nasbench.tfrecord"
    source.write_bytes((record("aa", 108, 0) * 8)[:length])
    with pytest.raises(TableError, match="cut short"):
        import_table(source, None, tmp_path / "t.parquet")


@pytest.mark.parametrize(
    "changes",
    [
        {"_2": "01000100"},
        {"_2": "012001000"},
        {"_3": "input,output"},
        {"_4": "not base64!"},
        {"_4": base64.b64encode(b"\x0a\xff").decode()},
        {"_4": metrics(1, [(0.0,) * 5])},
        {"_1": None},
    ],
)
def test_other_records_are_refused(tmp_path: Path, changes: dict[str, Any]):
    source = tmp_path / "nasbench.tfrecord"
    source.write_bytes(record("aa", 108, 0) + record("bb", 108, 0, **changes))
    with pytest.raises(TableError, match="record 1 is not of the benchmark's layout"):
        import_table(source, None, tmp_path / "t.parquet")


# ---- the front -------------------------------------------------------------------------------------------------------


def test_sources_that_say_nothing(tmp_path: Path):
    with pytest.raises(DataMissingError, match="nowhere"):
        import_table(tmp_path / "nowhere", None, tmp_path / "t.parquet")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UnknownNameError, match="natsbench"):
        import_table(tmp_path / "notes.txt", None, tmp_path / "t.parquet")
    with pytest.raises(UnknownNameError, match="Did you mean 'nasbench201'"):
        import_table(tmp_path / "notes.txt", "nasbench-201", tmp_path / "t.parquet")
    with pytest.raises(UnknownNameError):
        detect_kind(tmp_path)
    for kind in ("nasbench201", "natsbench"):
        with pytest.raises(TableError, match="folder has no"):
            import_table(tmp_path, kind, tmp_path / "t.parquet")
    (tmp_path / "empty.tfrecord").write_bytes(b"")
    with pytest.raises(TableError, match="no architecture"):
        import_table(tmp_path / "empty.tfrecord", None, tmp_path / "t.parquet")


def test_an_older_table_is_replaced_whole_or_kept(tmp_path: Path):
    source, out = tmp_path / "nasbench.tfrecord", tmp_path / "t.parquet"
    source.write_bytes(record("aa", 108, 0))
    import_table(source, None, out)
    before = out.read_bytes()
    source.write_bytes(record("aa", 108, 0)[:-1])
    with pytest.raises(TableError):
        import_table(source, None, out)
    assert out.read_bytes() == before
    with pytest.raises(TableError, match="cannot be written"):
        source.write_bytes(record("aa", 108, 0))
        import_table(source, None, source / "t.parquet")
