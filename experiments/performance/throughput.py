"""Trials a second of the durable service beside Ray Tune, Optuna and a bare pool of Ray actors, four workers each.

``python experiments/performance/throughput.py`` runs trials that do nothing and trials of 50 ms. Every run is a process
of its own that warms up first; the contenders take turns, and the medians over the repeats are shown. A rate is taken
between the ends of trials, without the first fifth and the last twentieth. CPU time is that of the whole process tree.

``--store-only`` measures the scheduler and the store alone: whether the last thousand of 16,000 trials cost more than
the first, and how long replaying them takes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from contenders import CONTENDERS, WORKERS, Figures

KINDS = {"no-op": 0.0, "50 ms": 0.05}
TRIALS = {
    "no-op": {"xnas": 3000, "tune": 200, "optuna": 600, "optuna-random": 1200, "pool": 6000},
    "50 ms": {"xnas": 600, "tune": 200, "optuna": 400, "optuna-random": 400, "pool": 600},
}
COLUMNS = {"trials/s": 10, "(lowest to highest)": 22, "of ideal": 10, "CPU ms": 8, "files": 7, "bytes": 8}
RUN_TIMEOUT_S = 600
LEAST_TRIALS = 20
LONGEST_BASE = 30  # Ray's sockets lie below, and their paths may have 107 bytes

Runs = dict[tuple[str, str], list[Figures]]


def run_apart(contender: str, kind: str, trials: int) -> Figures:
    """One run in a process of its own.

    Raises:
        RuntimeError: it failed; the message ends with what it printed last.
    """
    command = [sys.executable, __file__, "--run", contender, kind, str(trials)]
    base = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(prefix="xp-", dir=base if len(base) < LONGEST_BASE else "/tmp") as folder:
        done = subprocess.run(
            [*command, "--folder", folder], capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False
        )
        figures = Path(folder) / "figures.json"
        if done.returncode != 0 or not figures.is_file():
            raise RuntimeError(f"{contender}, {kind}: exit status {done.returncode}\n{done.stderr[-3000:]}")
        return dict(json.loads(figures.read_text()))


def measure(contenders: list[str], kinds: list[str], repeats: int, scale: float) -> Runs:
    """All runs, interleaved: a slow minute of the machine meets everybody."""
    runs: Runs = {}
    for repeat in range(repeats):
        for kind in kinds:
            for contender in contenders:
                trials = max(LEAST_TRIALS, round(scale * TRIALS[kind][contender]))
                found = run_apart(contender, kind, trials)
                runs.setdefault((kind, contender), []).append(found)
                print(f"{repeat + 1}/{repeats} {kind} {contender}: {found['rate']:.1f} trials/s", file=sys.stderr)
    return runs


def report(runs: Runs) -> None:
    """One table a kind of trial, medians."""
    for kind in dict.fromkeys(kind for kind, _ in runs):
        seconds = KINDS[kind]
        print(f"\n{kind} trials, {WORKERS} workers" + (f", ideal {WORKERS / seconds:g} trials/s" if seconds else ""))
        print(" " * 13 + "".join(f"{name:>{width}}" for name, width in COLUMNS.items()))
        for contender in (c for k, c in runs if k == kind):
            rates = [run["rate"] for run in runs[kind, contender]]
            middle = {name: median(run[name] for run in runs[kind, contender]) for name in runs[kind, contender][0]}
            ideal = f"{middle['rate'] * seconds / WORKERS:.3f}" if seconds else ""
            print(
                f"{contender:<13}{middle['rate']:>10.1f}{f'({min(rates):.1f} to {max(rates):.1f})':>22}{ideal:>10}"
                f"{middle['cpu_ms']:>8.2f}{middle['files']:>7.2f}{middle['bytes']:>8.0f}"
            )
    print("\nCPU ms, files and bytes are those of one trial.")


def verdicts(runs: Runs) -> list[tuple[str, float, float, bool]]:
    """(claim, found, limit, holds) for every target whose runs exist."""

    def middle(kind: str, contender: str, name: str = "rate") -> float | None:
        found = runs.get((kind, contender))
        return median(run[name] for run in found) if found else None

    ours, slow = middle("no-op", "xnas"), middle("50 ms", "xnas")
    rows: list[tuple[str, float | None, float | None, float]] = [
        ("no-op: times Ray Tune's rate", ours, middle("no-op", "tune"), 10.0),
        ("no-op: times Optuna's rate, default sampler", ours, middle("no-op", "optuna"), 3.0),
        ("50 ms: share of the bare pool", slow, middle("50 ms", "pool"), 0.97),
        ("50 ms: share of the ideal", slow, WORKERS / KINDS["50 ms"], 0.90),
    ]
    found = [(text, a / b, limit, a / b >= limit) for text, a, b, limit in rows if a is not None and b is not None]
    cpu_ms = middle("no-op", "xnas", "cpu_ms")
    if cpu_ms is not None:
        found.append(("no-op: CPU ms a trial, at most", cpu_ms, 4.0, cpu_ms <= 4.0))
    return found


def report_store(trials: int, repeats: int) -> bool:
    """Measure the scheduler and the store alone and print medians; returns whether both targets are reached."""
    from store_alone import store_alone

    runs = [store_alone(trials) for _ in range(repeats)]
    chunk = runs[0].chunk
    cpu_ms = [1000 * median(seconds) / chunk for seconds in zip(*(run.cpu_s for run in runs), strict=True)]
    growth = median(run.cpu_s[-1] / run.cpu_s[0] for run in runs)
    replay_s = median(run.replay_s for run in runs)
    rate = chunk * len(cpu_ms) / median(sum(run.wall_s) for run in runs)
    print(f"{trials:,} trials, scheduler and store alone, medians of {repeats} runs: {rate:.0f} trials/s")
    print(f"CPU ms a trial, by {chunk:,}: " + " ".join(f"{ms:.2f}" for ms in cpu_ms))
    print(f"{runs[-1].files} files, {runs[-1].bytes / trials:.0f} bytes a trial")
    print(f"last {chunk:,} cost {growth:.2f} times the first (at most 1.5)")
    print(f"replaying them takes {replay_s:.2f} s (below 10)")
    return growth <= 1.5 and replay_s < 10


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of trials of every run")
    parser.add_argument("--contenders", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--store-only", action="store_true", help="the scheduler and the store alone")
    parser.add_argument("--store-trials", type=int, default=16_000)
    parser.add_argument("--run", nargs=3, metavar=("CONTENDER", "KIND", "TRIALS"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    if arguments.run:
        contender, kind, trials = arguments.run
        figures: dict[str, Any] = CONTENDERS[contender](KINDS[kind], int(trials), arguments.folder)
        (arguments.folder / "figures.json").write_text(json.dumps(figures))
        return 0
    if arguments.store_only:
        return 0 if report_store(arguments.store_trials, arguments.repeats) else 1
    runs = measure(arguments.contenders, arguments.kinds, arguments.repeats, arguments.scale)
    report(runs)
    reached = verdicts(runs)
    for text, found, limit, holds in reached:
        print(f"{text}: {found:.2f} (target {limit:g}): {'reached' if holds else 'MISSED'}")
    return 0 if all(holds for *_, holds in reached) else 1


if __name__ == "__main__":
    sys.exit(main())
