"""A whole NARS search, judged: when trainings stop, what the predictor knew, and what the winners are worth.

``xnas run`` trains the candidates, one search after the other, into one store::

    for search in nars random_search nsga2; do
        xnas run experiments/reproduce/nars/$search.toml --root STORE
    done
    python experiments/reproduce/nars/end_to_end.py STORE --seeds 5

This script reads the store, by default the latest search of every controller, and prints Markdown:

- what each search cost, in trained epochs;
- the rank correlation of every epoch with the end, and the epoch at which later candidates stopped;
- every prediction that was made *before* its trial ran, beside the outcome, round by round: Spearman's correlation, and
  the mean absolute error beside that of guessing the mean of what was known then;
- under each limit of FLOPs the best evolved winner beside the best candidate of the rounds, read after the same epoch;
- under each limit the best of every search that the same number of trained epochs has found, among trainings that went
  to their end. The search with the fewest epochs says how many: of the others the first trials count.

Everything is chosen on the validation split. What is best there is partly luck, so the test split stands beside it
where the search measured it (``report_test``); ``--seeds N`` trains what was chosen N times anew and gives the means.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from stored import FIRST_SEED, Stored, on_test, spread

from xnas_ray.controllers.nars import EVOLVED, NARS
from xnas_ray.controllers.nars_explain import EARLY_STOPPING, PREDICTOR
from xnas_ray.controllers.nars_labels import Labels, reading
from xnas_ray.errors import XnasError
from xnas_ray.messages import Genotype, Outcome, TrialStatus
from xnas_ray.store import list_searches
from xnas_ray.training.device import limit_threads

ALL = "all"
"""Instead of a round: every prediction of a search."""


# ---- what is known of a NARS search ----------------------------------------------------------------------------------


def held_out(search: Stored, predictor: pd.DataFrame, maximize: bool) -> list[dict[str, Any]]:
    """How good predictions were that were made before their outcomes: a row a round, and one of all.

    Args:
        search: whose rounds know what they knew.
        predictor: the controller's table of that name.
        maximize: direction of the objective.

    Returns:
        ``round``, ``stage``, ``trials``, ``spearman`` (NaN of fewer than three), ``error`` (mean absolute) and
        ``guessing``: that of the mean label that was known when the round was planned.
    """
    space, sign = search.search.space, 1.0 if maximize else -1.0
    of_trial = {outcome.trial: outcome for outcome in search.outcomes}
    means: dict[tuple[int, int], float] = {}

    def known(trial: int, epoch: int) -> float:
        told = int(of_trial[trial].candidate.origin["told"])
        if (told, epoch) not in means:
            labels = Labels.read(search.outcomes[:told], space, search.goal, epoch)
            means[told, epoch] = sign * float(labels.values.mean())
        return means[told, epoch]

    guesses = [known(int(row.trial), int(row.epoch)) for row in predictor.itertuples()]
    table = predictor.assign(
        error=(predictor["predicted"] - predictor["observed"]).abs(),
        guessing=(np.array(guesses) - predictor["observed"]).abs(),
    )
    groups: list[tuple[Any, str, pd.DataFrame]] = [
        (number, stage, rows) for (number, stage), rows in table.groupby(["round", "stage"])
    ]
    return [
        {
            "round": number,
            "stage": stage,
            "trials": len(rows),
            "spearman": rank_correlation(rows["predicted"], rows["observed"]),
            "error": float(rows["error"].mean()),
            "guessing": float(rows["guessing"].mean()),
        }
        for number, stage, rows in [*groups, (ALL, "", table)]
    ]


def rank_correlation(first: pd.Series, second: pd.Series) -> float:
    """Spearman's; NaN of fewer than three, or where one side does not vary."""
    if len(first) < 3 or first.nunique() < 2 or second.nunique() < 2:
        return float("nan")
    return float(spearmanr(first, second).statistic)


@dataclass(frozen=True)
class Duel:
    """The best winner and the best candidate of the rounds under a limit of FLOPs, read after the same epoch.

    Attributes:
        limit: of FLOPs.
        winner: None where none completed.
        candidate: the same.
        read: what either had after the epoch, as the objective was measured; NaN where there is none.
        among: how many there were of either.
    """

    limit: float
    winner: Outcome | None
    candidate: Outcome | None
    read: tuple[float, float]
    among: tuple[int, int]


