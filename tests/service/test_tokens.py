"""Nobody gets in without the service's token: not into Ray, not at the job port of its dashboard.

Every client is a process of its own: Ray keeps what it was told about tokens when it was imported.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xnas_ray.errors import ServiceError
from xnas_ray.service.bring_up import make_token

GUARDED = """
import json, sys
from pathlib import Path
from xnas_ray.service import bring_up

with bring_up.start_local(Path(sys.argv[1]), cpus=1, dashboard_host="127.0.0.1") as cluster:
    print(json.dumps({"address": cluster.address, "dashboard": cluster.dashboard}), flush=True)
    sys.stdin.read()
"""
JOIN = """
import sys
import ray

try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR", namespace="xnas")
    print("joined", int(ray.cluster_resources()["CPU"]))
except Exception as error:
    print("refused", type(error).__name__, str(error).replace(chr(10), " ")[:300])
"""
TOKEN_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def environment(**given: str) -> dict[str, str]:
    """This process's environment with other settings of Ray's tokens."""
    return {name: value for name, value in os.environ.items() if name not in TOKEN_VARIABLES} | given


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Ray with a dashboard, as ``xnas`` starts it: ``address``, ``dashboard`` and ``token``."""
    root = tmp_path_factory.mktemp("guarded")
    process = subprocess.Popen(
        [sys.executable, "-c", GUARDED, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        facts = json.loads(process.stdout.readline())
        yield {**facts, "token": (root / "token").read_text()}
    finally:
        process.stdin.close()
        process.wait(timeout=60)


# ---- Ray -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def joined(guarded: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What programs with different tokens were told, all at once: Ray needs a while to give up."""
    other = make_token(tmp_path_factory.mktemp("other"))
    settings = {
        "right": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": guarded["token"]},
        "wrong": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
        "missing": {"RAY_AUTH_MODE": "disabled"},
        "of another service": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(other)},
    }
    command = [sys.executable, "-c", JOIN, guarded["address"]]
    programs = {
        case: subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(**given)
        )
        for case, given in settings.items()
    }
    return {case: program.communicate(timeout=240)[0] for case, program in programs.items()}


def test_ray_takes_the_token(joined):
    assert "joined 1" in joined["right"]


@pytest.mark.parametrize("case", ["wrong", "missing", "of another service"])
def test_ray_refuses_any_other(joined, case):
    assert "joined" not in joined[case]
    assert "nauthen" in joined[case] or "token" in joined[case].lower(), joined[case]


# ---- the dashboard's job port ----------------------------------------------------------------------------------------


def ask(url: str, token: str | None, body: dict[str, Any] | None = None) -> int:
    """The status of an HTTP request."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_job_port_asks_for_the_token(guarded, tmp_path):
    """A job is a shell command: whoever may submit one runs code as the service's user."""
    jobs = f"http://{guarded['dashboard']}/api/jobs/"
    assert ask(jobs, guarded["token"]) == 200
    proof = tmp_path / "ran"
    for token in (None, "0" * 64, guarded["token"][:-1]):
        assert ask(jobs, token) in (401, 403)
        assert ask(jobs, token, {"entrypoint": f"touch {proof}"}) in (401, 403)
    assert not proof.exists()


def test_the_dashboard_is_on_loopback(guarded):
    assert guarded["dashboard"].startswith("127.0.0.1:")


# ---- the file --------------------------------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_is_the_services_own_and_private(tmp_path):
    before = os.umask(0)
    try:
        first, second = make_token(tmp_path / "a"), make_token(tmp_path / "b")
    finally:
        os.umask(before)
    assert mode(first) == mode(second) == 0o600
    assert len(first.read_text()) == 64 and first.read_text() != second.read_text()
    assert make_token(tmp_path / "a").read_text() == first.read_text()


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o644])
def test_a_token_that_others_could_read_is_taken_back_with_a_word(tmp_path, caplog, loose):
    path = make_token(tmp_path)
    path.chmod(loose)
    with caplog.at_level(logging.WARNING):
        make_token(tmp_path)
    assert mode(path) == 0o600
    assert "others could read" in caplog.text and "delete the file" in caplog.text


@pytest.mark.parametrize("loose", [0o620, 0o602, 0o666])
def test_a_token_that_others_could_write_is_refused(tmp_path, loose):
    path = make_token(tmp_path)
    path.chmod(loose)
    with pytest.raises(ServiceError, match="others can write") as error:
        make_token(tmp_path)
    assert "chmod 600" in str(error.value.fix) and mode(path) == loose


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_token_of_another_user_is_refused(tmp_path):
    path = make_token(tmp_path)
    os.chown(path, 65534, 65534)
    with pytest.raises(ServiceError, match="another user"):
        make_token(tmp_path)


def test_a_token_that_was_never_written_is_made_again(tmp_path):
    path = tmp_path / "token"
    path.touch(0o600)
    assert make_token(tmp_path) == path and len(path.read_text()) == 64 and mode(path) == 0o600
