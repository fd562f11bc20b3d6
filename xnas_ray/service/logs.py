"""Logs of the service's processes: one JSON line a record, with the search, trial and attempt that it is about.

The lines go to standard error, which Ray keeps in its session's log folder, and into the store (see ``log_files``).
Only the ``xnas_ray`` logger is touched here.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

MAX_CHARS = 8000
"""Of a message or a traceback."""

_ABOUT: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("xnas_about", default=None)


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object: time (UNIX seconds), level, logger, message, and what it is about.

    Args:
        process: what this process is called; ``""`` leaves it out.
    """

    def __init__(self, process: str = "") -> None:
        """Every line names the process."""
        super().__init__()
        self._process = {"process": process} if process else {}

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end: ASCII, so that nothing in it can control a terminal."""
        fields: dict[str, Any] = {
            "time": round(record.created, 3),
            "level": record.levelname,
            **self._process,
            "logger": record.name,
            "message": record.getMessage()[:MAX_CHARS],
            **what_about(record),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)[-MAX_CHARS:]
        return json.dumps(fields, default=str)


def what_about(record: logging.LogRecord) -> dict[str, Any]:
    """What a record is about; to be asked in the thread that logs it."""
    return {**(_ABOUT.get() or {}), **getattr(record, "about", {})}


@contextlib.contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Everything that this thread logs inside is about this: ``search``, ``trial``, ``attempt`` and others."""
    token = _ABOUT.set({**(_ABOUT.get() or {}), **fields})
    try:
        yield
    finally:
        _ABOUT.reset(token)


def log_json_lines(level: int = logging.INFO) -> None:
    """Let a process of the service log JSON lines; once is enough."""
    logger = logging.getLogger("xnas_ray")
    if not any(isinstance(h.formatter, JsonLines) for h in logger.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
        logger.addHandler(handler)
        logger.setLevel(level)
