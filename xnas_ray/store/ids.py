"""Search ids: ULIDs, 26 characters that sort by time (https://github.com/ulid/spec)."""

from __future__ import annotations

import re
import secrets
import threading

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O or U."""

ID_LENGTH = 26
_RANDOM_BITS = 80
_PATTERN = re.compile(rf"[0-7][{ALPHABET}]{{25}}")
_lock = threading.Lock()
_last = 0


def new_search_id(now_s: float) -> str:
    """A new ULID: 48 bits of milliseconds since 1970, then 80 random bits.

    Ids of one process strictly increase, also within a millisecond and when the clock is set back.

    Args:
        now_s: UNIX time in seconds.
    """
    global _last
    fresh = int(now_s * 1000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    with _lock:
        _last = fresh if fresh > _last else _last + 1
        number = _last
    return "".join(ALPHABET[number >> shift & 31] for shift in range(5 * (ID_LENGTH - 1), -1, -5))


def is_search_id(text: str) -> bool:
    """Whether the text is a whole ULID in upper case."""
    return _PATTERN.fullmatch(text) is not None


def normalised(text: str) -> str:
    """What a person typed, as ULIDs are written: upper case, with the look-alikes I, L and O as digits."""
    return text.strip().upper().replace("I", "1").replace("L", "1").replace("O", "0")
