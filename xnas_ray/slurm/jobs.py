"""The few commands that talk to Slurm: is it there, submit, look, cancel.

Only ``sbatch``, ``squeue``, ``scontrol`` and ``scancel`` are used: ``sacct`` is missing where no accounting runs. Every
look is one call for all jobs, and who waits looks at growing intervals.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from xnas_ray.errors import SlurmError

TIMEOUT_S = 60.0
PROBE_TIMEOUT_S = 15.0
FIRST_LOOK_S = 0.5
MAX_LOOK_S = 60.0
_FORMAT = "%i|%P|%T|%M|%l|%D|%R|%j"  # the name comes last: it alone may contain the separator

_VARIABLES = {
    "SBATCH_ACCOUNT": "account",
    "SBATCH_ARRAY_INX": "array",
    "SBATCH_CONSTRAINT": "constraint",
    "SBATCH_EXCLUSIVE": "exclusive",
    "SBATCH_GPUS_PER_NODE": "gpus-per-node",
    "SBATCH_JOB_NAME": "job-name",
    "SBATCH_MEM_PER_NODE": "mem",
    "SBATCH_NO_REQUEUE": "requeue",
    "SBATCH_OPEN_MODE": "open-mode",
    "SBATCH_OUTPUT": "output",
    "SBATCH_PARTITION": "partition",
    "SBATCH_QOS": "qos",
    "SBATCH_REQUEUE": "requeue",
    "SBATCH_RESERVATION": "reservation",
    "SBATCH_SIGNAL": "signal",
    "SBATCH_TIMELIMIT": "time",
}
"""Variables that would win over directives of a script."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job that Slurm knows.

    Attributes:
        job_id: its number; of a task of an array ``12_3``.
        name: of the job.
        state: as Slurm calls it, such as ``RUNNING``.
        partition: where it runs.
        elapsed: how long it has run, as Slurm writes times.
        limit: its time limit, likewise.
        nodes: how many it has or wants.
        where: its nodes, or in parentheses why it waits.
    """

    job_id: str
    name: str
    state: str
    partition: str
    elapsed: str
    limit: str
    nodes: int
    where: str

    @property
    def number(self) -> str:
        """The job's number without that of the task."""
        return self.job_id.partition("_")[0]


def probe() -> None:
    """Nothing if Slurm answers.

    Raises:
        SlurmError: it is not installed here, or its controller does not answer.
    """
    if shutil.which("sbatch") is None:
        raise SlurmError(
            "there is no Slurm on this machine: sbatch is not on PATH.",
            fix="Log in to the cluster, or run the search here with `xnas run`.",
        )
    # That the programs are there says little: without a configuration not even `sbatch --help` works.
    _run(["scontrol", "ping"], timeout_s=PROBE_TIMEOUT_S, failing="Slurm does not answer")


def submit(script: str, *, environment: Mapping[str, str] | None = None) -> str:
    """Queue a batch script; returns the job's number.

    What the script says wins over the ``SBATCH_`` variables of the environment; the others reach sbatch. A job that
    submits another one does not pass on what Slurm and Ray told it about itself.

    Raises:
        SlurmError: Slurm refuses it.
    """
    said = {line.removeprefix("#SBATCH --").partition("=")[0] for line in script.splitlines() if "#SBATCH --" in line}
    given = os.environ if environment is None else environment
    kept = {name: value for name, value in given.items() if _VARIABLES.get(name) not in said}
    if "SLURM_JOB_ID" in given:
        kept = {n: v for n, v in kept.items() if n == "SLURM_CONF" or not n.startswith(("SLURM", "SRUN_", "RAY_"))}
    printed = _run(["sbatch", "--parsable"], text=script, environment=kept, failing="Slurm refuses the job")
    return printed.strip().splitlines()[-1].partition(";")[0]


def queued(numbers: Iterable[str] | None = None) -> list[Job]:
    """This user's jobs that wait or run; tasks of an array each.

    Args:
        numbers: only these jobs, and the tasks of these arrays.
    """
    printed = _run(["squeue", "--me", "--noheader", "--array", f"--format={_FORMAT}"], failing="cannot list jobs")
    jobs = [_job(line) for line in printed.splitlines() if line.count("|") >= _FORMAT.count("|")]
    wanted = None if numbers is None else set(numbers)
    return [job for job in jobs if wanted is None or job.number in wanted]


def _job(line: str) -> Job:
    job_id, partition, state, elapsed, limit, nodes, where, name = line.split("|", _FORMAT.count("|"))
    return Job(job_id, name, state, partition, elapsed, limit, int(nodes), where)


def last_state(job_id: str) -> str | None:
    """The state of a job that ended lately; None when Slurm has forgotten it."""
    try:
        printed = _run(["scontrol", "show", "job", "--oneliner", job_id])
    except SlurmError:
        return None
    states = [word.removeprefix("JobState=") for word in printed.split() if word.startswith("JobState=")]
    return states[0] if states else None


def cancel(jobs: Sequence[Job], *, gently: bool = False) -> None:
    """End jobs; one that has ended meanwhile is no error.

    Args:
        jobs: which.
        gently: only ask the batch scripts of running ones, which then stop what they started.
    """
    asked = [job.job_id for job in jobs if gently and job.state != "PENDING"]
    ended = [job.job_id for job in jobs if job.job_id not in asked]
    if asked:
        _run(["scancel", "--quiet", "--batch", "--signal=TERM", *asked], tolerant=True)
    if ended:
        _run(["scancel", "--quiet", *ended], tolerant=True)


def wait_until_gone(
    numbers: Sequence[str], timeout_s: float, *, sleep: Callable[[float], None] = time.sleep
) -> list[Job]:
    """Look, at growing intervals, until none of these jobs waits or runs; returns those that still do.

    Args:
        numbers: of the jobs.
        timeout_s: how long to wait.
        sleep: how to wait.
    """
    deadline_s, interval_s = time.monotonic() + timeout_s, FIRST_LOOK_S
    while (left := queued(numbers)) and time.monotonic() < deadline_s:
        sleep(min(interval_s, max(0.0, deadline_s - time.monotonic())))
        interval_s = min(2 * interval_s, MAX_LOOK_S)
    return left


def _run(
    command: Sequence[str],
    *,
    text: str | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
    failing: str = "Slurm refuses",
    tolerant: bool = False,
) -> str:
    """What a command prints.

    Raises:
        SlurmError: it fails, takes too long, or is not there; the first line that it complains with is in the message.
    """
    try:
        done = subprocess.run(
            command, input=text or "", env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except FileNotFoundError:
        raise SlurmError(f"{failing}: {command[0]} is not on PATH.") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{failing}: {command[0]} did not answer within {timeout_s:.0f} s.") from None
    if done.returncode and not tolerant:
        complaint = (done.stderr.strip() or done.stdout.strip()).splitlines()[:1] or ["no reason was given"]
        raise SlurmError(f"{failing}: {complaint[0].removeprefix(command[0] + ': ').removeprefix('error: ')}")
    return done.stdout
