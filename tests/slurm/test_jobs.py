"""Talking to Slurm, with its commands played by a script: what it prints is what Slurm 22.05 printed."""

from __future__ import annotations

import json
import os
import stat
import sys

import pytest

from xnas_ray.errors import SlurmError
from xnas_ray.slurm import jobs
from xnas_ray.slurm.records import JobRecord, folder_of, log_of, recorded, remember

PLAYER = """
import json, os, sys
name = os.path.basename(sys.argv[0])
folder = os.path.dirname(os.path.abspath(sys.argv[0]))
with open(folder + "/calls", "a") as file:
    file.write(json.dumps([name, *sys.argv[1:], sys.stdin.read()]) + "\\n")
script = json.load(open(folder + "/answers.json")).get(name, ["", "", 0])
sys.stdout.write(script[0]); sys.stderr.write(script[1]); sys.exit(script[2])
"""
QUEUE = (
    "12|main|RUNNING|1:02:03|4:00:00|2|xn[1-2]|xnas-service\n"
    "13_0|main|RUNNING|0:10|10:00|1|xn3|xnas-worker\n"
    "13_1|main|PENDING|0:00|10:00|1|(Resources)|xnas|worker\n"
    "something else\n"
)


class Player:
    """Slurm's commands: what each answers, and what they were asked."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("sbatch", "squeue", "scontrol", "scancel"):
            path = folder / name
            path.write_text(f"#!{sys.executable} -S\n{PLAYER}")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.answer()

    def answer(self, **answers):
        full = {name: [*given, *("", "", 0)[len(given) :]] for name, given in answers.items()}
        (self.folder / "answers.json").write_text(json.dumps(full))

    @property
    def calls(self):
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return Player(folder)


def test_probe(slurm):
    slurm.answer(scontrol=["Slurmctld(primary) at vm is UP\n"])
    jobs.probe()
    assert slurm.calls == [["scontrol", "ping", ""]]


@pytest.mark.parametrize(
    ("printed", "complaint", "text"),
    [
        ("Slurmctld(primary) at vm is DOWN\n****\n", "", "Slurm does not answer: Slurmctld(primary) at vm is DOWN."),
        (
            "",
            "scontrol: error: no configuration source\nscontrol: fatal: x\n",
            "does not answer: no configuration source.",
        ),
        ("", "", "no reason was given"),
    ],
)
def test_probe_without_a_controller(slurm, printed, complaint, text):
    slurm.answer(scontrol=[printed, complaint, 1])
    with pytest.raises(SlurmError) as caught:
        jobs.probe()
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_probe_without_slurm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match="there is no Slurm on this machine: sbatch is not on PATH"):
        jobs.probe()
    with pytest.raises(SlurmError, match="squeue is not on PATH"):
        jobs.queued()


def test_a_command_that_hangs(slurm, monkeypatch):
    (slurm.folder / "scontrol").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(jobs, "PROBE_TIMEOUT_S", 0.2)
    with pytest.raises(SlurmError, match="did not answer within 0 s"):
        jobs.probe()


def test_submit(slurm):
    slurm.answer(sbatch=["sbatch: a notice of the site\n1234;cluster\n"])
    script = "#!/bin/bash\n#SBATCH --partition=gpu\n#SBATCH --requeue\necho '#SBATCH'\n"
    assert jobs.submit(script) == "1234"
    assert slurm.calls == [["sbatch", "--parsable", script]]


def test_a_script_wins_over_variables_that_would_win_over_it(slurm):
    (slurm.folder / "sbatch").write_text("#!/bin/sh\nenv | grep SBATCH_ | sort | tr '\\n' ' '\n")
    given = {"PATH": os.environ["PATH"], "SBATCH_PARTITION": "a", "SBATCH_ACCOUNT": "b", "SBATCH_NO_REQUEUE": "1"}
    found = jobs.submit("#!/bin/bash\n#SBATCH --partition=gpu\n#SBATCH --requeue\n", environment=given)
    assert found.split() == ["SBATCH_ACCOUNT=b"]


def test_a_job_that_submits_another_does_not_pass_itself_on(slurm):
    (slurm.folder / "sbatch").write_text("#!/bin/sh\nenv | sort | tr '\n' ' '\n")
    given = {"SLURM_CONF": "/c", "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "1", "SLURMD_NODENAME": "a"}
    given |= {"SRUN_CPUS_PER_TASK": "1", "RAY_AUTH_MODE": "token", "SBATCH_QOS": "q", "HOME": "/h"}
    found = jobs.submit("#!/bin/bash\n", environment={**given, "PATH": os.environ["PATH"]}).split()
    assert {text.partition("=")[0] for text in found} - {"PWD", "SHLVL", "_", "OLDPWD"} == {
        *("HOME", "PATH", "SBATCH_QOS", "SLURM_CONF")
    }


def test_a_job_that_is_refused(slurm):
    slurm.answer(sbatch=["", "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job\n", 1])
    with pytest.raises(SlurmError, match="refuses the job: invalid partition specified: nope"):
        jobs.submit("#!/bin/bash\n")


def test_the_queue(slurm):
    slurm.answer(squeue=[QUEUE])
    found = jobs.queued()
    assert [(j.job_id, j.number, j.state, j.nodes, j.where) for j in found] == [
        ("12", "12", "RUNNING", 2, "xn[1-2]"),
        ("13_0", "13", "RUNNING", 1, "xn3"),
        ("13_1", "13", "PENDING", 1, "(Resources)"),
    ]
    assert found[2].name == "xnas|worker" and found[0].elapsed == "1:02:03" and found[0].limit == "4:00:00"
    assert [j.job_id for j in jobs.queued({"13"})] == ["13_0", "13_1"]
    assert slurm.calls[0][1:4] == ["--me", "--noheader", "--array"]


def test_cancelling(slurm):
    slurm.answer(squeue=[QUEUE], scancel=["", "scancel: error: Invalid job id 12\n", 1])
    jobs.cancel(jobs.queued(), gently=True)
    jobs.cancel(jobs.queued({"12"}))
    assert [call[:-1] for call in slurm.calls if call[0] == "scancel"] == [
        ["scancel", "--quiet", "--batch", "--signal=TERM", "12", "13_0"],
        ["scancel", "--quiet", "13_1"],
        ["scancel", "--quiet", "12"],
    ]


def test_waiting_looks_less_and_less_often(slurm, monkeypatch):
    looks, waits = [[1], [1], [1], []], []
    monkeypatch.setattr(jobs, "queued", lambda numbers: looks.pop(0))
    assert jobs.wait_until_gone(["12"], 1000, sleep=waits.append) == []
    assert waits == [0.5, 1.0, 2.0]
    monkeypatch.setattr(jobs, "queued", lambda numbers: [1])
    assert jobs.wait_until_gone(["12"], 0.0, sleep=waits.append) == [1]


def test_the_last_state(slurm):
    slurm.answer(scontrol=["JobId=12 JobName=x JobState=COMPLETED Reason=None\n"])
    assert jobs.last_state("12") == "COMPLETED"
    slurm.answer(scontrol=["", "slurm_load_jobs error: Invalid job id specified\n", 1])
    assert jobs.last_state("12") is None


# ---- records ---------------------------------------------------------------------------------------------------------


def test_records(tmp_path):
    root = tmp_path / "store"
    assert recorded(root) == []
    folder_of(root)
    later = JobRecord("9", "service", "xnas-service", 20.0, 2)
    earlier = JobRecord("11", "search", "xnas-search", 10.0, 1, task_hash="ab", key="k")
    for record in (later, earlier):
        remember(root, record, f"#!/bin/bash {record.job_id}\n")
    (root / "slurm" / "12.json").write_text("{broken")
    (root / "slurm" / "13.json").write_text('{"job_id": "13", "unknown": 1}')
    assert recorded(root) == [earlier, later]
    assert (root / "slurm/9.sh").read_text() == "#!/bin/bash 9\n" and log_of(root, "9_1").name == "9_1.log"


def test_the_task_of_a_job_that_waits_is_no_leftover(tmp_path):
    from xnas_ray.service.leftovers import find_leftovers
    from xnas_ray.store.writer import StoreWriter

    root = tmp_path / "store"
    StoreWriter.open(root).close()
    for name in ("needed", "unused"):
        (root / "tasks" / name).mkdir(parents=True)
        os.utime(root / "tasks" / name, (0, 0))
    folder_of(root)
    remember(root, JobRecord("11", "search", "xnas-search", 10.0, 1, task_hash="needed"), "#!/bin/bash\n")
    assert [one.path.name for one in find_leftovers(root)] == ["unused"]
