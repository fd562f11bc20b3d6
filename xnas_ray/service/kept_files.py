"""What a trial leaves of its network beside its row: the weights, and what is kept and removed with them.

The head reads the names; only those who write or load a network import torch.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnas_ray.errors import StoreError
from xnas_ray.service.reports import WEIGHTS_FILE
from xnas_ray.store.tree_samples import TREE_SAMPLES_FILE, write_tree_samples

if TYPE_CHECKING:
    import torch

    from xnas_ray.objectives.base import Objective
    from xnas_ray.service.resolve import Search
    from xnas_ray.training.trained import Evaluator, TrainedCandidate

OF_WEIGHTS = (WEIGHTS_FILE, TREE_SAMPLES_FILE)
"""Files of an attempt that go together, by ``keep_weights``."""

log = logging.getLogger(__name__)


def keep_network(folder: Path, trained: TrainedCandidate, objectives: Sequence[Objective]) -> None:
    """Write the weights of a network, and samples of its decision tree where an objective looks at that.

    Samples are pictures of what is known from the trial's metrics and tables: where they cannot be made the trial is
    as good without.

    Args:
        folder: of the attempt.
        trained: the network.
        objectives: what was measured.

    Raises:
        OSError: the disk is full or the folder is not writable.
    """
    from xnas_ray.objectives.decision_tree import DecisionTreeObjective
    from xnas_ray.training.checkpoint import save_weights

    save_weights(trained.model, folder / WEIGHTS_FILE)
    trees = [one for one in objectives if isinstance(one, DecisionTreeObjective)]
    if not trees:
        return
    try:
        samples = trees[-1].samples(trained)  # the table of the last one is what is stored of the trial
    except Exception:
        log.warning("no samples of the decision tree are kept", exc_info=True)
        return
    write_tree_samples(folder / TREE_SAMPLES_FILE, samples)


def load_network(
    search: Search, genotype: Sequence[int], recipe: Mapping[str, Any], weights: Path, device: torch.device
) -> tuple[torch.nn.Module, Evaluator]:
    """A trial's network with its kept weights, and what measures it as its training was measured.

    Args:
        search: the trial's.
        genotype: of its architecture.
        recipe: settings of its candidate, beside those of the search.
        weights: file of the state dictionary.
        device: where the network is put.

    Raises:
        CheckpointError: the file is damaged.
    """
    from xnas_ray.training.checkpoint import load_weights
    from xnas_ray.training.recipe import Recipe
    from xnas_ray.training.trained import Evaluator

    settings = Recipe.from_mapping(search.task.problem.recipe, search.spec.recipe, recipe)
    network = search.space.build(tuple(genotype), search.shape).to(device)
    network.load_state_dict(load_weights(weights))
    return network, Evaluator(search.task.problem, settings, device)


def no_weights(search_id: str, trial: int) -> StoreError:
    """The error that a trial's weights are not kept, which says how to search that they are."""
    return StoreError(
        f"no weights are kept of trial {search_id}/{trial}.",
        field="trial",
        fix="Search with keep_weights = 'best', 'front' or 'all'.",
    )
