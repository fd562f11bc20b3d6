"""Recipes of one small network: NARS beside Optuna's TPE and ASHA, and random search, at equal cost in epochs.

``python experiments/reproduce/nars/recipe_only.py`` searches seven settings of the training of one network on digits.
Every contender has the same levels and may train for the same number of epochs altogether; a training that has begun
goes on to its end. What is trained with one recipe and one seed is the same for all. Contenders:

- random: the controller ``random_search``;
- NARS: the controller ``nars`` without bins, for there is one architecture: rounds of the best predicted recipes,
  stopped early once its first round tells when, then recipes that evolve on the predictor;
- TPE: Optuna's ``TPESampler``, multivariate, every training to its end;
- ASHA: Optuna's ``SuccessiveHalvingPruner`` on random recipes (its asynchronous successive halving);
- TPE + Hyperband: TPE with Optuna's ``HyperbandPruner``.

A contender's choice is the recipe with the highest validation accuracy among those trained to the end. It is trained
again with other seeds and measured on the test split. Shown are means and standard deviations over searches. About
twenty CPU minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any

import optuna
import torch
from networks import SMALL, SPACE, spread, trained

from xnas_ray.controllers.base import Goal, Horizon
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.errors import StoppedError, TrainingError
from xnas_ray.messages import Failure, FailureKind, Genotype, Outcome, TrialStatus
from xnas_ray.randomness import canonical_json, training_seed
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.tasks.base import Data
from xnas_ray.tasks.datasets import digits, image_data
from xnas_ray.training.context import LocalContext

METRIC = "val_accuracy"
GENES = {
    "lr": {"log": [0.002, 0.5], "levels": 13},
    "optimizer": ["sgd", "rmsprop"],
    "weight_decay": {"log": [1e-6, 1e-2], "levels": 9},
    "ema_decay": [0.0, 0.99],
    "dropout": {"linear": [0.0, 0.3], "levels": 4},
    "drop_path": {"linear": [0.0, 0.3], "levels": 4},
    "augment": [[], ["mixup"]],
}
JOINT = JointSpace(architecture=RestrictedSpace(SPACE, [SMALL]), recipe=GENES)
FINAL_SEEDS = 3


@dataclasses.dataclass(frozen=True)
class Done:
    """A training that has ended.

    Attributes:
        recipe: what was searched of it.
        curve: one record an epoch; short where it was stopped, empty where it failed.
        failed: whether it failed, such as by an infinite loss.
    """

    recipe: Mapping[str, Any]
    curve: tuple[Mapping[str, float], ...]
    failed: bool = False


@dataclasses.dataclass
class Budget:
    """What one search may train.

    Attributes:
        data: of the task.
        seed: of the search; repeated searches train with other seeds.
        epochs: of a whole training.
        limit: epochs of all trainings together.
        done: what was trained.
        spent: epochs of it.
    """

    data: Data
    seed: int
    epochs: int
    limit: int
    done: list[Done] = dataclasses.field(default_factory=list)
    spent: int = 0

    def __bool__(self) -> bool:
        """Whether another training may begin."""
        return self.spent < self.limit

    def train(self, recipe: Mapping[str, Any], epochs: int, context: LocalContext | None = None) -> Done:
        """Train the network with a recipe, until the context stops it."""
        heard = context or LocalContext()
        failed = False
        try:
            curve = trained(
                self.data,
                SMALL,
                recipe,
                seed=training_seed(self.seed, "", SPACE.name, "", recipe, 0),
                epochs=epochs,
                schedule_epochs=self.epochs,
                context=heard,
            ).curve
        except StoppedError:
            curve = tuple(heard.records)
        except TrainingError:
            curve, failed = tuple(heard.records), True
        self.spent += max(1, len(curve) + failed)
        self.done.append(Done(recipe, curve, failed))
        return self.done[-1]

    def chosen(self) -> Done:
        """The best training that went to its end."""
        whole = [one for one in self.done if len(one.curve) == self.epochs and not one.failed]
        return max(whole, key=lambda one: one.curve[-1][METRIC])


def by_controller(name: str, **params: Any) -> Callable[[Budget], None]:
    """A search of a controller, one candidate after the other."""

    def search(budget: Budget) -> None:
        horizon = Horizon(budget.epochs, budget.epochs, budget.data.data_shape)
        kind = CONTROLLERS.get(name)
        controller = kind(JOINT, [Goal(METRIC, maximize=True)], seed=budget.seed, horizon=horizon, **params)
        while budget and (candidate := controller.propose()) is not None:
            done = budget.train(candidate.recipe, candidate.fidelity)
            number = candidate.ask_number
            if done.failed:
                failure = Failure(FailureKind.NAN, "NanLossError", "the loss is not finite.")
                controller.tell(Outcome(number, candidate, TrialStatus.FAILED, failure=failure))
            else:
                metrics = {METRIC: done.curve[-1][METRIC]}
                controller.tell(Outcome(number, candidate, TrialStatus.COMPLETED, metrics, done.curve))

    return search


class Pruned(LocalContext):
    """Reports every epoch to an Optuna trial and stops when its pruner says so."""

    def __init__(self, trial: optuna.Trial) -> None:
        super().__init__()
        self.trial = trial

    def report(self, record: Mapping[str, float]) -> None:
        """Keep the record, and ask the pruner."""
        super().report(record)
        self.trial.report(record[METRIC], int(record["epoch"]))
        if self.trial.should_prune():
            self.stop = "cancel"


def by_optuna(
    sampler: Callable[[int], optuna.samplers.BaseSampler],
    pruner: Callable[[int], optuna.pruners.BasePruner] = lambda epochs: optuna.pruners.NopPruner(),
) -> Callable[[Budget], None]:
    """A search of Optuna over the same levels: whole numbers where they are ordered, categories where not."""

    def suggested(trial: optuna.Trial) -> Genotype:
        levels = [
            trial.suggest_int(c.name, 0, len(c.options) - 1)
            if c.ordered
            else trial.suggest_categorical(c.name, tuple(range(len(c.options))))
            for c in JOINT.recipes.choices
        ]
        return tuple(int(level) for level in levels)

    def search(budget: Budget) -> None:
        study = optuna.create_study(
            direction="maximize", sampler=sampler(budget.seed), pruner=pruner(budget.epochs), study_name="recipes"
        )
        while budget:
            trial = study.ask()
            done = budget.train(JOINT.recipes.recipe(suggested(trial)), budget.epochs, Pruned(trial))
            if done.failed:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            elif len(done.curve) < budget.epochs:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                study.tell(trial, done.curve[-1][METRIC])

    return search


def _tpe(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(multivariate=True, seed=seed)


def _random(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


def _asha(epochs: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)


def _hyperband(epochs: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)


def contenders(trainings: int) -> dict[str, Callable[[Budget], None]]:
    """Who searches; the rounds of NARS fit into a budget of so many whole trainings."""
    nars = {"bins": max(2, trainings // 4), "rounds": 3, "winners": max(1, trainings // 8), "pool": 2048}
    return {
        "random": by_controller("random_search"),
        "NARS": by_controller("nars", **nars),
        "TPE": by_optuna(_tpe),
        "ASHA": by_optuna(_random, _asha),
        "TPE + Hyperband": by_optuna(_tpe, _hyperband),
    }


def final(data: Data, recipe: Mapping[str, Any], epochs: int, search: int, seeds: int) -> float:
    """Mean test accuracy of a recipe in percent over trainings with seeds that no search has seen."""
    found = []
    for number in range(seeds):
        seed = training_seed(search, "final", SPACE.name, "", recipe, number)
        found.append(trained(data, SMALL, recipe, seed=seed, epochs=epochs).metrics["test_accuracy"])
    return mean(found)


def row(name: str, budgets: Sequence[Budget], finals: Sequence[float]) -> str:
    """One line of the table."""
    whole = [sum(len(one.curve) == budget.epochs for one in budget.done) for budget in budgets]
    best = [budget.chosen().curve[-1][METRIC] for budget in budgets]
    cells = [
        spread([len(budget.done) for budget in budgets], 1),
        spread(whole, 1),
        spread([budget.spent for budget in budgets], 1),
        spread(best),
        spread(finals),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=int, default=16, help="whole ones that a search could pay")
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--searches", type=int, default=3)
    parser.add_argument("--final-seeds", type=int, default=FINAL_SEEDS)
    parser.add_argument("--images", type=int, help="for training and validation; all by default")
    parser.add_argument("--contenders", nargs="+", choices=list(contenders(1)), metavar="NAME")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = image_data(digits(), holdout=0.2, seed=0, limit=given.images)
    all_of_them = contenders(given.trainings)
    print(
        f"{JOINT.recipes.size:,} recipes, {given.trainings * given.epochs} epochs a search, {given.searches} searches"
    )
    print("| search | trainings | to the end | epochs | best validation accuracy, % | test accuracy, % |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in given.contenders or all_of_them:
        budgets, finals = [], []
        for seed in range(given.searches):
            budget = Budget(data, seed, given.epochs, given.trainings * given.epochs)
            all_of_them[name](budget)
            budgets.append(budget)
            finals.append(final(data, budget.chosen().recipe, given.epochs, seed, given.final_seeds))
            print(f"{name}, search {seed}: {canonical_json(budget.chosen().recipe)}", file=sys.stderr)
        print(row(name, budgets, finals), flush=True)


if __name__ == "__main__":
    main()
