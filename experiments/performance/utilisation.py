"""How busy workers are when every trial takes another time: without a barrier, with one, and in a real service.

``python experiments/performance/utilisation.py`` simulates 64 and 1,024 workers on a virtual clock that drives the
service's own scheduler and controllers; durations are drawn from the training times of real networks. Every proposal
is charged the CPU time that it takes on this machine, one at a time, and every commit to the store 30 ms. ``--real``
adds a run of the real service whose trials sleep the same draws, scaled to a mean of 2 s.

The busy share is the part of workers x time in which a trial runs, until the last trial is asked: what comes after is
the end of the budget, not the scheduler's doing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from made_task import make_task

from xnas_ray.benchmarks.simulator import Simulation, SimulationCost
from xnas_ray.benchmarks.table import TableEntry
from xnas_ray.controllers.base import Goal
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.errors import XnasError
from xnas_ray.messages import Candidate, Genotype, Outcome, TrialStatus
from xnas_ray.randomness import Domain, rng
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.datasets import data_file

TABLE = "nasbench101_subset.parquet"
COLUMN = "train_time_s"
COMMIT_S = 0.03
BARRIER = 64
TRIALS_PER_WORKER = 16
MOST_TRIALS = 5_000  # of the 6,466 different cells
SIMULATED_TARGET = 0.97
REAL_TARGET = 0.95
REAL_WORKERS = 8
REAL_MEAN_S = 2.0
LOGNORMAL_MEDIAN_S, LOGNORMAL_SIGMA = 1_800.0, 0.5


# ---- durations -------------------------------------------------------------------------------------------------------


def measured_times() -> np.ndarray:
    """Training times of NAS-Bench-101 networks in seconds.

    Raises:
        DataMissingError: the table is not there; says what else can be done.
    """
    how = "Set XNAS_DATA to the folder that has it, or take made-up times with --durations lognormal."
    path = data_file(TABLE, how)
    import pyarrow.parquet as pq

    return np.asarray(pq.read_table(path, columns=[COLUMN])[COLUMN].to_numpy(), dtype=np.float64)


def draw(kind: str, count: int, seed: int) -> np.ndarray:
    """Durations of ``count`` trials in seconds, by trial number; more trials continue the same sequence."""
    generator = rng(seed, Domain.TRIAL)
    if kind == "lognormal":
        return np.exp(np.log(LOGNORMAL_MEDIAN_S) + LOGNORMAL_SIGMA * generator.standard_normal(count))
    times = measured_times()
    return times[generator.integers(len(times), size=count)]


@dataclass(frozen=True)
class DrawnTask:
    """Cells whose FLOPs are to be small; trial ``n`` takes ``durations_s[n]``, whatever it evaluates."""

    durations_s: np.ndarray
    space: NASBench201
    goals: tuple[Goal, ...] = (Goal("flops", maximize=False),)
    report_names: tuple[str, ...] = ()

    def lookup(self, genotype: Genotype) -> TableEntry:
        """The cell's FLOPs."""
        cost = self.space.cost(genotype, DataShape(inputs=((3, 32, 32),), outputs=10))
        return TableEntry({"flops": float(cost.flops)})

    def evaluate(self, candidate: Candidate) -> Outcome:
        """The outcome of a trial, after its drawn duration."""
        return Outcome(
            trial=candidate.ask_number,
            candidate=candidate,
            status=TrialStatus.COMPLETED,
            metrics=self.lookup(candidate.genotype).metrics,
            cost_s=float(self.durations_s[candidate.ask_number]),
        )


# ---- busy share ------------------------------------------------------------------------------------------------------


def busy_share(begun_s: np.ndarray, ended_s: np.ndarray, workers: int, from_s: float, until_s: float) -> float:
    """Part of ``workers`` x (``until_s`` - ``from_s``) that the trials cover."""
    within = np.minimum(ended_s, until_s) - np.maximum(begun_s, from_s)
    return float(np.clip(within, 0.0, None).sum() / (workers * (until_s - from_s)))


def simulated(
    controller: str, durations_s: np.ndarray, workers: int, seed: int, generation: int | None = None
) -> dict[str, float]:
    """One simulated search: busy share, CPU milliseconds of the controller a trial, seconds that simulating took."""
    task = DrawnTask(durations_s, NASBench201())
    simulation = Simulation(
        CONTROLLERS.create(controller, {}, task.space, task.goals, seed=seed),
        task,
        trials=len(durations_s),
        workers=workers,
        cost=SimulationCost(ask_s="measured", commit_s=COMMIT_S),
        generation=generation,
    )
    started_s = time.perf_counter()
    simulation.run()
    took_s = time.perf_counter() - started_s
    frame = simulation.frame()
    ended_s = frame["finished_at_s"].to_numpy()
    begun_s = ended_s - durations_s[frame["trial"].to_numpy()]
    return {
        "busy": busy_share(begun_s, ended_s, workers, 0.0, float(frame["asked_at_s"].max())),
        "cpu_ms": 1000 * simulation.controller_s / len(frame),
        "days": float(ended_s.max()) / 86_400,
        "took_s": took_s,
    }


