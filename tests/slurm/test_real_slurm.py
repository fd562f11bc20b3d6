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
from xnas_ray.store.reader import load_log

TASK = Path(__file__).parent / "tasks" / "paced"
SMALL = ("--cpus-per-task", 1, "--timeout-min", 30, "--signal-s", 20, "--object-store-gb", 0.1)
SMALL += ("--drain-s", 0, "--no-dashboard", "--setup", "export RAY_worker_niceness=0")
PLACE = ("--partition", "main", "--exclusive", "--extra-directives", '--comment=it\'s "ours" # $(hostname) \\ 100%')


def slurm_answers() -> bool:
    """Whether there is a Slurm, with both partitions."""
    if shutil.which("sinfo") is None:
        return False
    try:
        done = subprocess.run(["sinfo", "-h", "-o", "%R"], capture_output=True, text=True, timeout=15, check=False)
    except subprocess.TimeoutExpired:
        return False
    return {"main", "urgent"} <= set(done.stdout.split())


pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


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

    def xnas(self, *arguments: object, code: int = 0, before: tuple[str, ...] = ()) -> str:
        """A command line in a process of its own; its standard output."""
        command = [*before, sys.executable, "-m", "xnas_ray", *map(str, arguments)]
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=self.root.parent,
            capture_output=True,
            text=True,
            timeout=300,
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

    def until(self, what: Callable[[], Any], timeout_s: float = 240.0) -> Any:
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

    def folders(self) -> list[str]:
        """What the jobs of this store left in /tmp, of all nodes: they are this one machine."""
        jobs = {record.job_id for record in recorded(self.root)}
        return [path.name for path in Path("/tmp").glob("xr*") if path.name.removeprefix("xr") in jobs]

    def steps(self, job_id: str) -> list[int]:
        """Numbers of a job's steps."""
        shown = self.slurm("squeue", "--steps", "--noheader", f"--jobs={job_id}", "--format=%i").split()
        return sorted(int(number) for step in shown if (number := step.partition(".")[2]).isdigit())

    def kill_step(self, job_id: str, step: int) -> list[psutil.Process]:
        """SIGKILL for the slurmstepd of a step of ours; returns the processes that it leaves."""
        assert job_id in {record.job_id for record in recorded(self.root)}
        (daemon,) = [p for p in psutil.process_iter() if f"slurmstepd: [{job_id}.{step}]" in " ".join(p.cmdline())]
        left = [p for p in daemon.children(recursive=True) if p.name() in ("bash", "ray", "raylet")]
        daemon.kill()
        assert {"bash", "raylet"} <= {p.name() for p in left}
        return left

    def running(self) -> int:
        """Trials that workers hold."""
        code = (
            "from xnas_ray import Client; print(sum(s['counts']['running'] for s in Client().service.call('status')))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=self.environment, capture_output=True, text=True, check=True, timeout=120
        )
        return int(done.stdout)

    def moved(self, searches: list[str]) -> bool:
        """Whether the last attempt of a trial that ended early was a move, and no attempt was counted as a failure."""
        rows = [load_log(self.root, search_id) for search_id in searches]
        details = [str(detail) for log in rows for detail in log.loc[log["state"] == "requeued", "detail"]]
        return any(detail.startswith("preempted") for detail in details)

    def summary(self, searches: list[str]) -> str:
        """What is left, for people."""
        lines = [f"\njobs {', '.join(record.job_id for record in recorded(self.root))} of {self.root}"]
        for search_id in searches:
            found = load_trials(self.root, search_id)
            lines.append(
                f"search {search_id}: {len(found)} rows of {found['trial'].nunique()} trials, "
                f"{int(found['attempts'].sum())} attempts, by {found['worker'].nunique()} workers, "
                f"over {found['epoch'].nunique()} starts of the service"
            )
        lines.append(f"processes of ours that still run: {self.leftovers() or 'none'}")
        lines.append(f"folders of ours in /tmp: {self.folders() or 'none'}")
        return "\n".join(lines)

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


