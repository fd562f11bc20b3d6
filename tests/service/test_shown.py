"""What is shown of a worker: titles, and tasks that begin and end with trials, without Ray."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from xnas_ray.messages import Candidate, Failure, FailureKind, TrialStatus
from xnas_ray.service import shown
from xnas_ray.service.reports import Assignment, TrialResult
from xnas_ray.service.shown import RunningTrial, Shown, TrialEndedError, title

SEARCH = "01HF7YATZ80123456789ABCDEF"


def running(trial: int = 17, attempt: int = 0, started_s: float = 0.0) -> RunningTrial:
    candidate = Candidate(trial, (0,), fidelity=12, schedule_epochs=12)
    return RunningTrial(Assignment(SEARCH, trial, (3, attempt), candidate, 7, "artifacts"), started_s)


def ended(of: RunningTrial, status: TrialStatus, failure: Failure | None = None) -> None:
    given = of.assignment
    of.result = TrialResult(given.search_id, given.trial, given.attempt, status, 1.0, failure=failure)


def test_the_first_word_is_the_search_alone():
    one = running()
    assert title(None) == ("ray::xnas:idle", "")
    assert title(one) == ("ray::xnas:01HF7YATZ8", "trial 17")
    one.epoch = 3
    assert title(one) == ("ray::xnas:01HF7YATZ8", "trial 17 epoch 3/12")
    assert title(running(attempt=1))[1] == "trial 17 attempt 2"
    assert running(attempt=1).name == "01HF7YATZ8/17 attempt 2"


@pytest.mark.skipif(sys.platform != "linux", reason="titles are those of Linux")
def test_a_title_is_two_words_of_the_command_line():
    code = (
        "import psutil; from xnas_ray.service.shown import set_title; me = psutil.Process();\n"
        "set_title('ray::xnas:S', 'trial 17 epoch 3/12'); print(me.cmdline()[:2]);\n"
        "set_title('ray::xnas:idle', ''); print(me.cmdline()[0]); set_title('x' * 10**5, 'y'); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code, "z" * 200], capture_output=True, text=True, check=True)
    first, idle, alive = done.stdout.splitlines()
    assert first == "['ray::xnas:S', 'trial 17 epoch 3/12']" and idle == "ray::xnas:idle" and alive == "alive"


@pytest.fixture
def worker(monkeypatch):
    """(Shown, the names of its tasks, a box with the trial under way); titles are not set, the clock stands at 10 s."""
    monkeypatch.setenv(shown.CARDINALITY, "low")
    monkeypatch.setattr(shown, "set_title", lambda first, rest: None)
    monkeypatch.setattr(shown.time, "monotonic", lambda: 10.0)
    box: list[RunningTrial | None] = [None]
    names: list[str] = []
    return Shown(lambda: box[0], names.append), names, box


def test_a_trial_gets_a_task_once_it_has_lasted_a_second(worker):
    look, names, box = worker
    box[0] = running(1, started_s=9.5)
    look.look()
    assert names == []
    box[0] = running(2, started_s=8.5)
    look.look()
    look.look()
    assert names == ["01HF7YATZ8/2"]


def test_the_task_ends_with_the_trial_and_as_it_does(worker):
    look, names, box = worker
    outcomes = [
        (TrialStatus.COMPLETED, None),
        (TrialStatus.FAILED, Failure(FailureKind.NAN, "NanLossError", "at epoch 2")),
        (TrialStatus.CANCELLED, None),
    ]
    told: list[object] = []

    def wait(name: str) -> None:
        try:
            told.append(look.wait_for(name))
        except TrialEndedError as error:
            told.append(str(error))

    for number, (status, failure) in enumerate(outcomes):
        box[0] = one = running(number)
        look.look()
        thread = threading.Thread(target=wait, args=(names[-1],))
        thread.start()
        look.look()
        assert len(told) == number, "it still runs"
        ended(one, status, failure)
        box[0] = None
        look.look()
        thread.join(10)
    first, second, third = told
    assert first == "01HF7YATZ8/0"
    assert second == "trial 01HF7YATZ8/1 failed: NanLossError: at epoch 2"
    assert third == "trial 01HF7YATZ8/2 cancelled"


def test_without_bounded_metrics_there_are_no_tasks(monkeypatch):
    monkeypatch.delenv(shown.CARDINALITY, raising=False)
    monkeypatch.setattr(shown, "set_title", lambda first, rest: None)
    names: list[str] = []
    Shown(running, names.append).look()
    assert names == []
