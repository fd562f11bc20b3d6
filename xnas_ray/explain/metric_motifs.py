"""From the model of a metric to what its motifs are computed from: a Gaussian process with a Weisfeiler–Lehman part."""

from __future__ import annotations

import numpy as np

from xnas_ray.explain.wl_part import WLPart
from xnas_ray.surrogates.metric_model import MetricModel


def wl_part(model: MetricModel) -> WLPart:
    """The WL part of the most probable member, for gradients of its posterior mean."""
    member, points = model.members[0], model.points
    gp, settings = member.gp, member.settings
    encodings = model.encodings
    share = settings.wl_share if encodings.unordered else 1.0
    gate = model.factor_gram(points, member)
    return WLPart.by_cell(
        encodings.features,
        points.rows,
        gp.alpha / gp.scale,
        settings.depth,
        weight=gp.scale * share,
        gate=None if (gate == 1.0).all() else gate,
        precision=gp.precision(),
        at=_once(points.rows, points.epochs),
    )


def posterior_means(model: MetricModel) -> np.ndarray:
    """Posterior mean of the most probable member at every observation."""
    gp = model.members[0].gp
    return gp.targets - gp.noise_ratio * gp.alpha


def metric_per_target(model: MetricModel) -> float:
    """Units of the metric that a unit of the target is worth around the median outcome; positive means better."""
    middle = float(np.median(model.targets))
    low, high = model.scale.metric(np.array([middle - 0.5, middle + 0.5]))
    return abs(float(high - low))


def _once(rows: np.ndarray, epochs: np.ndarray) -> np.ndarray:
    """Position of every architecture's observation at its highest fidelity, the last of several."""
    best: dict[int, int] = {}
    for position in np.argsort(epochs, kind="stable"):
        best[int(rows[position])] = int(position)
    return np.array(sorted(best.values()), dtype=np.intp)
