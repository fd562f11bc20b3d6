"""On a real Slurm: what users do from a login node, and what Slurm does to their jobs.

Needs the cluster of ``slurm/dev/up.sh`` (``eval "$(slurm/dev/up.sh --print)"``), or one with partitions ``main`` and
``urgent`` of which the second one preempts the first.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from xnas_ray.service.verify import verify
from xnas_ray.slurm.records import recorded
from xnas_ray.slurm.script import directive_line
from xnas_ray.store import list_searches, load_trials

TASK = Path(__file__).parent / "tasks" / "paced"
SMALL = ("--cpus-per-task", 1, "--timeout-min", 30, "--signal-s", 20, "--object-store-gb", 0.1, "--no-dashboard")
PLACE = ("--partition", "main", "--extra-directives", '--comment=it\'s "ours" # $(hostname) \\ 100%')


def slurm_answers() -> bool:
    """Whether there is a Slurm, with both partitions."""
    if shutil.which("sinfo") is None:
        return False
    try:
        done = subprocess.run(["sinfo", "-h", "-o", "%R"], capture_output=True, text=True, timeout=15, check=False)
    except subprocess.TimeoutExpired:
        return False
    return {"main", "urgent"} <= set(done.stdout.split())


pytestmark = [pytest.mark.slurm, pytest.mark.timeout(400)]


@pytest.fixture(scope="module", autouse=True)
def _needs_slurm() -> None:
    if not slurm_answers():
        pytest.skip("no Slurm with partitions main and urgent answers; make test-slurm brings one up")


class Cluster:
    """A login node of the cluster, and a store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("XNAS_SLURM_")}
        self.pace = root.parent / "pace"
        self.environment |= {"XNAS_STORE": str(root), "XNAS_TEST_PACE": str(self.pace)}
        self.pace.write_text("3")

    def xnas(self, *arguments: object, code: int = 0) -> str:
        """A command line in a process of its own; its standard output."""
        command = [sys.executable, "-m", "xnas_ray", *map(str, arguments)]
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=self.root.parent,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}\n{self.story()}"
        return done.stdout.strip()

    def slurm(self, *arguments: str) -> str:
        """A command of Slurm."""
        return subprocess.run(list(arguments), capture_output=True, text=True, timeout=60, check=True).stdout.strip()

    def job(self, job_id: str) -> dict[str, str]:
        """What Slurm knows of a job."""
        words = self.slurm("scontrol", "show", "job", "--oneliner", job_id).split(" ")
        return dict(word.split("=", 1) for word in words if "=" in word)

    def until(self, what: Callable[[], Any], timeout_s: float = 120.0) -> Any:
        """Wait until something holds; what it gave."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            with contextlib.suppress(OSError, ValueError, subprocess.CalledProcessError):
                if found := what():
                    return found
            time.sleep(0.3)
        raise AssertionError(self.story())

    def story(self) -> str:
        """Every log of a job, for the message of a failed test."""
        logs = sorted((self.root / "slurm").glob("*.log")) + sorted((self.root / "slurm").glob("*/ray*.log"))
        queue = subprocess.run(["squeue"], capture_output=True, text=True, check=False).stdout
        return queue + "\n".join(f"==== {path}\n{path.read_text(errors='replace')[-3000:]}" for path in logs)

    def epoch(self) -> int:
        """Of the service that runs, 0 if none does."""
        try:
            return int(json.loads((self.root / "endpoint.json").read_text())["epoch"])
        except FileNotFoundError:
            return 0

    def trials(self, search_id: str) -> int:
        """Finished ones."""
        return len(load_trials(self.root, search_id)) if (self.root / "trials").is_dir() else 0

    def workers(self) -> int:
        """Workers that have finished trials."""
        return load_trials(self.root)["worker"].nunique() if (self.root / "trials").is_dir() else 0

    def state(self, search_id: str) -> str:
        """Of a search."""
        found = list_searches(self.root).set_index("search_id")
        return str(found.loc[search_id, "state"])

    def spec(self, name: str, trials: int) -> Path:
        """A search of that many trials, each as long as ``pace`` says."""
        path = self.root.parent / f"{name}.toml"
        path.write_text(
            f'name = "{name}"\ntask = "{TASK}"\ncontroller = "regularized_evolution"\nseed = 5\n'
            f"budget = {{ trials = {trials} }}\nresources = {{ cpus = 1 }}\n"
        )
        return path

    def check(self, search_id: str, trials: int) -> None:
        """Every trial exactly once, every proposal derivable."""
        found = load_trials(self.root, search_id)
        assert sorted(found["trial"]) == list(range(trials)) and set(found["status"]) == {"completed"}
        assert self.state(search_id) == "finished" and verify(self.root, search_id).mismatch is None

    def leftovers(self) -> list[str]:
        """Processes that a job of this store has started and that still run, wherever they hang in the process tree."""
        ours = {record.job_id for record in recorded(self.root)}
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                variables = process.environ()
                if {variables.get("SLURM_JOB_ID"), variables.get("SLURM_ARRAY_JOB_ID")} & ours:
                    found.append(f"{process.pid} {' '.join(process.cmdline())[:100]}")
        return found

    def end(self) -> None:
        """Cancel what a failed test left in the queue."""
        for record in recorded(self.root):
            subprocess.run(["scancel", "--quiet", record.job_id], check=False, timeout=60)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A store whose path needs quoting."""
    found = Cluster(tmp_path / "st'ore 100%")
    yield found
    found.end()


