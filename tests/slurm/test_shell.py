"""What the scripts do, with Slurm and Ray pretended: bring-up, signals, queueing again, tidying up."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import time

import psutil
import pytest

from xnas_ray.commands.doctor import RAY_SETTINGS
from xnas_ray.slurm.lifetimes import Lifetimes
from xnas_ray.slurm.script import SearchJob, search_script, service_script, worker_script

HOSTILE = 'it\'s; touch evil $(touch evil) `touch evil` "${HOME}" # *? [a-z] ~ !! %j ümlaut 中 -rf --'
LINES = "back\\slash \\n \\\\ end\n#SBATCH --partition=evil\n"


def descendants(pattern: str) -> list[str]:
    """Processes whose command line contains a text."""
    found = subprocess.run(["pgrep", "-af", pattern], capture_output=True, text=True, check=False).stdout
    return [line for line in found.splitlines() if "pgrep" not in line]


def processes(job, *words: str) -> list[psutil.Process]:
    """Those of a job whose command lines have these words."""
    found = []
    for process in psutil.Process(job.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if set(words) <= set(process.cmdline()):
                found.append(process)
    return found


def ended(stage, job, code: int = 0) -> str:
    """The output of a job that ends; nothing that it started is left."""
    output, _ = job.communicate(timeout=60)
    assert job.returncode == code, output
    assert not descendants(f"{stage.folder}/"), "everything that was started has ended"
    return output


# ---- values ----------------------------------------------------------------------------------------------------------


def test_values_arrive_as_they_are(stage, tmp_path):
    stage.set("result", "0")
    place = stage.place(root=tmp_path / HOSTILE, profile=tmp_path / HOSTILE / "p.toml")
    search = SearchJob(spec=HOSTILE + LINES, task_hash=LINES, key=HOSTILE)
    ended(stage, stage.start(search_script(stage.given(), place, search)))
    (call,) = stage.calls("python")
    given = dict(zip(call[4::2], call[5::2], strict=True))
    assert call[1:4] == ["-m", "xnas_ray.commands.slurm_job", "search"]
    assert given["--root"] == str(place.root) and given["--profile"] == str(place.profile)
    assert (given["--spec"], given["--task-hash"], given["--key"]) == (search.spec, LINES, HOSTILE)
    assert not list(tmp_path.rglob("evil")), "nothing was run"


def test_setup_is_the_users_own_shell(stage):
    stage.set("result", "0")
    setup = (*stage.parameters["setup"], "set -e; X='a b'", 'printf "%s\\n" "$X" > "$FAKES/said"', "#SBATCH --time=1")
    ended(stage, stage.start(service_script(stage.given(setup=setup), stage.place())))
    assert (stage.folder / "said").read_text() == "a b\n"


def test_rays_environment_is_that_of_the_service(stage, tmp_path):
    """What doctor calls the default is what the scripts set, and nothing of the login shell leads Ray elsewhere."""
    stage.set("result", "0")
    path = stage.folder / "ray"
    path.write_text(
        path.read_text().replace(
            "def option", "open(os.environ['FAKES'] + '/env', 'w').write(json.dumps(dict(os.environ)))\ndef option"
        )
    )
    ended(
        stage,
        stage.start(service_script(stage.given(), stage.place()), RAY_AUTH_TOKEN="mine", RAY_AUTH_MODE="disabled"),
    )
    import json

    seen = json.loads((stage.folder / "env").read_text())
    assert {name: seen[name] for name in RAY_SETTINGS} == RAY_SETTINGS
    assert not {"RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_TMPDIR"} & set(seen)
    assert seen["SRUN_CPUS_PER_TASK"] == "8"


# ---- bring-up --------------------------------------------------------------------------------------------------------


def test_a_service_comes_up_and_is_stopped_cleanly(stage):
    job = stage.start(service_script(stage.given(cpus_per_task=3, gpus_per_node=2, object_store_gb=0.5), stage.place()))
    stage.until_working()
    stage.until(lambda: len(stage.calls("ray")) == 3)
    head = next(call for call in stage.calls("ray") if "--head" in call)
    workers = [call for call in stage.calls("ray") if "--head" not in call]
    port = 20000 + 77 * 6
    assert f"--port={port}" in head and "--num-cpus=0" in head and "--num-gpus=0" in head
    assert f"--dashboard-port={port + 1}" in head and "--dashboard-host=127.0.0.1" in head
    for call in workers:
        assert f"--address=127.0.0.1:{port}" in call and "--num-cpus=3" in call and "--num-gpus=2" in call
        assert f"--object-store-memory={2**29}" in call
    assert {c.partition("=")[2] for call in workers for c in call if c.startswith("--labels")} == {
        "slurm_node=alpha",
        "slurm_node=beta",
    }
    assert len({c for call in [head, *workers] for c in call if c.startswith("--temp-dir")}) == 3
    folder = stage.root / "slurm" / "77"
    token = folder / "token-0"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600 and len(token.read_text()) == 64
    os.kill(job.pid, signal.SIGTERM)
    output = ended(stage, job)
    assert (stage.folder / "stopped").exists() and "over: cancelled" in output
    assert not [call for call in stage.calls("scontrol") if call[1] == "requeue"]
    assert not token.exists() and not (folder / "ends").exists()
    assert (folder / "ray/0/session_1/logs/raylet.err").read_text() == "said something"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700, "the umask holds"


def test_a_head_that_does_not_come_up_ends_the_job(stage):
    stage.set("head_fails")
    output = ended(stage, stage.start(service_script(stage.given(), stage.place())), code=1)
    assert "Ray's head did not come up" in output and "no head today" in output
    assert not stage.calls("python")


def test_a_node_that_fails_is_tried_again(stage):
    stage.set("worker_fails")
    job = stage.start(service_script(stage.given(), stage.place()))
    stage.until(lambda: len([call for call in stage.calls("ray") if "--head" not in call]) >= 3)
    assert job.poll() is None, "the service goes on with the other nodes, and without any"
    os.kill(job.pid, signal.SIGTERM)
    assert "Ray ended on " in ended(stage, job)


def test_a_missing_program_is_named(stage):
    (stage.folder / "ray").unlink()
    setup = (f"export PATH={stage.folder}:/usr/bin:/bin FAKES={stage.folder}",)
    output = ended(stage, stage.start(service_script(stage.given(setup=setup), stage.place())), code=1)
    assert "there is no ray on PATH" in output


def test_a_folder_of_somebody_else_is_refused(stage, tmp_path):
    strange = stage.temporary / "xr77"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    strange.symlink_to(elsewhere)
    output = ended(stage, stage.start(service_script(stage.given(), stage.place())), code=1)
    assert "is not ours" in output and not any(elsewhere.iterdir())


@pytest.mark.parametrize(("before", "again"), [(0, True), (2, True), (3, False)])
def test_a_head_that_is_lost_has_the_job_queued_again(stage, before, again):
    folder = stage.root / "slurm/77"
    folder.mkdir(parents=True)
    (folder / "ends").write_text("".join(f"{start} lost\n" for start in range(before)))
    script = service_script(stage.given(), stage.place())
    job = stage.start(script, SLURM_RESTART_COUNT=str(before))
    stage.until_working()
    (head,) = processes(job, str(stage.folder / "ray"), "--head")
    step = head.parent()
    head.kill()
    stage.until(lambda: not step.is_running())
    os.kill(int((stage.folder / "working").read_text()), signal.SIGKILL)  # a client of nothing fails
    output = ended(stage, job, code=0 if again else 137)
    assert "over: lost" in output and bool(requeued(stage)) is again
    assert ("Ray's head was lost 4 times" in output) is not again


@pytest.mark.parametrize("code", [0, 1])
def test_the_jobs_exit_code_is_that_of_the_search(stage, code):
    stage.set("result", str(code))
    search = SearchJob(spec="{}", task_hash="h", key="k")
    ended(stage, stage.start(search_script(stage.given(), stage.place(), search)), code=code)


# ---- signals ---------------------------------------------------------------------------------------------------------


def requeued(stage) -> list[list[str]]:
    return [call[1:] for call in stage.calls("scontrol") if call[1] == "requeue"]


def test_preemption_queues_the_job_again(stage):
    stage.set("preempted", "2026-11-22T05:12:07")
    job = stage.start(service_script(stage.given(timeout_min=1, signal_s=30), stage.place()))
    stage.until_working()
    os.kill(job.pid, signal.SIGUSR2)
    stage.until((stage.folder / "stopped").exists)
    os.kill(job.pid, signal.SIGTERM)  # the grace time is over
    output = ended(stage, job)
    assert requeued(stage) == [["requeue", "77"]] and "over: preempted" in output
    assert (stage.root / "slurm/77/ends").read_text() == "0 preempted\n"


@pytest.mark.parametrize(("before", "again"), [(("0", "1"), True), (("0", "1", "2"), False)])
def test_timeouts_are_counted_over_the_starts(stage, before, again):
    folder = stage.root / "slurm/77"
    folder.mkdir(parents=True)
    lines = [f"{start} timeout\n" for start in before]
    (folder / "ends").write_text("".join(lines) + "9 preempted\n" * 5)
    job = stage.start(
        service_script(stage.given(timeout_min=1, signal_s=30), stage.place()), SLURM_RESTART_COUNT=str(len(before))
    )
    stage.until_working()
    os.kill(job.pid, signal.SIGUSR2)
    output = ended(stage, job, code=0)
    assert bool(requeued(stage)) is again
    assert ("this was the last (max_timeouts = 3)" in output) is not again


def test_the_first_start_forgets_an_older_job_of_the_same_number(stage):
    folder = stage.root / "slurm/77"
    folder.mkdir(parents=True)
    (folder / "ends").write_text("0 timeout\n1 timeout\n2 timeout\n")
    job = stage.start(service_script(stage.given(timeout_min=1, signal_s=30), stage.place()))
    stage.until_working()
    os.kill(job.pid, signal.SIGUSR2)
    ended(stage, job)
    assert requeued(stage)


def test_a_signal_before_the_service_is_up(stage):
    job = stage.start(service_script(stage.given(), stage.place()))
    stage.until(lambda: stage.calls("ray"))
    os.kill(job.pid, signal.SIGUSR2)
    ended(stage, job)
    assert requeued(stage) == [["requeue", "77"]], "a signal of no known reason is no timeout: an hour is not over"


def test_what_hangs_is_killed_in_time_to_queue_again(stage):
    stage.set("deaf")
    job = stage.start(service_script(stage.given(), stage.place()))
    stage.until_working()
    os.kill(job.pid, signal.SIGUSR2)
    ended(stage, job)  # after half of signal_s
    assert requeued(stage) and not (stage.folder / "stopped").exists()


# ---- workers ---------------------------------------------------------------------------------------------------------


def test_a_worker_joins_and_leaves(stage):
    place = stage.place()
    variables = {"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "3"}
    job = stage.start(worker_script(stage.given(gpus_per_node=1), place, count=4), **variables)
    stage.until(lambda: stage.calls("ray"))
    (call,) = stage.calls("ray")
    assert (
        f"--address={stage.address}" in call
        and "--num-gpus=1" in call
        and "--labels=slurm_node=alpha,slurm_job=77" in call
    )
    stage.until((stage.temporary / "xr77/0/session_1/logs/raylet.err").exists)
    stage.set("drained")
    os.kill(job.pid, signal.SIGTERM)
    assert f"joining the service at {stage.address}" in ended(stage, job)
    assert (stage.root / "slurm/70_3/ray/0/session_1/logs/raylet.err").exists() and not requeued(stage)


def test_a_worker_joins_the_next_service(stage):
    stage.set("worker_fails")
    job = stage.start(worker_script(stage.given(), stage.place()))
    stage.until(lambda: len(stage.calls("ray")) >= 2)
    os.kill(job.pid, signal.SIGUSR2)
    ended(stage, job)
    assert requeued(stage) == [["requeue", "77"]]


def test_a_worker_that_only_fails_gives_up(stage):
    stage.set("worker_fails")
    output = ended(stage, stage.start(worker_script(stage.given(), stage.place())), code=1)
    assert "Ray ended here 5 times in a row" in output and len(stage.calls("ray")) == 5


def test_a_worker_without_a_service_ends(stage):
    stage.set("no_service")
    assert "there is no service to join" in ended(stage, stage.start(worker_script(stage.given(), stage.place())))


@pytest.mark.parametrize("task", [0, 2, 3])
def test_the_shell_reckons_lifetimes_as_python_does(stage, task):
    parameters = stage.given(stagger_s=1001)
    script = worker_script(parameters, stage.place(), count=4)
    lines = [line for line in script.splitlines() if "longest_s" in line or line.startswith("spacing_ms=")]
    shown = subprocess.run(
        ["bash", "-c", "\n".join([*lines, 'printf %s "$life_s"'])],
        env={"SLURM_ARRAY_TASK_ID": str(task)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert int(shown) == Lifetimes.of(parameters, 4).seconds(task) < 3590 or task == 0


def leaves(stage) -> list[list[str]]:
    """Requests to drain a node."""
    return [call[4:] for call in stage.calls("python") if "leave" in call]


@pytest.mark.parametrize(
    ("end", "within"),
    [("Unknown", 23), ("2099-01-01T00:00:00", 23), ("2020-01-01T00:00:00", 1)],
)
def test_a_leaving_worker_drains_first(stage, end, within):
    stage.set("end", end)
    job = stage.start(worker_script(stage.given(drain_s=8), stage.place()))
    stage.until(lambda: stage.calls("ray"))
    began = time.time()
    os.kill(job.pid, signal.SIGUSR2)
    stage.until(lambda: leaves(stage))
    stage.set("drained")  # the raylet ends by itself when the node is empty
    output = ended(stage, job)
    (request,) = leaves(stage)
    assert request[:5] == ["--address", stage.address, "--job", "77", "--until"]
    assert 0 <= began + within + 30 - int(request[5]) <= 31, "the deadline, not the time that is left when Python is up"
    assert f"this node leaves within {within} s" in output and requeued(stage)
    assert not (stage.temporary / "xr77").exists()


def test_a_worker_whose_time_is_over_leaves_and_is_queued_again(stage):
    script = worker_script(stage.given(drain_s=0), stage.place()).replace("longest_s=3590", "longest_s=2")
    (stage.root / "slurm/77").mkdir(parents=True)
    (stage.root / "slurm/77/leaving").touch()
    job = stage.start(script)
    stage.until(lambda: leaves(stage))
    stage.set("drained")
    assert "over: timeout" in ended(stage, job) and requeued(stage)
    assert (stage.root / "slurm/77/ends").read_text() == "0 timeout\n"
    assert not (stage.root / "slurm/77/leaving").exists(), "it had come back"


@pytest.mark.parametrize("problem", ["no_drain", "no_listener"])
def test_a_node_that_cannot_drain_ends_at_once(stage, problem):
    stage.set("no_drain") if problem == "no_drain" else stage.listener.close()
    job = stage.start(worker_script(stage.given(drain_s=1000), stage.place()))
    stage.until(lambda: stage.calls("ray"))
    os.kill(job.pid, signal.SIGTERM)
    assert "over: cancelled" in ended(stage, job)


# ---- what is left on a node ------------------------------------------------------------------------------------------


def test_a_step_removes_what_it_made_also_when_it_is_cancelled(stage):
    job = stage.start(service_script(stage.given(), stage.place()))
    stage.until_working()
    stage.until((stage.temporary / "xr77/1/session_1/logs/raylet.err").exists)
    os.killpg(job.pid, signal.SIGTERM)  # scancel: every process of every step
    ended(stage, job)
    assert not any(stage.temporary.iterdir())
    assert (stage.root / "slurm/77/ray/1/session_1/logs/raylet.err").exists()


def test_a_step_ends_what_a_killed_one_left(stage):
    job = stage.start(service_script(stage.given(), stage.place()))
    stage.until_working()
    stage.until((stage.temporary / "xr77/1/session_1/logs/raylet.err").exists)
    (step,) = processes(job, str(stage.temporary / "xr77"), "1")
    (ray,) = step.children()
    step.kill()
    stage.until(lambda: not ray.is_running())
    stage.until(lambda: len(stage.calls("ray")) == 4)
    assert (stage.root / "slurm/77/ray/1/session_1/logs/raylet.err").exists(), "why it was killed may stand there"
    os.kill(job.pid, signal.SIGTERM)
    ended(stage, job)


def test_a_step_removes_what_jobs_that_are_gone_left(stage, tmp_path):
    """Only folders of ours whose job Slurm has done with; whatever still runs there ends too."""
    states = {"1": "COMPLETED", "2": "RUNNING", "3": "forgotten", "4": "silent", "5": "PENDING", "6": "COMPLETING"}
    states |= {"7": "7:RUNNING 8:COMPLETED", "9": "7:RUNNING 9:CANCELLED", "x": "forgotten", "10": "forgotten"}
    for number, state in states.items():
        stage.set(f"job-{number}", state)
        folder = stage.temporary / f"xr{number}" / "0"
        folder.mkdir(parents=True)
        (folder / "socket").touch()
    elsewhere = tmp_path / "elsewhere"
    (stage.temporary / "xr10").rename(elsewhere)
    (stage.temporary / "xr10").symlink_to(elsewhere)
    with subprocess.Popen(["sleep", "60"], env={"XNAS_PLACE": str(stage.temporary / "xr3/0")}) as left:
        stage.set("result", "0")
        ended(stage, stage.start(service_script(stage.given(), stage.place())))
        assert left.wait(timeout=10) == -signal.SIGKILL
    assert {path.name for path in stage.temporary.iterdir()} == {f"xr{n}" for n in ("2", "4", "5", "6", "7", "x", "10")}
    assert (elsewhere / "0/socket").exists()
