"""``xnas design``: architectures for new budgets, from what a search has measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xnas_ray.commands.application import command
from xnas_ray.commands.console import jsonable, note, say, say_json, say_table
from xnas_ray.commands.options import AsJson, Root, SearchId
from xnas_ray.commands.searches import handle_of
from xnas_ray.errors import SpecError, StoreError, UnknownNameError

if TYPE_CHECKING:
    from xnas_ray.search_handle import SearchHandle

FORMATS = ("csv", "json", "parquet")
MAX_CELL = 300
"""Characters: what is designed has to be readable to its end."""


@command(
    examples=[
        "xnas design latest --flops 450e6",
        "xnas design 01JD --flops 450e6,550e6,650e6,750e6 --top 10 --out designs.csv",
        "xnas design 01JD --flops 2e6 --params 50e3 --submit",
    ]
)
def design(
    search_id: SearchId,
    root: Root = None,
    flops: Annotated[
        list[str] | None,
        typer.Option("--flops", metavar="N,N,…", help="Most FLOPs; of several each is answered. Repeatable."),
    ] = None,
    params: Annotated[
        float | None, typer.Option("--params", metavar="NUMBER", help="Most parameters, in every budget.")
    ] = None,
    top: Annotated[int, typer.Option("--top", "-n", min=1, metavar="N", help="Architectures a budget.")] = 5,
    neighbours: Annotated[
        int, typer.Option("--neighbours", min=0, metavar="N", help="Evaluated architectures named beside each.")
    ] = 3,
    members: Annotated[
        int, typer.Option("--members", min=1, metavar="N", help="Networks of the predictor; they give the +-.")
    ] = 5,
    caution: Annotated[
        float, typer.Option("--caution", min=0, metavar="NUMBER", help="Rank by the prediction less so many +-.")
    ] = 0.0,
    submit: Annotated[bool, typer.Option("--submit", help="Train them, as the search did.")] = False,
    seeds: Annotated[int, typer.Option("--seeds", min=1, metavar="N", help="With --submit: trainings of each.")] = 1,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, metavar="N", help="With --submit: trainings at once.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the table there: .csv, .json or .parquet.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict the best architectures for new budgets.

    A predictor learns from the completed trials of a search, of any controller, and what is best by it evolves within
    each budget. That takes seconds, trains no network and needs no service. What is printed first says how far the
    predictor can be trusted: how it ranks trials that it does not know. The trial is shown of architectures that were
    evaluated already, and of each the nearest ones that were: trial, value, and distance in the predictor's eyes.
    """
    _check_file(out)
    handle = handle_of(root, search_id)
    answer = handle.design(
        _limits(flops or []), params=params, top=top, neighbours=neighbours, members=members, caution=caution
    )
    if out is not None:
        _write(answer, out)
    for warning in answer["warnings"]:
        note(f"warning: {warning}")
    if not as_json:
        _say(answer)
    child = _submit(handle, answer, seeds, workers) if submit else None
    if as_json:
        say_json({**answer, "submitted": child})


def _limits(texts: list[str]) -> list[float]:
    parts = [part for text in texts for part in text.split(",") if part.strip()]
    try:
        return [float(part) for part in parts]
    except ValueError:
        raise SpecError(
            f"{','.join(texts)!r} is no list of numbers.", field="--flops", fix="Write it like 450e6,550e6."
        ) from None


# ---- what is shown ---------------------------------------------------------------------------------------------------


def _say(answer: Mapping[str, Any]) -> None:
    objective, held_out = answer["objective"], answer["held_out"]
    unit = f" {objective['unit']}" if objective["unit"] else ""
    epoch = f" after epoch {answer['epoch']}" if answer["epoch"] else ""
    correlation = "none" if held_out["spearman"] is None else f"{held_out['spearman']:.2f}"
    say(f"{objective['name']}{epoch}, predicted from {answer['labels']} trials of search {answer['search_id']}")
    say(
        f"of trials that it does not know: rank correlation {correlation}, mean error {held_out['error']:.3g}{unit} "
        f"({held_out['baseline']:.3g}{unit} when their mean is guessed)"
    )
    budgets = {json.dumps(one["budget"]): one["budget"] for one in answer["designs"]}
    for budget in budgets.values():
        say(f"\n{_budget(budget)}")
        _say_designs([one for one in answer["designs"] if one["budget"] == budget])


def _budget(budget: Mapping[str, float | None]) -> str:
    names = (("flops", "FLOPs"), ("params", "parameters"))
    limits = [f"{limit:,.0f} {name}" for key, name in names if (limit := budget[key]) is not None]
    return "at most " + " and ".join(limits) if limits else "of any cost"


def _say_designs(designs: list[dict[str, Any]]) -> None:
    recipes = any(one["recipe"] for one in designs)
    near = any(one["neighbours"] for one in designs)
    rows = [
        [
            float(one["predicted"]),
            f"{one['std']:.2g}",
            int(one["flops"]),
            int(one["params"]),
            one["trial"],
            one["measured"],
            *([", ".join(map(_neighbour, one["neighbours"]))] if near else []),
            one["architecture"],
            *([_recipe(one["recipe"])] if recipes else []),
        ]
        for one in designs
    ]
    titles = ["predicted", "+-", "FLOPs", "params", "trial", "measured", *(["nearest"] if near else []), "architecture"]
    optional = ["nearest"] if near else []
    say_table([*titles, *(["recipe"] if recipes else [])], rows, limit=MAX_CELL, optional=optional)


def _recipe(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(settings.items()))


def _neighbour(one: Mapping[str, Any]) -> str:
    return f"{one['trial']}: {one['measured']:.4g} ({one['distance']:.2g})"


# ---- what is kept ----------------------------------------------------------------------------------------------------


def _check_file(out: Path | None) -> None:
    if out is not None and out.suffix.removeprefix(".") not in FORMATS:
        raise UnknownNameError(f"{out.name} does not tell its format.", field="--out", valid=FORMATS)


def _write(answer: Mapping[str, Any], out: Path) -> None:
    from xnas_ray.service.designs import designs_frame

    frame = designs_frame(answer)
    try:
        if out.suffix == ".json":
            out.write_text(json.dumps(jsonable(answer), indent=2) + "\n", encoding="utf-8")
        elif out.suffix == ".csv":
            frame.to_csv(out, index=False)
        else:
            frame.to_parquet(out, index=False)
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror or error}.", field="--out") from error
    note(f"wrote {len(frame)} designs to {out}")


# ---- trained ---------------------------------------------------------------------------------------------------------


def _submit(handle: SearchHandle, answer: Mapping[str, Any], seeds: int, workers: int | None) -> str:
    """Give the designs to the service of the store, or train them here; the id of the search that trains them."""
    from xnas_ray.commands.children import Children

    spec, key = handle.designs_spec(answer, seeds=seeds, **({} if workers is None else {"workers": workers}))
    if handle.client.store.living_writer():
        child = handle.submit_child(spec, key)
        note(f"search {child.id} trains {spec.budget.trials} networks; follow it with: xnas watch {child.id}")
        return child.id
    with Children(handle) as children:
        child = children.train(spec, key)
    note(f"search {child.id} has trained them; see: xnas best {child.id}")
    return child.id