def duels(search: Stored, limits: Sequence[float], epoch: int | None) -> list[Duel]:
    """Evolved winners against the candidates of the rounds, limit by limit.

    Args:
        search: of NARS.
        limits: of FLOPs.
        epoch: after which both are read; None for the end of their training.
    """
    sign = 1.0 if search.goal.maximize else -1.0
    known: list[tuple[Outcome, float]] = []
    for outcome in search.outcomes:
        if outcome.status == TrialStatus.COMPLETED:
            value = reading(outcome, search.goal, epoch)
            if value is not None:
                known.append((outcome, value))
    costs = search.flops([outcome for outcome, _ in known])
    found = []
    for limit in limits:
        within = [one for one, cost in zip(known, costs, strict=True) if cost <= limit]
        winners = [one for one in within if one[0].candidate.origin.get("stage") == EVOLVED]
        others = [one for one in within if one[0].candidate.origin.get("stage") != EVOLVED]
        (winner, first), (candidate, second) = (
            max(side, key=lambda one: one[1], default=(None, float("nan"))) for side in (winners, others)
        )
        found.append(Duel(limit, winner, candidate, (sign * first, sign * second), (len(winners), len(others))))
    return found


# ---- searches side by side -------------------------------------------------------------------------------------------


def fronts(searches: Sequence[Stored], limits: Sequence[float]) -> tuple[int, list[list[Outcome | None]]]:
    """The best of every search under every limit of FLOPs, at equal cost.

    Returns:
        The epochs that every search could spend, and a list a limit with the best of each search.
    """
    epochs = min(search.epochs for search in searches)
    paid = [search.whole(epochs) for search in searches]
    return epochs, [[s.best(own, most=limit) for s, own in zip(searches, paid, strict=True)] for limit in limits]


def again(search: Stored, chosen: Iterable[Outcome], seeds: int) -> dict[Genotype, list[dict[str, float]]]:
    """Metrics of chosen candidates that are trained anew, by genotype, one a seed; each candidate once."""
    data = search.data()
    genotypes = dict.fromkeys(outcome.candidate.genotype for outcome in chosen)
    return {
        genotype: [search.trained(data, genotype, FIRST_SEED + seed) for seed in range(seeds)] for genotype in genotypes
    }


# ---- Markdown --------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A Markdown table."""
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def figure(value: float, digits: int = 2) -> str:
    """A number, nothing for NaN."""
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def report_costs(searches: Sequence[Stored]) -> None:
    print("\n## What was trained\n")
    rows = []
    for search in searches:
        failed = sum(outcome.status == TrialStatus.FAILED for outcome in search.outcomes)
        hours = sum(outcome.cost_s for outcome in search.outcomes) / 3600
        whole = len(search.whole())
        counts = f"{len(search.outcomes)}", f"{failed}", f"{whole}"
        rows.append([search.name, search.search_id, *counts, f"{search.epochs:,}", f"{hours:.2f}"])
    table(["controller", "search", "trials", "failed", "trained to the end", "epochs", "worker hours"], rows)


def report_early_stopping(tables: Mapping[str, pd.DataFrame]) -> None:
    print("\n## When trainings stop\n")
    if EARLY_STOPPING not in tables:
        print("Too few whole curves: every candidate trained to its end.")
        return
    found = tables[EARLY_STOPPING]
    chosen = int(found.loc[found["chosen"], "epoch"].iloc[0])
    saved = f"later candidates of the rounds stop after epoch {chosen} and save {1 - chosen / len(found):.0%}"
    print(
        f"{found['curves'].iloc[0]} curves of {len(found)} epochs, threshold {found['threshold'].iloc[0]:g}: "
        f"{saved if chosen < len(found) else 'nobody stops before the end'}.\n"
    )
    table(
        ["epoch", "rank correlation with the end"],
        [[f"{row.epoch}", f"{row.correlation:.3f}"] for row in found.itertuples()],
    )


def report_predictor(search: Stored, tables: Mapping[str, pd.DataFrame]) -> None:
    print("\n## Predictions made before the outcome\n")
    if PREDICTOR not in tables:
        print("None: the search ended before its second round.")
        return
    rows = held_out(search, tables[PREDICTOR], search.goal.maximize)
    cells = []
    for row in rows:
        figures = figure(row["spearman"], 3), figure(row["error"]), figure(row["guessing"])
        cells.append([f"{row['round']}", row["stage"], f"{row['trials']}", *figures])
    table(["round", "stage", "trials", "Spearman", "mean error", "guessing the mean"], cells)


def report_duels(search: Stored, limits: Sequence[float], epoch: int | None) -> None:
    when = "at the end of their training" if epoch is None else f"after epoch {epoch}"
    print(
        f"\n## Winners against the rounds\n\n{search.goal.name}, {when}; how many had to be chosen from, in brackets.\n"
    )
    rows = []
    for duel in duels(search, limits, epoch):
        sides = zip((duel.winner, duel.candidate), duel.read, duel.among, strict=True)
        cells = [
            [
                f"{figure(value)} (of {count})",
                "" if one is None else f"{int(search.flops([one])[0]):,}",
                "" if one is None else f"{one.trial}",
            ]
            for one, value, count in sides
        ]
        rows.append([f"{limit_text(duel.limit)}", *cells[0], *cells[1], figure(duel.read[0] - duel.read[1])])
    head = ["FLOPs at most", "best winner", "its FLOPs", "trial", "best of the rounds", "its FLOPs", "trial"]
    table([*head, "difference"], rows)


