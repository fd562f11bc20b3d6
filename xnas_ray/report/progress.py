"""How a search got on: the best values so far and the volume of its front, over trials and over what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xnas_ray.pareto import Front
from xnas_ray.report.material import Aim, Material

HOUR_S = 3600.0
MARGIN = 0.1
"""Of the reference point below the worst values, as a share of their distance from the best ones, so that the ends of a
front count."""
_LOOKS = 200
"""Points of a hypervolume's curve where each costs a computation from scratch: with three objectives and more."""


@dataclass(frozen=True, slots=True)
class Steps:
    """A value that changes now and then.

    Attributes:
        rows: rows of the trials at which it changed, ascending.
        values: what it was from then on.
    """

    rows: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Spending:
    """What a search had spent when each of its trials ended.

    Attributes:
        unit: ``"GPU-hours"``, or ``"CPU-hours"`` where workers have no GPU.
        hours: one number a finished trial, attempts that came to nothing included.
    """

    unit: str
    hours: np.ndarray


def spending(material: Material) -> Spending:
    """GPU-hours, or CPU-hours, of all attempts up to the end of each trial; a result that was reused costs nothing."""
    resources = material.card["spec"].get("resources", {})
    gpus, cpus = float(resources.get("gpus") or 0), float(resources.get("cpus") or 1)
    seconds = np.nan_to_num(material.trials["duration_s"].to_numpy(dtype=float))
    lost = material.log[material.log["duration_s"].notna()] if "duration_s" in material.log else material.log
    wasted = lost.groupby("trial")["duration_s"].sum() if len(lost) else {}
    seconds = seconds + np.array([float(wasted.get(trial, 0.0)) for trial in material.numbers])
    hours = np.cumsum(seconds) * (gpus or cpus) / HOUR_S
    return Spending("GPU-hours" if gpus else "CPU-hours", hours)


def best_so_far(material: Material) -> dict[str, Steps]:
    """By objective: where its best value improved."""
    return {aim.name: _improvements(material.signed[:, i], aim) for i, aim in enumerate(material.aims)}


def _improvements(signed: np.ndarray, aim: Aim) -> Steps:
    if not len(signed):
        return Steps((), ())
    best = np.fmax.accumulate(signed)
    before = np.concatenate([[np.nan], best[:-1]])
    rows = np.flatnonzero(np.isfinite(best) & ~(best <= before))
    sign = 1.0 if aim.maximize else -1.0
    return Steps(tuple(map(int, rows)), tuple(float(sign * best[row]) for row in rows))


@dataclass(frozen=True, slots=True)
class Box:
    """The box in which the hypervolume of several searches is measured.

    Attributes:
        reference: its worst corner, larger is better.
        ideal: its best corner.
    """

    reference: tuple[float, ...]
    ideal: tuple[float, ...]

    @property
    def volume(self) -> float:
        """Of the whole box."""
        return float(np.prod(np.array(self.ideal) - np.array(self.reference)))


def common_box(materials: Sequence[Material]) -> Box | None:
    """The box around all that searches with the same objectives have measured, its worst corner ``MARGIN`` further out.

    None if they have measured nothing, or have a single objective.
    """
    points = np.concatenate([one.signed[one.measured] for one in materials])
    if not len(points) or points.shape[1] < 2:
        return None
    low, high = points.min(axis=0), points.max(axis=0)
    extent = np.where(high > low, high - low, 1.0)
    return Box(tuple((low - MARGIN * extent).tolist()), tuple(np.where(high > low, high, low + extent).tolist()))


def hypervolume_steps(material: Material, box: Box) -> Steps:
    """The dominated share of a box after each trial that changed the front: 1 once its best corner is found.

    With three objectives and more it is computed after at most 200 of them.
    """
    front, rows, values = Front(box.reference), [], []
    measured = np.flatnonzero(material.measured)
    changed = [int(row) for row in measured if front.add(material.signed[row])]
    looked = changed
    if len(box.reference) > 2 and len(changed) > _LOOKS:
        looked = [changed[i] for i in np.unique(np.linspace(0, len(changed) - 1, _LOOKS).astype(int))]
    wanted, again = set(looked), Front(box.reference)
    for row in changed:
        again.add(material.signed[row])
        if row in wanted:
            rows.append(row)
            values.append(again.hypervolume / box.volume)
    return Steps(tuple(rows), tuple(values))


def front_trials(material: Material) -> list[int] | None:
    """Numbers of the trials that no other one dominates, best first by the first objective; None for one objective."""
    if len(material.aims) < 2:
        return None
    front = Front((0.0,) * len(material.aims))
    rows = np.flatnonzero(material.measured)
    points = {int(row): tuple(map(float, material.signed[row])) for row in rows}
    for point in points.values():
        front.add(point)
    best = set(front.points)
    found = [row for row, point in points.items() if point in best]
    return [int(material.numbers[row]) for row in sorted(found, key=lambda row: -points[row][0])]
