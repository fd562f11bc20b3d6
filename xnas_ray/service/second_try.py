"""A second try for a Ray that did not come up in time."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TypeVar

import psutil

log = logging.getLogger(__name__)

TIMED_OUT = "timed out during startup"
"""What Ray 2.60 says, as a bare ``Exception``, after a limit of 30 s that no setting changes."""

T = TypeVar("T")


def second_try(start: Callable[[], T]) -> T:
    """What ``start`` gives; tried once more where Ray gave up waiting for its own processes.

    A machine that is too busy for 30 s, with other jobs or a slow disk, often is not a minute later. What the first try
    left running is ended before the second one.

    Raises:
        Exception: whatever else goes wrong, or the second try.
    """
    itself = psutil.Process()
    before = {child.pid for child in itself.children(recursive=True)}
    try:
        return start()
    except Exception as error:
        if TIMED_OUT not in str(error):
            raise
    log.warning("Ray was not up after 30 s, as on a machine that is too busy: trying once more")
    left = [child for child in itself.children(recursive=True) if child.pid not in before]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=10)
    return start()
