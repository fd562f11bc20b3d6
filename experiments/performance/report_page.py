"""How large a report is and how soon it can be seen: a search of 16,000 trials on the DARTS space, in Chromium.

``python experiments/performance/report_page.py [--trials 16000] [--store FOLDER]``. The store is made up (seeded), as
large and as varied as a real one: every architecture another one, two objectives, lineage, failures, curves and tables
of explanations.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from browser import NO_NETWORK, browser

from xnas_ray.messages import Candidate, Failure, FailureKind, Outcome, TrialStatus
from xnas_ray.randomness import Domain, rng
from xnas_ray.report.material import read_material
from xnas_ray.report.page import packed, report_page
from xnas_ray.report.payload import Searched, report_payload
from xnas_ray.spaces.base import Space
from xnas_ray.spaces.registry import SPACES
from xnas_ray.store import SearchRow, StoreWriter, new_search_id
from xnas_ray.store.rows import asked_row, curve_rows, trial_row

BEGAN_AT = 1_700_000_000.0
WORKERS = 16
CLASSES, LAYERS = 10, 40
EXPLAINED = 60
"""Trials with tables of introspectability."""

CHUNK = 2_000


def made_store(root: Path, trials: int, *, seed: int = 0, space: Space | None = None) -> str:
    """A store with one finished search of so many trials; its id."""
    searched = space or SPACES.get("darts")()
    random, search_id = rng(seed, Domain.POOL, trials), new_search_id(BEGAN_AT)
    card = _card(searched.name, trials)
    free_at = np.full(WORKERS, BEGAN_AT)
    with StoreWriter.open(root) as writer:

        def place(at: float) -> dict[str, Any]:
            return {"epoch": writer.epoch, "seq": writer.next_seq(), "at": at}

        columns = {"name": "made up", "task": card["task"], "controller": card["spec"]["controller"]["name"]}
        first = SearchRow(search_id=search_id, state="queued", spec=json.dumps(card), **columns, **place(BEGAN_AT))
        writer.append([first, SearchRow(search_id=search_id, state="running", **place(BEGAN_AT))])
        for trial in range(trials):
            worker = int(free_at.argmin())
            duration_s = float(random.uniform(20, 60))
            start_at = float(free_at[worker])
            free_at[worker] = start_at + duration_s
            outcome = _outcome(random, searched, trial, trials, duration_s)
            writer.append(asked_row(outcome.candidate, search_id=search_id, **place(start_at)))
            genotype = outcome.candidate.genotype
            row = trial_row(
                outcome,
                search_id=search_id,
                epoch=writer.epoch,
                seq=writer.next_seq(),
                attempts=1,
                attempt=(writer.epoch, 0),
                **{name: card[name] for name in ("task", "task_hash", "space")},
                key=str(genotype),
                architecture=searched.format(genotype),
                train_seed=trial,
                asked_at=start_at,
                started_at=start_at,
                finished_at=float(free_at[worker]),
                worker=f"w1-{worker}",
                node=f"node{worker // 4}",
            )
            writer.append([row, *curve_rows(search_id, trial, (writer.epoch, 0), outcome.curve)])
            if outcome.metrics and (trial < EXPLAINED or trial >= trials - EXPLAINED):
                for kind, table in _tables(random, trial).items():
                    writer.append_explanation(kind, search_id, table)
            if trial % CHUNK == CHUNK - 1:
                writer.commit()
        ended = SearchRow(search_id=search_id, state="finished", reason="made up", **place(float(free_at.max())))
        writer.append(ended)
        writer.compact(whole=True)
    return search_id


def _card(space: str, trials: int) -> dict[str, Any]:
    spec = {
        "controller": {"name": "nsga2", "params": {}},
        "constraints": [],
        "budget": {"trials": trials},
        "resources": {"cpus": 4, "gpus": 1, "workers": WORKERS},
    }
    objectives = [
        {"name": "val_accuracy", "maximize": True, "unit": "%"},
        {"name": "introspectability", "maximize": True, "unit": ""},
    ]
    return {"spec": spec, "task": "made_up", "task_hash": "0" * 16, "space": space, "objectives": objectives}


def _outcome(random: np.random.Generator, space: Space, trial: int, trials: int, duration_s: float) -> Outcome:
    """One trial in fifty fails; the others get better with time, and trade one objective for the other."""
    parents = sorted({int(p) for p in random.integers(0, trial, 2)}) if trial >= 64 else []
    origin = {"stage": "child", "parents": parents, "generation": trial // 64} if parents else {"stage": "random"}
    candidate = Candidate(trial, space.canonical(space.sample(random)), origin=origin)
    if random.random() < 0.02:
        failure = Failure(FailureKind.OUT_OF_MEMORY, "OutOfMemoryError", f"tried to allocate {trial} MiB", "last words")
        return Outcome(trial, candidate, TrialStatus.FAILED, cost_s=duration_s, failure=failure)
    trade, luck = random.uniform(), random.normal(0, 1.5)
    accuracy = float(np.clip(70 + 20 * trial / trials + 4 * trade + luck, 10, 99))
    introspectability = float(np.clip(0.5 + 0.2 * trial / trials - 0.2 * trade + luck / 50, 0, 2))
    flops = float(random.integers(10**7, 10**9))
    metrics = {"val_accuracy": accuracy, "introspectability": introspectability, "flops": flops, "params": flops // 90}
    curve = tuple({"epoch": float(e), "val_accuracy": accuracy * (1 - 0.5**e)} for e in range(1, 4))
    return Outcome(trial, candidate, TrialStatus.COMPLETED, metrics, curve, cost_s=duration_s)


def _tables(random: np.random.Generator, trial: int) -> dict[str, Any]:
    import pandas as pd

    first, second = np.triu_indices(CLASSES, 1)
    names = np.array([f"class {n}" for n in range(CLASSES)])
    layers = [f"cells.{n // 4}.edges.{n % 4}" for n in range(LAYERS)]
    scores = random.uniform(0, 1, LAYERS)
    by_layer = {"layer": layers, "score": scores, "share": 1 / LAYERS, "trial": trial}
    distances = random.uniform(0, 1, len(first))
    by_pair = {"first": names[first], "second": names[second], "distance": distances, "weight": 1.0, "trial": trial}
    return {"introspectability_layers": pd.DataFrame(by_layer), "introspectability_pairs": pd.DataFrame(by_pair)}


def made_page(root: Path, search_id: str, path: Path, space: Space) -> dict[str, float]:
    """Write the report of a search; what it cost."""
    begun_s = time.perf_counter()
    searched = Searched(read_material(root, search_id), space.graphs, space.choices)
    read_s = time.perf_counter() - begun_s
    payload = report_payload([searched], version="made up", made_at=datetime.datetime.now(datetime.UTC))
    path.write_text(report_page(packed(payload), "a made-up search"), encoding="utf-8")
    return {
        "read the store [s]": read_s,
        "compute and write [s]": time.perf_counter() - begun_s - read_s,
        "file [MB]": path.stat().st_size / 1e6,
    }


TIMES = """(() => {
    const named = (name) => (performance.getEntriesByName(name)[0] || {}).startTime / 1000;
    return {"first paint [s]": named("first-paint"), "first contentful paint [s]": named("first-contentful-paint"),
            "data unpacked [s]": named("data"), "all but the figures [s]": named("sections"),
            "first figure [s]": named("first figure"), "script memory [MB]": performance.memory.usedJSHeapSize / 1e6};
})()"""


def seen(path: Path) -> dict[str, float]:
    """When a browser without a network shows the report, in seconds after it was opened."""
    with browser(*NO_NETWORK) as page:
        page.send("Performance.enable", timeDomain="threadTicks")
        page.open(path.as_uri())
        page.until("performance.getEntriesByName('first figure').length > 0")
        page.until("performance.getEntriesByName('first-paint').length > 0")
        found: dict[str, float] = page.ask(TIMES)
        spent = {one["name"]: one["value"] for one in page.send("Performance.getMetrics")["metrics"]}
        found["CPU of the page's thread until then [s]"] = spent["TaskDuration"]
        if page.complaints:
            raise RuntimeError(f"the page complains: {page.complaints}")
    return found


def main() -> int:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=16_000)
    parser.add_argument("--store", type=Path, help="keep the store and the page there")
    given = parser.parse_args()
    space = SPACES.get("darts")()
    with tempfile.TemporaryDirectory(prefix="xnas-report") as folder:
        kept = given.store or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        search_id = made_store(kept / "store", given.trials, space=space)
        found = made_page(kept / "store", search_id, kept / "report.html", space)
        if shutil.which("chromium"):
            found |= seen(kept / "report.html")
        else:
            print("chromium is not installed: only the file is measured")
    print(f"{given.trials} trials on {space.name}")
    for name, value in found.items():
        print(f"  {name:40} {value:8.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
