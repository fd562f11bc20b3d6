"""A process that had a burst of work shrinks again."""

import subprocess
import sys

import pytest

BURST = """
import os
from xnas_ray.service.memory import give_back

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def burst():
    blocks = [bytearray(50_000) for _ in range(4_000)]  # below malloc's threshold for maps of their own
    return blocks[::400]  # a few that stay keep the heap from shrinking by itself

give_back()
before = resident()
kept = burst()
between = resident()
give_back()
print(between - before, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_burst_left_is_returned():
    found = subprocess.run([sys.executable, "-c", BURST], capture_output=True, text=True, check=True)
    held, after = map(int, found.stdout.split())
    assert held > 100e6, "the burst did not leave anything behind: the test shows nothing"
    assert after < 10e6