def report_fronts(
    searches: Sequence[Stored], limits: Sequence[float], epochs: int, best: Sequence[Sequence[Outcome | None]]
) -> None:
    goal = searches[0].goal
    print(f"\n## At equal cost: {epochs:,} epochs each\n\n{goal.name} (test split), FLOPs and trial of the best.\n")
    rows = []
    for limit, own in zip(limits, best, strict=True):
        cells = []
        for search, outcome in zip(searches, own, strict=True):
            if outcome is None:
                cells.append("none")
                continue
            value, test = outcome.metrics[goal.name], on_test(outcome.metrics, goal.name)
            beside = "" if np.isnan(test) else f" ({test:.2f})"
            cells.append(f"{value:.2f}{beside}, {int(search.flops([outcome])[0]):,}, #{outcome.trial}")
        rows.append([limit_text(limit), *cells])
    table(["FLOPs at most", *(search.name for search in searches)], rows)


def report_again(
    searches: Sequence[Stored], limits: Sequence[float], best: Sequence[Sequence[Outcome | None]], seeds: int
) -> None:
    goal = searches[0].goal
    print(f"\n## The same, trained anew with {seeds} seeds\n\n{goal.name}; test split; mean ± std.\n")
    columns = []
    for place, search in enumerate(searches):
        own = [row[place] for row in best]
        found = again(search, [outcome for outcome in own if outcome is not None], seeds)
        columns.append([seeds_text(None if one is None else found[one.candidate.genotype], goal.name) for one in own])
    rows = ([limit_text(limit), *cells] for limit, cells in zip(limits, zip(*columns, strict=True), strict=True))
    table(["FLOPs at most", *(search.name for search in searches)], rows)


def seeds_text(metrics: Sequence[Mapping[str, float]] | None, name: str) -> str:
    """Both splits over seeds; the test split is left out where there is none."""
    if metrics is None:
        return "none"
    test = [on_test(one, name) for one in metrics]
    shown = spread([one[name] for one in metrics])
    return shown if np.isnan(test).any() else f"{shown}; {spread(test)}"


def limit_text(limit: float) -> str:
    return f"{limit:,.0f}"


# ---- the script ------------------------------------------------------------------------------------------------------


def read_searches(root: Path, named: Sequence[str]) -> list[Stored]:
    """The named searches, or the latest of every controller, that of NARS first.

    Raises:
        XnasError: there is none, or they searched different spaces or tasks or for different epochs.
    """
    listed = list_searches(root)
    listed = listed[~listed["controller"].str.contains(":")]  # finalists and designs of a search are not another one
    ids = list(named) or list(listed.drop_duplicates("controller", keep="last")["search_id"])
    found = sorted((Stored.read(root, one) for one in ids), key=lambda one: (one.name != "nars", one.search_id))
    if not found or found[0].name != "nars":
        raise XnasError(f"{root} has no search by NARS.", field="store", fix="Run nars.toml of this folder.")
    for other in found[1:]:
        for what, one, two in (
            ("space", found[0].search.space.unwrapped.fingerprint, other.search.space.unwrapped.fingerprint),
            ("task", found[0].search.task.hash, other.search.task.hash),
            ("fidelity", found[0].fidelity, other.fidelity),
            ("objective", found[0].goal, other.goal),
        ):
            if one != two:
                raise XnasError(
                    f"{found[0].search_id} and {other.search_id} differ in it, so they do not compare.", field=what
                )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--searches", nargs="+", default=[], help="ids; by default the latest of every controller")
    parser.add_argument("--budgets", nargs="+", type=float, help="limits of FLOPs; by default those of NARS")
    parser.add_argument("--seeds", type=int, default=0, help="trainings anew of every candidate that was chosen")
    given = parser.parse_args(arguments)
    limit_threads(1)
    try:
        searches = read_searches(given.store, given.searches)
    except XnasError as error:
        sys.exit(str(error))
    report_costs(searches)
    limits: Sequence[float] = given.budgets or ()
    for search in searches:
        controller = search.told()
        if isinstance(controller, NARS):
            tables = controller.explain()
            limits = limits or controller.settings.budgets or (float(search.flops(search.outcomes).max()),)
            if sum(one.name == "nars" for one in searches) > 1:
                print(f"\n# Search {search.search_id}")
            report_early_stopping(tables)
            report_predictor(search, tables)
            report_duels(search, limits, controller.stopping.epoch)
    epochs, best = fronts(searches, limits)
    report_fronts(searches, limits, epochs, best)
    if given.seeds:
        report_again(searches, limits, best, given.seeds)


if __name__ == "__main__":
    main()
