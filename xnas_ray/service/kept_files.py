"""What a trial leaves of its network beside its row: the weights, and what is kept and removed with them.

The head reads the names; only those who write import torch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xnas_ray.service.reports import WEIGHTS_FILE
from xnas_ray.store.tree_samples import TREE_SAMPLES_FILE, write_tree_samples

if TYPE_CHECKING:
    from xnas_ray.objectives.base import Objective
    from xnas_ray.training.trained import TrainedCandidate

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
