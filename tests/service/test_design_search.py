"""Designs from a stored search: labels as its controller reads them, answers as JSON, the search that trains them."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from xnas_ray.client import Client
from xnas_ray.controllers.design import Designer
from xnas_ray.errors import ExplanationError, SpecError, StoreError
from xnas_ray.messages import Outcome, TrialStatus
from xnas_ray.service.archive import stored_card
from xnas_ray.service.design_search import design_search
from xnas_ray.service.designs import DESIGNS, Query, designs_frame, key_of, specification
from xnas_ray.service.host import OpenSearch
from xnas_ray.service.resolve import open_search, resolve
from xnas_ray.spec import SearchSpec
from xnas_ray.store import load_curves, load_trials

from .designed_search import EPOCHS, SEARCH, accuracy, store_search

FLOPS = [150e3, 400e3]
SETTINGS = {"members": 2, "pool": 300, "top": 4}


@pytest.fixture(scope="module")
def answer(designable):
    return Client(designable).handle(SEARCH).design(FLOPS, **SETTINGS)


def test_labels_are_read_at_the_epoch_at_which_candidates_stop(designable, answer):
    assert (answer["epoch"], answer["labels"], answer["members"]) == (4, 60, 2)
    curves = load_curves(designable, SEARCH).set_index(["trial", "epoch"])
    values = curves[curves["metric"] == "val_accuracy"]["value"]
    for one in answer["designs"]:
        for near in one["neighbours"]:
            assert near["measured"] == pytest.approx(values[near["trial"], 4]), "of the winners too, which trained on"


@pytest.mark.parametrize(
    ("params", "learning"),
    [
        ({}, (True, True)),
        ({"clip": False}, (False, True)),
        ({"mode": "paper", "frozen": False}, (False, False)),
    ],
)
def test_a_predictor_learns_as_that_of_the_search(params, learning, designable, monkeypatch):
    given = []

    class Recorded(Designer):
        def __init__(self, *args, clip, frozen, **named):
            super().__init__(*args, clip=clip, frozen=frozen, **named)
            given.append((self.clip, self.predictor.frozen))

    def card(root, search_id):
        found = stored_card(root, search_id)
        spec = found["spec"]
        return {**found, "spec": {**spec, "controller": {**spec["controller"], "params": {"pool": 300, **params}}}}

    monkeypatch.setattr("xnas_ray.service.design_search.Designer", Recorded)
    monkeypatch.setattr("xnas_ray.service.design_search.stored_card", card)
    design_search(designable, SEARCH, {"members": 1, "pool": 300, "top": 1})
    assert given == [learning]


def test_each_budget_is_answered_and_kept(designable, answer):
    space = open_search(designable, stored_card(designable, SEARCH)).space
    assert [(one["budget"]["flops"], one["rank"]) for one in answer["designs"]] == [
        (limit, rank) for limit in FLOPS for rank in (1, 2, 3, 4)
    ]
    for one in answer["designs"]:
        assert one["flops"] <= one["budget"]["flops"]
        genotype = tuple(one["genotype"])
        assert space.format(genotype).startswith(one["architecture"] + " {")
        assert one["recipe"] == space.recipe(genotype) and set(one["recipe"]) >= {"lr", "dropout"}
    small, large = answer["designs"][0], answer["designs"][4]
    assert small["predicted"] < large["predicted"], "more FLOPs are better here"


def test_designs_are_better_than_chance_at_equal_flops(designable, answer):
    """By the made-up truth, not by the predictor."""
    search = open_search(designable, stored_card(designable, SEARCH))
    dice = np.random.default_rng(0)
    drawn = [search.space.sample(dice) for _ in range(2_000)]
    flops, _ = search.space.costs(drawn, search.shape)
    truth = np.array([accuracy(int(f), search.space.recipe(g)) for f, g in zip(flops, drawn, strict=True)])
    for limit in FLOPS:
        designs = [one for one in answer["designs"] if one["budget"]["flops"] == limit]
        designed = [accuracy(one["flops"], one["recipe"]) for one in designs]
        assert np.mean(designed) > np.median(truth[flops <= limit])
    assert answer["held_out"]["spearman"] > 0.5 and answer["warnings"] == []


def test_an_answer_is_json_and_the_same_again(designable, answer):
    text = json.dumps(answer, allow_nan=False)
    again = Client(designable).handle(SEARCH[:6]).design(FLOPS, **SETTINGS)
    assert json.dumps(again, allow_nan=False) == text
    one = Client(designable).handle(SEARCH).design(FLOPS[1], **SETTINGS)
    assert one["designs"] == answer["designs"][4:]


def test_the_table(answer):
    frame = designs_frame(answer)
    assert list(frame.columns[:3]) == ["budget_flops", "budget_params", "rank"] and len(frame) == 8
    assert frame["predicted"].tolist() == [one["predicted"] for one in answer["designs"]]
    assert frame["neighbour_2_trial"].tolist() == [one["neighbours"][1]["trial"] for one in answer["designs"]]
    assert json.loads(frame["recipe"][0]) == pytest.approx(answer["designs"][0]["recipe"])
    assert [None if pd.isna(t) else t for t in frame["trial"]] == [one["trial"] for one in answer["designs"]]


# ---- other searches --------------------------------------------------------------------------------------------------


def test_random_search_with_few_trials_is_warned_of(tmp_path, played_search):
    made = store_search(tmp_path / "store", tmp_path / "task", played_search, 12, "random_search")
    ends = {o.trial: o.metrics["val_accuracy"] for o in made.opened.controller.outcomes}
    found = Client(tmp_path / "store").handle("latest").design(90e3, **SETTINGS)
    assert found["epoch"] is None and found["labels"] == 12
    assert all(n["measured"] == pytest.approx(ends[n["trial"]]) for one in found["designs"] for n in one["neighbours"])
    assert any("12 trials are few" in text for text in found["warnings"])
    assert any("beyond which predictions are guesses" in text for text in found["warnings"])


def test_the_first_of_several_objectives_and_cells_without_recipes(archive):
    """A search over cells, ten of twelve trials completed, of another controller."""
    found = Client(archive.root).handle(archive.finished).design(members=1, pool=200, top=2)
    assert found["objective"]["name"] == "val_accuracy" and found["labels"] <= 11
    assert [one["budget"] for one in found["designs"]] == [{"flops": None, "params": None}] * 2
    assert found["designs"][0]["recipe"] == {} and found["designs"][0]["architecture"].startswith("|")


def test_too_few_trials(archive):
    with pytest.raises(ExplanationError, match="3 completed trials"):
        Client(archive.root).handle(archive.unfinished).design()


def test_nothing_is_chosen_by_the_test_split(designable, monkeypatch):
    from xnas_ray.service import design_search

    card = stored_card(designable, SEARCH)
    spec = {**card["spec"], "measure_on": "test", "parent": "01PARENT"}
    monkeypatch.setattr(design_search, "stored_card", lambda root, one: {**card, "spec": spec})
    with pytest.raises(StoreError, match=r"test split.*Ask the search that they come from: 01PARENT"):
        design_search.design_search(designable, SEARCH, {})


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"flops": [0.0]}, "flops: must be above 0"),
        ({"params": -1.0}, "params: must be above 0"),
        ({"flops": [float(n) for n in range(1, 30)]}, "at most 20 budgets"),
        ({"flop": 3}, "Did you mean 'flops'"),
    ],
)
def test_mistakes(query, told):
    with pytest.raises(SpecError, match=told):
        Query.from_json(query)


def test_a_query_is_json():
    query = Query((1e6, 2e6, 1e6), 5e4, caution=0.5)
    assert Query.from_json(json.loads(json.dumps(query.to_json()))) == query
    assert [budget.flops for budget in query.budgets] == [1e6, 2e6], "each once"


# ---- trained ---------------------------------------------------------------------------------------------------------


def test_the_search_that_trains_them_is_that_search_with_these_candidates(designable, answer):
    card = stored_card(designable, SEARCH)
    spec = specification(card, answer, seeds=2, resources={"workers": 3})
    assert (spec.controller.name, spec.parent, spec.budget.trials) == (DESIGNS, SEARCH, 16)
    assert (spec.reuse, spec.measure_on, spec.resources.workers) == ("completed", "validation", 3)
    for name in ("task", "space", "objectives", "recipe", "constraints", "schedule_epochs", "train_seed"):
        assert spec.to_json()[name] == card["spec"][name]
    assert spec.fidelity == EPOCHS, "to the end, not to the epoch at which candidates stop"
    assert key_of(spec) == key_of(specification(card, answer, seeds=2))
    assert key_of(spec) != key_of(specification(card, answer, seeds=3))
    half = {**answer, "designs": answer["designs"][:4]}
    assert specification(card, half).budget.trials == 4


def test_they_are_proposed_with_what_was_predicted(designable, answer):
    card = stored_card(designable, SEARCH)
    spec = specification(card, answer, seeds=2)
    made = resolve(designable, SearchSpec.from_mapping(spec.to_json()), card["task_hash"])
    opened = OpenSearch(open_search(designable, json.loads(json.dumps(made.card()))))
    proposals = [opened.propose() for _ in range(17)]
    assert proposals[-1] is None, "and nothing else is"
    candidates = [one.candidate for one in proposals[:-1]]
    assert [c.replicate for c in candidates] == [0] * 8 + [1] * 8
    for candidate, one in zip(candidates, answer["designs"] * 2, strict=True):
        assert list(candidate.genotype) == one["genotype"] and candidate.recipe == one["recipe"]
        assert (candidate.fidelity, candidate.origin["stage"]) == (EPOCHS, "designed")
        assert candidate.origin["predicted"] == {"mean": one["predicted"], "std": one["std"], "epoch": 4}
        assert candidate.origin["budget"] == {"flops": one["budget"]["flops"]}
    assert len({one.train_seed for one in proposals[:-1]}) == 16


def test_what_the_search_has_trained_is_known_by_its_seed(designable):
    """A design that was a trial of the search gets that trial's seed, by which ``reuse`` finds it."""
    trial = load_trials(designable, SEARCH).iloc[-1]
    design = {"genotype": trial["genotype"], "budget": {}, "predicted": 90.0, "std": 1.0}
    card = stored_card(designable, SEARCH)
    spec = specification(card, {"search_id": SEARCH, "epoch": None, "designs": [design]})
    made = resolve(designable, spec, card["task_hash"]).card()
    opened = OpenSearch(open_search(designable, made))
    assert opened.propose().train_seed == trial["train_seed"]


def test_the_client_submits_them_on_the_searchs_task(designable, answer, fake_head):
    fake_head.answers["submit"] = "01CHILD"
    child = Client(designable).handle(SEARCH).submit_designs(answer, workers=2)
    (call,) = fake_head.calls
    spec = SearchSpec.from_mapping(call[2])
    assert child.id == "01CHILD" and call[0] == "submit" and call[3] == stored_card(designable, SEARCH)["task_hash"]
    assert spec.resources.workers == 2 and call[4] == key_of(spec)


def test_predictions_can_be_compared_with_what_was_measured(designable, answer):
    """The controller of the child takes outcomes like any other one."""
    card = stored_card(designable, SEARCH)
    opened = OpenSearch(
        open_search(designable, resolve(designable, specification(card, answer), card["task_hash"]).card())
    )
    proposal = opened.propose()
    value = accuracy(proposal.flops, proposal.candidate.recipe)
    opened.controller.tell(Outcome(0, proposal.candidate, TrialStatus.COMPLETED, {"val_accuracy": value}))
    predicted = opened.controller.outcomes[0].candidate.origin["predicted"]
    assert math.isfinite(predicted["mean"] - value)
