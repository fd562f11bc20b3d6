import math

import pytest

from xnas_ray.errors import NanLossError, ObjectiveError, SpecError, TaskError
from xnas_ray.messages import Candidate
from xnas_ray.objectives.base import Objective
from xnas_ray.objectives.evaluate import evaluate_candidate
from xnas_ray.objectives.registry import create_objectives
from xnas_ray.spaces.base import DataShape
from xnas_ray.tasks.base import Problem
from xnas_ray.testing.tiny import TinySpace, tiny_data, tiny_problem
from xnas_ray.training.context import LocalContext


def evaluate(problem=None, objectives=("val_accuracy",), *, data="tiny", candidate=None, **kw):
    return evaluate_candidate(
        problem=problem or tiny_problem(),
        space=TinySpace(),
        candidate=candidate or Candidate(0, (1, 0, 0), fidelity=2, schedule_epochs=2),
        objectives=create_objectives(objectives) if isinstance(objectives[0], str) else objectives,
        seed=1,
        context=kw.pop("context", None) or LocalContext(),
        data=tiny_data() if data == "tiny" else data,
        **kw,
    )


def test_every_objective_is_a_metric():
    found = evaluate(objectives=("val_error", "flops", "params", "latency_ms"))
    assert found.metrics["val_error"] == pytest.approx(100 - found.metrics["val_accuracy"])
    cost = TinySpace().cost((1, 0, 0), tiny_data().data_shape)
    assert (found.metrics["flops"], found.metrics["params"]) == (cost.flops, cost.params)
    assert list(found.tables) == ["latency"]
    assert len(found.curve) == 2
    assert found.trained is not None


def test_precedence_of_recipes():
    problem = Problem(recipe={"lr": 0.1, "batch_size": 32, "momentum": 0.8})
    candidate = Candidate(0, (1, 0, 0), recipe={"momentum": 0.5})
    found = evaluate(problem, candidate=candidate, recipe={"lr": 0.2, "momentum": 0.7})
    recipe = found.trained.recipe
    assert (recipe.lr, recipe.batch_size, recipe.momentum) == (0.2, 32, 0.5)
    with pytest.raises(SpecError, match="Did you mean 'lr'"):
        evaluate(recipe={"lrr": 1})


@pytest.mark.parametrize("name", ["val_accuracy", "val_error"])
def test_classification_objectives_refuse_a_regression_before_training(name):
    context = LocalContext()
    with pytest.raises(ObjectiveError, match=f"{name}.*classification.*val_mse"):
        evaluate(tiny_problem("regression"), (name,), data=tiny_data("regression"), context=context)
    assert context.records == []


def test_regression_objectives():
    found = evaluate(tiny_problem("regression"), ("val_mse", "val_r2"), data=tiny_data("regression"))
    assert found.metrics["val_mse"] == pytest.approx(found.metrics["val_loss"], rel=1e-5)
    with pytest.raises(ObjectiveError, match="classification"):
        evaluate(objectives=("val_r2",))


def test_an_objective_without_its_metric_lists_what_there_is():
    with pytest.raises(ObjectiveError, match=r"'val_r2'.*val_mse.*Problem\.metrics"):
        evaluate(Problem(loss="mse", metrics=("mse",)), ("val_r2",), data=tiny_data("regression"))


def test_the_test_split_only_on_demand():
    assert not any(name.startswith("test") for name in evaluate().metrics)
    assert "test_accuracy" in evaluate(report_test=True).metrics


def test_a_value_that_is_not_finite_is_a_typed_failure():
    class Broken(Objective):
        name, direction, unit = "broken", "max", ""

        def measure(self, trained):
            return math.inf

    with pytest.raises(NanLossError, match="broken"):
        evaluate(objectives=(Broken(),))


def test_objectives_measure_the_tree_that_a_recipe_trains_along():
    """Of two classes there is one tree; what is measured of it comes from the training all the same."""
    objective = create_objectives(("nbdt_gap",))[0]
    found = evaluate(recipe={"tree_loss": "soft"}, objectives=(objective,))
    assert found.metrics["nbdt_gap"] == 0.0
    assert found.trained.tree is not None and objective.outcome(found.trained).hierarchy is found.trained.tree
    assert evaluate(objectives=("nbdt_gap",)).trained.tree is None
    last = evaluate(recipe={"tree_loss": "hard"}, objectives=("nbdt_gap",), measure_on="test")
    assert last.trained.tree is not None


def test_a_regression_cannot_be_trained_along_a_tree():
    context = LocalContext()
    with pytest.raises(SpecError, match=r"recipe\.tree_loss"):
        evaluate(
            tiny_problem("regression"),
            ("val_mse",),
            data=tiny_data("regression"),
            recipe={"tree_loss": "soft"},
            context=context,
        )
    assert context.records == []


def test_data_are_needed_to_train():
    with pytest.raises(TaskError, match=r"load_data\.py"):
        evaluate(data=None)


# ---- problems with an evaluate() of their own ------------------------------------------------------------------------


def table(space, candidate, recipe, seed, context):
    for epoch in range(candidate.fidelity):
        context.report({"epoch": epoch + 1.0, "val_accuracy": 40.0 + epoch})
    return {"val_accuracy": 41, "test_accuracy": 39.5, "seen_lr": recipe.lr, "seen_seed": seed}


def test_an_own_evaluate_gives_metrics_and_a_curve():
    context = LocalContext()
    problem = Problem(recipe={"lr": 0.7}, evaluate=table, shape=DataShape(((6,),), 2))
    found = evaluate(problem, ("val_error", "flops"), data=None, context=context)
    assert found.metrics == {"val_accuracy": 41.0, "val_error": 59.0, "flops": 64.0, "seen_lr": 0.7, "seen_seed": 1.0}
    assert found.curve == ({"epoch": 1.0, "val_accuracy": 40.0}, {"epoch": 2.0, "val_accuracy": 41.0})
    assert context.records == list(found.curve)
    assert evaluate(problem, data=None, report_test=True).metrics["test_accuracy"] == 39.5


@pytest.mark.parametrize(
    ("result", "error", "words"),
    [
        ([1.0], TaskError, "mapping"),
        ({"val_accuracy": "high"}, TaskError, r"Problem\.evaluate\.val_accuracy"),
        ({"val_accuracy": math.nan}, NanLossError, "val_accuracy"),
        ({"val_loss": 1.0}, ObjectiveError, r"no 'val_accuracy'.*val_loss"),
    ],
)
def test_what_an_own_evaluate_returns_is_checked(result, error, words):
    with pytest.raises(error, match=words):
        evaluate(Problem(evaluate=lambda **_: result), data=None)


def test_latency_cannot_be_looked_up():
    with pytest.raises(ObjectiveError, match="latency_ms"):
        evaluate(Problem(evaluate=table), ("latency_ms",), data=None)


def test_what_is_measured_on_test_is_called_so():
    context = LocalContext()
    found = evaluate(objectives=("val_error", "flops", "introspectability"), measure_on="test", context=context)
    assert context.records == list(found.curve), "whoever listens meanwhile hears the same names"
    assert found.metrics["test_error"] == pytest.approx(100 - found.metrics["test_accuracy"])
    assert {"flops", "introspectability", "train_loss"} <= set(found.metrics)
    assert not [name for name in found.metrics if name.startswith("val_")]


def test_look_ups_have_no_finalists():
    problem = Problem(evaluate=lambda **given: {"val_accuracy": 1.0})
    with pytest.raises(TaskError, match="cannot be trained on more data"):
        evaluate(problem, measure_on="test")
