"""Failures that say the same, together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from xnas_ray.report.material import Material

_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_SHOWN_LOG = 4_000
_SHOWN_MESSAGE = 500


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures whose messages differ in numbers only.

    Attributes:
        kind: as ``messages.FailureKind`` has it.
        type: class of the exception.
        message: of the first of them.
        log: its last lines.
        trials: that failed in this way, ascending.
        retried: attempts that failed in this way and were tried again.
    """

    kind: str
    type: str
    message: str
    log: str
    trials: tuple[int, ...]
    retried: int


def failure_groups(material: Material) -> list[FailureGroup]:
    """Groups by kind, class and message, the largest first; numbers in messages do not count."""
    trials: dict[tuple[str, str, str], list[tuple[int, str, str]]] = {}
    for trial, kind, type_, message, log in _failed(material):
        trials.setdefault((kind, type_, _NUMBER.sub("#", message)), []).append((trial, message, log))
    retried: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for kind, type_, message, log in _retried(material):
        retried.setdefault((kind, type_, _NUMBER.sub("#", message)), []).append((message, log))
    groups = []
    for key in dict.fromkeys([*trials, *retried]):
        members, attempts = trials.get(key, []), retried.get(key, [])
        message, log = members[0][1:] if members else attempts[0]
        numbers = tuple(sorted({member[0] for member in members}))
        shown = (message[:_SHOWN_MESSAGE], log[-_SHOWN_LOG:])
        groups.append(FailureGroup(key[0], key[1], *shown, trials=numbers, retried=len(attempts)))
    return sorted(groups, key=lambda group: (-len(group.trials), -group.retried, group.kind, group.message))


def _failed(material: Material) -> Iterator[tuple[int, str, str, str, str]]:
    names = ["trial", "failure_kind", "failure_type", "failure_message", "failure_log"]
    frame = material.trials
    for row in frame.loc[frame["failure_kind"].notna(), names].itertuples(index=False, name=None):
        texts = [value if isinstance(value, str) else "" for value in row[1:]]
        yield int(row[0]), texts[0], texts[1], texts[2], texts[3]


def _retried(material: Material) -> Iterator[tuple[str, str, str, str]]:
    """What the log says of attempts that were repeated: ``kind: Class: message``, then the lines that it logged."""
    log = material.log
    for detail in log["detail"][log["state"] == "retrying"] if len(log) else ():
        kind, _, told = detail.partition(": ")
        first, _, rest = told.partition("\n")
        type_, colon, message = first.partition(": ")
        yield kind, type_ if colon else "", message if colon else first, rest
