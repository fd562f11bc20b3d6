"""Which parts of architectures help or harm: ``xnas explain ID [TRIAL] --motifs``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnas_ray.commands.console import MAX_WIDTH, clean, note, say, say_drawn, say_json, table
from xnas_ray.errors import ExplanationError
from xnas_ray.objectives.names import OBJECTIVE_NAMES

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.explain.motifs import Motif
    from xnas_ray.search_handle import SearchHandle

MOTIFS = "motifs"
"""Kind of the table that a controller has learnt, and name of what is drawn."""

EFFECTS = "objective_motifs"
"""What the trials tell, whoever proposed them."""

_NEARLY_ALL = 0.9995


def explain_motifs(
    handle: SearchHandle, trial: int | None, found: pd.DataFrame, *, number: int, out: Path | None, as_json: bool
) -> None:
    """Print, and draw if asked to, the motifs of a search, or those that a trial's architecture has.

    Args:
        handle: the search.
        trial: which one; None is the whole search.
        found: the search's table of motifs.
        number: of either sort at most.
        out: where they are drawn.
        as_json: print JSON.

    Raises:
        ExplanationError: there are no motifs.
        StoreError: there is no such trial.
    """
    if not len(found):
        raise ExplanationError(
            f"search {handle.id} has no motifs: no part that varies is in enough of its architectures.",
            fix="Extend the search: `xnas extend`.",
        )
    if trial is None:
        _explain_search(found, number, out, as_json)
    else:
        _explain_trial(handle, trial, found, number, out, as_json)


def effects_on_first(handle: SearchHandle) -> pd.DataFrame:
    """The motifs that the trials tell for the first objective, where the controller learns none."""
    found = handle.explanations(EFFECTS)
    return found[found["metric"] == handle.card()["objectives"][0]["name"]]


def say_motifs(found: pd.DataFrame, number: int, before: str = "") -> None:
    """Print the best and the worst motifs of a table.

    Args:
        found: a search's.
        number: of either sort at most.
        before: what the first line begins with.
    """
    from xnas_ray.explain.motifs import best_motifs, worst_motifs

    say(before + _headline(found))
    _say_sort("good", best_motifs(found, number), found)
    _say_sort("bad", worst_motifs(found, number), found)


def draw_motifs(found: pd.DataFrame, number: int, folder: Path) -> list[Path]:
    """Draw the best and the worst motifs of a table.

    Args:
        found: a search's.
        number: of either sort at most.
        folder: where the picture is written.

    Returns:
        The files.
    """
    from xnas_ray.explain.drawing import save_figure
    from xnas_ray.explain.motif_drawing import motif_figure, motif_info

    return save_figure(motif_figure(motif_info(found, number)), folder, MOTIFS)


def _explain_search(found: pd.DataFrame, number: int, out: Path | None, as_json: bool) -> None:
    if as_json:
        say_json(found.to_dict("records"))
    else:
        say_motifs(found, number)
    if out is not None:
        _say_files(draw_motifs(found, number, out))


def _explain_trial(
    handle: SearchHandle, trial: int, found: pd.DataFrame, number: int, out: Path | None, as_json: bool
) -> None:
    from xnas_ray.explain.motifs import best_motifs, worst_motifs
    from xnas_ray.explain.occurrences import explain_architecture

    architecture, graphs = handle.graphs(trial)
    present = explain_architecture(graphs, [*best_motifs(found), *worst_motifs(found)])
    if as_json:
        say_json([_plain(one.motif, one.roots, one.nodes) for one in present])
    else:
        say(f"trial {trial}: {architecture}")
        for sort in ("good", "bad"):
            _say_sort(sort, [one.motif for one in present if one.motif.mark == sort][:number], found)
    if out is not None:
        from xnas_ray.explain.cell_drawing import cell_figure, cell_info
        from xnas_ray.explain.drawing import save_figure

        figure = cell_figure(cell_info(graphs, found, number, title=f"trial {trial}: {architecture}"))
        _say_files(save_figure(figure, out, f"trial_{trial}"))


def _plain(motif: Motif, roots: Sequence[Any], nodes: Sequence[frozenset[Any]]) -> dict[str, Any]:
    facts = {name: getattr(motif, name) for name in ("id", "cell", "layer", "occurrence", "text", "effect", "mark")}
    return {**facts, "roots": roots, "nodes": [sorted(some, key=str) for some in nodes]}


def _say_files(paths: Sequence[Path]) -> None:
    note("wrote " + " and ".join(map(str, paths)))


def _headline(found: pd.DataFrame) -> str:
    row = found.iloc[0]
    what = f" of {clean(row['metric'])}" if row["metric"] else ""
    known = OBJECTIVE_NAMES.get(row["metric"])
    unit = row["unit"] or (known.unit if known else "")
    unit = "percentage points" if unit == "%" else clean(unit)
    unit = f", changes in {unit}" if unit else ""
    line = f"motifs{what} from {row['architectures']} architectures{unit}"
    share = row["wl_share"]
    return line if share >= _NEARLY_ALL else f"{line}\nthey explain {share:.0%} of what the model predicts"


def _say_sort(sort: str, motifs: Sequence[Motif], found: pd.DataFrame) -> None:
    several = found["cell"].nunique() > 1
    say(f"\n{sort}" if motifs else f"\n{sort}: none")
    columns = (
        "change",
        "+-",
        f"{found['level'].iloc[0]:.0%} interval",
        f"of {found['architectures'].iloc[0]}",
        *(["cell"] if several else []),
        "motif",
    )
    rows = [
        (
            f"{motif.effect:+.3g}",
            "" if motif.posterior_std is None else f"{motif.posterior_std:.2g}",
            f"{motif.low:+.3g} to {motif.high:+.3g}",
            motif.support,
            *([motif.cell] if several else []),
            motif.text,
        )
        for motif in motifs
    ]
    if rows:
        say_drawn(table(columns, rows, width=MAX_WIDTH))
