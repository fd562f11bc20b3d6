"""What a search ends with: the search of its finalists, from its specification to its table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from scipy.spatial.distance import pdist

from xnas_ray.client import Client
from xnas_ray.errors import SpecError, StoreError, TaskError
from xnas_ray.messages import Candidate
from xnas_ray.objectives.evaluate import evaluate_candidate
from xnas_ray.service.archive import stored_state
from xnas_ray.service.connection import RemoteHead
from xnas_ray.service.finalists import choose, finalists_frame, key_of, specification
from xnas_ray.service.host import OpenSearch
from xnas_ray.service.remote import store_tag
from xnas_ray.service.resolve import open_search, resolve
from xnas_ray.service.verify import verify
from xnas_ray.spec import FINALISTS, SearchSpec
from xnas_ray.store import Layout, load_activations, load_trials
from xnas_ray.tasks.bundle import bundle_task
from xnas_ray.training.context import LocalContext

TRAINED = Path(__file__).parents[1] / "system" / "tasks" / "trained"
TRIALS = [{"trial": 4, "genotype": (0, 1, 0)}, {"trial": 2, "genotype": (2, 0, 1)}]


def card_of(root: Path, task: Path = TRAINED, **spec: Any) -> dict[str, Any]:
    bundle = bundle_task(task, root)
    given = {"task": str(task), "seed": 3, **spec}
    return resolve(root, SearchSpec.from_mapping(given), bundle.hash).card()


def final_card(root: Path, card: dict[str, Any], **given: Any) -> dict[str, Any]:
    return resolve(root, specification("01PARENT", card, TRIALS, **given), card["task_hash"]).card()


# ---- its specification ----------------------------------------------------------------------------------------------


def test_it_is_the_search_again_but_for_what_must_differ(root):
    card = card_of(
        root, constraints=["params <= 1000", "introspectability >= 0.1"], recipe={"lr": 0.05}, keep_activations="front"
    )
    spec = specification("01PARENT", card, TRIALS, seeds=2, resources={"gpus": 2})
    assert (spec.parent, spec.measure_on, spec.report_test) == ("01PARENT", "test", False)
    assert spec.controller.params == {
        "candidates": [{"trial": 4, "genotype": [0, 1, 0]}, {"trial": 2, "genotype": [2, 0, 1]}],
        "seeds": 2,
    }
    assert spec.budget.trials == 4 and spec.constraints == ("params <= 1000",), "only what is known without training"
    assert (spec.keep_weights, spec.keep_activations, spec.reuse) == ("all", "none", "completed")
    assert spec.resources.gpus == 2 and spec.resources.cpus == card["spec"]["resources"]["cpus"]
    assert spec.recipe["lr"] == 0.05 and spec.objectives == ("val_accuracy", "introspectability")


def test_metrics_are_called_after_the_split_that_they_are_measured_on(root):
    names = [o["name"] for o in final_card(root, card_of(root))["objectives"]]
    assert names == ["test_accuracy", "introspectability"]


@pytest.mark.parametrize(
    ("searched", "epochs", "expected"),
    [({}, None, 2), ({"fidelity": 1}, None, 2), ({"fidelity": 1, "schedule_epochs": 5}, None, 5), ({}, 7, 7)],
)
def test_epochs_are_the_tasks_or_the_whole_schedule(root, searched, epochs, expected):
    spec = final_card(root, card_of(root, **searched), epochs=epochs)["spec"]
    assert (spec["fidelity"], spec["schedule_epochs"]) == (expected, expected)


def test_the_same_again_is_the_same_search(root):
    card = card_of(root)
    one = key_of(specification("01PARENT", card, TRIALS))
    assert one == key_of(specification("01PARENT", card, TRIALS, resources={"workers": 7}))
    others = [{"seeds": 5}, {"epochs": 9}, {"resources": {"gpus": 2}}]
    keys = {key_of(specification("01PARENT", card, TRIALS, **other)) for other in others}
    assert len({one, *keys, key_of(specification("01OTHER", card, TRIALS))}) == 5


def test_finalists_have_no_finalists(root):
    card = final_card(root, card_of(root))
    with pytest.raises(StoreError, match="01PARENT already"):
        specification("01CHILD", card, TRIALS)


def test_what_is_looked_up_cannot_be_trained(root, archive):
    with pytest.raises(TaskError, match="cannot be trained anew"):
        final_card(root, card_of(root, archive.task))


def test_no_search_may_select_on_the_test_split():
    with pytest.raises(SpecError, match="must not select on the test split"):
        SearchSpec.from_mapping({"task": "digits", "measure_on": "test"})
    SearchSpec.from_mapping({"task": "digits", "measure_on": "test", "controller": FINALISTS})


def ranked(fronts: list[bool], objectives: int) -> list[dict[str, Any]]:
    names = [f"o{i}" for i in range(objectives)]
    return [{"trial": n, "front": on, "objectives": dict.fromkeys(names, 1.0)} for n, on in enumerate(fronts)]


@pytest.mark.parametrize(
    ("given", "top", "expected"),
    [
        (ranked([True, False, True], 2), None, [0, 2]),
        (ranked([True, False, True, True], 2), 2, [0, 2]),
        (ranked([True, True, False], 1), None, [0]),
        (ranked([True, False, False], 1), 2, [0, 1]),
    ],
)
def test_the_front_or_the_best(given, top, expected):
    assert [one["trial"] for one in choose(given, top)] == expected


def test_nobody_to_choose_from():
    with pytest.raises(StoreError, match="no trial completed"):
        choose([], None)


# ---- its trainings --------------------------------------------------------------------------------------------------


def test_seeds_are_those_of_no_search(root):
    """What is trained on more data, or by more GPUs, is another training: reuse must never mix them up."""
    card = card_of(root)
    search = OpenSearch(open_search(root, {**card, "spec": {**card["spec"], "warm_start": ["8x2-relu"]}}))
    seeds = [search.propose().train_seed]
    for gpus in (0.5, 2, 4):
        opened = OpenSearch(open_search(root, final_card(root, card, resources={"gpus": gpus}, seeds=2)))
        seeds += [opened.propose().train_seed for _ in range(4)]
    assert len(set(seeds)) == 13


def test_they_learn_from_train_and_validation_and_see_test_once(root, monkeypatch):
    from xnas_ray.training.trained import Evaluator

    search = open_search(root, final_card(root, card_of(root)))
    data, looked_at, trained_on = search.task.load_data(), [], set()
    predict = Evaluator.predict
    monkeypatch.setattr(Evaluator, "predict", lambda self, m, split: looked_at.append(split) or predict(self, m, split))

    def evaluated(**given: Any):
        measured = evaluate_candidate(
            problem=search.task.problem,
            space=search.space,
            candidate=Candidate(0, (1, 0, 0), fidelity=3, schedule_epochs=3, replicate=1),
            objectives=search.objectives,
            seed=1,
            context=LocalContext(),
            data=data,
            **given,
        )
        trained_on.add(len(measured.trained.data.train))
        return measured

    last = evaluated(measure_on="test")
    assert trained_on == {len(data.train) + len(data.validation)}
    assert len(looked_at) == 1 and looked_at[0] is data.test
    assert {"test_accuracy", "test_loss", "introspectability"} <= set(last.metrics)
    assert not [name for name in last.metrics if name.startswith("val_")]
    assert [("test_accuracy" in r, "val_accuracy" in r) for r in last.curve] == [(False, False)] * 2 + [(True, False)]
    searched = evaluated()
    assert not [name for name in searched.metrics if name.startswith("test_")], "selection never sees the test split"


# ---- its table ------------------------------------------------------------------------------------------------------


def test_means_and_spreads_over_the_seeds(root):
    card = final_card(root, card_of(root))
    origin = [json.dumps({"finalist": n}) for n in (4, 2, 4, 2, 4, 2)]
    accuracy = [90.0, 80.0, 92.0, None, 97.0, None]
    trials = pd.DataFrame(
        {
            "origin": origin,
            "status": ["failed" if value is None else "completed" for value in accuracy],
            "metric_test_accuracy": accuracy,
            "metric_introspectability": [0.1, 0.2, 0.3, None, 0.2, None],
        }
    )
    searched = pd.DataFrame(
        {
            "trial": [2, 4],
            "architecture": ["two", "four"],
            "metric_val_accuracy": [1.0, 2.0],
            "metric_introspectability": [0.5, 0.6],
        }
    )
    objectives = [{"name": "val_accuracy"}, {"name": "introspectability"}]
    found = finalists_frame(card, trials, searched, objectives)
    assert found[["trial", "architecture", "seeds", "failed"]].values.tolist() == [[4, "four", 3, 0], [2, "two", 1, 2]]
    assert found["searched_introspectability"].tolist() == [0.6, 0.5]
    assert found["test_accuracy"].tolist() == [93.0, 80.0]
    assert found["test_accuracy_std"][0] == pytest.approx(np.std([90, 92, 97], ddof=1))
    assert np.isnan(found["test_accuracy_std"][1]), "one seed has no spread"


# ---- through a client -----------------------------------------------------------------------------------------------


def test_the_client_chooses_and_names_the_search(archive):
    handle = Client(archive.root).handle(archive.finished)
    spec, key = handle.finalists_spec(top=2, seeds=4, workers=1)
    front = [one["trial"] for one in handle.best(None) if one["front"]]
    assert [one["trial"] for one in spec.controller.params["candidates"]] == front[:2] and key == key_of(spec)
    assert (spec.budget.trials, spec.resources.workers) == (8, 1)
    chosen, _ = handle.finalists_spec(trials=[5, 1, 5])
    assert [one["trial"] for one in chosen.controller.params["candidates"]] == [5, 1]
    with pytest.raises(StoreError, match=r"trials: is no completed trial.*Valid: 0, 1, 2, 4"):
        handle.finalists_spec(trials=[3])
    with pytest.raises(StoreError, match="trains no finalists"):
        handle.finalists()


@pytest.mark.slow
def test_from_the_search_to_its_finalists_through_every_death(service, root):
    """On a real service: files of the front alone, then its finalists, while a worker and the head are killed."""
    one = service()
    parent = one.submit("trained", budget={"trials": 10}, keep_weights="front", keep_activations="front")
    assert one.wait(parent)["counts"]["completed"] == 10
    client = Client(root, service=RemoteHead(one.head))
    handle = client.handle(parent)
    front = handle.results(front=True)
    check_files(root, parent, set(front["trial"]))
    for trial, score in zip(front["trial"], front["metric_introspectability"], strict=True):
        vectors = np.concatenate([*load_activations(root, parent, trial).values()], axis=1, dtype=np.float64)
        assert pdist(vectors, metric="cosine").mean() == pytest.approx(score, abs=1e-5)

    given = {"trials": range(6), "seeds": 2, "epochs": 150}
    child = handle.finalize(**given)
    until(lambda: len(load_trials(root, child.id)) >= 2)
    kill_worker(root)
    until(lambda: len(load_trials(root, child.id)) >= 5)
    psutil.Process(one.call("info")["pid"]).kill()
    until(lambda: stored_state(root, child.id).ended, timeout_s=120)
    trials = load_trials(root, child.id)
    trained = [(json.loads(text)["finalist"], r) for text, r in zip(trials["origin"], trials["replicate"], strict=True)]
    assert sorted(trained) == [(n, r) for n in range(6) for r in (1, 2)], "each finalist once a seed"
    assert (trials["status"] == "completed").all() and trials["metric_test_accuracy"].between(0, 100).all()
    assert not [name for name in trials if name.startswith("metric_val_")]
    assert verify(root, child.id).mismatch is None
    found = child.finalists()
    assert found["trial"].tolist() == list(range(6)) and (found["seeds"] == 2).all()
    assert found["searched_val_accuracy"].notna().all() and found["test_accuracy_std"].notna().all()
    assert all(one["weights"] for one in child.best(None)), "every trained network is kept"

    assert handle.finalize(**given).id == child.id, "asked again, nothing is trained again"
    more = handle.finalize(**{**given, "seeds": 3})
    until(lambda: stored_state(root, more.id).ended, timeout_s=120)
    assert load_trials(root, more.id)["reused_from"].notna().sum() == 12, "what was trained is taken over"
    assert (more.finalists()["seeds"] == 3).all()


@pytest.mark.slow
def test_from_labels_to_students_and_teachers_of_other_searches(service, root):
    """Both steps, a worker killed in the second; and the same teacher, another one and none in ordinary searches."""
    one = service()
    parent = one.submit("trained", budget={"trials": 4})
    assert one.wait(parent)["counts"]["completed"] == 4
    client = Client(root, service=RemoteHead(one.head))
    plain = client.handle(parent).finalize(trials=range(4), seeds=2, epochs=100)
    assert one.wait(plain.id)["counts"]["completed"] == 8
    students = plain.distil()
    until(lambda: len(load_trials(root, students.id)) >= 2)
    kill_worker(root)
    until(lambda: stored_state(root, students.id).ended, timeout_s=120)
    trials = load_trials(root, students.id)
    assert len(trials) == 8 and (trials["status"] == "completed").all() and trials["reused_from"].isna().all()
    assert verify(root, students.id).mismatch is None
    assert plain.distil().id == students.id, "asked again, nothing is trained again"
    found = students.finalists(beside=plain)
    sizes = load_trials(root, parent).set_index("trial")["metric_flops"]
    assert found["trial"].tolist() == [0, 1, 2, 3] and found["teacher"].sum() == 1
    assert sizes[found.set_index("trial")["teacher"].idxmax()] == sizes.max()
    assert (found["distilled_seeds"] == 2).all() and found["distilled_test_accuracy"].between(0, 100).all()

    def reused(teacher: str) -> int:
        """How many of all twelve architectures an ordinary search with that teacher takes over."""
        search = one.submit("trained", recipe={"teacher": teacher}, budget={"trials": 12}, reuse="completed")
        assert one.wait(search)["state"] == "finished"
        return int(load_trials(root, search)["reused_from"].notna().sum())

    first, second = f"{plain.id}/0", f"{plain.id}/1"
    assert [reused(teacher) for teacher in ("", first, second, first)] == [4, 0, 0, 12]
    with pytest.raises(SpecError, match="no finished trial 99"):
        client.submit({"task": str(TRAINED), "recipe": {"teacher": f"{plain.id}/99"}})


def until(condition: Callable[[], Any], timeout_s: float = 60) -> None:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("timed out")


def kill_worker(root: Path) -> None:
    """SIGKILL for one trial worker of the store's service."""
    import ray

    actors = ray.util.list_named_actors(all_namespaces=True)
    name = min(a["name"] for a in actors if f"xnas-worker-{store_tag(root)}" in a["name"])
    psutil.Process(ray.get(ray.get_actor(name, namespace="xnas").pid.remote())).kill()


def check_files(root: Path, search_id: str, front: set[int]) -> None:
    """Weights and activations are those of the front; they go a moment after the last row."""
    folder = Layout(root).root / "artifacts" / search_id
    wanted = sorted((n, name) for n in front for name in ("activations.npz", "weights.pt"))
    until(lambda: sorted((int(p.parts[-3]), p.name) for p in folder.glob("*/*/*")) == wanted, timeout_s=10)
