from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from xnas_ray import client as clients
from xnas_ray.commands.run import Signals, dashboard_text
from xnas_ray.errors import StoreError
from xnas_ray.store import StoreWriter


@pytest.fixture
def service(archive, fake_head, monkeypatch, tmp_path):
    """``xnas run`` on a copy of the archive, with a head that answers as if the submitted search were ``finished``."""
    root = tmp_path / "store"
    shutil.copytree(archive.root, root)
    fake_head.root, fake_head.started = root, []
    fake_head.answers |= {"submit": archive.finished, "measure_test": {"test_loss": 0.1, "test_accuracy": 98.333}}

    @contextlib.contextmanager
    def local(store, **settings):
        settings.pop("on_start")()
        settings.pop("on_dashboard")("127.0.0.1:8265")
        fake_head.started.append(settings)
        client = clients.Client(store, service=fake_head)
        yield client
        client.stop_service()

    monkeypatch.setattr(clients, "local_client", local)
    return fake_head


def test_run_to_the_end(xnas, archive, service):
    printed = xnas("run", "--task", archive.task, "--workers", 2, "--root", service.root)
    assert printed.code == 0, printed.err
    settings = {"workers": 2, "cpus": 1.0, "only": (), "profile": None, "take_over": False, "dashboard_host": ""}
    assert service.started == [settings]
    assert printed.out.count("winner's test accuracy: 98.33 %") == 1 and "test loss" not in printed.out
    assert "12/12 trials" in printed.out and "best architectures" in printed.out
    assert f"search_id={archive.finished}" in printed.out and "duckdb -c" in printed.out
    assert [c[0] for c in service.calls] == ["submit", "measure_test", "stop"]
    assert service.calls[1] == ("measure_test", archive.finished, archive.best)


def test_the_winner_may_be_unmeasurable(xnas, archive, service):
    service.answers["measure_test"] = StoreError("no weights are kept.", fix="Keep some.")
    printed = xnas("run", "--task", archive.task, "--root", service.root)
    assert printed.code == 0 and "was not measured on the test split: no weights are kept. Keep some." in printed.out


def test_a_search_that_does_not_finish(xnas, archive, service):
    service.answers["submit"] = archive.cancelled
    assert xnas("run", "--task", archive.task, "--root", service.root).code == 1


def test_a_paused_search_says_why(xnas, archive, service, live_status):
    service.answers |= {"submit": archive.unfinished, "status": [live_status]}
    service.answers["wait"] = {**live_status, "state": "paused", "reason": "10 failures in a row: ValueError"}
    printed = xnas("run", "--task", archive.task, "--root", service.root)
    assert printed.code == 1 and "paused: 10 failures in a row: ValueError" in printed.out
    assert f"xnas run --resume {archive.unfinished} --root" in printed.err


def test_a_held_store_is_refused_before_ray_starts(xnas, archive, service, monkeypatch):
    monkeypatch.undo()  # the real local_client refuses
    with StoreWriter.open(service.root):
        printed = xnas("run", "--task", archive.task, "--root", service.root)
    assert printed.code == 2 and "xnas submit" in printed.err and "Traceback" not in printed.err


def test_mistakes_are_found_before_ray_starts(xnas, service):
    assert xnas("run", "--task", "nothing", "--root", service.root).code == 2
    assert xnas("run", "--task", "digits", "--trials", "0", "--root", service.root).code == 2
    assert service.started == []


# ---- resuming -------------------------------------------------------------------------------------------------------


def ended(service, archive, live_status):
    service.answers |= {"wait": {**live_status, "state": "finished"}, "status": [live_status]}


def test_resume_the_latest_unfinished(xnas, archive, service, live_status):
    ended(service, archive, live_status)
    printed = xnas("run", "--resume", "--root", service.root)
    assert printed.code == 0, printed.err
    assert service.started[0]["only"] == (archive.unfinished,)
    assert "submit" not in [c[0] for c in service.calls] and "extend" not in [c[0] for c in service.calls]


def test_resume_by_id_with_a_larger_budget(xnas, archive, service, live_status):
    ended(service, archive, live_status)
    service.answers["status"] = [{**live_status, "state": "paused"}]
    printed = xnas("run", "--resume", archive.unfinished, "--trials", 64, "--workers", 3, "--root", service.root)
    assert printed.code == 0, printed.err
    assert service.started[0]["workers"] == 3 and service.started[0]["only"] == (archive.unfinished,)
    calls = [c for c in service.calls if c[0] in ("extend", "resume")]
    assert calls == [("extend", archive.unfinished, 64, None, None), ("resume", archive.unfinished)]


