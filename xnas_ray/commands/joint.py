"""What ``xnas explain ID --joint`` prints: whether the explanations of a search agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xnas_ray.commands.console import MAX_WIDTH, clean, say, say_drawn, say_json, table

if TYPE_CHECKING:
    from xnas_ray.search_handle import SearchHandle

_MARKS = {"agree": "+", "disagree": "-", "undecided": "?"}


def say_joint(handle: SearchHandle, number: int, as_json: bool) -> None:
    """Print the findings of a search, its best motifs, its operations by source and the layers of its winner.

    Args:
        handle: the search.
        number: rows of each table at most.
        as_json: print everything that is known instead, as JSON.

    Raises:
        ExplanationError: too few architectures are measured.
    """
    found = handle.joint()
    if found is None:
        from xnas_ray.report.page import too_few

        raise too_few()
    if as_json:
        say_json(found)
        return
    _say_findings(found["findings"])
    _say_motifs(found, number)
    _say_operations(found)
    if found["layers"]:
        say(f"\nlayers of trial {found['winner']} that tell classes apart most")
        rows = [(f"{one['score']:.3f}", clean(one["layer"])) for one in found["layers"][:number]]
        say_drawn(table(("introspectability", "layer"), rows, width=MAX_WIDTH))


def _say_findings(findings: Sequence[Mapping[str, Any]]) -> None:
    decided = sum(one["verdict"] != "undecided" for one in findings)
    say(f"{decided} of {len(findings)} questions decided: p < .05 after Holm's correction for all that are tested.")
    say("Effects and differences are signed so that positive is good, also of what is minimised.")
    for one in findings:
        say(f"\n{_MARKS[one['verdict']]} {clean(one['asked'])}")
        say(f"  {clean(one['statement'])}")


def _say_motifs(found: Mapping[str, Any], number: int) -> None:
    for i, name in enumerate(found["objectives"]):
        good = sorted((m for m in found["motifs"] if (m["effects"][i] or 0) > 0), key=lambda m: -m["effects"][i])
        if not good:
            continue
        say(f"\nbest motifs for {clean(name)}, of {found['architectures']} architectures")
        rows = [(*map(_number, m["effects"]), m["support"], clean(m["text"])) for m in good[:number]]
        say_drawn(table((*map(clean, found["objectives"]), "in", "motif"), rows, width=MAX_WIDTH))


def _say_operations(found: Mapping[str, Any]) -> None:
    if not found["operations"]:
        return
    from_where = ""
    if found["supernet"]:
        from_where = f"\nstandings, 0 the weakest to 1 the strongest, from search {clean(found['supernet'][0])}"
    say(f"\noperations, for {clean(found['objectives'][0])}{from_where}")
    rows = [
        (
            clean(one["name"]),
            *map(_number, (one["main_effect"], one["motif_effect"])),
            *("" if place is None else f"{place:.2f}" for place in one["standings"]),
        )
        for one in found["operations"]
    ]
    say_drawn(table(("operation", "main effect", "motif", *map(clean, found["methods"])), rows, width=MAX_WIDTH))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.3g}"
