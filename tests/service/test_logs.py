"""JSON lines: one a record, about what the thread works on, without touching the root logger."""

from __future__ import annotations

import json
import logging
import threading

from xnas_ray.service.logs import JsonLines, about, log_json_lines


def line(message: str, **extra: object) -> dict[str, object]:
    record = logging.LogRecord("xnas_ray.x", logging.INFO, "f", 1, message, (), None)
    record.__dict__.update(extra)
    text = JsonLines().format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_says_what_it_is_about() -> None:
    with about(search="S", trial=3), about(attempt=(1, 0)):
        found = line('hostile "\n{}', about={"epoch": 2.0})
    assert found["message"] == 'hostile "\n{}' and found["level"] == "INFO"
    assert (found["search"], found["trial"], found["attempt"], found["epoch"]) == ("S", 3, [1, 0], 2.0)
    assert "search" not in line("after")


def test_threads_do_not_mix() -> None:
    seen: list[dict[str, object]] = []
    with about(search="S"):
        thread = threading.Thread(target=lambda: seen.append(line("other thread")))
        thread.start()
        thread.join()
    assert "search" not in seen[0]


def test_only_our_logger_gets_a_handler_and_only_one() -> None:
    ours, root = logging.getLogger("xnas_ray"), list(logging.getLogger().handlers)
    before, level = list(ours.handlers), ours.level
    try:
        log_json_lines()
        log_json_lines()
        assert len(ours.handlers) == len(before) + 1
        assert logging.getLogger().handlers == root
    finally:
        ours.handlers, ours.level = before, level


def test_a_line_names_its_process_and_is_bounded() -> None:
    record = logging.LogRecord("xnas_ray.x", logging.INFO, "f", 1, "\x1b\u202e" * 10**5, (), None)
    text = JsonLines("w1-3").format(record)
    assert json.loads(text)["process"] == "w1-3"
    assert len(json.loads(text)["message"]) == 8000 and text.isascii() and text.isprintable()
