"""Log lines of a search, read from its store: of one trial or of all, as they are or as they come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xnas_ray.service.archive import trial_records
from xnas_ray.service.log_files import LOGS, SUFFIX

Line = dict[str, Any]
"""``time`` (UNIX seconds), ``level``, ``process``, ``search``, ``message``, and where known ``trial``, ``attempt``."""

MAX_FIRST_BYTES = 4096


class LogLines:
    """The log of a search, followed from its beginning.

    Args:
        root: the store.
        search_id: whole id.
        trial: lines of this one alone; None for all.
    """

    def __init__(self, root: Path, search_id: str, trial: int | None = None) -> None:
        """Nothing is read yet."""
        self._folder = root / LOGS / search_id
        self._trial = trial
        self._read: dict[bytes, int] = {}

    def new(self) -> list[Line]:
        """Lines that were not returned yet, in the order of time; a line that is not whole waits for its end."""
        found: list[Line] = []
        for path in self._folder.glob(f"*{SUFFIX}"):
            try:
                found += self._of(path)
            except FileNotFoundError:  # it became full and has another name
                continue
        return sorted(found, key=line_time)

    def _of(self, path: Path) -> list[Line]:
        with path.open("rb") as file:
            first = file.readline(MAX_FIRST_BYTES)  # tells files apart: a full one goes on under another name
            file.seek(self._read.get(first, 0))
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        if whole:
            self._read[first] = self._read.get(first, 0) + len(whole)
        return [line for text in whole.splitlines() if (line := self._parsed(text)) is not None]

    def _parsed(self, text: bytes) -> Line | None:
        """A line, None for another trial's and for what is no line of ours."""
        if self._trial is not None and b'"trial": %d' % self._trial not in text:
            return None  # most lines: not worth parsing
        try:
            line = json.loads(text)
        except ValueError:
            return None
        if not isinstance(line, dict) or (self._trial is not None and line.get("trial") != self._trial):
            return None
        return line


def line_time(line: Line) -> float:
    """When a line was written, in UNIX seconds; 0 if it does not say."""
    at = line.get("time")
    return float(at) if isinstance(at, (int, float)) else 0.0


def failure_lines(root: Path, search_id: str, trial: int) -> list[Line]:
    """What the row of a failed trial kept of its log, for a trial without log files; empty if there is nothing."""
    found = next((record for record in trial_records(root, search_id) if record["trial"] == trial), None)
    if found is None or not found["failure_kind"]:
        return []
    about = {
        "time": found["finished_at"].timestamp(),
        "level": "ERROR",
        "process": found["worker"] or "",
        "search": search_id,
        "trial": trial,
    }
    texts = [*(found["failure_log"] or "").splitlines(), f"{found['failure_type']}: {found['failure_message']}"]
    return [{**about, "message": text} for text in texts if text.strip()]
