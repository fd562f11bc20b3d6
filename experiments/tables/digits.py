"""Makes ``nasbench201_digits.parquet``: every isomorphism class of NAS-Bench-201, trained on digits by the service.

    python experiments/tables/digits.py run --root results/digits_table      # trains; interrupted, goes on
    python experiments/tables/digits.py write --root results/digits_table    # writes the table from the store
    python experiments/tables/digits.py noise --root results/digits_table    # 200 classes x 5 seeds
    python experiments/tables/digits.py write-noise --root results/digits_table
    python experiments/tables/digits.py check --root results/digits_table    # retrains 50 rows, compares
    python experiments/tables/digits.py busy --root results/digits_table     # wall time and busy share of the run
    python experiments/tables/digits.py introspect --root results/digits_introspectability   # trains them once more
    python experiments/tables/digits.py write-introspectability --root results/digits_introspectability
    python experiments/tables/digits.py front                                # accuracy and introspectability
    python experiments/tables/digits.py compare                              # with CIFAR-10's table in XNAS_DATA

The table has a row a class: ``arch`` (official string of the cheapest member), ``val_accuracy_<e>`` and
``test_accuracy_<e>`` in percent after epochs 1 to 3, ``flops``, ``params``, ``duration_s`` (as measured by the worker,
one thread), ``train_seed``, and ``introspectability`` on the validation images after epoch 3. The noise file has
``arch``, ``seed`` and the accuracies after epoch 3.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xnas_ray.pareto import pareto_mask
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.store import list_searches, load_curves, load_trials
from xnas_ray.tasks.datasets import data_file

HERE = Path(__file__).parents[1] / "digits"
TABLE = HERE / "nasbench201_digits.parquet"
NOISE = HERE / "nasbench201_digits_seeds.parquet"
NOISE_CLASSES = 200
NOISE_SEEDS = (1, 2, 3, 4, 5)


def run(root: Path, objectives: tuple[str, ...] = ("val_accuracy",)) -> None:
    """Train all classes, or go on where an earlier run stopped."""
    started = root.is_dir() and len(list_searches(root)) > 0
    wanted = [word for name in objectives for word in ("--objectives", name)]
    what = ["--resume"] if started else [str(HERE / "table.toml"), *wanted]
    subprocess.run([sys.executable, "-m", "xnas_ray", "run", *what, "--root", str(root)], check=True)


def introspect(root: Path) -> None:
    """Train all classes once more, with the same seeds, and measure their introspectability."""
    run(root, ("val_accuracy", "introspectability"))


def table(root: Path, search_id: str) -> pd.DataFrame:
    """The table of one search, a row a class, in the order of the architecture strings."""
    trials = load_trials(root, search_id)
    trials = trials[trials["status"] == "completed"]
    curves = load_curves(root, search_id)
    frame = pd.DataFrame(
        {
            "arch": trials["architecture"],
            "flops": trials["metric_flops"].astype("int64"),
            "params": trials["metric_params"].astype("int32"),
            "duration_s": trials["duration_s"].astype("float32"),
            "train_seed": trials["train_seed"],
            "trial": trials["trial"],
        }
    )
    wide = curves[curves["metric"].isin(["val_accuracy", "test_accuracy"])].pivot_table(
        index="trial", columns=["metric", "epoch"], values="value"
    )
    wide.columns = [f"{metric}_{epoch}" for metric, epoch in wide.columns]
    frame = frame.merge(wide.astype("float32"), left_on="trial", right_index=True, validate="one_to_one")
    return frame.drop(columns="trial").sort_values("arch").reset_index(drop=True)


def searches(root: Path, name: str) -> list[str]:
    """Finished searches of a store by the beginning of their names, oldest first."""
    found = list_searches(root)
    found = found[found["name"].str.startswith(name) & (found["state"] == "finished")]
    return list(found.sort_values("submitted_at")["search_id"])


def _save(frame: pd.DataFrame, path: Path) -> None:
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, compression="zstd", compression_level=19)


def write(root: Path) -> None:
    """Write the table."""
    frame = table(root, searches(root, "all of nasbench201")[0])
    _save(frame, TABLE)
    print(f"{TABLE.name}: {len(frame)} rows, {TABLE.stat().st_size / 1e3:.0f} kB")
    print(frame.describe().T[["min", "50%", "max"]].to_string())


def write_introspectability(root: Path) -> None:
    """Add the column to the table; the other run's accuracies must be the table's, to the last bit."""
    search_id = searches(root, "all of nasbench201")[0]
    again, trials = table(root, search_id), load_trials(root, search_id).set_index("architecture")
    frame = pq.read_table(TABLE).to_pandas()
    columns = ["arch", *(c for c in frame.columns if "accuracy" in c), "train_seed"]
    pd.testing.assert_frame_equal(again[columns], frame[columns], check_exact=True)
    frame["introspectability"] = trials.loc[frame["arch"], "metric_introspectability"].to_numpy(dtype="float32")
    _save(frame, TABLE)


def front() -> None:
    """Print the exact Pareto front of accuracy and introspectability, and how the two go together."""
    frame = pq.read_table(TABLE).to_pandas()
    both = ["val_accuracy_3", "introspectability"]
    print(f"{len(frame)} classes, rank correlation of {both[0]} with")
    for name in ("introspectability", "flops", "params"):
        print(f"  {name}: {frame[both[0]].corr(frame[name], 'spearman'):+.3f}", end="")
        best = frame.nlargest(len(frame) // 10, both[0])
        print(f"; among the best tenth {best[both[0]].corr(best[name], 'spearman'):+.3f}")
    best = frame[pareto_mask(frame[both].to_numpy(dtype=np.float64))].sort_values(both, ascending=[False, True])
    print(f"exact Pareto front: {len(best)} classes of {len(best.drop_duplicates(both))} different values")
    print(best[[*both, "test_accuracy_3", "flops", "arch"]].to_string(index=False))


def noise(root: Path) -> None:
    """Train a seeded sample of the classes with five other seeds: how far can any ranking be right?"""
    architectures = sorted(pq.read_table(TABLE)["arch"].to_pylist())
    chosen = random.Random(0).sample(architectures, NOISE_CLASSES)
    text = (HERE / "table.toml").read_text()
    for seed in NOISE_SEEDS:
        spec = text.replace('name = "all of nasbench201 on digits"', f'name = "seed {seed} of 200 classes"')
        spec = spec.replace("train_seed = 0", f"train_seed = {seed}").replace(
            "trials = 6466", f"trials = {len(chosen)}"
        )
        path = root / f"noise_{seed}.toml"
        path.write_text("warm_start = [\n" + "".join(f'  "{a}",\n' for a in chosen) + "]\n" + spec)
        subprocess.run([sys.executable, "-m", "xnas_ray", "run", str(path), "--root", str(root)], check=True)


def write_noise(root: Path) -> None:
    """Write the repeated trainings and print the noise ceiling."""
    frames = []
    for search_id in searches(root, "seed "):
        frame = table(root, search_id)
        name = list_searches(root).set_index("search_id").loc[search_id, "name"]
        frames.append(frame.assign(seed=int(name.split()[1]))[["arch", "seed", "val_accuracy_3", "test_accuracy_3"]])
    frame = pd.concat(frames).sort_values(["arch", "seed"]).reset_index(drop=True)
    frame["seed"] = frame["seed"].astype("int8")
    _save(frame, NOISE)
    wide = frame.pivot(index="arch", columns="seed", values="val_accuracy_3")
    ranks = wide.corr("spearman").to_numpy()
    pairs = ranks[np.triu_indices(len(ranks), 1)]
    print(f"{NOISE.name}: {len(wide)} classes x {wide.shape[1]} seeds, {NOISE.stat().st_size / 1e3:.0f} kB")
    print(
        f"noise ceiling, Spearman of val_accuracy_3 between two seeds: mean {pairs.mean():.3f}, min {pairs.min():.3f}"
    )
    print(f"standard deviation over seeds, median class: {wide.std(axis=1).median():.2f} points")


def check(root: Path, rows: int = 50) -> None:
    """Retrain random rows in another search with the same seeds: the accuracies must be the same."""
    frame = pq.read_table(TABLE).to_pandas().sample(rows, random_state=0)
    text = (HERE / "table.toml").read_text().replace("all of nasbench201 on digits", "retrained rows")
    text = text.replace("trials = 6466", f"trials = {rows}")
    path = root / "check.toml"
    path.write_text("warm_start = [\n" + "".join(f'  "{a}",\n' for a in frame["arch"]) + "]\n" + text)
    subprocess.run([sys.executable, "-m", "xnas_ray", "run", str(path), "--root", str(root)], check=True)
    again = table(root, searches(root, "retrained rows")[-1]).set_index("arch")
    columns = [c for c in frame.columns if "accuracy" in c]
    same = (again.loc[frame["arch"], columns].to_numpy() == frame[columns].to_numpy()).all(axis=1)
    print(f"{int(same.sum())} of {rows} retrained rows have the same accuracies after every epoch")
    if not same.all():
        sys.exit(1)


def busy(root: Path) -> None:
    """Print the wall time of the long run and the share of it that its workers spent on trials."""
    trials = load_trials(root, searches(root, "all of nasbench201")[0])
    wall_s = (trials["finished_at"].max() - trials["started_at"].min()).total_seconds()
    workers = 2
    share = trials["duration_s"].sum() / (workers * wall_s)
    print(f"{len(trials)} trials in {wall_s / 60:.1f} min, {workers} workers busy for {share:.4f} of it")
    again, failed = int((trials["attempts"] - 1).sum()), int((trials["status"] != "completed").sum())
    print(f"attempts beyond one: {again}, not completed: {failed}")


def compare(rows: int = 10) -> None:
    """Rank correlation of digits accuracies with the CIFAR-10 accuracies of NAS-Bench-201."""
    space = NASBench201()
    digits = pq.read_table(TABLE).to_pandas()
    digits["key"] = [space.key(space.parse(a)) for a in digits["arch"]]
    official = pq.read_table(data_file("nasbench201.parquet", "NAS-Bench-201 as a table"))
    cifar = official.select(["arch", "cifar10_val_200", "cifar10_test_200"]).to_pandas()
    cifar["key"] = [space.key(space.parse(a)) for a in cifar["arch"]]
    both = digits.merge(cifar.groupby("key", as_index=False).first(), on="key", validate="one_to_one")
    ten = both.sample(rows, random_state=0)
    for name, frame in ((f"{rows} random classes", ten), (f"all {len(both)} classes", both)):
        for column in ("cifar10_val_200", "cifar10_test_200"):
            value = frame["val_accuracy_3"].corr(frame[column], "spearman")
            print(f"{name}: Spearman of digits val_accuracy_3 with {column}: {value:+.3f}")


STORES = {
    "run": run,
    "write": write,
    "noise": noise,
    "write-noise": write_noise,
    "check": check,
    "busy": busy,
    "introspect": introspect,
    "write-introspectability": write_introspectability,
}
TABLES = {"front": front, "compare": compare}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*STORES, *TABLES])
    parser.add_argument("--root", type=Path, default=Path("results/digits_table"), help="the store")
    given = parser.parse_args()
    if given.what in TABLES:
        TABLES[given.what]()
    else:
        STORES[given.what](given.root)
