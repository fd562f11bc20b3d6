"""Knowledge distillation: a candidate also imitates what a trained network says (Hinton, Vinyals & Dean 2015).

A teacher is named by a text, the setting ``teacher`` of a recipe:

- ``FOLDER``: what ``xnas export`` wrote, with its weights;
- ``torchvision:MODEL:FILE``: a state dictionary of one of torchvision's classifiers.

Either may end in ``@`` and the content's hash; then other content in that place is refused. ``pinned`` appends it: from
there on the hash is part of the recipe, so of the training's seed and of what reuse compares, and two teachers that lay
in one place at different times make two recipes. The service keeps a copy of each in its store, and its recipes name
that copy relative to the store (see ``service.teachers``). Weights are read with ``weights_only=True``; a task that
lies in an exported folder is code, run like any other task's.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xnas_ray.errors import SpecError, XnasError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.registry import SPACES
from xnas_ray.tasks.bundle import snapshot_task
from xnas_ray.tasks.loading import load_task
from xnas_ray.training.build import build_network
from xnas_ray.training.checkpoint import CheckpointError, load_weights, save_weights
from xnas_ray.training.determinism import isolated_randomness
from xnas_ray.training.recipe import Recipe

FIELD = "recipe.teacher"
ARCHITECTURE, WEIGHTS, TASK = "architecture.json", "weights.pt", "task"
TORCHVISION = "torchvision:"
_HASH = re.compile(r"@([0-9a-f]{32})$")
_FORMS = "It is a folder that xnas export wrote, or torchvision:MODEL:FILE with a state dictionary."
_SAME = "A teacher was trained for the same inputs and classes, in the same order."
_PROBES = 2


def distillation_loss(outputs: Tensor, taught: Tensor, temperature: float = 1.0) -> Tensor:
    """``T^2 KL(softmax(taught / T) || softmax(outputs / T))``, the mean over samples, in float32.

    The factor keeps gradients as large as those of the labels at any temperature (Hinton et al. 2015, section 2).

    Args:
        outputs: logits of the student, ``n x classes``.
        taught: logits of the teacher, the same shape.
        temperature: T.
    """
    log_p = functional.log_softmax(taught.float() / temperature, dim=1)
    log_q = functional.log_softmax(outputs.float() / temperature, dim=1)
    return functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * temperature**2


@dataclass(frozen=True)
class Source:
    """Where a teacher is.

    Attributes:
        path: the folder, or the file of a torchvision model.
        model: name of a torchvision model; empty for a folder.
        hash: content that is expected there, blake2b-16 hex; empty for any.
    """

    path: Path
    model: str = ""
    hash: str = ""

    @classmethod
    def parse(cls, text: str) -> Source:
        """The source that a text names.

        Raises:
            SpecError: it has neither form.
        """
        found = _HASH.search(text)
        place, expected = (text[: found.start()], found[1]) if found else (text, "")
        model = ""
        if place.startswith(TORCHVISION):
            model, _, place = place.removeprefix(TORCHVISION).partition(":")
            if not model or not place:
                raise _error(f"{text!r} does not name a model and a file.", fix=_FORMS)
        if not place.strip():
            raise _error("is empty.", fix=_FORMS)
        return cls(Path(place).expanduser(), model, expected)

    def __str__(self) -> str:
        """The text that ``parse`` reads."""
        place = f"{TORCHVISION}{self.model}:{self.path}" if self.model else str(self.path)
        return f"{place}@{self.hash}" if self.hash else place

    def below(self, root: Path) -> Source:
        """The same, a relative path being one below ``root``."""
        return dataclasses.replace(self, path=root / self.path)  # which leaves an absolute one as it is

    def content_hash(self) -> str:
        """blake2b-16 hex of what decides the outputs: the model, the architecture, the weights, a task's code.

        Raises:
            SpecError: a file is missing or cannot be read.
        """
        digest = hashlib.blake2b(self.model.encode(), digest_size=16)
        for path in [self.path] if self.model else [self.path / ARCHITECTURE, self.path / WEIGHTS]:
            try:
                with path.open("rb") as file:
                    one = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
            except OSError as error:
                raise _error(f"cannot read {path}: {error.strerror or error}.", fix=self._missing()) from None
            digest.update(one.digest())
        if not self.model and (self.path / TASK).is_dir():
            digest.update(snapshot_task(self.path / TASK).hash.encode())
        return digest.hexdigest()

    def _missing(self) -> str:
        if self.model:
            return "The file must be readable on every worker, so lie in a shared folder."
        return (
            f"A folder needs {ARCHITECTURE} and {WEIGHTS}, as xnas export writes them for searches with keep_weights, "
            "and must be readable on every worker."
        )


def located(recipe: Recipe, root: Path) -> Recipe:
    """The recipe as a process can use it that finds stored teachers below ``root``; itself without a teacher."""
    if not recipe.teacher:
        return recipe
    return dataclasses.replace(recipe, teacher=str(Source.parse(recipe.teacher).below(root)))


def pinned(recipe: Recipe, shape: DataShape) -> Recipe:
    """The recipe with its teacher checked and followed by its hash; itself without a teacher.

    To be called where a search is submitted, before its recipe is stored.

    Args:
        recipe: resolved settings.
        shape: what the task's networks take in and give out.

    Raises:
        SpecError: the path is relative, which means nothing to a worker; or see ``Teacher``.
    """
    if not recipe.teacher:
        return recipe
    source = Source.parse(recipe.teacher)
    if not source.path.is_absolute():
        raise _error(
            f"{str(source.path)!r} is a relative path.",
            fix="Give an absolute one, or SEARCH/TRIAL of a stored trial; in a task's problem.py, for a teacher that "
            "travels with the task: str(Path(__file__).parent / 'data' / 'teacher').",
        )
    teacher = Teacher(source, shape, recipe, torch.device("cpu"))
    return dataclasses.replace(recipe, teacher=str(dataclasses.replace(source, hash=teacher.hash)))


class Teacher:
    """A trained network that is asked and never changed.

    Args:
        source: where it is.
        shape: what the task's networks take in and give out.
        recipe: gives the memory format.
        device: where it is asked.

    Attributes:
        hash: of its content.
        network: in evaluation mode, without gradients.

    Raises:
        SpecError: it cannot be read, its content is not what the source's hash says, or it is a network for other
            inputs or another number of classes; or the task has no classes.
    """

    def __init__(self, source: Source, shape: DataShape, recipe: Recipe, device: torch.device) -> None:
        """Build and load it, without touching the random numbers of a training."""
        if shape.kind != "classification":
            raise _error("a teacher's probabilities are of classes, this task has none.", fix="Set teacher = ''.")
        self.hash = source.content_hash()
        if source.hash not in ("", self.hash):
            raise _error(
                f"{source.path} has other content now: its hash is {self.hash}, not {source.hash}.",
                fix="Put the old content back, or leave out @ and the hash to accept what is there.",
            )
        with isolated_randomness(0, device):
            network = _torchvision(source, shape) if source.model else _exported(source.path, shape)
            network = network.eval().requires_grad_(False)
            _check_outputs(network, source, shape)
        network = network.to(device)
        if device.type == "cuda" and recipe.channels_last:
            network = network.to(memory_format=torch.channels_last)
        self.network = network

    @classmethod
    def of(cls, recipe: Recipe, shape: DataShape, device: torch.device) -> Teacher | None:
        """The teacher of a recipe; None where it has none."""
        return cls(Source.parse(recipe.teacher), shape, recipe, device) if recipe.teacher else None

    @torch.no_grad()
    def __call__(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Its logits, ``n x classes``, of inputs as the student sees them: augmented, and mixed by mixup."""
        outputs: Tensor = self.network(*inputs)
        return outputs


