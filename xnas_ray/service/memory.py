"""Memory that a long-lived process has freed, given back to the system."""

from __future__ import annotations

import ctypes
import sys

import pyarrow as pa


def give_back() -> None:
    """Return to the system what bursts of work left in the allocators' caches.

    A head lives for weeks and its work comes in bursts: a replay, hundreds of reports at once, a disk that was full.
    Arrow's and the C library's allocators keep what these needed. Takes milliseconds, safe in any thread; without the
    GNU C library only Arrow's part is returned.
    """
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