def real_run(draws: np.ndarray, workers: int = REAL_WORKERS) -> dict[str, float]:
    """One search through the real service whose trials sleep ``draws`` seconds; measured from the store's rows.

    The clock starts when the last worker has begun its first trial: starting processes is paid once and shown apart.
    """
    from xnas_ray.client import run_local

    with tempfile.TemporaryDirectory(prefix="xnas-") as folder:
        task = make_task(Path(folder) / "sleeping", draws)
        handle = run_local(
            {"task": str(task), "controller": "random_search", "budget": {"trials": len(draws)}, "seed": 0},
            root=Path(folder) / "store",
            workers=workers,
        )
        rows = handle.results()
    seconds = {name: rows[name].map(lambda at: at.timestamp()).to_numpy() for name in ("asked_at", "finished_at")}
    ended_s, duration_s = seconds["finished_at"], rows["duration_s"].to_numpy()
    asleep_s = draws[rows["trial"].to_numpy()]
    first_s = rows.assign(begun_s=ended_s - duration_s).groupby("worker")["begun_s"].min()
    window = (float(first_s.max()), float(seconds["asked_at"].max()))
    return {
        "busy": busy_share(ended_s - duration_s, ended_s, workers, *window),
        "asleep": busy_share(ended_s - asleep_s, ended_s, workers, *window),
        "workers": len(first_s),
        "starting_s": float(first_s.max() - seconds["asked_at"].min()),
        "overhead_ms": 1000 * float((duration_s - asleep_s).mean()),
    }


# ---- report ----------------------------------------------------------------------------------------------------------


def report_simulated(arguments: argparse.Namespace) -> bool:
    """Print one table; returns whether every asynchronous run reaches the target."""
    counts = {w: arguments.trials or min(TRIALS_PER_WORKER * w, MOST_TRIALS) for w in arguments.workers}
    draws = draw(arguments.durations, max(counts.values()), arguments.seed)
    source = "log-normal, made up" if arguments.durations == "lognormal" else f"{TABLE}, column {COLUMN}"
    print(f"Simulated: {arguments.controller}, durations from {source}, commit {1000 * COMMIT_S:.0f} ms")
    header = f"{'workers':>7} {'trials':>7}  {'barrier':<8} {'busy':>6}  {'CPU ms a trial':>14} {'days':>7}"
    print(f"{header} {'simulated in':>12}")
    reached = True
    for workers, trials in counts.items():
        durations_s = draws[:trials]
        for generation in dict.fromkeys((None, BARRIER, workers)):
            found = simulated(arguments.controller, durations_s, workers, arguments.seed, generation)
            reached &= generation is not None or found["busy"] >= SIMULATED_TARGET
            print(
                f"{workers:>7,} {trials:>7,}  {generation or 'none':<8} {found['busy']:>6.3f}  {found['cpu_ms']:>14.3f}"
                f" {found['days']:>7.1f} {found['took_s']:>10.1f} s"
            )
    print(f"target without a barrier: at least {SIMULATED_TARGET}: {'reached' if reached else 'MISSED'}")
    return reached


def report_real(arguments: argparse.Namespace) -> bool:
    """Run and print; returns whether the target is reached."""
    draws = draw(arguments.durations, arguments.real_trials, arguments.seed)
    found = real_run(draws * (REAL_MEAN_S / draws.mean()))
    reached = found["busy"] >= REAL_TARGET
    print(f"Real: {arguments.real_trials} trials of {REAL_MEAN_S} s on average, {found['workers']:.0f} workers")
    print(
        f"  all have begun {found['starting_s']:.1f} s after the first proposal; busy {found['busy']:.3f} from then on"
    )
    print(f"  a trial takes its worker {found['overhead_ms']:.1f} ms more than it sleeps: asleep {found['asleep']:.3f}")
    print(f"target: at least {REAL_TARGET}: {'reached' if reached else 'MISSED'}")
    return reached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[64, 1024], help="simulated workers")
    parser.add_argument("--trials", type=int, help=f"default: {TRIALS_PER_WORKER} a worker, at most {MOST_TRIALS:,}")
    parser.add_argument("--controller", default="regularized_evolution")
    parser.add_argument("--durations", choices=["nasbench101", "lognormal"], default="nasbench101")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", action="store_true", help="also run the real service")
    parser.add_argument("--real-trials", type=int, default=200)
    arguments = parser.parse_args()
    try:
        reached = report_simulated(arguments)
        if arguments.real:
            reached &= report_real(arguments)
    except XnasError as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