def save_teacher(folder: Path, model: nn.Module, space: Space, genotype: Genotype, shape: DataShape) -> Path:
    """Write a trained network that is no stored trial so that it can be a teacher, in the form of ``xnas export``.

    Args:
        folder: to be made.
        model: with its weights.
        space: a registered one, or a part of one.
        genotype: the architecture.
        shape: what the network takes in and gives out.

    Returns:
        The folder.

    Raises:
        UnknownNameError: the space is not registered.
        OSError: the folder cannot be written.
    """
    whole = space.unwrapped
    SPACES.get(whole.name)
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "genotype": list(genotype),
        "space": {
            "source": "registry",
            "name": whole.name,
            "params": dict(whole.params),
            "fingerprint": whole.fingerprint,
        },
        "shape": {"inputs": [list(one) for one in shape.inputs], "outputs": shape.outputs, "kind": shape.kind},
    }
    save_weights(model, folder / WEIGHTS)
    (folder / ARCHITECTURE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return folder


def _exported(folder: Path, shape: DataShape) -> nn.Module:
    """The network of a folder that ``xnas export`` wrote."""
    try:
        facts: dict[str, Any] = json.loads((folder / ARCHITECTURE).read_text(encoding="utf-8"))
        named, own = facts["space"], facts["shape"]
        trained = DataShape(tuple(tuple(one) for one in own["inputs"]), own["outputs"], own["kind"])
        genotype, fingerprint = tuple(facts["genotype"]), named["fingerprint"]
        of_task, name, params = named["source"] == "task", named["name"], named["params"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _error(f"{folder / ARCHITECTURE} is malformed: {error!r}.", fix=_FORMS) from None
    if trained.outputs != shape.outputs or trained.kind != shape.kind:
        raise _error(f"{folder} has {trained.outputs} outputs, the task {shape.outputs} classes.", fix=_SAME)
    try:
        space = load_task(folder / TASK).space(name, params) if of_task else SPACES.create(name, params, field="space")
        if space.fingerprint != fingerprint:
            raise _error(f"its space is now {space.fingerprint}, it was {fingerprint}.", fix="Train a teacher anew.")
        network = build_network(space, genotype, trained)
    except SpecError:
        raise
    except XnasError as error:
        raise _error(f"cannot build the network of {folder}: {error}") from error
    _load(network, folder / WEIGHTS)
    return network


def _torchvision(source: Source, shape: DataShape) -> nn.Module:
    """A classifier of torchvision with the weights of a file."""
    from torchvision import models

    known = models.list_models(module=models)
    if source.model not in known:
        raise _error(f"torchvision has no {source.model!r}.", got=source.model, valid=known)
    network: nn.Module = models.get_model(source.model, weights=None, num_classes=shape.outputs)
    _load(network, source.path)
    return network


def _load(network: nn.Module, path: Path) -> None:
    """Read the weights of a network."""
    try:
        network.load_state_dict(load_weights(path))
    except (CheckpointError, RuntimeError) as error:  # torch raises RuntimeError for other names and shapes
        raise _error(f"{path} is no state dictionary of this network: {error}", fix=_SAME) from None


def _check_outputs(network: nn.Module, source: Source, shape: DataShape) -> None:
    """Ask it once, so that a network for other images is refused before a training begins."""
    probes = tuple(torch.zeros(_PROBES, *one) for one in shape.inputs)
    try:
        with torch.no_grad():
            found = network(*probes)
    except (RuntimeError, ValueError, TypeError) as error:
        raise _error(f"{source.path} does not take the task's inputs {shape.inputs}: {error}", fix=_SAME) from None
    if not isinstance(found, Tensor) or found.shape != (_PROBES, shape.outputs):
        raise _error(f"{source.path} does not give {shape.outputs} outputs a sample.", fix=_SAME)


def _error(message: str, **details: Any) -> SpecError:
    return SpecError(message, field=FIELD, **details)
