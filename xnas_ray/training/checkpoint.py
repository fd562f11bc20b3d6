"""Checkpoints of a training: whole files only, read without running anything that is in them."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xnas_ray.durable import whole_file
from xnas_ray.errors import TrainingError

CHECKPOINT_NAME = "checkpoint.pt"
_UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile)
FORMAT = 1


class CheckpointError(TrainingError):
    """A checkpoint cannot be read, or belongs to another training."""


def save_checkpoint(path: Path, identity: str, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values so that ``path`` always holds a whole checkpoint: beside, fsync, rename.

    Args:
        path: the file.
        identity: what is trained and how; ``load_checkpoint`` asks for the same.
        state: tensors, numbers, texts, and dicts, lists and tuples of them.

    Raises:
        OSError: the disk is full or the folder is not writable; an earlier checkpoint stays.
    """
    with whole_file(path) as file:
        torch.save({"format": FORMAT, "identity": identity, "state": dict(state)}, file)


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the state dictionary of a network, on the CPU, whole: beside, then renamed.

    Raises:
        OSError: the disk is full or the folder is not writable.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with whole_file(path) as file:
        torch.save(state, file)


def load_weights(path: Path) -> dict[str, Any]:
    """The state dictionary of a file, on the CPU; loaded with ``weights_only=True``.

    Torchvision's training scripts write it as ``model`` of a larger one: then it is that.

    Raises:
        CheckpointError: the file is missing, damaged or something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise CheckpointError(f"cannot read the weights {path}: {type(error).__name__}: {error}") from None
    found = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise CheckpointError(f"{path} is no state dictionary.")
    return found


def load_checkpoint(path: Path, identity: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The state that ``save_checkpoint`` wrote; loaded with ``weights_only=True``.

    Raises:
        CheckpointError: the file is missing, damaged, of another format or of another training.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except _UNREADABLE as error:
        raise CheckpointError(
            f"cannot read the checkpoint {path}: {type(error).__name__}: {error}",
            field="resume_from",
            fix="Delete the file to train from the start.",
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a checkpoint of format {FORMAT}.", field="resume_from", fix="Delete the file."
        )
    if content["identity"] != identity:
        raise CheckpointError(
            f"the checkpoint {path} belongs to another training.",
            field="resume_from",
            fix="Its architecture, recipe, seed, schedule and data must be the same.",
        )
    state: dict[str, Any] = content["state"]
    return state
