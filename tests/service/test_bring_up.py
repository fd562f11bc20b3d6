"""How Ray is brought up: what a program had before it stays as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
