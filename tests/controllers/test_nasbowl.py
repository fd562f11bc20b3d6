"""NAS-BOWL: conformance in every way of choosing, what enters a proposal, and that it beats chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from xnas_ray.benchmarks.simulator import simulate
from xnas_ray.benchmarks.table import TableEntry
from xnas_ray.controllers.base import Controller, Goal, Horizon
from xnas_ray.controllers.nasbowl import NASBOWL
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.errors import ControllerError, SpecError
from xnas_ray.messages import Candidate, Failure, FailureKind, Genotype, Outcome, TrialStatus
from xnas_ray.pareto import pareto_mask
from xnas_ray.spaces.base import Space
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.nasbench101 import NASBench101
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace
from xnas_ray.testing.controller_case import GOALS, ControllerTestCase
from xnas_ray.testing.tiny import TinySpace

WHOLE = NASBench201(cells_per_stage=1, channels=4, stages=1)
DICE = np.random.default_rng(0)
SMALL = RestrictedSpace(WHOLE, [WHOLE.sample(DICE) for _ in range(150)])
ACCURACY, PARAMS, LATENCY = GOALS
Value = Callable[[Genotype], float]


def accuracy(genotype: Genotype) -> float:
    """Percent: convolutions help, poolings harm, a little of it is each architecture's own."""
    own = np.random.default_rng(list(genotype)).random()
    return 60.0 + 5.0 * genotype.count(3) + 3.0 * genotype.count(2) - 4.0 * genotype.count(4) + own


def params(genotype: Genotype) -> float:
    return 1.0 + 9.0 * genotype.count(3) + genotype.count(2)


def measured(genotype: Genotype) -> dict[str, float]:
    return {ACCURACY.name: accuracy(genotype), PARAMS.name: params(genotype), LATENCY.name: 1.0}


def completed(candidate: Candidate, metrics: Mapping[str, float] | None = None) -> Outcome:
    given = measured(candidate.genotype) if metrics is None else metrics
    return Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, metrics=given)


def failed(candidate: Candidate, kind: FailureKind = FailureKind.EXCEPTION) -> Outcome:
    return Outcome(candidate.ask_number, candidate, TrialStatus.FAILED, failure=Failure(kind))


def ask(controller: Controller) -> Candidate:
    candidate = controller.propose()
    assert candidate is not None
    return candidate


def bowl(space: Space = SMALL, goals: Sequence[Goal] = (ACCURACY,), seed: int = 0, **given: Any) -> NASBOWL:
    return NASBOWL(space, goals, seed=seed, **{"initial": 6, **given})


def run(controller: Controller, trials: int, metrics: Callable[[Genotype], Mapping[str, float]] = measured) -> list:
    """Asks and tells one by one; the candidates."""
    asked = []
    for _ in range(trials):
        asked.append(ask(controller))
        controller.tell(completed(asked[-1], metrics(asked[-1].genotype)))
    return asked


class TestConformance(ControllerTestCase):
    """Among all architectures of a space."""

    trials = 20
    params: Mapping[str, Any] = {}

    def make_space(self) -> Space:
        return SMALL

    def make_controller(self, space: Space, objectives: Sequence[Goal], seed: int) -> Controller:
        return bowl(space, objectives, seed, **self.params)


class TestConformanceWithPools(TestConformance):
    """Among pools that are drawn."""

    trials = 14
    small = 16
    params: Mapping[str, Any] = {"candidates": "evolved", "pool": 16}


class TestConformanceAsPublished(TestConformance):
    """With the constants of the published code."""

    trials = 14
    small = 16
    params: Mapping[str, Any] = {"mode": "paper", "pool": 16}

    def make_space(self) -> Space:
        return WHOLE


class TestConformanceWithSamples(TestConformance):
    """With posterior samples in every place."""

    trials = 14
    small = 16
    params: Mapping[str, Any] = {"acquisition": "thompson", "fantasies": "samples"}


def test_it_is_registered():
    controller = CONTROLLERS.create("nasbowl", {"pool": 50}, SMALL, [ACCURACY], seed=0)
    assert isinstance(controller, NASBOWL)
    assert controller.settings.pool == 50


# ---- what it finds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"acquisition": "ei"},
        {"acquisition": "ucb"},
        {"acquisition": "thompson"},
        {"candidates": "evolved", "pool": 40},
        {"mode": "paper", "pool": 60},
        {"kernel": "oa"},
        {"fantasies": "samples"},
        {"hamming": False},
        {"wl": False},
    ],
)
def test_it_finds_the_best_of_a_space_sooner_than_chance(given: dict[str, Any]):
    best = max(accuracy(genotype) for genotype in SMALL.enumerate())
    found = [max(accuracy(c.genotype) for c in run(bowl(seed=seed, **given), 24)) for seed in range(2)]
    members = [accuracy(genotype) for genotype in SMALL.enumerate()]
    by_chance = np.mean([np.random.default_rng(s).permutation(members)[:24].max() for s in range(200)])
    assert np.mean(found) > by_chance + 0.6 * (best - by_chance)


