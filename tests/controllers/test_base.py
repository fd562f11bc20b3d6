"""What every controller inherits: bookkeeping of evaluated and pending, guards, exhaustion."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from xnas_ray.controllers import base
from xnas_ray.controllers.base import Controller, Goal, Horizon
from xnas_ray.controllers.remaining import Remaining
from xnas_ray.errors import ControllerError, GenotypeError
from xnas_ray.messages import Candidate, Genotype, Outcome, TrialStatus
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace

SPACE = NASBench201(cells_per_stage=1, channels=4, stages=1)
GOAL = Goal("val_accuracy", maximize=True)


class Scripted(Controller):
    """Proposes what it is told to."""

    script: Iterator[Candidate | None]

    def _propose(self, rng: np.random.Generator) -> Candidate | None:
        return next(self.script)


def scripted(*candidates: Candidate | None) -> Scripted:
    controller = Scripted(SPACE, [GOAL], seed=0, horizon=Horizon(fidelity=3, schedule_epochs=10))
    controller.script = iter(candidates)
    return controller


def completed(candidate: Candidate, **metrics: float) -> Outcome:
    return Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, metrics=metrics or {"val_accuracy": 1.0})


def not_canonical() -> Genotype:
    return next(g for g in SPACE.genotypes() if SPACE.canonical(g) != g)


def test_proposals_that_break_the_contract_are_refused():
    with pytest.raises(ControllerError, match="not canonical"):
        scripted(Candidate(0, not_canonical())).propose()
    with pytest.raises(ControllerError, match="out of turn"):
        scripted(Candidate(1, (3,) * 6)).propose()
    controller = scripted(Candidate(0, (3,) * 6), Candidate(1, (3,) * 6))
    controller.propose()
    with pytest.raises(ControllerError, match="already evaluated or pending"):
        controller.propose()
    assert list(controller.pending) == [0]


def test_evaluated_means_the_same_or_a_higher_fidelity():
    controller = scripted()
    genotype = (3,) * 6
    controller.adopt(Candidate(0, genotype, fidelity=2, schedule_epochs=10))
    assert controller.known(genotype, fidelity=2)
    assert not controller.known(genotype)  # the search trains 3 epochs
    controller.adopt(Candidate(1, genotype, fidelity=5, schedule_epochs=10))
    assert controller.known(genotype)
    assert not controller.known(genotype, fidelity=6)
    assert not controller.known(genotype, {"lr": 0.1})
    assert not controller.known(genotype, replicate=1)


def test_members_of_a_class_are_known_together():
    controller = scripted()
    genotype = not_canonical()
    assert not controller.known(genotype)
    controller.adopt(Candidate(0, SPACE.canonical(genotype), fidelity=3, schedule_epochs=3))
    assert controller.known(genotype)


def test_candidates_carry_the_horizon():
    candidate = scripted().candidate(not_canonical(), stage="x")
    assert candidate.genotype == SPACE.canonical(not_canonical())
    assert (candidate.fidelity, candidate.schedule_epochs, candidate.origin) == (3, 10, {"stage": "x"})


def test_candidates_of_a_joint_space_carry_its_recipe():
    space = JointSpace(architecture=SPACE, recipe={"batch_size": [16, 32], "lr": [0.1, 0.2]})
    controller = Scripted(space, [GOAL], seed=0)
    candidate = controller.candidate((*not_canonical(), 0, 1))
    assert candidate.genotype == (*SPACE.canonical(not_canonical()), 0, 1)
    assert candidate.recipe == {"lr": 0.2, "batch_size": 16}
    controller.adopt(candidate)
    assert controller.known((*not_canonical(), 0, 1))
    assert controller.known((*not_canonical(), 0, 1), {"lr": 0.2, "batch_size": 16})
    assert not controller.known((*not_canonical(), 0, 1), {"lr": 0.1, "batch_size": 16})
    assert not controller.known((*not_canonical(), 0, 0))


def test_the_last_recipe_of_the_last_architecture_is_found():
    space = JointSpace(architecture=RestrictedSpace(SPACE, [(3,) * 6, (2,) * 6]), recipe={"lr": [0.1, 0.2, 0.3]})
    controller = Scripted(space, [GOAL], seed=0)
    found = set()
    while (genotype := controller.draw_new(np.random.default_rng(len(found)))) is not None:
        controller.adopt(controller.candidate(genotype))
        found.add(genotype)
    assert found == set(space.genotypes())


def test_numbers_go_on_after_a_replay():
    controller = scripted()
    controller.adopt(Candidate(7, (3,) * 6))
    controller.tell(completed(Candidate(9, (2,) * 6)))
    assert controller.candidate((1,) * 6).ask_number == 10


def test_an_outcome_told_before_its_candidate_is_adopted_is_not_pending():
    controller = scripted()
    candidate = Candidate(0, (3,) * 6)
    controller.tell(completed(candidate))
    controller.adopt(candidate)
    assert not controller.pending


def test_outcomes_that_do_not_fit_are_refused():
    controller = scripted()
    candidate = Candidate(0, (3,) * 6)
    with pytest.raises(ControllerError, match="without"):
        controller.tell(completed(candidate, train_loss=0.1))
    with pytest.raises(ControllerError, match="trial 4"):
        controller.tell(Outcome(4, candidate, TrialStatus.COMPLETED, metrics={"val_accuracy": 1.0}))
    assert controller.outcomes == []
    controller.tell(completed(candidate))
    assert controller.completed() == controller.outcomes


def test_a_controller_needs_objectives_and_knows_its_parameters():
    with pytest.raises(ControllerError, match="objective"):
        Scripted(SPACE, [], seed=0)
    with pytest.raises(TypeError, match="nonsense"):
        Scripted(SPACE, [GOAL], seed=0, nonsense=1)


def test_goals_sign_metrics():
    assert Goal("a", maximize=True).signed({"a": 2.0}) == 2.0
    assert Goal("a", maximize=False).signed({"a": 2.0}) == -2.0


# ---- exhaustion ------------------------------------------------------------------------------------------------------


def test_the_last_architecture_is_found_and_then_none():
    controller = Scripted(SPACE, [GOAL], seed=0)
    listed = list(SPACE.enumerate())
    for number, genotype in enumerate(listed[:-1]):
        controller.adopt(Candidate(number, genotype))
    assert controller.draw_new(np.random.default_rng(0)) == listed[-1]
    controller.adopt(Candidate(len(listed), listed[-1]))
    assert controller.draw_new(np.random.default_rng(0)) is None


def test_drawing_is_a_function_of_what_is_known_not_of_when_the_space_was_listed():
    space = RestrictedSpace(SPACE, list(SPACE.enumerate())[:400])
    long, short = (Scripted(space, [GOAL], seed=0) for _ in range(2))
    for number, genotype in enumerate(space.members[:-3]):
        long.adopt(Candidate(number, genotype))
        long.draw_new(np.random.default_rng(number))
    for number, genotype in reversed(list(enumerate(space.members[:-3]))):
        short.adopt(Candidate(number, genotype))
    for seed in range(20):
        assert long.draw_new(np.random.default_rng(seed)) == short.draw_new(np.random.default_rng(seed))


def test_spaces_too_large_to_list_give_up_after_a_bounded_number_of_draws(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(base, "MAX_ENUMERATION", 10)
    monkeypatch.setattr(base, "DRAWS", 50)
    controller = Scripted(SPACE, [GOAL], seed=0)
    assert controller.draw_new(np.random.default_rng(0)) is not None
    for number, genotype in enumerate(SPACE.enumerate()):
        controller.adopt(Candidate(number, genotype))
    assert controller.draw_new(np.random.default_rng(0)) is None


def test_a_sampler_that_fails_is_replaced_by_the_list(monkeypatch: pytest.MonkeyPatch):
    def fail(rng: np.random.Generator) -> Genotype:
        raise GenotypeError("too rare")

    space = RestrictedSpace(SPACE, [(3,) * 6, (2,) * 6])
    monkeypatch.setattr(space, "sample", fail)
    controller = Scripted(space, [GOAL], seed=0)
    assert controller.draw_new(np.random.default_rng(0)) in space.members


def test_remaining_strikes_keys_off():
    space = RestrictedSpace(SPACE, [(3,) * 6, (2,) * 6, (4,) * 6])
    remaining = Remaining(space, lambda genotype: genotype == (2,) * 6)
    remaining.strike(space.key((3,) * 6))
    remaining.strike("a key of another space")
    assert {remaining.choose(np.random.default_rng(i)) for i in range(5)} == {(4,) * 6}
    remaining.strike(space.key((4,) * 6))
    assert remaining.choose(np.random.default_rng(0)) is None