def test_slurm_reads_directives_as_they_were_written(cluster, tmp_path):
    value = 'it\'s "x" # $(touch evil) `touch evil` \\ \\\\ \\n ;* %% ümlaut end'
    lines = [directive_line(name, given) for name, given in {"comment": value, "job-name": "a b", "hold": None}.items()]
    script = "\n".join(["#!/bin/bash", *lines, "umask 077", "#SBATCH --time=7", ""])
    done = subprocess.run(
        ["sbatch", "--parsable"], input=script, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    try:
        shown = cluster.slurm("scontrol", "show", "job", done.stdout.strip())
    finally:
        subprocess.run(["scancel", done.stdout.strip()], check=False)
    assert f"Comment={value} \n" in shown + "\n" and "JobName=a b\n" in shown
    assert "TimeLimit=00:07:00" not in shown, "after the first command Slurm reads no more directives"
    assert not (tmp_path / "evil").exists()


def test_a_service_through_everything_that_slurm_does(cluster):
    service = cluster.xnas("slurm", "up", "--nodes", 2, *SMALL, *PLACE)
    cluster.until(cluster.epoch)
    first = cluster.xnas("submit", cluster.spec("first", 40)).splitlines()[0]
    code = "import sys; from xnas_ray import Client; print(Client().submit(sys.argv[1]).id)"
    second = subprocess.run(
        [sys.executable, "-c", code, str(cluster.spec("second", 200))],
        **{"env": cluster.environment, "capture_output": True, "text": True, "check": True, "timeout": 120},
    ).stdout.strip()

    # A third node joins and works.
    workers = cluster.xnas("slurm", "scale", 3, *SMALL, *PLACE)
    assert len(json.loads(cluster.xnas("slurm", "status", "--json"))["jobs"]) == 2
    cluster.until(lambda: cluster.workers() >= 3)

    # A step is killed: the node comes back by itself, the job goes on.
    steps = cluster.slurm("squeue", "--steps", "--noheader", f"--jobs={service}", "--format=%i %N").splitlines()
    last = max(
        (line.split() for line in steps if line.split()[0].partition(".")[2].isdigit()),
        key=lambda s: int(s[0].partition(".")[2]),
    )
    cluster.slurm("scancel", "--signal=KILL", last[0])
    log = cluster.root / "slurm" / f"{service}.log"
    cluster.until(lambda: f"Ray ended on {last[1]}" in log.read_text())

    # A job of a higher partition takes all nodes; everything is queued again and goes on.
    cluster.slurm("sbatch", "--partition=urgent", "--nodes=3", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    cluster.until(lambda: cluster.job(service)["Restarts"] == "1" and cluster.epoch() >= 2)
    assert "over: preempted" in log.read_text()
    assert (cluster.root / "slurm" / service / "ends").read_text() == "0 preempted\n"
    before = cluster.trials(second)
    cluster.until(lambda: cluster.trials(second) > before)

    # Back to two nodes, gently; then a user ends the job in the hard way.
    cluster.until(lambda: cluster.job(workers)["JobState"] == "RUNNING")
    cluster.xnas("slurm", "scale", 2, *SMALL, *PLACE)
    cluster.until(lambda: cluster.job(workers)["JobState"] == "COMPLETED")
    cluster.slurm("scancel", service)
    cluster.until(lambda: cluster.job(service)["JobState"] == "CANCELLED" and not cluster.leftovers())

    # The next service takes up what is unfinished.
    assert cluster.state(second) == "running", "there was work through all of this"
    cluster.pace.write_text("0.05")
    cluster.xnas("slurm", "up", "--nodes", 2, *SMALL, *PLACE)
    cluster.until(lambda: cluster.state(first) == cluster.state(second) == "finished")
    cluster.xnas("slurm", "down")
    cluster.until(lambda: not cluster.leftovers(), timeout_s=15)
    cluster.check(first, 40)
    cluster.check(second, 200)
    assert not (cluster.root / "endpoint.json").exists()
    assert not Path(f"/tmp/xr{recorded(cluster.root)[-1].job_id}").exists(), "a clean stop tidies up"


def test_a_search_as_a_job_of_its_own(cluster):
    cluster.pace.write_text("0.5")
    job = cluster.xnas("slurm", "submit", cluster.spec("alone", 60), "--nodes", 2, *SMALL, *PLACE)
    search_id = cluster.until(lambda: [*list_searches(cluster.root)["search_id"]])[0]
    cluster.until(lambda: cluster.trials(search_id) >= 5)
    cluster.slurm("scancel", "--batch", "--signal=USR2", job)  # as near the time limit
    cluster.pace.write_text("0.05")
    cluster.until(lambda: cluster.job(job)["Restarts"] == "1")
    cluster.until(lambda: cluster.job(job)["JobState"] == "COMPLETED")
    assert [*list_searches(cluster.root)["search_id"]] == [search_id], "one search, over two starts"
    cluster.check(search_id, 60)
    assert set(load_trials(cluster.root, search_id)["epoch"]) == {1, 2}
    assert "best architectures" in cluster.xnas("slurm", "logs", job) and not cluster.leftovers()
