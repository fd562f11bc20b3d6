"""What runs inside a Slurm job, with a head that is pretended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from xnas_ray.commands import slurm_follow, slurm_job
from xnas_ray.errors import ServiceError
from xnas_ray.messages import PROTOCOL_VERSION
from xnas_ray.service import bring_up
from xnas_ray.slurm.jobs import Job
from xnas_ray.slurm.records import JobRecord, remember
from xnas_ray.slurm.scaling import Change, StoreJobs
from xnas_ray.store import StoreWriter


@pytest.fixture
def job(archive, fake_head, monkeypatch, tmp_path):
    """A copy of the archive as the store of a job, whose Ray and head are pretended; signals go back afterwards."""
    root = tmp_path / "store"
    shutil.copytree(archive.root, root)
    started = []

    def start(store, settings):
        started.append(settings)
        (store / bring_up.ENDPOINT).write_text("{}")
        return "handle"

    def stop(checkpoint):
        (root / bring_up.ENDPOINT).unlink()

    fake_head.answers["stop"] = stop
    monkeypatch.setattr(bring_up, "attach", lambda store, address: started.append(address))
    monkeypatch.setattr(bring_up, "start_head", start)
    monkeypatch.setattr("xnas_ray.service.connection.RemoteHead", lambda handle: fake_head)
    monkeypatch.setattr(slurm_job, "LOOK_S", 0.05)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    senders = []

    def terminate_soon(times=1):
        """SIGTERM to this process in a moment, as a job's script sends it."""

        def send():
            for _ in range(times):
                time.sleep(0.2)
                os.kill(os.getpid(), signal.SIGTERM)

        senders.append(threading.Thread(target=send))
        senders[-1].start()

    yield SimpleNamespace(root=root, head=fake_head, started=started, terminate_soon=terminate_soon)
    for sender in senders:
        sender.join()
    for number, handler in before.items():
        signal.signal(number, handler)


def run(job, program, *arguments):
    return slurm_job.main([program, "--root", str(job.root), "--address", "127.0.0.2:20000", *map(str, arguments)])


def called(job):
    return [call[0] for call in job.head.calls]


# ---- a standing service ----------------------------------------------------------------------------------------------


def test_a_service_until_it_is_stopped(job, capsys, tmp_path):
    profile = tmp_path / "p.toml"
    profile.write_text("[slurm]\nnodes = 2\n[head]\nhosts = 3\n")
    job.terminate_soon(times=3)
    assert run(job, "service", "--profile", profile) == 0
    address, settings = job.started
    assert address == "127.0.0.2:20000" and settings.hosts == 3 and settings.only is None
    assert called(job)[-1] == "stop" and set(called(job)[:-1]) == {"info"}
    assert "the service is up" in capsys.readouterr().out


def test_a_service_that_a_client_stops(job, capsys):
    job.head.answers["info"] = lambda: (job.root / bring_up.ENDPOINT).unlink(missing_ok=True)
    assert run(job, "service") == 0
    assert "stopped by a client" in capsys.readouterr().out and "stop" not in called(job)


def test_a_service_that_dies(job, capsys):
    job.head.answers["info"] = ServiceError("the service ended: x")
    assert run(job, "service") == 2
    assert "the service ended" in capsys.readouterr().err


def test_a_store_in_other_hands(job, monkeypatch, capsys):
    monkeypatch.setattr(slurm_job, "STORE_PATIENCE_S", 0.0)
    with StoreWriter.open(job.root):
        assert run(job, "service") == 2
    assert "in the hands of another service" in capsys.readouterr().err and not job.started


# ---- one search ------------------------------------------------------------------------------------------------------


def search(job, key="k"):
    return run(job, "search", "--spec", json.dumps({"task": "x", "name": "a b"}), "--task-hash", "ab12", "--key", key)


def test_a_search_from_start_to_end(job, archive, capsys):
    job.head.answers |= {"submit": archive.finished, "measure_test": {"test_accuracy": 98.3}}
    assert search(job) == 0
    assert job.started[1].only == ()
    assert job.head.calls[0] == ("submit", PROTOCOL_VERSION, {"task": "x", "name": "a b"}, "ab12", "k")
    assert called(job) == ["submit", "measure_test", "stop"]
    printed = capsys.readouterr().out
    assert "best architectures" in printed and "winner's test accuracy: 98.30 %" in printed


def test_a_search_that_does_not_finish(job, archive):
    job.head.answers["submit"] = archive.cancelled
    assert search(job) == 1


def test_a_search_that_is_stopped(job, archive, live_status, capsys):
    job.head.answers |= {"submit": archive.unfinished, "status": [live_status], "wait": lambda *_: time.sleep(0.05)}
    job.terminate_soon()
    assert search(job) == 0
    assert called(job)[-1] == "stop" and "stopping the search" in capsys.readouterr().out


