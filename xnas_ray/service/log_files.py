"""Log lines in the store: one file a search and process, so that a trial's lines are found from anywhere, at any time.

``logs/<search>/<process>.jsonl`` has the lines that are about a search, ``logs/<process>.jsonl`` all others; what a
process is called is ``head``, ``host-0`` or the id of a worker. Only that process writes its file. Lines are written
together, at most once a second, and the file is closed each time, so that other machines see them on a shared disk. A
file that is full is kept once, beside, while a new one begins.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from xnas_ray.service.logs import JsonLines, what_about
from xnas_ray.store.ids import is_search_id

LOGS = "logs"
SUFFIX = ".jsonl"
FULL = ".old" + SUFFIX
"""What the name of a full file ends with."""

FLUSH_S = 1.0
MAX_FILE_BYTES = 8 * 2**20
MAX_WAITING = 10_000
"""Lines of a second; what comes on top is dropped."""


class LogFiles(logging.Handler):
    """Writes the lines of one process.

    Args:
        root: the store.
        process: what the process is called.
        max_file_bytes: a file that has reached this is full.
    """

    def __init__(self, root: Path, process: str, max_file_bytes: int = MAX_FILE_BYTES) -> None:
        """Nothing is written before there is a line."""
        super().__init__(logging.INFO)
        self._folder = root / LOGS
        self._process = process
        self._max_file_bytes = max_file_bytes
        self._waiting: list[tuple[Path, str]] = []
        self._some = threading.Event()
        self._writing = threading.Lock()
        self.setFormatter(JsonLines(process))

    def start(self) -> None:
        """Take the lines of every logger of this process, for as long as it lives."""
        logging.getLogger().addHandler(self)
        threading.Thread(target=self._run, name="xnas-logs", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Remember a line."""
        if len(self._waiting) >= MAX_WAITING:
            return
        try:
            search = str(what_about(record).get("search", ""))
            folder = self._folder / search if is_search_id(search) else self._folder
            self._waiting.append((folder / (self._process + SUFFIX), self.format(record)))
        except Exception:  # a message whose arguments do not fit, as logging itself treats it
            self.handleError(record)
        self._some.set()

    def flush(self) -> None:
        """Write what waits; lines that cannot be written are dropped: they are in Ray's own logs, too."""
        with self._writing:
            waiting, self._waiting = self._waiting, []
            texts: dict[Path, list[str]] = {}
            for path, line in waiting:
                texts.setdefault(path, []).append(line + "\n")
            for path, lines in texts.items():
                try:
                    self._write(path, "".join(lines).encode("utf-8", "replace"))
                except OSError:
                    continue

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(data)
            full = file.tell() >= self._max_file_bytes
        if full:
            path.replace(path.with_name(path.name.removesuffix(SUFFIX) + FULL))

    def _run(self) -> None:
        while True:
            self._some.wait()
            self._some.clear()
            self.flush()
            time.sleep(FLUSH_S)
