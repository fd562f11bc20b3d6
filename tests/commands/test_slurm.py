"""``xnas slurm`` with a Slurm that is pretended; the real one is in tests/slurm/test_real_slurm.py."""

from __future__ import annotations

import json

import pytest

from xnas_ray.commands import slurm as commands
from xnas_ray.errors import SlurmError
from xnas_ray.slurm import jobs
from xnas_ray.slurm.jobs import Job
from xnas_ray.slurm.parameters import describe
from xnas_ray.slurm.records import recorded
from xnas_ray.slurm.scaling import standing_order
from xnas_ray.store import StoreWriter


class Queue:
    """What Slurm would know: ``living`` jobs; submitted scripts; cancelled jobs."""

    def __init__(self):
        self.living, self.scripts, self.cancelled, self.probes = [], [], [], 0

    def probe(self):
        self.probes += 1

    def submit(self, script):
        self.scripts.append(script)
        number = str(100 + len(self.scripts))
        workers = next((line for line in script.splitlines() if line.startswith("#SBATCH --array=0-")), None)
        ids = [f"{number}_{i}" for i in range(int(workers.rpartition("-")[2]) + 1)] if workers else [number]
        nodes = next(line for line in script.splitlines() if "--nodes=" in line).rpartition("=")[2]
        self.living += [Job(i, "xnas", "RUNNING", "main", "0:01", "4:00:00", int(nodes), "n1") for i in ids]
        return number

    def queued(self, numbers=None):
        return [j for j in self.living if numbers is None or j.number in set(numbers)]

    def cancel(self, found, *, gently=False):
        self.cancelled += [(j.job_id, gently) for j in found]
        gone = {j.job_id for j in found}
        self.living = [j for j in self.living if j.job_id not in gone]

    def wait_until_gone(self, numbers, timeout_s):
        return self.queued(numbers)

    def last_state(self, job_id):
        return None


@pytest.fixture
def queue(monkeypatch, tmp_path):
    """A pretended Slurm, an empty folder to work in, and nothing of XNAS_SLURM in the environment."""
    import os

    found = Queue()
    for name in ("probe", "submit", "queued", "cancel", "wait_until_gone", "last_state"):
        monkeypatch.setattr(jobs, name, getattr(found, name))
    for name in [name for name in os.environ if name.startswith("XNAS_SLURM_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return found


# ---- up --------------------------------------------------------------------------------------------------------------


def test_up(xnas, queue, root, monkeypatch):
    monkeypatch.setenv("XNAS_SLURM_PARTITION", "gpu")
    printed = xnas("slurm", "up", "--nodes", 2, "--gpus-per-node", 4, "--setup", "module load a", "--root", root)
    assert printed.code == 0 and printed.out == "101\n" and "xnas submit" in printed.err
    (script,) = queue.scripts
    assert "#SBATCH --nodes=2\n" in script and "#SBATCH --partition=gpu\n" in script and "\nmodule load a\n" in script
    (record,) = recorded(root)
    assert (record.job_id, record.role, record.nodes) == ("101", "service", 2)
    assert (root / "slurm" / "101.sh").read_text() == script


def test_dry_run_prints_the_script_and_does_nothing(xnas, queue, root):
    printed = xnas("slurm", "up", "--dry-run", "--root", root)
    assert printed.code == 0 and printed.out.startswith("#!/bin/bash\n") and printed.err == ""
    assert not queue.scripts and not queue.probes and not list(root.iterdir())


def test_one_service_a_store(xnas, queue, root):
    assert xnas("slurm", "up", "--root", root).code == 0
    printed = xnas("slurm", "up", "--root", root)
    assert printed.code == 2 and "job 101 (service, running)" in printed.err and len(queue.scripts) == 1


def test_a_store_in_other_hands(xnas, queue, root):
    with StoreWriter.open(root):
        printed = xnas("slurm", "up", "--root", root)
    assert printed.code == 2 and "another service works on" in printed.err and not queue.scripts


def test_mistakes_name_the_parameter(xnas, queue, root):
    printed = xnas("slurm", "up", "--nodes", "two", "--root", root)
    assert printed.code == 2 and "slurm.nodes: must be a whole number (flag), got 'two'" in printed.err
    assert xnas("slurm", "up", "--nodez", "2").code == 2 and not queue.scripts


def test_every_parameter_has_a_flag(xnas):
    for name in ("up", "submit", "scale"):
        shown = xnas("slurm", name, "--help").out
        assert not [p for p, *_ in describe() if f"--{p.replace('_', '-')}" not in shown]


def test_a_profile_reaches_the_job(xnas, queue, root, tmp_path):
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster/slurm.toml").write_text("[slurm]\nnodes = 5\n[head]\nhosts = 2\n")
    xnas("slurm", "up", "--root", root)
    assert (
        "#SBATCH --nodes=5\n" in queue.scripts[0] and f"\nprofile={tmp_path}/cluster/slurm.toml\n" in queue.scripts[0]
    )


def test_a_profile_is_checked_whole(xnas, queue, root, tmp_path):
    (tmp_path / "p.toml").write_text("[slurm]\nnodes = 5\n[head]\nhost = 2\n")
    printed = xnas("slurm", "up", "--profile", tmp_path / "p.toml", "--root", root)
    assert printed.code == 2 and "Did you mean 'hosts'?" in printed.err and not queue.scripts


# ---- submit ----------------------------------------------------------------------------------------------------------


def spec_of(script: str) -> dict:
    import shlex

    line = next(line for line in script.splitlines() if line.startswith("spec="))
    return json.loads(shlex.split(line.removeprefix("spec="))[0])


def test_submit_as_users_of_xnas_know_it(xnas, queue, root, archive):
    printed = xnas("slurm", "submit", "-t", archive.task, "-s", "-r", "DAT 1", "-n", 4, "--trials", 9, "--root", root)
    assert printed.code == 0, printed.err
    (script,) = queue.scripts
    assert "#SBATCH --reservation='DAT 1'\n" in script and "#SBATCH --nodes=4\n" in script
    spec = spec_of(script)
    assert spec["objectives"] == ["val_accuracy"] and spec["budget"]["trials"] == 9 and spec["seed"] is not None
    (record,) = recorded(root)
    assert record.role == "search" and (root / "tasks" / record.task_hash / "problem.py").exists()
    assert f"\nkey={record.key}\n" in script and f"\ntask_hash={record.task_hash}\n" in script
    assert xnas("slurm", "submit", "-t", archive.task, "--root", root).code == 2, "the store is taken"


def test_submit_keeps_all_objectives(xnas, queue, root, archive):
    printed = xnas("slurm", "submit", "-t", archive.task, "--dry-run", "--root", root)
    assert spec_of(printed.out)["objectives"] == ["val_accuracy", "params"] and not list(root.iterdir())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("-t", "nothing"), "there is no task 'nothing'"),
        ((), "give a TOML file, or at least --task"),
        (("-n", 3), "slurm.reservation_nodes: needs a reservation"),
        (("-s", "--no-check"), "-s: needs --check"),
        (("--controller", "nosuch"), "nosuch"),
    ],
)
def test_mistakes_are_found_before_the_job_waits(xnas, queue, root, archive, arguments, text):
    task = () if not arguments or "-t" in arguments else ("-t", archive.task)
    printed = xnas("slurm", "submit", *task, *arguments, "--root", root)
    assert printed.code == 2 and text in printed.err and not queue.scripts