def test_it_searches_a_space_that_cannot_be_listed():
    space = NASBench101()
    controller = bowl(space, pool=40)

    def value(genotype: Genotype) -> dict[str, float]:
        graph = space.graphs(genotype)["cell"]
        labels = [label for _, label in graph.nodes(data="op_name")]
        return {ACCURACY.name: 80.0 + 3.0 * labels.count("conv3x3-bn-relu") - labels.count("maxpool3x3")}

    values = [value(c.genotype)[ACCURACY.name] for c in run(controller, 24, value)]
    assert np.mean(values[6:]) > np.mean(values[:6]) + 1


def test_recipes_are_found_with_architectures():
    space = JointSpace(architecture=TinySpace(), recipe={"lr": {"log": [1e-4, 1.0], "levels": 9}})
    goal = Goal("val_accuracy", maximize=True)

    def value(genotype: Genotype) -> dict[str, float]:
        return {goal.name: 90.0 - 3.0 * abs(genotype[-1] - 5) + 2.0 * genotype[0]}

    asked = run(bowl(space, [goal]), 22, value)
    assert max(value(c.genotype)[goal.name] for c in asked) == 94.0
    assert all(c.recipe == space.recipe(c.genotype) for c in asked)


# ---- several objectives ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [{}, {"several": "ehvi"}, {"acquisition": "ucb"}, {"acquisition": "thompson"}, {"fantasies": "samples"}]
)
def test_a_front_is_found_sooner_than_by_chance(given: dict[str, Any]):
    def signed(genotypes: Sequence[Genotype]) -> np.ndarray:
        return np.array([(accuracy(g), -params(g)) for g in genotypes])

    members = list(SMALL.enumerate())
    front = {members[i] for i in np.flatnonzero(pareto_mask(signed(members)))}
    found = [{c.genotype for c in run(bowl(goals=[ACCURACY, PARAMS], seed=s, **given), 30)} for s in range(2)]
    by_chance = len(front) * 30 / len(members)
    assert np.mean([len(front & one) for one in found]) > 2 * by_chance


# ---- constraints ----------------------------------------------------------------------------------------------------


def test_constraints_on_metrics_are_learnt():
    limit = 12.0
    asked = run(bowl(constraints=[f"params <= {limit}"]), 26)
    later = asked[10:]
    feasible = [c for c in later if params(c.genotype) <= limit]
    assert len(feasible) > 0.6 * len(later)
    best = max(accuracy(g) for g in SMALL.enumerate() if params(g) <= limit)
    assert max(accuracy(c.genotype) for c in asked if params(c.genotype) <= limit) == best


def test_while_nothing_is_feasible_it_looks_for_what_is():
    controller = bowl(constraints=["params <= 1.5"])
    rare = [genotype for genotype in SMALL.enumerate() if params(genotype) <= 1.5]
    found = []
    while not found:
        candidate = ask(controller)
        if params(candidate.genotype) <= 1.5:
            found.append(candidate.ask_number)
        controller.tell(completed(candidate))
    assert 0 < len(rare) < 0.2 * 150
    assert found[0] < 12


def test_a_constrained_metric_must_be_reported():
    controller = bowl(constraints=["memory_mb <= 5"])
    with pytest.raises(ControllerError, match="memory_mb"):
        run(controller, 10)


# ---- failures and fidelities ----------------------------------------------------------------------------------------


def test_failures_keep_it_away_and_those_of_machines_say_nothing():
    controller = bowl()
    for _ in range(30):
        candidate = ask(controller)
        poor = candidate.genotype.count(3) >= 2
        controller.tell(failed(candidate) if poor else completed(candidate))
    later = controller.outcomes[15:]
    assert sum(o.status == TrialStatus.FAILED for o in later) < 6
    before = len(controller.surrogates.goals[0])
    controller.tell(failed(ask(controller), FailureKind.WORKER_DIED))
    assert len(controller.surrogates.goals[0]) == before


def test_short_trainings_are_used_and_long_ones_proposed():
    controller = bowl(horizon=Horizon(fidelity=16, schedule_epochs=16))
    for number, genotype in enumerate(list(SMALL.enumerate())[::2]):
        candidate = Candidate(number, genotype, fidelity=2, schedule_epochs=16)
        controller.tell(completed(candidate, {ACCURACY.name: 0.5 * accuracy(genotype)}))
    first = [ask(controller) for _ in range(4)]
    assert all(c.fidelity == 16 and c.origin["stage"] == "model" for c in first)
    typical = np.median([accuracy(genotype) for genotype in SMALL.enumerate()])
    assert min(accuracy(c.genotype) for c in first) > typical
    proposed = {c.genotype for c in first}
    trained = {o.candidate.genotype for o in controller.outcomes} - proposed
    assert not any(controller.known(genotype) for genotype in trained)  # at the search's fidelity


