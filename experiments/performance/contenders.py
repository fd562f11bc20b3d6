"""Ways to run the same search on four workers; each runs in a process of its own and tells its figures.

All evaluate cells of NAS-Bench-201 by a function that sleeps (0 s: does nothing), drawn at random. ``xnas`` is the
durable service; ``tune`` is Ray Tune with reused actors and its default loggers; ``optuna`` is four processes on one
journal file, with the sampler that a study has by default (TPE), ``optuna-random`` the same with a random one; ``pool``
is what Ray can do at most: warm actors that each hold one call in advance, and nothing is written.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from made_task import make_task
from measuring import TreeCpu, left_behind, summary

WORKERS = 4
DEPTH = 2  # trials that a worker holds: the running one and one in advance
OPERATIONS, CHOICES = 5, 6
OBJECT_STORE_BYTES = 200 * 2**20
WARM_TRIALS = 5 * WORKERS
WARM_SEARCHES = 30

Figures = dict[str, float]


def start_ray(folder: Path) -> None:
    """A Ray of this process's own, with every setting that depends on the machine's past made explicit."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ray.init(
        address="local",
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=str(folder / "ray"),
    )


# ---- our service -----------------------------------------------------------------------------------------------------


def xnas(seconds: float, trials: int, folder: Path) -> Figures:
    """The real service: proposals by a controller host, asked and terminal rows durable before they count."""
    from xnas_ray.client import local_client

    store = folder / "store"
    warm = make_task(folder / "warm", [0.5])
    task = make_task(folder / "measured", [seconds])
    with local_client(store, workers=WORKERS) as client:

        def search(path: Path, count: int) -> Any:
            handle = client.submit({"task": str(path), "budget": {"trials": count}, "seed": 0, "keep_weights": "none"})
            handle.wait()
            return handle.results()

        for _ in range(WARM_SEARCHES):
            if search(warm, WARM_TRIALS)["worker"].nunique() == WORKERS:
                break
        else:
            raise RuntimeError(f"{WORKERS} workers did not come up")
        search(task, WARM_TRIALS)
        files, size_bytes = left_behind(store)
        with TreeCpu() as cpu:
            rows = search(task, trials)
    ends_at = [at.timestamp() for at in rows["finished_at"]]
    assert len(ends_at) == trials
    files_after, bytes_after = left_behind(store)
    return summary(ends_at, cpu, files_after - files, bytes_after - size_bytes)


# ---- Ray Tune --------------------------------------------------------------------------------------------------------


def tune(seconds: float, trials: int, folder: Path) -> Figures:
    """Ray Tune: a function trainable whose actors are reused, four at once, everything else as it comes."""
    start_ray(folder)
    from ray import tune as ray_tune

    def evaluate(config: dict[str, Any]) -> dict[str, float]:
        if seconds:
            time.sleep(seconds)
        return {"val_accuracy": float(sum(config.values()))}

    class Ends(ray_tune.Callback):
        def __init__(self) -> None:
            self.ends_at: list[float] = []

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self.ends_at.append(time.time())

    def fit(name: str, count: int) -> list[float]:
        ends = Ends()
        ray_tune.Tuner(
            ray_tune.with_resources(evaluate, {"cpu": 1}),
            param_space={f"edge{i}": ray_tune.randint(0, OPERATIONS) for i in range(CHOICES)},
            tune_config=ray_tune.TuneConfig(num_samples=count, max_concurrent_trials=WORKERS, reuse_actors=True),
            run_config=ray_tune.RunConfig(name=name, storage_path=str(folder / "tune"), verbose=0, callbacks=[ends]),
        ).fit()
        return ends.ends_at

    fit("warm", WARM_TRIALS)
    with TreeCpu() as cpu:
        ends_at = fit("measured", trials)
    assert len(ends_at) == trials
    return summary(ends_at, cpu, *left_behind(folder / "tune" / "measured"))


# ---- Optuna ----------------------------------------------------------------------------------------------------------


