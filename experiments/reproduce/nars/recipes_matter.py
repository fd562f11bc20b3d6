"""Does the recipe matter? Those that a search found for a small and for a large network, swapped.

``python experiments/reproduce/nars/recipes_matter.py STORE`` takes two candidates of a search over architectures with
recipes (by default the latest one): the best with at most the lowest of its ``budgets`` of FLOPs, and the best with
more than the last but one, both trained to their end; ``--trials SMALL LARGE`` names others. Each network is trained
with its own recipe and with the other one's, with the same seeds, none of which the search has used. Shown are means
and standard deviations over the seeds, in the unit of the objective, and of the differences to the network's own
recipe, seed by seed.

That each recipe is best for the network it was found with is the paper's claim (Tables 4.1 and 4.6 of the thesis).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from stored import FIRST_SEED, Stored, on_test, spread

from xnas_ray.errors import SpecError, XnasError
from xnas_ray.messages import Genotype, Outcome
from xnas_ray.randomness import canonical_json
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.training.device import limit_threads

SIZES = ("small", "large")


def chosen(search: Stored, trials: Sequence[int], budgets: Sequence[float]) -> dict[str, Outcome]:
    """The candidates whose recipes are swapped, by size.

    Args:
        search: over a joint space.
        trials: the two, the small one first; empty to take the best.
        budgets: limits of FLOPs, at least two; not looked at when trials are given.

    Raises:
        SpecError: there are no such trials.
    """
    whole = search.whole()
    if trials:
        by_number = {outcome.trial: outcome for outcome in whole}
        for number in trials:
            if number not in by_number:
                raise SpecError(
                    "is no trial that was trained to its end.", field="trials", got=number, valid=sorted(by_number)
                )
        return dict(zip(SIZES, (by_number[number] for number in trials), strict=True))
    limits = sorted(budgets)
    if len(limits) < 2:
        raise SpecError("at least two limits of FLOPs tell small from large.", field="budgets")
    found = (search.best(whole, most=limits[0]), search.best(whole, above=limits[-2], most=limits[-1]))
    for size, outcome in zip(SIZES, found, strict=True):
        if outcome is None:
            raise SpecError(f"no {size} network was trained to its end.", field="budgets", fix="Name two --trials.")
    return {size: outcome for size, outcome in zip(SIZES, found, strict=True) if outcome is not None}


def swapped(space: JointSpace, outcomes: Mapping[str, Outcome]) -> dict[tuple[str, str], Genotype]:
    """Every network with every recipe, by the sizes of both."""
    parts = {size: space.split(outcome.candidate.genotype) for size, outcome in outcomes.items()}
    return {(one, other): (*parts[one][0], *parts[other][1]) for one in parts for other in parts}


def report(found: Mapping[tuple[str, str], Sequence[Mapping[str, float]]], name: str) -> None:
    """A Markdown table: a row a network and recipe."""
    print(f"\n| network | recipe of the | {name} | test split | difference to its own recipe | on the test split |")
    print("|---|---|---|---|---|---|")
    for (network, recipe), metrics in found.items():
        own = found[network, network]
        values = [[one[name] for one in metrics], [on_test(dict(one), name) for one in metrics]]
        before = [[one[name] for one in own], [on_test(dict(one), name) for one in own]]
        pairs = [[v - b for v, b in zip(*both, strict=True)] for both in zip(values, before, strict=True)]
        beside = ["" if network == recipe else spread(pair) for pair in pairs]
        print(f"| {network} | {recipe} | {' | '.join([*map(spread, values), *beside])} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--search", default="latest")
    parser.add_argument("--trials", nargs=2, type=int, default=[], metavar=("SMALL", "LARGE"))
    parser.add_argument("--budgets", nargs="+", type=float, help="limits of FLOPs; by default those of the search")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args(arguments)
    limit_threads(1)
    try:
        search = Stored.read(given.store, given.search)
        space = search.search.space.unwrapped
        if not isinstance(space, JointSpace):
            raise SpecError("recipes were not searched.", field="space.name", got=space.name, valid=["joint"])
        budgets = given.budgets or search.search.spec.controller.params.get("budgets", ())
        outcomes = chosen(search, given.trials, budgets)
    except XnasError as error:
        sys.exit(str(error))
    for size, outcome in outcomes.items():
        recipe = canonical_json(space.recipe(outcome.candidate.genotype))
        flops = int(search.flops([outcome])[0])
        print(f"{size}: trial {outcome.trial}, {flops:,} FLOPs, {search.text(outcome.candidate.genotype)}, {recipe}")
    data = search.data()
    found = {
        pair: [search.trained(data, genotype, FIRST_SEED + seed) for seed in range(given.seeds)]
        for pair, genotype in swapped(space, outcomes).items()
    }
    report(found, search.goal.name)


if __name__ == "__main__":
    main()