# ---- scale -----------------------------------------------------------------------------------------------------------


def test_scale(xnas, queue, root):
    assert "no service of" in xnas("slurm", "scale", 3, "--root", root).err
    xnas("slurm", "up", "--nodes", 2, "--root", root)
    assert "#SBATCH --array=0-2\n" in xnas("slurm", "scale", 5, "--dry-run", "--root", root).out
    assert xnas("slurm", "scale", 5, "--root", root).out == "102\n"
    assert "has 5 nodes" in xnas("slurm", "scale", 5, "--root", root).err
    assert xnas("slurm", "scale", 4, "--dry-run", "--root", root).out == "leaving: 102_2\n" and not queue.cancelled
    assert xnas("slurm", "scale", 3, "--root", root).out == "leaving: 102_1 102_2\n"
    assert queue.cancelled == [("102_1", True), ("102_2", True)]
    assert "the service's own job has 2" in xnas("slurm", "scale", 1, "--root", root).err


def test_who_was_told_to_leave_is_replaced_at_once(xnas, queue, root, monkeypatch):
    """A node that still drains is no node any more."""
    xnas("slurm", "up", "--root", root)
    xnas("slurm", "scale", 3, "--root", root)
    monkeypatch.setattr(jobs, "cancel", lambda found, *, gently: None)
    assert xnas("slurm", "scale", 2, "--root", root).out == "leaving: 102_1\n"
    assert "has 2 nodes" in xnas("slurm", "scale", 2, "--root", root).err
    assert xnas("slurm", "scale", 3, "--root", root).out == "103\n"


def test_a_policy_is_noted_for_the_service(xnas, queue, root, tmp_path):
    profile = tmp_path / "p.toml"
    profile.write_text("[slurm]\nnodes = 2\ngpus_per_node = 3\n[slurm.elastic]\nmax = 6\n")
    printed = xnas("slurm", "up", "--profile", profile, "--root", root)
    assert printed.out == "101\n" and "1 to 6 nodes" in printed.err
    order = standing_order(root, "101")
    assert (order.policy.max, order.parameters.gpus_per_node, order.place.root) == (6, 3, root)
    refused = xnas("slurm", "up", "--nodes", 7, "--profile", profile, "--dry-run", "--root", root)
    assert "slurm.elastic.max" in refused.err and not refused.out


