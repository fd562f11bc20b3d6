"""What the scripts do, with Slurm and Ray pretended: bring-up, signals, queueing again, tidying up."""

from __future__ import annotations

import os
import signal
import stat
import subprocess

import pytest

from xnas_ray.commands.doctor import RAY_SETTINGS
from xnas_ray.slurm.script import SearchJob, search_script, service_script, worker_script

HOSTILE = 'it\'s; touch evil $(touch evil) `touch evil` "${HOME}" # *? [a-z] ~ !! %j ümlaut 中 -rf --'
LINES = "back\\slash \\n \\\\ end\n#SBATCH --partition=evil\n"


def descendants(pattern: str) -> list[str]:
    """Processes whose command line contains a text."""
    found = subprocess.run(["pgrep", "-af", pattern], capture_output=True, text=True, check=False).stdout
    return [line for line in found.splitlines() if "pgrep" not in line]


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
    assert (folder / "ray/session_1/logs/raylet.err").read_text() == "said something"
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
    assert "--address=127.0.0.1:6379" in call and "--num-gpus=1" in call and "--labels=slurm_node=alpha" in call
    stage.until((stage.temporary / "xr77/0/session_1/logs/raylet.err").exists)
    os.kill(job.pid, signal.SIGTERM)
    assert "joining the service at 127.0.0.1:6379" in ended(stage, job)
    assert (stage.root / "slurm/70_3/ray/session_1/logs/raylet.err").exists() and not requeued(stage)


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


def test_worker_jobs_end_one_before_the_other(stage):
    job = stage.start(worker_script(stage.given(stagger_s=100), stage.place()), SLURM_ARRAY_TASK_ID="2")
    stage.until(lambda: stage.calls("ray"))
    lives = subprocess.run(
        ["pgrep", "-f", "timeout --signal=TERM --kill-after=40 33[0-9][0-9]"],
        capture_output=True,
        text=True,
        check=False,
    )
    os.kill(job.pid, signal.SIGTERM)
    ended(stage, job)
    assert lives.stdout.strip(), "3600 s less 10 for the signal and two times 100"
