"""Slurm and Ray as programs that pretend: whole batch scripts run under them on this machine, without either."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from xnas_ray.slurm.parameters import SlurmParameters
from xnas_ray.slurm.script import Place

RECORDER = """
import json, os, sys
with open(os.environ["FAKES"] + "/calls", "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
def state(name, default=""):
    try:
        return open(os.environ["FAKES"] + "/" + name).read().strip()
    except FileNotFoundError:
        return default
"""
SCONTROL = """
if sys.argv[1:3] == ["show", "hostnames"]:
    print("alpha\\nbeta")
elif sys.argv[1:3] == ["show", "node"]:
    print("NodeName=x Arch=x86_64 NodeAddr=127.0.0.1 NodeHostName=x")
elif sys.argv[1:3] == ["show", "job"]:
    known = state("job-" + sys.argv[-1], "RUNNING")
    if known == "forgotten":
        sys.exit("slurm_load_jobs error: Invalid job id specified")
    if known == "silent":
        sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    times = f"EndTime={state('end', 'Unknown')} PreemptTime={state('preempted', 'None')} X=1"
    for line in known.split():
        number, _, found = line.rpartition(":")
        print(f"JobId={number or sys.argv[-1]} JobName=x JobState={found} Reason=None {times}")
"""
SRUN = """
command = sys.argv[1:]
while command[0].startswith("--"):
    if command[0].startswith("--nodelist="):
        os.environ["SLURMD_NODENAME"] = command[0].partition("=")[2]
    command.pop(0)
os.execvp(command[0], command)
"""
RAY = """
import signal, socket, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
def option(name):
    return next(a.partition("=")[2] for a in sys.argv if a.startswith(name + "="))
os.makedirs(option("--temp-dir") + "/session_1/logs", exist_ok=True)
open(option("--temp-dir") + "/session_1/logs/raylet.err", "w").write("said something")
if "--head" in sys.argv:
    if state("head_fails"):
        sys.exit("no head today")
    server = socket.create_server((option("--node-ip-address"), int(option("--port"))))
elif state("worker_fails"):
    sys.exit("no worker today")
while not state("drained"):
    time.sleep(0.1)
sys.exit(1)
"""
PYTHON = """
import signal, time
if "endpoint" in sys.argv:
    if state("no_service"):
        sys.exit(2)
    print(state("address") + "\\n" + os.environ["FAKES"] + "/token")
    sys.exit(0)
if "leave" in sys.argv:
    sys.exit(1 if state("no_drain") else 0)
stop = []
if not state("deaf"):
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(os.environ["FAKES"] + "/working", "w").write(str(os.getpid()))
if state("result"):
    sys.exit(int(state("result")))
while not stop:
    time.sleep(0.02)
open(os.environ["FAKES"] + "/stopped", "w").write("cleanly")
"""


@dataclass
class Stage:
    """A folder of programs that pretend, the batch scripts that run on it, and what stands for /tmp."""

    folder: Path
    root: Path
    temporary: Path
    listener: socket.socket
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Where workers find the service."""
        return (self.folder / "address").read_text()

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters by which a script finds the programs; wide open for a test to change."""
        return {
            "environment": "none",
            "setup": (f"export PATH={self.folder}:$PATH FAKES={self.folder}",),
            "timeout_min": 60,
            "signal_s": 10,
            "temporary_root": str(self.temporary),
        }

    def place(self, **changes: Any) -> Place:
        return Place(**{"root": self.root, "python": Path(sys.executable), **changes})

    def given(self, **changes: Any) -> SlurmParameters:
        return SlurmParameters(**{**self.parameters, **changes})

    def set(self, name: str, value: str = "1") -> None:
        """Let a program behave in another way."""
        (self.folder / name).write_text(value)

    def calls(self, program: str = "") -> list[list[str]]:
        """Command lines so far, as the programs saw them."""
        path = self.folder / "calls"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [call for call in found if program in ("", call[0])]

    def start(self, script: str, **variables: str) -> subprocess.Popen[str]:
        """Run a script as Slurm would, in a process group of its own."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "RAY_"))},
            **{"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "[alpha,beta]", "SLURM_SUBMIT_HOST": "login"},
            **{"SLURMD_NODENAME": "alpha", "RAY_ADDRESS": "auto", **variables},
        }
        path = self.folder / "job.sh"
        path.write_text(script)
        job = subprocess.Popen(
            ["bash", str(path)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.running.append(job)
        return job

    def until(self, what: Callable[[], object], timeout_s: float = 30.0) -> None:
        """Wait until something holds."""
        deadline_s = time.monotonic() + timeout_s
        while not what():
            assert time.monotonic() < deadline_s, self.calls()
            time.sleep(0.02)

    def until_working(self) -> None:
        """Wait until the program of the job runs."""
        self.until((self.folder / "working").exists)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """An empty stage; what is left of its jobs is ended."""
    folder = tmp_path / "fakes"
    folder.mkdir()
    for name, text in {"scontrol": SCONTROL, "srun": SRUN, "ray": RAY, "python": PYTHON}.items():
        path = folder / name
        path.write_text(f"#!{sys.executable} -S\n" + textwrap.dedent(RECORDER + text))
        path.chmod(0o755)
    temporary = Path(tempfile.mkdtemp(prefix="xs-", dir="/tmp"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (folder / "address").write_text(f"127.0.0.1:{listener.getsockname()[1]}")
        found = Stage(folder, tmp_path / "store", temporary, listener)
        yield found
    for job in found.running:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
    shutil.rmtree(temporary)
