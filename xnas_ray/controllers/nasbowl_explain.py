"""What NAS-BOWL has learnt, as tables: motifs, and how far its model can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xnas_ray.controllers.nasbowl_models import Surrogates
from xnas_ray.surrogates.metric_model import MetricModel

if TYPE_CHECKING:
    import pandas as pd

MOTIFS = "motifs"
SURROGATE = "surrogate"


def explanations(surrogates: Surrogates, *, seed: int) -> dict[str, pd.DataFrame]:
    """Tables by kind: ``motifs`` of the first objective, and ``surrogate``, one row a metric.

    Args:
        surrogates: ready.
        seed: of the bootstrap intervals.
    """
    from xnas_ray.explain.metric_motifs import metric_per_target, posterior_means, wl_part
    from xnas_ray.explain.motifs import motif_table

    model = surrogates.goals[0]
    part = wl_part(model)
    table = motif_table(
        model.encodings.features,
        part,
        metric=model.name,
        scale=metric_per_target(model),
        mean=posterior_means(model),
        seed=seed,
    )
    return {MOTIFS: table, SURROGATE: surrogate_table(surrogates)}


def surrogate_table(surrogates: Surrogates) -> pd.DataFrame:
    """One row a metric: what its kernel looks at, and how it predicts each outcome from all others.

    Columns: ``metric``, ``observations``, hyper-parameters averaged over the members (``depth``, ``wl_share``,
    ``hamming_length``, ``noise_ratio``, ``scale``), ``members``, and of the leave-one-out predictions ``spearman``,
    ``nlpd`` (nats, standardised targets), ``coverage_90``, the share of outcomes in their 90 % intervals, and
    ``interval_factor``, by which these would have to be stretched to cover 90 %.
    """
    import pandas as pd

    return pd.DataFrame([_row(model) for model in surrogates.models if model.ready])


def _row(model: MetricModel) -> dict[str, object]:
    from xnas_ray.surrogates.calibration import coverage, interval_factor, nlpd, spearman

    members = model.members
    mean, variance = model.leave_one_out()
    targets = model.targets

    def averaged(values: list[float]) -> float:
        return float(sum(m.weight * value for m, value in zip(members, values, strict=True)))

    return {
        "metric": model.name,
        "observations": len(model),
        "members": len(members),
        "depth": averaged([m.settings.depth for m in members]),
        "wl_share": averaged([m.settings.wl_share for m in members]),
        "hamming_length": averaged([m.settings.hamming_length for m in members]),
        "noise_ratio": averaged([m.gp.noise_ratio for m in members]),
        "scale": averaged([m.gp.scale for m in members]),
        "spearman": spearman(mean, targets),
        "nlpd": nlpd(targets, mean, variance),
        "coverage_90": coverage(targets, mean, variance),
        "interval_factor": interval_factor(targets, mean, variance),
    }