def test_a_service_through_everything_that_slurm_does(cluster, capsys):
    service = cluster.xnas("slurm", "up", "--nodes", 2, *SMALL, *PLACE)
    cluster.until(cluster.epoch)
    inside = ("srun", f"--jobid={service}", "--overlap", "--nodes=1", "--ntasks=1")
    first = cluster.xnas("submit", cluster.spec("first", 40), before=inside).splitlines()[0]
    code = "import sys; from xnas_ray import Client; print(Client().submit(sys.argv[1]).id)"
    second = subprocess.run(
        [sys.executable, "-c", code, str(cluster.spec("second", 200))],
        **{"env": cluster.environment, "capture_output": True, "text": True, "check": True, "timeout": 120},
    ).stdout.strip()

    # A third node joins and works.
    workers = cluster.xnas("slurm", "scale", 3, *SMALL, *PLACE)
    assert len(json.loads(cluster.xnas("slurm", "status", "--json"))["jobs"]) == 2
    cluster.until(lambda: cluster.workers() >= 3)

    # SIGKILL for everything in the step of one node: Ray comes back there by itself.
    first_node, second_node = cluster.until(lambda: len(cluster.steps(service)) == 3 and cluster.steps(service))[1:]
    log = cluster.root / "slurm" / f"{service}.log"
    cluster.slurm("scancel", "--signal=KILL", f"{service}.{first_node}")
    cluster.until(lambda: "Ray ended on " in log.read_text())
    cluster.until(lambda: len(cluster.steps(service)) == 3)
    # SIGKILL for the slurmstepd of the other: Slurm does not notice (22.05), and what it started works on without it,
    # until the job is over.
    orphans = cluster.kill_step(service, second_node)
    before = cluster.trials(second)
    cluster.until(lambda: cluster.trials(second) >= before + 4)
    assert all(process.is_running() for process in orphans)

    # A job of a higher partition takes all nodes; everything is queued again and goes on.
    cluster.slurm("sbatch", "--partition=urgent", "--nodes=3", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    cluster.until(lambda: cluster.job(service)["Restarts"] == "1" and cluster.epoch() >= 2)
    assert "over: preempted" in log.read_text()
    assert not any(process.is_running() for process in orphans)
    assert (cluster.root / "slurm" / service / "ends").read_text() == "0 preempted\n"
    cluster.until(lambda: cluster.job(workers)["JobState"] == "RUNNING")
    before = cluster.workers()
    cluster.until(lambda: cluster.workers() >= before + 3)

    # Back to two nodes, gently: what runs there writes a checkpoint and goes on elsewhere, uncounted.
    cluster.pace.write_text("300")
    cluster.until(lambda: cluster.running() >= 3)
    cluster.xnas("slurm", "scale", 2, *SMALL, *PLACE)
    cluster.until(lambda: cluster.job(workers)["JobState"] == "COMPLETED")
    cluster.until(lambda: cluster.moved([first, second]))
    assert "this node leaves within" in (cluster.root / "slurm" / f"{workers}_0.log").read_text()
    cluster.pace.write_text("3")

    # A user ends the job in the hard way.
    cluster.slurm("scancel", service)
    cluster.until(lambda: cluster.job(service)["JobState"] == "CANCELLED" and not cluster.leftovers())

    # The next service takes up what is unfinished.
    assert cluster.state(second) == "running", "there was work through all of this"
    cluster.pace.write_text("0.05")
    cluster.xnas("slurm", "up", "--nodes", 2, *SMALL, *PLACE)
    cluster.until(lambda: cluster.state(first) == cluster.state(second) == "finished")
    cluster.xnas("slurm", "down")
    cluster.until(lambda: not cluster.leftovers(), timeout_s=60)
    cluster.check(first, 40)
    cluster.check(second, 200)
    assert not (cluster.root / "endpoint.json").exists()
    assert not cluster.folders(), "every step removes what it made, or the next one does"
    with capsys.disabled():
        print(cluster.summary([first, second]))


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


def test_nodes_follow_the_queue_that_a_laptop_fills(cluster, tmp_path):
    profile = tmp_path / "elastic.toml"
    profile.write_text("[slurm.elastic]\nmin = 1\nmax = 2\npatience_s = 2\ngrow_s = 0\nevery_s = 1\n")
    cluster.pace.write_text("1")
    service = cluster.xnas("slurm", "up", "--profile", profile, "--nodes", 1, *SMALL, *PLACE)
    cluster.until(cluster.epoch)
    log = cluster.root / "slurm" / f"{service}.log"

    # Somewhere without the store: the address and the token are all that it has.
    address = json.loads((cluster.root / "endpoint.json").read_text())["http"]
    token = (cluster.root / "token").read_text().strip()
    spec, inside = cluster.spec("far", 60), dict(cluster.environment)
    cluster.environment = {n: v for n, v in inside.items() if n != "XNAS_STORE"}
    cluster.environment |= {"XNAS_ADDRESS": address, "XNAS_TOKEN": token}
    search_id = cluster.xnas("submit", spec).splitlines()[0]
    cluster.until(lambda: cluster.workers() >= 2)
    assert "asking for 1 more nodes: 2 could be used, there are 1" in log.read_text()
    cluster.pace.write_text("0.05")
    cluster.xnas("wait", search_id)
    found = json.loads(cluster.xnas("results", search_id, "--format", "json"))
    assert len(found) == 60 and not (cluster.root.parent / "results").exists()

    # Nothing is left to do: the node goes, the service stays.
    cluster.environment = inside
    (worker,) = [record.job_id for record in recorded(cluster.root) if record.job_id != service]
    cluster.until(lambda: cluster.job(worker)["JobState"] == "COMPLETED")
    assert "go: 1 nodes are enough" in log.read_text() and cluster.job(service)["JobState"] == "RUNNING"
    cluster.check(search_id, 60)
    cluster.xnas("slurm", "down")
    cluster.until(lambda: not cluster.leftovers(), timeout_s=60)
    assert not cluster.folders()
