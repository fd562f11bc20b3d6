"""Failures that say the same stand together."""

from __future__ import annotations

from xnas_ray.report.failures import failure_groups


def failed(message: str, kind: str = "exception", type_: str = "ValueError", log: str = "line") -> dict[str, str]:
    return {"failure_kind": kind, "failure_type": type_, "failure_message": message, "failure_log": log}


def test_numbers_in_messages_do_not_count(made):
    trials = [failed("at 0x7f02: 12 of 1.5e-3"), {}, failed("at 0x11: 3 of 4"), failed("other"), failed("3", "nan", "")]
    groups = failure_groups(made([*trials, {"metrics": {"accuracy": 1.0}}]))
    assert [(g.kind, g.message, g.trials) for g in groups] == [
        ("exception", "at 0x7f02: 12 of 1.5e-3", (0, 2)),
        ("exception", "other", (3,)),
        ("nan", "3", (4,)),
    ]
    assert groups[0].log == "line" and groups[0].retried == 0


def test_attempts_that_were_repeated_count_apart(made):
    log = [
        {"trial": 0, "state": "retrying", "at": 1.0, "detail": "exception: ValueError: lost 7\ntraceback"},
        {"trial": 1, "state": "retrying", "at": 2.0, "detail": "exception: ValueError: lost 8"},
        {"trial": 1, "state": "retrying", "at": 2.0, "detail": "worker_died: the worker is gone"},
        {"trial": 1, "state": "running", "at": 2.0, "detail": "exception: ValueError: lost 8"},
    ]
    groups = failure_groups(made([failed("lost 9")], log=log))
    assert [(g.message, g.trials, g.retried) for g in groups] == [("lost 9", (0,), 2), ("the worker is gone", (), 1)]
    assert (groups[1].kind, groups[1].type) == ("worker_died", "")


def test_long_texts_are_cut(made):
    [group] = failure_groups(made([failed("m" * 10_000, log="x" * 9_000 + "end")]))
    assert len(group.message) == 500 and len(group.log) == 4_000 and group.log.endswith("end")