def test_resume_by_file(xnas, archive, service, live_status, tmp_path):
    ended(service, archive, live_status)
    spec = tmp_path / "s.toml"
    spec.write_text(f'name = "half done"\ntask = "{archive.task}"\nseed = 7\n[budget]\ntrials = 99\n')
    assert xnas("run", spec, "--resume", "--root", service.root).code == 0
    assert service.started[0]["only"] == (archive.unfinished,)
    spec.write_text(f'name = "half done"\ntask = "{archive.task}"\nseed = 8\n')
    printed = xnas("run", spec, "--resume", "--root", service.root)
    assert printed.code == 2 and "no unfinished search of" in printed.err


def test_a_finished_search_is_reopened_only_with_a_budget(xnas, archive, service):
    assert xnas("run", "--resume", archive.finished, "--root", service.root).code == 2
    printed = xnas("run", "--resume", archive.finished, "--trials", 20, "--root", service.root)
    assert ("extend", archive.finished, 20, None, None) in service.calls, printed.err


# ---- signals --------------------------------------------------------------------------------------------------------


def signalled(number: int, times: int = 1):
    """A ``wait`` in which signals arrive."""
    left = [number] * times

    def wait(search_id: str, timeout_s: float) -> None:
        if left:
            os.kill(os.getpid(), left.pop())
        time.sleep(0.01)

    return wait


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_and_says_how_to_go_on(xnas, archive, service, live_status, number):
    service.answers |= {"submit": archive.unfinished, "wait": signalled(number), "status": [live_status]}
    before = signal.getsignal(number)
    printed = xnas("run", "--task", archive.task, "--root", service.root)
    assert printed.code == 130
    assert f"xnas run --resume {archive.unfinished}" in printed.err and "Traceback" not in printed.err
    assert service.calls[-1] == ("stop", True)
    assert signal.getsignal(number) is before


def test_the_second_signal_interrupts_at_once(xnas, archive, service, live_status):
    def stop(checkpoint: bool) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the signal came too late")

    wait = signalled(signal.SIGINT)
    service.answers |= {"submit": archive.unfinished, "wait": wait, "status": [live_status], "stop": stop}
    printed = xnas("run", "--task", archive.task, "--root", service.root)
    assert printed.code == 130 and "xnas run --resume" in printed.err


def test_two_signals_before_anything_stops(xnas, archive, service, live_status):
    service.answers |= {
        "submit": archive.unfinished,
        "wait": signalled(signal.SIGINT, times=2),
        "status": [live_status],
    }
    printed = xnas("run", "--task", archive.task, "--root", service.root)
    assert printed.code == 130 and "xnas run --resume" in printed.err
    assert "stop" not in [c[0] for c in service.calls]


def test_a_service_that_cannot_stop_still_says_how_to_go_on(xnas, archive, service, live_status):
    wait = signalled(signal.SIGINT)
    service.answers |= {"submit": archive.unfinished, "wait": wait, "status": [live_status]}
    service.answers["stop"] = StoreError("the disk is full.")
    printed = xnas("run", "--task", archive.task, "--root", service.root)
    assert printed.code == 130 and "did not stop cleanly: the disk is full." in printed.err


def test_signals_are_given_back():
    before = signal.getsignal(signal.SIGINT)
    with Signals() as signals:
        assert not signals.requested
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_resume_line_names_another_store(xnas, archive, service, monkeypatch):
    from xnas_ray.commands.run import resume_line

    handle = clients.Client(service.root).handle(archive.unfinished)
    assert resume_line(handle).endswith(f"--root {service.root}")
    monkeypatch.setenv("XNAS_STORE", str(service.root))
    assert resume_line(handle) == f"xnas run --resume {archive.unfinished}"


def test_results_are_named_relative_to_here(xnas, archive, service, monkeypatch):
    monkeypatch.chdir(service.root.parent)
    assert "results: store/trials/" in xnas("run", "--task", archive.task, "--root", "store").out


def test_json_of_the_stored_spec_is_what_is_matched(archive):
    from xnas_ray.service.archive import stored_card

    card = stored_card(archive.root, archive.unfinished)
    assert json.loads(json.dumps(card)) == card


def test_a_dashboard_is_for_this_machine_alone_unless_asked(xnas, archive, service):
    for flags, host in (([], ""), (["--dashboard"], "127.0.0.1"), (["--dashboard-host", "::"], "::")):
        printed = xnas("run", "--task", archive.task, "--root", service.root, *flags)
        assert service.started[-1]["dashboard_host"] == host and "ssh -N -L" in printed.err


def test_how_to_see_a_dashboard(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "workstation")
    here = dashboard_text("127.0.0.1:8266", Path("/store"))
    assert "http://127.0.0.1:8266/#/actors" in here and str(Path("/store/token")) in here
    assert "ssh -N -L 8265:127.0.0.1:8266 workstation" in here
    assert "ssh" not in dashboard_text("10.0.0.7:8265", Path("/store"))
