"""What is said of a whole NARS search: against outcomes that are known, and in a search that was played."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.service import designed_search
from xnas_ray.errors import SpecError, XnasError
from xnas_ray.messages import Candidate, Outcome, TrialStatus
from xnas_ray.service.resolve import resolve
from xnas_ray.spec import SearchSpec
from xnas_ray.tasks.bundle import bundle_task
from xnas_ray.training.recipe import Recipe

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "reproduce" / "nars"
SPECS = ("nars", "random_search", "nsga2")
NARS, RANDOM = designed_search.SEARCH, "01HF7YBTZ80123456789ABCDEF"


@pytest.fixture(scope="module")
def played(tmp_path_factory, played_search) -> Path:
    """A store with a NARS search of 60 trials and a random one of 40, over the same space and task."""
    folder = tmp_path_factory.mktemp("played")
    with pytest.MonkeyPatch.context() as patch:
        settings = {**designed_search.SMALL, "budgets": [2.5e5, 4e5]}
        designed_search.store_search(folder / "store", folder / "task", played_search, 60, **settings)
        patch.setattr(designed_search, "SEARCH", RANDOM)
        (folder / "again").mkdir()
        designed_search.store_search(folder / "store", folder / "again" / "task", played_search, 40, "random_search")
    return folder / "store"


@pytest.fixture
def searches(script, played):
    return script("end_to_end").read_searches(played, [])


def lines(shown: str, head: str) -> list[list[str]]:
    """Cells of the table that follows a heading."""
    rows = shown.split(f"## {head}", 1)[1].split("\n## ", 1)[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row.startswith("| ")]


# ---- what is compared ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPECS)
def test_the_searches_fit_their_task_and_each_other(name, tmp_path):
    spec = SearchSpec.from_toml(FOLDER / f"{name}.toml")
    nars = SearchSpec.from_toml(FOLDER / "nars.toml")
    assert (spec.task, spec.space, spec.recipe, spec.objectives) == (
        nars.task,
        nars.space,
        nars.recipe,
        nars.objectives,
    )
    assert spec.fidelity == nars.fidelity and spec.report_test
    assert spec.budget.trials >= nars.budget.trials, "as many trainings to the end are no fewer epochs"
    Recipe.from_mapping({}, spec.recipe)
    bundle = bundle_task(FOLDER.parents[1] / spec.task, tmp_path)
    assert resolve(tmp_path, spec, bundle.hash).controller().space.size > 1e6


def test_the_latest_search_of_every_controller(script, played, searches):
    assert [search.name for search in searches] == ["nars", "random_search"]
    assert searches[1].epochs == 40 * designed_search.EPOCHS
    [named] = script("end_to_end").read_searches(played, [NARS])
    assert len(named.outcomes) == 60 and named.epochs < 60 * designed_search.EPOCHS, "later ones stopped early"
    with pytest.raises(XnasError, match="no search by NARS"):
        script("end_to_end").read_searches(played, [searches[1].search_id])


def test_designs_and_finalists_are_no_other_searches(script, played, monkeypatch):
    end_to_end = script("end_to_end")
    listed = end_to_end.list_searches(played)
    child = listed.iloc[[-1]].assign(search_id="none", controller="xnas_ray.controllers.designed:Designed")
    monkeypatch.setattr(end_to_end, "list_searches", lambda root: pd.concat([listed, child]))
    assert [search.search_id for search in end_to_end.read_searches(played, [])] == [NARS, RANDOM]


def test_searches_of_different_length_do_not_compare(script, searches, monkeypatch):
    end_to_end = script("end_to_end")
    other = dataclasses.replace(
        searches[1],
        search=dataclasses.replace(
            searches[1].search, spec=searches[1].search.spec.model_copy(update={"fidelity": 99})
        ),
    )
    by_id = {searches[0].search_id: searches[0], other.search_id: other}
    monkeypatch.setattr(end_to_end.Stored, "read", lambda root, one: by_id[one])
    with pytest.raises(XnasError, match="do not compare"):
        end_to_end.read_searches(Path("any"), list(by_id))


def test_what_a_number_of_epochs_pays_for(script):
    stored = script("stored")

    def outcome(number: int, fidelity: int, failed_after: int | None = None) -> Outcome:
        candidate = Candidate(number, (0,), fidelity=fidelity, schedule_epochs=9)
        if failed_after is None:
            return Outcome(number, candidate, TrialStatus.COMPLETED, {"a": 1.0})
        curve = tuple({"epoch": e + 1.0} for e in range(failed_after))
        return Outcome(number, candidate, TrialStatus.FAILED, curve=curve)

    ran = [outcome(0, 5), outcome(1, 5, failed_after=2), outcome(2, 3), outcome(3, 5)]
    kept = [[one.trial for one in stored.affordable(ran, limit)] for limit in (4, 5, 7, 9, 10, 15, math.inf)]
    assert kept == [[], [0], [0, 1], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3]]


def test_at_equal_cost_no_search_spends_more(script, searches):
    end_to_end, limits = script("end_to_end"), [2.5e5, 4e5, 1e9]
    epochs, best = end_to_end.fronts(searches, limits)
    assert epochs == min(search.epochs for search in searches)
    for place, search in enumerate(searches):
        spent, pool = 0, []
        for outcome in search.outcomes:  # by hand
            spent += outcome.candidate.fidelity
            if spent <= epochs and outcome.candidate.fidelity == designed_search.EPOCHS:
                pool.append(outcome)
        for limit, row in zip(limits, best, strict=True):
            within = [one.metrics["val_accuracy"] for one in pool if one.metrics["flops"] <= limit]
            assert (row[place] is None) == (not within)
            if within:
                assert row[place].metrics["val_accuracy"] == max(within)


def test_the_best_between_two_limits(searches):
    search = searches[1]
    costs = sorted(outcome.metrics["flops"] for outcome in search.outcomes)
    low, high = costs[10], costs[20]
    best = search.best(search.outcomes, above=low, most=high)
    values = [one.metrics["val_accuracy"] for one in search.outcomes if low < one.metrics["flops"] <= high]
    assert best.metrics["val_accuracy"] == max(values) and low < best.metrics["flops"] <= high
    assert search.best(search.outcomes, most=1.0) is None


# ---- what is said of NARS --------------------------------------------------------------------------------------------


def test_predictions_are_judged_by_what_was_known_then(script, searches):
    end_to_end, search = script("end_to_end"), searches[0]
    predictor = search.told().explain()["predictor"]
    rows = end_to_end.held_out(search, predictor, True)
    *rounds, whole = rows
    assert whole["round"] == end_to_end.ALL and whole["trials"] == len(predictor) == sum(r["trials"] for r in rounds)
    error = np.abs(predictor["predicted"] - predictor["observed"]).mean()
    assert whole["error"] == pytest.approx(error) and -1 <= whole["spearman"] <= 1
    first = rounds[0]
    members = predictor[predictor["round"] == first["round"]]
    [told] = {o.candidate.origin["told"] for o in search.outcomes if o.candidate.origin["round"] == first["round"]}
    [epoch] = set(members["epoch"])
    known = [outcome.curve[epoch - 1]["val_accuracy"] for outcome in search.outcomes[:told]]
    assert first["guessing"] == pytest.approx(np.abs(members["observed"] - np.mean(known)).mean())


def test_few_or_equal_predictions_have_no_rank_correlation(script):
    correlation = script("end_to_end").rank_correlation
    assert correlation(pd.Series([1.0, 2.0, 3.0]), pd.Series([5.0, 6.0, 9.0])) == pytest.approx(1)
    assert math.isnan(correlation(pd.Series([1.0, 2.0]), pd.Series([1.0, 2.0])))
    assert math.isnan(correlation(pd.Series([1.0, 1.0, 1.0]), pd.Series([1.0, 2.0, 3.0])))


def test_winners_and_rounds_are_read_after_the_same_epoch(script, searches):
    search = searches[0]
    epoch = search.told().stopping.epoch
    assert epoch is not None and epoch < designed_search.EPOCHS
    for duel in script("end_to_end").duels(search, [2.5e5, 4e5], epoch):
        sides: dict[bool, list[float]] = {True: [], False: []}
        for outcome in search.outcomes:
            if outcome.metrics["flops"] <= duel.limit:
                evolved = outcome.candidate.origin["stage"] == "evolved"
                sides[evolved].append(outcome.curve[epoch - 1]["val_accuracy"])
        assert duel.among == (len(sides[True]), len(sides[False]))
        assert duel.read == (pytest.approx(max(sides[True])), pytest.approx(max(sides[False])))
        assert duel.winner.candidate.origin["stage"] == "evolved" != duel.candidate.candidate.origin["stage"]
    [nothing] = script("end_to_end").duels(search, [1.0], epoch)
    assert nothing.winner is nothing.candidate is None and nothing.among == (0, 0) and np.isnan(nothing.read).all()


# ---- the scripts -----------------------------------------------------------------------------------------------------


def test_the_whole_report(script, played, monkeypatch, capsys):
    end_to_end = script("end_to_end")
    monkeypatch.setattr(end_to_end.Stored, "data", lambda self: None)
    trained = []

    def train(self, data, genotype, seed):
        trained.append((self.name, genotype, seed))
        return {"val_accuracy": 90.0 + seed - end_to_end.FIRST_SEED, "test_accuracy": 80.0}

    monkeypatch.setattr(end_to_end.Stored, "trained", train)
    end_to_end.main([str(played), "--seeds", "3"])
    shown = capsys.readouterr().out
    assert [row[:3] for row in lines(shown, "What was trained")[1:]] == [
        ["nars", NARS, "60"],
        ["random_search", RANDOM, "40"],
    ]
    assert len(lines(shown, "When trainings stop")) == 1 + designed_search.EPOCHS
    assert lines(shown, "Predictions made before the outcome")[-1][0] == "all"
    assert [row[0] for row in lines(shown, "Winners against the rounds")[1:]] == ["250,000", "400,000"]
    assert [len(row) for row in lines(shown, "At equal cost")] == [3, 3, 3]
    anew = lines(shown, "The same, trained anew with 3 seeds")[1:]
    assert {cell for row in anew for cell in row[1:]} == {"91.00 ± 1.00; 80.00 ± 0.00"}
    assert len(trained) == len(set(trained)), "a candidate that is best under two limits is trained once"


def test_a_store_without_nars(script, archive):
    with pytest.raises(SystemExit, match="no search by NARS"):
        script("end_to_end").main([str(archive.root), "--searches", archive.finished])


def test_recipes_are_swapped_and_nothing_else(script, searches):
    recipes_matter, search = script("recipes_matter"), searches[0]
    space = search.search.space.unwrapped
    outcomes = recipes_matter.chosen(search, [], [2.5e5, 4e5])
    assert outcomes["small"].metrics["flops"] <= 2.5e5 < outcomes["large"].metrics["flops"] <= 4e5
    pairs = recipes_matter.swapped(space, outcomes)
    for size, outcome in outcomes.items():
        assert pairs[size, size] == outcome.candidate.genotype
    crossed, large = pairs["small", "large"], outcomes["large"].candidate.genotype
    assert space.recipe(crossed) == space.recipe(large)
    assert space.cost(crossed, search.search.shape).flops == outcomes["small"].metrics["flops"]


def test_trials_that_were_stopped_early_are_refused(script, searches):
    recipes_matter, search = script("recipes_matter"), searches[0]
    early = next(one.trial for one in search.outcomes if one.candidate.fidelity < designed_search.EPOCHS)
    with pytest.raises(SpecError, match="no trial that was trained to its end"):
        recipes_matter.chosen(search, [0, early], [])
    assert recipes_matter.chosen(search, [1, 0], [])["small"].trial == 1
    with pytest.raises(SpecError, match="tell small from large"):
        recipes_matter.chosen(search, [], [1e5])
    with pytest.raises(SpecError, match="no small network"):
        recipes_matter.chosen(search, [], [1.0, 2.0])


def test_the_table_of_swapped_recipes(script, capsys):
    recipes_matter = script("recipes_matter")
    values = {
        ("small", "small"): [90.0, 92.0],
        ("small", "large"): [89.0, 89.0],
        ("large", "small"): [93.0, 93.0],
        ("large", "large"): [95.0, 97.0],
    }
    found = {pair: [{"val_accuracy": v, "test_accuracy": v - 1} for v in own] for pair, own in values.items()}
    recipes_matter.report(found, "val_accuracy")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    assert rows[3] == ["small", "small", "91.00 ± 1.41", "90.00 ± 1.41", "", ""]
    assert rows[4] == ["small", "large", "89.00 ± 0.00", "88.00 ± 0.00", "-2.00 ± 1.41", "-2.00 ± 1.41"]


def test_a_candidate_is_trained_as_its_search_trained_it(script, tmp_path):
    """Real digits, one epoch: the second training of a seed is the first one again."""
    stored = script("stored")
    from xnas_ray.service.resolve import open_search

    given = SearchSpec.from_toml(FOLDER / "nars.toml").model_copy(update={"fidelity": 1, "schedule_epochs": 2})
    bundle = bundle_task(FOLDER.parents[1] / "digits", tmp_path)
    search = open_search(tmp_path, resolve(tmp_path, given, bundle.hash).card())
    one = stored.Stored("any", search, ())
    space = search.space.unwrapped
    genotype = space.canonical(tuple(0 for _ in space.choices))
    data = one.data()
    first, again, other = (one.trained(data, genotype, seed) for seed in (1, 1, 2))
    assert first == again and first["train_loss"] != other["train_loss"]
    assert {"val_accuracy", "test_accuracy", "flops"} <= set(first)
