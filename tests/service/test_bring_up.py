"""How Ray is brought up: what a program had before it stays as it was."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from xnas_ray.errors import ServiceError
from xnas_ray.messages import PROTOCOL_VERSION
from xnas_ray.service import bring_up
from xnas_ray.service.remote import head_name
from xnas_ray.service.trusted import write_private

TERMINATED = """
import os, signal, sys
from pathlib import Path
from xnas_ray.service import bring_up

seen = []
signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
root = Path(sys.argv[1])
if len(sys.argv) > 2:
    bring_up.attach(root, sys.argv[2])
else:
    bring_up.start_local(root, cpus=1)
os.kill(os.getpid(), signal.SIGTERM)
print("seen", len(seen))
"""


@pytest.mark.parametrize("attached", [False, True])
def test_a_program_keeps_its_sigterm(tmp_path, request, attached):
    """``ray.init`` takes the signal, and then a batch system's SIGTERM would end the program on the spot."""
    address = (request.getfixturevalue("ray_cluster"),) if attached else ()
    done = subprocess.run(
        [sys.executable, "-c", TERMINATED, str(tmp_path), *address], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "seen 1\n", done.stderr


# ---- services that are not there; each in a process of its own, for Ray keeps what it was told about tokens ----------

REFUSED = """
import json, sys
from pathlib import Path
from xnas_ray.errors import ServiceError
from xnas_ray.service import bring_up

action, root, address = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
try:
    if action == "attach":
        bring_up.attach(root, address, timeout_s=0.5)
    else:
        bring_up.connect(root)
except ServiceError as error:
    print(json.dumps({"message": error.message, "field": error.field, "fix": error.fix}))
"""


def refused(action: str, root: Path, address: str) -> dict[str, str | None]:
    """What a program is told that asks for a service."""
    command = [sys.executable, "-c", REFUSED, action, str(root), address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address of this machine where nobody listens, and nobody can begin to."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def write_endpoint(root: Path, address: str) -> None:
    """As a service of this version leaves it."""
    endpoint = {"protocol": PROTOCOL_VERSION, "address": address, "head": head_name(root), "http": None}
    write_private(root / "endpoint.json", json.dumps({**endpoint, "token_path": os.environ.get("RAY_AUTH_TOKEN_PATH")}))


def test_attaching_to_nothing(root, nowhere):
    told = refused("attach", root, nowhere)
    assert told["field"] == "address"
    assert told["message"].startswith(f"no Ray answers at {nowhere}: ")


def test_a_service_whose_ray_is_gone(root, nowhere):
    write_endpoint(root, nowhere)
    told = refused("connect", root, nowhere)
    assert "endpoint.json names does not answer" in told["message"] and "refused" in told["message"]
    assert "xnas run --resume" in told["fix"]


def test_a_service_whose_head_is_gone(root, ray_cluster):
    """Ray runs, but nothing of this store in it."""
    write_endpoint(root, ray_cluster)
    told = refused("connect", root, ray_cluster)
    assert "endpoint.json names does not answer" in told["message"] and head_name(root) in told["message"]
    assert "xnas run --resume" in told["fix"]


@pytest.mark.parametrize("host", ["203.0.113.1", "no such host", "\udcff"])
def test_a_dashboard_that_cannot_listen_is_refused_before_anything_starts(root: Path, host: str) -> None:
    with pytest.raises(ServiceError, match="--dashboard-host"):
        bring_up.start_local(root, cpus=1, dashboard_host=host)
    assert not (root / "token").exists()
