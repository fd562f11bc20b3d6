"""What a search that has ended prints of why its best architectures are good."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xnas_ray.commands.console import nearby, say
from xnas_ray.commands.explanation_tables import say_frame
from xnas_ray.commands.motifs import MOTIFS, draw_motifs, say_motifs

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.search_handle import SearchHandle

DERIVED_METHODS = "derived_methods"
STRENGTHS = "strengths"
FIGURES = "figures"
"""Folder of a store for pictures."""


def say_why(handle: SearchHandle, number: int) -> None:
    """Print why the best of a search that has ended are good, as far as it has stored that, and draw it into its store.

    Args:
        handle: the search.
        number: motifs of either sort that are shown.
    """
    from xnas_ray.service.archive import stored_explanations

    root = handle.client.root
    motifs = stored_explanations(root, handle.id, MOTIFS)
    if motifs is not None:
        say()
        say_motifs(motifs, number, "why: ")
        _say_picture(draw_motifs(motifs, number, _folder(handle)))
    methods = stored_explanations(root, handle.id, DERIVED_METHODS)
    if methods is not None:
        say("\nwhat was read off the supernets, by method")
        say_frame(methods.drop(columns="search_id", errors="ignore"))
    strengths = stored_explanations(root, handle.id, STRENGTHS)
    if strengths is not None:
        _draw_strengths(handle, strengths)


def _draw_strengths(handle: SearchHandle, found: pd.DataFrame) -> None:
    """Draw how strongly every method speaks for every option, of every supernet."""
    from xnas_ray.explain.drawing import save_figure
    from xnas_ray.explain.strength_drawing import strength_figure, strength_info

    named = found.assign(method=[f"{m}, supernet {n}" for m, n in zip(found["method"], found["supernet"], strict=True)])
    _say_picture(save_figure(strength_figure(strength_info(named)), _folder(handle), STRENGTHS))


def _folder(handle: SearchHandle) -> Path:
    return handle.client.root / FIGURES / handle.id


def _say_picture(paths: Sequence[Path]) -> None:
    say("\npicture: " + " and ".join(str(nearby(path)) for path in paths))
