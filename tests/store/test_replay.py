from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from xnas_ray.errors import SearchNotFoundError
from xnas_ray.messages import (
    Candidate,
    Failure,
    FailureKind,
    Outcome,
    PendingTrial,
    SearchProgress,
    SearchState,
    TrialStatus,
)
from xnas_ray.store.replay import replay, unfinished_searches
from xnas_ray.store.rows import asked_row, curve_rows, trial_row
from xnas_ray.store.writer import StoreWriter


def test_what_was_asked_and_told_comes_back_whatever_the_commits(make: SimpleNamespace, tmp_path: Path) -> None:
    """A random history over three writers; the lists that this test keeps are the oracle."""
    draw, one = random.Random(3), make.search_id(0)
    asked: list[tuple[Candidate, tuple[int, int], tuple[int, int]]] = []
    told: list[tuple[Outcome, tuple[int, int]]] = []
    pending: dict[int, Candidate] = {}
    for writer_number in range(3):
        with StoreWriter.open(tmp_path) as writer:
            if writer_number == 0:
                writer.append(make.submitted(writer))
            for _ in range(150):
                if pending and draw.random() < 0.45:
                    number = draw.choice(sorted(pending))
                    outcome = random_outcome(draw, pending.pop(number))
                    seq = writer.next_seq()
                    given = {"attempts": 1, "task": "t", "task_hash": "h", "space": "s", "key": "k", "train_seed": 1}
                    given |= {"search_id": one, "epoch": writer.epoch, "seq": seq, "attempt": (writer.epoch, 0)}
                    writer.append(trial_row(outcome, architecture="a", asked_at=1.0, finished_at=2.0, **given))
                    writer.append(curve_rows(one, number, (writer.epoch, 0), outcome.curve))
                    told.append((outcome, (writer.epoch, seq)))
                else:
                    candidate = random_candidate(draw, len(asked))
                    seq, through = writer.next_seq(), told[-1][1] if told else (-1, -1)
                    writer.append(
                        asked_row(candidate, search_id=one, epoch=writer.epoch, seq=seq, at=1.0, told_through=through)
                    )
                    asked.append((candidate, (writer.epoch, seq), through))
                    pending[candidate.ask_number] = candidate
                if draw.random() < 0.2:
                    writer.commit()
                if draw.random() < 0.1:
                    writer.compact()
    found = replay(tmp_path, one)
    assert [(a.candidate, a.position, a.told_through) for a in found.asked] == asked
    assert list(zip(found.outcomes, found.positions, strict=True)) == told
    assert found.pending == tuple(PendingTrial(n) for n in sorted(pending))
    assert found.next_trial == len(asked)
    assert found.counted == sum(outcome.status != TrialStatus.CANCELLED for outcome, _ in told)
    assert found.gpu_s == pytest.approx(0.5 * sum(outcome.cost_s for outcome, _ in told))
    assert replay(tmp_path, one, curves=False).outcomes[0].curve == ()


def random_candidate(draw: random.Random, number: int) -> Candidate:
    origin = {"parents": [draw.randrange(9)], "weight": draw.random(), "one": 1.0, "text": "ü\0\"'", "none": None}
    recipe = {"lr": draw.random()} if draw.random() < 0.3 else {}
    return Candidate(number, tuple(draw.randrange(5) for _ in range(6)), recipe, 3, 6, draw.randrange(3), origin)


def random_outcome(draw: random.Random, candidate: Candidate) -> Outcome:
    number, status = candidate.ask_number, draw.choice(list(TrialStatus))
    curve = tuple({"epoch": e, "loss": draw.random(), "val": draw.random()} for e in range(1, draw.randrange(1, 4)))
    if status == TrialStatus.COMPLETED:
        return Outcome(number, candidate, status, {"acc": draw.random(), f"m{number % 4}": 1.0}, curve, draw.random())
    failure = (
        Failure(draw.choice(list(FailureKind)), "Type", "message", "log") if status == TrialStatus.FAILED else None
    )
    return Outcome(number, candidate, status, {}, curve, draw.random(), failure)