def optuna(seconds: float, trials: int, folder: Path, sampler: str = "TPESampler") -> Figures:
    """Optuna: four processes share a study in a journal file."""
    import optuna as library
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    library.logging.set_verbosity(library.logging.WARNING)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(WORKERS + 1)
    journals = [folder / "journal" / name for name in ("warm.log", "measured.log")]
    journals[0].parent.mkdir()
    for journal in journals:
        library.create_study(study_name="search", storage=JournalStorage(JournalFileBackend(str(journal))))
    shares = [trials // WORKERS + (i < trials % WORKERS) for i in range(WORKERS)]
    paths = [str(journal) for journal in journals]
    processes = [
        context.Process(target=_optuna_worker, args=(paths, sampler, seconds, share, seed, barrier))
        for seed, share in enumerate(shares)
    ]
    for process in processes:
        process.start()
    barrier.wait()
    with TreeCpu() as cpu:
        barrier.wait()
        for process in processes:
            process.join()
    study = library.load_study(study_name="search", storage=JournalStorage(JournalFileBackend(paths[1])))
    ends_at = [t.datetime_complete.timestamp() for t in study.trials if t.datetime_complete is not None]
    assert len(ends_at) == trials
    return summary(ends_at, cpu, 1, journals[1].stat().st_size)


def optuna_random(seconds: float, trials: int, folder: Path) -> Figures:
    """Optuna without a model: what its storage alone costs."""
    return optuna(seconds, trials, folder, "RandomSampler")


def _optuna_worker(journals: list[str], sampler: str, seconds: float, trials: int, seed: int, barrier: Any) -> None:
    import optuna as library
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    library.logging.set_verbosity(library.logging.WARNING)

    def objective(trial: Any) -> float:
        genotype = [trial.suggest_int(f"edge{i}", 0, OPERATIONS - 1) for i in range(CHOICES)]
        if seconds:
            time.sleep(seconds)
        return float(sum(genotype))

    for journal, count in zip(journals, (WARM_TRIALS // WORKERS, trials), strict=True):
        storage = JournalStorage(JournalFileBackend(journal))
        study = library.load_study(
            study_name="search", storage=storage, sampler=getattr(library.samplers, sampler)(seed=seed)
        )
        if journal == journals[-1]:
            barrier.wait()
            barrier.wait()
        study.optimize(objective, n_trials=count)


# ---- the bare pool ---------------------------------------------------------------------------------------------------


def pool(seconds: float, trials: int, folder: Path) -> Figures:
    """Warm actors that evaluate the same task, each with one call in advance; the driver draws the genotypes."""
    task = make_task(folder / "task", [seconds])
    start_ray(folder)
    import ray

    from xnas_ray.messages import Candidate

    @ray.remote(num_cpus=1)
    class Evaluator:
        def __init__(self, path: str) -> None:
            from xnas_ray.tasks.loading import load_task

            self._problem = load_task(path).problem

        def evaluate(self, candidate: Candidate) -> dict[str, float]:
            return dict(
                self._problem.evaluate(
                    space=self._problem.space, candidate=candidate, recipe=None, seed=0, context=None
                )
            )

    actors = [Evaluator.remote(str(task)) for _ in range(WORKERS)]
    generator = np.random.default_rng(0)

    def run(count: int) -> list[float]:
        asked = 0
        holders: dict[Any, Any] = {}
        ends_at: list[float] = []
        line = [actor for _ in range(DEPTH) for actor in actors]
        while len(ends_at) < count:
            while line and asked < count:
                actor = line.pop(0)
                genotype = tuple(int(i) for i in generator.integers(OPERATIONS, size=CHOICES))
                holders[actor.evaluate.remote(Candidate(asked, genotype))] = actor
                asked += 1
            done, _ = ray.wait(list(holders), num_returns=1)
            for reference in done:
                ray.get(reference)
                ends_at.append(time.time())
                line.append(holders.pop(reference))
        return ends_at

    run(WARM_TRIALS)
    with TreeCpu() as cpu:
        ends_at = run(trials)
    return summary(ends_at, cpu, 0, 0)


CONTENDERS: dict[str, Callable[[float, int, Path], Figures]] = {
    "xnas": xnas,
    "tune": tune,
    "optuna": optuna,
    "optuna-random": optuna_random,
    "pool": pool,
}
