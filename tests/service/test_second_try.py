"""Ray that does not come up in time gets a second try, and nothing of the first one stays."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from xnas_ray.service.second_try import second_try

SAID = "The current node timed out during startup. This could happen because ..."


class Start:
    """Fails so many times with a message, leaving a process each time."""

    def __init__(self, failures: int, message: str = SAID) -> None:
        self.failures, self.message, self.left = failures, message, []

    def __call__(self) -> str:
        if len(self.left) < self.failures:
            self.left.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
            raise Exception(self.message)  # as Ray does
        return "up"

    def end(self) -> None:
        for process in self.left:
            process.kill()
            process.wait()


@pytest.fixture
def start(request):
    found = Start(*request.param)
    yield found
    found.end()


@pytest.mark.parametrize("start", [(0,), (1,)], indirect=True)
def test_once_more_is_enough(start):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as ours:
        assert second_try(start) == "up"
        assert not any(psutil.pid_exists(process.pid) for process in start.left), "what the first try left has ended"
        assert ours.poll() is None, "what ran before goes on"
        ours.kill()


@pytest.mark.parametrize("start", [(2,)], indirect=True)
def test_there_is_no_third_try(start):
    with pytest.raises(Exception, match="timed out during startup"):
        second_try(start)
    assert len(start.left) == 2


@pytest.mark.parametrize("start", [(1, "no such address")], indirect=True)
def test_other_failures_are_told_at_once(start):
    with pytest.raises(Exception, match="no such address"):
        second_try(start)
    assert len(start.left) == 1 and start.left[0].poll() is None
