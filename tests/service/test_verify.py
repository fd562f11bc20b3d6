from __future__ import annotations

import dataclasses

import pytest

from xnas_ray.messages import Candidate
from xnas_ray.service import verify as verification
from xnas_ray.service.verify import verify
from xnas_ray.store.replay import replay


@pytest.mark.parametrize("which", ["finished", "unfinished", "cancelled"])
def test_every_proposal_follows_from_the_rows(archive, which):
    found = verify(archive.root, getattr(archive, which))
    assert found.mismatch is None and found.equal == found.asked
    assert (found.asked, found.tells) == {"finished": (12, 10), "unfinished": (5, 3), "cancelled": (0, 0)}[which]


def tampered(archive, monkeypatch, change) -> verification.Verification:
    """Verify the finished search after a change of its replay."""
    history = change(replay(archive.root, archive.finished))
    monkeypatch.setattr(verification, "replay", lambda root, search_id: history)
    return verify(archive.root, archive.finished)


def with_candidate(history, number: int, **changes):
    asked = tuple(
        dataclasses.replace(one, candidate=dataclasses.replace(one.candidate, **changes))
        if one.candidate.ask_number == number
        else one
        for one in history.asked
    )
    return dataclasses.replace(history, asked=asked)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"genotype": (0, 0, 0, 0, 0, 3)}, "genotype"),
        ({"recipe": {"lr": 9.0}}, "recipe"),
        ({"fidelity": 2, "schedule_epochs": 2}, "fidelity"),
        ({"schedule_epochs": 7}, "schedule_epochs"),
        ({"replicate": 1}, "replicate"),
    ],
)
def test_the_first_changed_proposal_is_named(archive, monkeypatch, changes, field):
    found = tampered(archive, monkeypatch, lambda history: with_candidate(history, 7, **changes))
    assert found.mismatch is not None
    assert (found.mismatch.trial, found.mismatch.field, found.equal) == (7, field, 7)
    assert found.mismatch.recorded != found.mismatch.derived


def test_a_changed_outcome_changes_a_later_proposal(archive, monkeypatch):
    def opposite(outcome):
        metrics = {name: -value if name == "val_accuracy" else value for name, value in outcome.metrics.items()}
        return dataclasses.replace(outcome, metrics=metrics)

    def change(history):
        return dataclasses.replace(history, outcomes=tuple(map(opposite, history.outcomes)))

    found = tampered(archive, monkeypatch, change)
    assert found.mismatch is not None and found.mismatch.field == "genotype" and 0 < found.equal < 12


def test_told_through_matters(archive, monkeypatch):
    def change(history):
        late = tuple(dataclasses.replace(one, told_through=(-1, -1)) for one in history.asked)
        return dataclasses.replace(history, asked=late)

    found = tampered(archive, monkeypatch, change)
    assert found.mismatch is not None and found.tells == 0


def test_a_missing_row_is_a_mismatch(archive, monkeypatch):
    found = tampered(archive, monkeypatch, lambda h: dataclasses.replace(h, asked=h.asked[:2] + h.asked[3:]))
    assert found.mismatch is not None and found.mismatch.field == "ask_number"


def test_a_controller_with_nothing_left(archive, monkeypatch):
    extra = Candidate(0, (0, 0, 0, 0, 0, 0))
    monkeypatch.setattr(verification.OpenSearch, "propose", lambda self: None)
    found = verify(archive.root, archive.finished)
    assert found.mismatch is not None and (found.mismatch.field, found.mismatch.derived) == ("candidate", None)
    assert isinstance(found.mismatch.recorded, type(extra))
