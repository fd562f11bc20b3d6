"""Means over what a supernet saw in an epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from xnas_ray.training.ranks import Ranks


class Tally:
    """Sums of losses and of correct answers, on the device until they are asked for.

    Args:
        kind: of the task; only a classification has answers that are correct.
        device: where outputs are.
    """

    def __init__(self, kind: str, device: torch.device) -> None:
        """Nothing was seen."""
        self.classifies = kind == "classification"
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)

    def add(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Count a batch.

        Args:
            loss: mean over its samples.
            outputs: ``n x outputs``.
            targets: of the samples.
        """
        with torch.no_grad():
            count = len(targets)
            correct = (outputs.argmax(1) == targets).sum() if self.classifies else torch.zeros_like(loss)
            self.sums += torch.stack([loss * count, correct, torch.full_like(loss, count)]).to(self.sums.dtype)

    def means(self, prefix: str, ranks: Ranks) -> dict[str, float]:
        """``<prefix>_loss`` and, of a classification, ``<prefix>_accuracy`` in percent, over what all ranks saw."""
        loss, correct, count = ranks.total(self.sums.clone()).tolist()
        found = {f"{prefix}_loss": loss / count}
        return found | {f"{prefix}_accuracy": 100.0 * correct / count} if self.classifies else found