@pytest.mark.parametrize("paused", [False, True])
def test_the_next_start_goes_on(job, archive, live_status, monkeypatch, paused):
    monkeypatch.setattr(slurm_job, "submitted", lambda root, key: archive.unfinished)
    state = {"state": "paused"} if paused else {}
    job.head.answers |= {"status": [{**live_status, **state}], "wait": {**live_status, "state": "finished"}}
    job.head.answers["measure_test"] = {"test_accuracy": 98.3}
    assert search(job) == 0
    assert job.started[1].only == (archive.unfinished,)
    assert "submit" not in called(job) and ("resume" in called(job)) is paused


def test_a_search_that_has_ended_is_not_run_again(job, archive, monkeypatch, capsys):
    monkeypatch.setattr(slurm_job, "submitted", lambda root, key: archive.finished)
    assert search(job) == 0
    assert not job.started and "has ended in an earlier start" in capsys.readouterr().out


def test_the_key_names_the_search(root, archive, played_search):
    from xnas_ray.store import new_search_id

    assert slurm_job.submitted(root, "k") is None
    ids = [new_search_id(1_700_000_000.0 + i) for i in range(2)]
    with StoreWriter.open(root) as writer:
        for search_id, key in zip(ids, ("k", "other"), strict=True):
            played_search(writer, archive.task, search_id, {}).state("running", idempotency_key=key)
    assert slurm_job.submitted(root, "k") == ids[0] and slurm_job.submitted(root, "nobody") is None


# ---- asking for nodes ------------------------------------------------------------------------------------------------


def test_a_service_with_a_policy_looks_at_the_demand(job, monkeypatch, capsys):
    policy = {"min": 1, "max": 3, "every_s": 1}
    record = JobRecord(
        "7", "service", "xnas", 1.0, 1, elastic=policy, parameters={"nodes": 1}, python="/usr/bin/python3"
    )
    remember(job.root, record, "script")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(
        slurm_follow,
        "jobs_of",
        lambda root: StoreJobs([Job("7", "xnas", "RUNNING", "main", "0:01", "1:00", 1, "n1")], [], []),
    )
    job.head.answers["demand"] = []
    monkeypatch.setattr(slurm_follow, "plan_change", lambda found, nodes: job.started.append(nodes) or Change())
    job.terminate_soon()
    assert slurm_job.main(["service", "--root", str(job.root), "--address", "127.0.0.1:1"]) == 0
    assert ("demand",) in job.head.calls and "has 1 to 3 nodes" in capsys.readouterr().out


# ---- joining and leaving ---------------------------------------------------------------------------------------------


def endpoint(root, **changes):
    token = root / "a token"
    token.write_text("x")
    facts = {"protocol": PROTOCOL_VERSION, "address": "127.0.0.1:1", "token_path": str(token), **changes}
    (root / bring_up.ENDPOINT).write_text(json.dumps(facts))
    return str(token)


def test_the_endpoint_of_a_living_service(root, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        token = endpoint(root, address=address)
        assert slurm_job.main(["endpoint", "--root", str(root)]) == 0
    assert capsys.readouterr().out == f"{address}\n{token}\n"


@pytest.mark.parametrize("changes", [None, {}, {"token_path": "/nowhere"}, {"protocol": -1}])
def test_no_service_to_join(root, capsys, changes):
    if changes is not None:
        endpoint(root, **changes)
    assert slurm_job.main(["endpoint", "--root", str(root), "--patience", "0"]) == 2
    assert "can be reached" in capsys.readouterr().err


@pytest.mark.parametrize("found", [True, False])
def test_the_nodes_of_a_job_are_told_to_leave(monkeypatch, found):
    asked = []
    monkeypatch.setattr("xnas_ray.service.draining.drain_node", lambda *given: asked.append(given) or found)
    given = ["leave", "--address", "127.0.0.1:1", "--job", "12", "--until", "1700000000"]
    assert slurm_job.main(given) == (0 if found else 1)
    assert asked == [("127.0.0.1:1", {"slurm_job": "12"}, 1.7e9)]


def test_where_no_service_answers_there_is_nothing_to_leave(capsys):
    assert slurm_job.main(["leave", "--address", "127.0.0.1:1", "--job", "12", "--until", "1"]) == 2
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "given", "host"),
    [
        ("10.0.0.7:6379", None, "10.0.0.7"),
        ("[fe80::1]:6379", None, "fe80::1"),
        ("10.0.0.7:6379", "127.0.0.1", "127.0.0.1"),
    ],
)
def test_the_http_api_listens_where_ray_is_reached(address, given, host):
    from xnas_ray.service.settings import HeadSettings

    assert slurm_job._reachable(HeadSettings(http_host=given), address).http_host == host