# ---- status, down, logs ----------------------------------------------------------------------------------------------


def test_status(xnas, queue, root):
    assert "no jobs of" in xnas("slurm", "status", "--root", root).out
    xnas("slurm", "up", "--root", root)
    queue.living.append(Job("7", "other", "RUNNING", "main", "0:01", "1:00", 1, "n2"))
    found = json.loads(xnas("slurm", "status", "--json", "--root", root).out)["jobs"]
    assert [(row["job"], row["role"], row["state"], row["where"]) for row in found] == [
        ("101", "service", "running", "n1")
    ]
    queue.living.clear()
    assert "ended" in xnas("slurm", "status", "--root", root).out


def test_down_ends_our_jobs_alone(xnas, queue, root):
    assert "no job of" in xnas("slurm", "down", "--root", root).err
    other = Job("7", "other", "RUNNING", "main", "0:01", "1:00", 1, "n2")
    queue.living.append(other)
    xnas("slurm", "up", "--root", root)
    xnas("slurm", "scale", 2, "--root", root)
    assert xnas("slurm", "down", "--dry-run", "--root", root).out == "ending: 102_0 101\n" and not queue.cancelled
    assert xnas("slurm", "down", "--root", root).code == 0
    assert queue.cancelled == [("102_0", True), ("101", True)] and queue.living == [other]


def test_down_ends_also_what_was_asked_for_meanwhile(xnas, queue, root, monkeypatch):
    xnas("slurm", "up", "--root", root)
    real = queue.cancel

    def cancel(found, *, gently=False):
        if not queue.cancelled:  # the service's policy asks for a node
            xnas("slurm", "scale", 2, "--root", root)
        real(found, gently=gently)

    monkeypatch.setattr(jobs, "cancel", cancel)
    assert xnas("slurm", "down", "--root", root).code == 0
    assert queue.cancelled == [("101", True), ("102_0", False)] and not queue.living


def test_down_cancels_what_does_not_end(xnas, queue, root, monkeypatch):
    xnas("slurm", "up", "--root", root)
    real = queue.cancel
    monkeypatch.setattr(jobs, "cancel", lambda found, *, gently=False: None if gently else real(found))
    printed = xnas("slurm", "down", "--root", root)
    assert printed.code == 0 and "not ended in time" in printed.err and queue.cancelled == [("101", False)]
    xnas("slurm", "up", "--root", root)
    monkeypatch.setattr(jobs, "cancel", lambda found, *, gently=False: None)
    assert "still there: 102" in xnas("slurm", "down", "--now", "--root", root).err


def test_logs(xnas, queue, root, monkeypatch):
    assert "no job was submitted" in xnas("slurm", "logs", "--root", root).err
    xnas("slurm", "up", "--root", root)
    assert "the job waits" in xnas("slurm", "logs", "--root", root).err
    path = root / "slurm" / "101.log"
    path.write_text("one\ntwo\x1b[31m\nthree\n")
    assert xnas("slurm", "logs", "--lines", 2, "--root", root).out == "two\\x1b[31m\nthree\n"
    assert "Valid: 101" in xnas("slurm", "logs", "55", "--root", root).err

    def end(seconds):
        with path.open("a") as file:
            file.write("four\nhalf of a lin")
        queue.living.clear()

    monkeypatch.setattr(commands.time, "sleep", end)
    printed = xnas("slurm", "logs", "101", "--follow", "--lines", 1, "--root", root)
    assert printed.out == "three\nfour\n"


def test_without_slurm(xnas, root, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for line in (("up",), ("status",), ("down",), ("scale", "2")):
        printed = xnas("slurm", *line, "--root", root)
        assert printed.code == 2 and "there is no Slurm on this machine" in printed.err


def test_every_command_explains_itself(xnas):
    for name in ("up", "submit", "scale", "status", "down", "logs"):
        printed = xnas("slurm", name, "--help")
        assert printed.code == 0 and f"Examples:\n    xnas slurm {name}" in printed.out and "--debug" in printed.out


def test_doctor_shows_which_parameters_are_in_force(xnas, queue, root, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setenv("XNAS_SLURM_QOS", "high")
    record = json.loads(xnas("doctor", "--json", "--root", root).out)
    settings = {s["name"]: (s["value"], s["from"]) for s in record["settings"]}
    assert settings["slurm.qos"] == ("high", "environment") and settings["slurm.nodes"] == ("1", "default")
    assert {f["what"]: f["level"] for f in record["findings"]}["slurm"] == "ok"

    def unreachable():
        raise SlurmError("Slurm does not answer.")

    monkeypatch.setattr(jobs, "probe", unreachable)
    record = json.loads(xnas("doctor", "--json", "--root", root).out)
    assert {f["what"]: f["level"] for f in record["findings"]}["slurm"] == "warning"