def test_progress_of_attempts(make: SimpleNamespace, tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path) as writer:
        writer.append([make.submitted(writer, gpus=2.0), *(make.asked(writer, n) for n in range(5))])
        details = ["worker_died", "exception: ValueError", "node_died on n3", "preempted", "timeout"]
        for number, detail in enumerate(details):
            writer.append(make.logged(writer, 1, "running", attempt=(1, number)))
            writer.append(make.logged(writer, 1, "retrying", attempt=(1, number), detail=detail, duration_s=10.0))
        writer.append([make.logged(writer, 2, "running"), make.logged(writer, 2, "requeued", duration_s=5.0)])
        writer.append([make.logged(writer, 3, "running"), make.trial(writer, 3, duration_s=1.0)])
        writer.append(make.trial(writer, 4, duration_s=100.0, reused_from=f"{make.search_id(1)}/7"))
        writer.append(make.trial(writer, 0, duration_s=0.0, status="cancelled", metrics={}, attempt=None))
    found = replay(tmp_path, make.search_id(0))
    assert found.pending == (PendingTrial(1, 5, 2, 2), PendingTrial(2, 1, 0, 0))
    assert (found.counted, found.next_trial, found.gpu_s) == (1, 5, 2.0 * (50 + 5 + 1))
    assert found.progress() == SearchProgress(SearchState.QUEUED, 5, 1, 112.0, 0.0, found.pending, "")


def test_running_seconds_do_not_count_pauses_and_the_time_between_services(
    make: SimpleNamespace, tmp_path: Path
) -> None:
    with StoreWriter.open(tmp_path) as writer:
        writer.append([make.submitted(writer), make.transition(writer, "running", 10)])
        writer.append([make.transition(writer, "paused", 25, reason="user"), make.transition(writer, "running", 40)])
        writer.append(make.trial(writer, 0, finished_at=make.now_s + 47))  # the last sign of the first service
    with StoreWriter.open(tmp_path) as writer:
        writer.append(
            [make.transition(writer, "running", 1000), make.logged(writer, 1, "running", at=make.now_s + 1003)]
        )
    with StoreWriter.open(tmp_path) as writer:  # goes on without a transition
        writer.append(make.logged(writer, 2, "running", at=make.now_s + 2000))
        writer.append(make.transition(writer, "draining", 2004, reason="budget"))
        writer.append(make.trial(writer, 2, finished_at=make.now_s + 2050))
    found = replay(tmp_path, make.search_id(0))
    assert found.running_s == pytest.approx(15 + 7 + 3 + 4)
    assert (found.state, found.reason) == (SearchState.DRAINING, "budget")


def test_a_curve_continues_over_attempts(make: SimpleNamespace, tmp_path: Path) -> None:
    one = make.search_id(0)
    with StoreWriter.open(tmp_path) as writer:
        writer.append([make.submitted(writer), make.asked(writer, 0), make.trial(writer, 0, attempt=(1, 1))])
        writer.append(curve_rows(one, 0, (1, 0), [{"epoch": 1, "loss": 0.9}, {"epoch": 2, "loss": 0.8}]))
        writer.append(curve_rows(one, 0, (1, 1), [{"epoch": 2, "loss": 0.7}, {"epoch": 3, "loss": 0.6}]))
        writer.append(curve_rows(one, 0, (2, 0), [{"epoch": 1, "loss": 0.0}]))  # a later attempt, which was dropped
    assert replay(tmp_path, one).outcomes[0].curve == (
        {"epoch": 1, "loss": 0.9},
        {"epoch": 2, "loss": 0.7},
        {"epoch": 3, "loss": 0.6},
    )


def test_the_extended_specification_counts(make: SimpleNamespace, tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path) as writer:
        writer.append([make.submitted(writer), make.transition(writer, "finished", 5)])
        assert writer.commit() and unfinished_searches(tmp_path) == []
        writer.append(make.transition(writer, "running", 6, spec='{"budget": {"trials": 9}}'))
        assert writer.commit() and unfinished_searches(tmp_path) == [make.search_id(0)]
    assert replay(tmp_path, make.search_id(0)).spec == {"budget": {"trials": 9}}


def test_unfinished_searches_in_the_order_of_submission(make: SimpleNamespace, tmp_path: Path) -> None:
    assert unfinished_searches(tmp_path) == []
    with StoreWriter.open(tmp_path) as writer:
        for number, state in enumerate(SearchState):
            writer.append(
                [make.submitted(writer, search=9 - number), make.transition(writer, state, 1, search=9 - number)]
            )
    assert unfinished_searches(tmp_path) == [make.search_id(9 - n) for n in range(4)]


def test_a_trial_without_its_asked_row_still_has_a_candidate(make: SimpleNamespace, tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path) as writer:
        writer.append([make.submitted(writer), make.trial(writer, 6, origin='{"stage":"x"}')])
    (outcome,) = replay(tmp_path, make.search_id(0)).outcomes
    assert outcome.candidate == Candidate(6, (1, 1, 2), {"lr": 0.1}, 3, 3, 0, {"stage": "x"})


def test_an_unknown_search(make: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(SearchNotFoundError):
        replay(tmp_path, make.search_id(0))
