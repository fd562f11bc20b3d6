"""A finalist on several GPUs: a Ray Train job in place of a training in the worker itself.

The worker holds the GPUs in Ray's books for as long as it lives, so the ranks ask Ray for none: they are bound to the
worker's node and see the worker's GPUs (``Group.beside``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xnas_ray.messages import TrialStatus
from xnas_ray.service.ranks_job import Group, run_ranks, say_epoch, say_found
from xnas_ray.service.reports import Assignment, TrialResult
from xnas_ray.service.trial_worker import AttemptContext

SCRATCH = "ray_train"
"""In the attempt's folder while the job runs: what Ray Train itself writes."""


def train_together(
    root: Path, card: Mapping[str, Any], assignment: Assignment, context: AttemptContext, group: Group
) -> TrialResult:
    """Train an assignment on a group of processes.

    Args:
        root: the store.
        card: of its search.
        assignment: what to train; weights are kept if it says so.
        context: of the attempt.
        group: who trains it.

    Raises:
        StoppedError: ``context`` asked for it.
        Exception: what a rank raised (see ``train_candidate``).
    """
    config = {
        "root": str(root),
        "card": dict(card),
        "assignment": assignment,
        "resume_from": str(context.resume_from) if context.resume_from else None,
        "cuda": group.cuda,
    }
    context.folder.mkdir(parents=True, exist_ok=True)
    found = run_ranks(
        train_finalist,
        config,
        group=group,
        scratch=context.folder / SCRATCH,
        stop_requested=context.stop_requested,
        on_epoch=context.report,
    )
    return TrialResult(
        assignment.search_id,
        assignment.trial,
        assignment.attempt,
        TrialStatus.COMPLETED,
        0.0,
        metrics=found["metrics"],
        curve=tuple(found["curve"]),
        tables=_frames(found["tables"]),
        environment=found["environment"],
        weights=assignment.keep_weights,
    )


def _frames(tables: Mapping[str, Any]) -> dict[str, Any]:
    import pandas as pd

    return {kind: pd.DataFrame(columns) for kind, columns in tables.items()}


def train_finalist(config: dict[str, Any]) -> None:
    """What each rank runs: its part of every batch of one candidate; the first one measures and writes."""
    from xnas_ray.objectives.evaluate import evaluate_candidate
    from xnas_ray.service.kept_files import keep_network
    from xnas_ray.service.resolve import open_search
    from xnas_ray.service.trial_worker import environment_text
    from xnas_ray.training.context import LocalContext
    from xnas_ray.training.device import limit_threads
    from xnas_ray.training.ranks import GroupRanks

    assignment: Assignment = config["assignment"]
    limit_threads(1)

    class Context(LocalContext):
        """Says every epoch at once."""

        def report(self, record: Mapping[str, float]) -> None:
            """See ``TrialContext.report``."""
            if ranks.first:
                say_epoch(config, record)

    ranks = GroupRanks(rank_device(config["cuda"]))
    search = open_search(Path(config["root"]), config["card"])
    folder = Path(config["root"]) / assignment.artifacts
    resume_from = Path(config["resume_from"]) if config["resume_from"] else None
    measured = evaluate_candidate(
        problem=search.task.problem,
        space=search.space,
        candidate=assignment.candidate,
        objectives=search.objectives,
        seed=assignment.train_seed,
        context=Context(folder if ranks.first else None, checkpoint_every_s=0.0, resume_from=resume_from),
        data=search.task.load_data(**search.spec.data),
        recipe=search.spec.recipe,
        device=ranks.device,
        measure_on=search.spec.measure_on,
        ranks=ranks,
        teachers=Path(config["root"]),
    )
    if not ranks.first:
        return
    if assignment.keep_weights and measured.trained is not None:
        keep_network(folder, measured.trained, search.objectives)
    say_found(
        config,
        {
            "metrics": measured.metrics,
            "curve": list(measured.curve),
            "tables": {kind: table.to_dict("list") for kind, table in measured.tables.items()},
            "environment": json.dumps({**json.loads(environment_text(str(ranks.device))), "ranks": ranks.size}),
        },
    )


def rank_device(cuda: bool) -> Any:
    """Where this rank trains: of the GPUs that it sees, the one of its number on this node."""
    import ray.train
    import torch

    if not cuda:
        return torch.device("cpu")
    index = ray.train.get_context().get_local_rank() % torch.cuda.device_count()
    torch.cuda.set_device(index)
    return torch.device("cuda", index)