# ---- pending --------------------------------------------------------------------------------------------------------


def test_what_is_pending_spreads_the_proposals():
    def spread(fantasies: str) -> float:
        controller = bowl(fantasies=fantasies)
        run(controller, 20)
        chosen = np.array([ask(controller).genotype for _ in range(6)])
        return float((chosen[:, None] != chosen).sum(-1).mean())

    assert spread("believer") > spread("none")


@pytest.mark.parametrize("candidates", ["all", "evolved"])
def test_grakel_proposes_the_same(candidates: str):
    searches = [run(bowl(backend=b, candidates=candidates, pool=20), 14) for b in ("native", "grakel")]
    assert searches[0] == searches[1]


# ---- on tables ------------------------------------------------------------------------------------------------------


class MadeTask:
    """Accuracies by formula, for ``simulate``."""

    space: Space = WHOLE
    goals = (ACCURACY,)
    report_names = ()

    def lookup(self, genotype: Genotype) -> TableEntry:
        return TableEntry({ACCURACY.name: accuracy(genotype)})

    def evaluate(self, candidate: Candidate) -> Outcome:
        return completed(candidate, {ACCURACY.name: accuracy(candidate.genotype)})


def test_five_workers_never_wait_for_it():
    frame = simulate("nasbowl", MadeTask(), trials=40, workers=5, params={"initial": 8})  # type: ignore[arg-type]
    best = max(accuracy(genotype) for genotype in WHOLE.enumerate())
    assert frame[ACCURACY.name].max() > best - 1.0
    assert frame["worker"].nunique() == 5


# ---- explanations ---------------------------------------------------------------------------------------------------


def test_it_explains_what_it_has_learnt():
    controller = bowl()
    assert controller.explain() == {}
    run(controller, 40)
    tables = controller.explain()
    motifs, surrogate = tables["motifs"], tables["surrogate"]
    conv = motifs[(motifs["layer"] == 0) & (motifs["text"] == "nor_conv_3x3")]
    assert conv["whole"].iloc[0] > 0
    row = surrogate.iloc[0]
    assert row["metric"] == ACCURACY.name and row["observations"] == 40
    assert row["spearman"] > 0.5 and 0.7 < row["coverage_90"] <= 1.0
    assert 0 <= row["wl_share"] <= 1 and np.isfinite(row["nlpd"])


def test_a_proposal_says_what_was_expected_of_it():
    controller = bowl()
    asked = run(controller, 20)
    predicted = asked[-1].origin["predicted"]
    assert asked[-1].origin["stage"] == "model" and predicted["metric"] == ACCURACY.name
    assert predicted["low"] < predicted["high"]


# ---- parameters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"mode": "fast"}, "mode"),
        ({"initial": 0}, "initial"),
        ({"acquisition": "logei"}, "log_ei"),
        ({"beta": -1.0}, "beta"),
        ({"candidates": "some"}, "evolved"),
        ({"pool": 1}, "pool"),
        ({"parents": 1.5}, "parents"),
        ({"fantasies": "believe"}, "believer"),
        ({"several": "ehv"}, "ehvi"),
        ({"kernel": "rbf"}, "subtree"),
        ({"backend": "torch"}, "grakel"),
        ({"depths": []}, "depths"),
        ({"depths": [1, 99]}, "depths"),
        ({"depths": "12"}, "depths"),
        ({"hamming": "yes"}, "hamming"),
        ({"hamming": False, "wl": False}, "wl"),
        ({"members": 0}, "members"),
        ({"transform": "rank"}, "ranks"),
        ({"clip": 1}, "clip"),
        ({"constraints": "params <= 3"}, "constraints"),
        ({"constraints": ["params = 3"]}, "constraints"),
    ],
)
def test_bad_parameters_are_refused(given: dict[str, Any], field: str):
    with pytest.raises(SpecError, match=field):
        bowl(**given)


def test_a_mode_is_what_is_left_at_its_default():
    paper = bowl(mode="paper").settings
    assert (paper.acquisition, paper.candidates, paper.fantasies, paper.pool, paper.parents) == (
        ("ei", "mutants", "none", 200, 10)
    )
    grid = paper.model.grid
    assert (grid.depths, grid.wl_shares, grid.scale) == ((1, 2, 3), (1.0,), 1.0)
    assert (grid.noise_floor, grid.noise_ceiling) == (1e-5, 1e-2)
    assert (paper.model.transform, paper.model.clip) == ("auto", False)
    assert bowl(mode="paper", fantasies="believer", hamming=True).settings.fantasies == "believer"
    several = bowl(goals=[ACCURACY, PARAMS]).settings.model
    assert (several.transform, several.clip) == ("auto", False)
    assert (bowl().settings.model.transform, bowl().settings.model.clip) == ("ranks", True)
