"""The files of NAS-Bench-201 and NATS-Bench, read as plain data (Dong & Yang, ICLR 2020; Dong et al., TPAMI 2021).

Both hold, for every architecture and training schedule (``"12"``, ``"200"`` epochs …), one record a data set and seed:
curves of accuracy and loss on every split, seconds an epoch, FLOPs, parameters and latency. Layouts:

- NAS-Bench-201: one ``.pth`` file, ``{"meta_archs": [text], "arch2infos": {index: {"less": …, "full": …}}}`` (less is
  12 epochs, full 200), or a folder of ``000000-FULL.pth`` with one such entry each;
- NATS-Bench: one ``.pickle.pbz2`` file, ``{"meta_archs": …, "arch2infos": {index: {epochs: …}}}``, or a folder (the
  "simple" and "full" archives) of ``meta.pickle.pbz2`` and one ``000000.pickle.pbz2`` an architecture.
"""

from __future__ import annotations

import bz2
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xnas_ray.errors import TableError
from xnas_ray.safe_pickle import load_pickle

SPLITS = {
    "cifar10_val": ("cifar10-valid", "x-valid"),
    "cifar10_test": ("cifar10", "ori-test"),
    "cifar100_val": ("cifar100", "x-valid"),
    "cifar100_test": ("cifar100", "x-test"),
    "imagenet16_val": ("ImageNet16-120", "x-valid"),
    "imagenet16_test": ("ImageNet16-120", "x-test"),
}
"""Column and where its accuracies are: the data set trained on, and the split, as the benchmark's own API maps them."""

TIMES = {"cifar10": "cifar10-valid", "cifar100": "cifar100", "imagenet16": "ImageNet16-120"}
"""Data set whose training seconds each ``*_train_time_s_*`` column gives."""

EPOCHS_OF = {"less": "12", "full": "200"}

Row = dict[str, object]
Schedules = Mapping[str, Mapping[str, Any]]


def nasbench201_rows(source: Path) -> Iterator[Row]:
    """One row an architecture of a NAS-Bench-201 file or folder, in index order.

    Raises:
        TableError: the source is unsafe, damaged or of another layout.
    """
    if not source.is_dir():
        yield from _rows_of_archive(_load_pth(source), source)
        return
    files = sorted(source.glob("*-FULL.pth"))
    if not files:
        raise TableError("the folder has no files such as 000000-FULL.pth.", field=str(source))
    for file in files:
        entry = _load_pth(file)
        try:
            index, text = int(file.name.split("-")[0]), next(iter(entry.values()))["arch_str"]
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
            raise _layout(file, error) from error
        yield _row(index, text, entry, file)


def natsbench_rows(source: Path) -> Iterator[Row]:
    """One row an architecture of a NATS-Bench file or folder, in index order; see ``nasbench201_rows``."""
    if not source.is_dir():
        yield from _rows_of_archive(_load_pbz2(source), source)
        return
    meta = source / "meta.pickle.pbz2"
    if not meta.is_file():
        raise TableError("the folder has no meta.pickle.pbz2.", field=str(source))
    texts = _architectures(_load_pbz2(meta), meta)
    found = 0
    for index, text in enumerate(texts):
        file = source / f"{index:06d}.pickle.pbz2"
        if file.is_file():
            found += 1
            yield _row(index, text, _load_pbz2(file), file)
    if not found:
        raise TableError("the folder has no files such as 000000.pickle.pbz2.", field=str(source))


def _rows_of_archive(archive: Any, path: Path) -> Iterator[Row]:
    texts = _architectures(archive, path)
    infos = archive.get("arch2infos")
    if not isinstance(infos, Mapping) or not all(isinstance(i, int) and 0 <= i < len(texts) for i in infos):
        raise _layout(path, "'arch2infos' does not map indices of 'meta_archs'")
    for index in sorted(infos):
        yield _row(index, texts[index], infos[index], path)


def _architectures(archive: Any, path: Path) -> Sequence[str]:
    texts = archive.get("meta_archs") if isinstance(archive, Mapping) else None
    if not isinstance(texts, Sequence) or not texts or not all(isinstance(text, str) for text in texts):
        raise _layout(path, "there is no list 'meta_archs' of architecture strings")
    return texts


def _row(index: int, text: str, schedules: Schedules, path: Path) -> Row:
    """Means over seeds; NaN for what was not trained or not evaluated."""
    row: Row = {"index": index, "arch": text}
    try:
        for name, results in schedules.items():
            epochs = EPOCHS_OF.get(name, name)
            trials = _by_dataset(results)
            for column, (dataset, split) in SPLITS.items():
                row[f"{column}_{epochs}"] = _mean(_accuracy(t, split) for t in trials.get(dataset, ()))
            for column, dataset in TIMES.items():
                row[f"{column}_train_time_s_{epochs}"] = _mean(_train_time_s(t) for t in trials.get(dataset, ()))
            costs = trials.get("cifar10-valid") or trials.get("cifar10") or [t for ts in trials.values() for t in ts]
            row.setdefault("params_m", _mean(float(trial["params"]) for trial in costs))
            row.setdefault("flops_m", _mean(float(trial["flop"]) for trial in costs))
            row.setdefault("latency_ms", _mean(_latency_ms(trial) for trial in costs))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _layout(path, f"architecture {index}: {type(error).__name__}: {error}") from error
    return row


def _by_dataset(results: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for (dataset, _seed), trial in results["all_results"].items():
        found.setdefault(dataset, []).append(trial)
    return found


def _accuracy(trial: Mapping[str, Any], split: str) -> float:
    """After the last epoch, in percent."""
    return float(trial["eval_acc1es"].get(f"{split}@{int(trial['epochs']) - 1}", math.nan))


def _train_time_s(trial: Mapping[str, Any]) -> float:
    times = trial["train_times"]
    return float(sum(times.values())) if times else math.nan


def _latency_ms(trial: Mapping[str, Any]) -> float:
    measured = [float(seconds) for seconds in trial["latency"] or () if float(seconds) > 0]
    return 1000 * sum(measured) / len(measured) if measured else math.nan


def _mean(values: Iterator[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _load_pbz2(path: Path) -> Any:
    with bz2.open(path, "rb") as file:
        return load_pickle(file, path)


def _load_pth(path: Path) -> Any:
    """A torch file, by torch's own unpickler of weights: tensors, plain data and numpy numbers only."""
    import collections

    import numpy as np
    import torch

    scalar = np.float64(0).__reduce__()[0]
    safe: list[Any] = [collections.defaultdict, np.dtype, *{type(np.dtype(code)) for code in "?bBhHiIlLqQefdg"}]
    safe += [scalar, (scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar")]
    try:
        with torch.serialization.safe_globals(safe):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises UnpicklingError for unsafe content, nearly anything for damage
        asked = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for {asked[1]}" if asked else f"{type(error).__name__} while reading"
        raise TableError(
            f"not a torch file of plain data ({reason}): refused, nothing in it was executed.",
            field=str(path),
            fix="Use the file that the benchmark's authors publish.",
        ) from error


def _layout(path: Path, problem: object) -> TableError:
    return TableError(f"not of the benchmark's layout: {problem}.", field=str(path))
