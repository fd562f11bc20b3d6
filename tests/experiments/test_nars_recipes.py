"""The NARS experiments with recipes, at a size that takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from xnas_ray.tasks.datasets import digits, image_data

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "reproduce" / "nars"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("| ").split(" | ")]


def test_four_trainings_that_differ_in_what_they_say(script, capsys):
    script("ingredients").main(["--seeds", "1", "--epochs", "1", "--teacher-epochs", "2"])
    *_, baseline, average, taught, both = map(cells, capsys.readouterr().out.splitlines())
    assert [row[0] for row in (baseline, average, taught, both)] == ["baseline", "EMA", "distillation", "both"]
    for row in (average, taught, both):
        difference = float(row[1].split(" ")[0]) - float(baseline[1].split(" ")[0])
        assert float(row[2].split(" ")[0]) == pytest.approx(difference, abs=0.011)


def test_a_seed_gives_every_variant_the_same_start(script):
    networks, data = script("networks"), image_data(digits(), holdout=0.2, limit=250)
    still = {"lr": 1e-12, "weight_decay": 0.0}
    first, second = (
        networks.trained(data, networks.SMALL, still | extra, seed=3, epochs=1).model.state_dict()
        for extra in ({}, {"ema_decay": 0.9})
    )
    for name in first:
        if name.endswith("weight"):
            assert first[name].allclose(second[name], atol=1e-6), name


@pytest.fixture
def recipe_only(script):
    pytest.importorskip("optuna")
    return script("recipe_only")


@pytest.mark.parametrize("name", ["random", "NARS", "TPE", "ASHA", "TPE + Hyperband"])
def test_every_contender_spends_what_it_may(recipe_only, name, monkeypatch):
    """Accuracies are made up here, so that nothing is trained: a function of the recipe that grows with the epochs."""

    class Trained:
        def __init__(self, curve):
            self.curve = tuple(curve)

    def trained(data, genotype, recipe, *, seed, epochs, schedule_epochs, context):
        records = []
        for epoch in range(1, epochs + 1):
            if context.stop_requested():
                raise recipe_only.StoppedError("stopped.")
            accuracy = 90.0 * epoch / schedule_epochs - 100 * abs(recipe["lr"] - 0.05) - 10 * recipe["dropout"]
            records.append({"epoch": float(epoch), "val_accuracy": accuracy})
            context.report(records[-1])
        if recipe["optimizer"] == "rmsprop" and recipe["lr"] > 0.4:
            raise recipe_only.TrainingError("the loss is not finite.")
        return Trained(records)

    monkeypatch.setattr(recipe_only, "trained", trained)
    data = image_data(digits(), holdout=0.2, limit=250)
    budget = recipe_only.Budget(data, seed=0, epochs=9, limit=18 * 9)
    recipe_only.contenders(18)[name](budget)
    assert budget.limit <= budget.spent < budget.limit + budget.epochs + 1
    assert budget.spent >= sum(len(done.curve) for done in budget.done)
    best = budget.chosen()
    whole = [one for one in budget.done if len(one.curve) == 9]
    assert best.curve[-1]["val_accuracy"] == max(one.curve[-1]["val_accuracy"] for one in whole)
    if name in ("ASHA", "TPE + Hyperband", "NARS"):
        assert len(budget.done) > 18, "who stops trainings begins more of them"
    else:
        assert len(budget.done) == 18


def test_a_table_row_a_contender(recipe_only, capsys):
    small = {"trainings": 2, "epochs": 2, "searches": 1, "final-seeds": 1, "images": 250}
    options = [part for name, value in small.items() for part in (f"--{name}", str(value))]
    recipe_only.main([*options, "--contenders", "random", "ASHA"])
    *_, first, second = map(cells, capsys.readouterr().out.splitlines())
    assert (first[0], second[0]) == ("random", "ASHA")
    assert first[1:4] == ["2.0 ± 0.0", "2.0 ± 0.0", "4.0 ± 0.0"]
