"""Distillation: the loss against its formula, teachers from folders and files, and what a training makes of them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xnas_ray.errors import SpecError, StoppedError, UnknownNameError
from xnas_ray.messages import Candidate
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.darts import DARTS
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.base import Data, Problem, Split
from xnas_ray.testing.tiny import TinySpace, tiny_data, tiny_problem
from xnas_ray.training.checkpoint import CHECKPOINT_NAME, CheckpointError, save_weights
from xnas_ray.training.context import LocalContext
from xnas_ray.training.distillation import Source, Teacher, distillation_loss, pinned, save_teacher
from xnas_ray.training.loop import train_candidate
from xnas_ray.training.recipe import Recipe

SPACE = NASBench201(cells_per_stage=1, channels=4, stages=1)
SHAPE = DataShape(((1, 8, 8),), 3)
GENOTYPE = (3, 1, 2, 0, 4, 3)
CPU = torch.device("cpu")


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return SPACE.build(GENOTYPE, SHAPE).eval()


def export(folder: Path, model: nn.Module | None = None, **facts: Any) -> Path:
    """A folder as ``xnas export`` writes it, of a space that is registered."""
    folder.mkdir(parents=True)
    space = {"source": "registry", "name": SPACE.name, "params": dict(SPACE.params), "fingerprint": SPACE.fingerprint}
    shape = {"inputs": [list(one) for one in SHAPE.inputs], "outputs": SHAPE.outputs, "kind": SHAPE.kind}
    text = json.dumps({"genotype": list(GENOTYPE), "space": space, "shape": shape, **facts})
    (folder / "architecture.json").write_text(text)
    save_weights(model or network(), folder / "weights.pt")
    return folder


def images(samples: int = 60) -> Data:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(samples) % 3
    pixels = torch.randn(samples, 1, 8, 8, generator=generator) + 2.0 * labels[:, None, None, None]
    split = Split(pixels, labels)
    return Data(split, split, split, classes=("a", "b", "c"))


def train(
    recipe: dict[str, Any], *, epochs: int = 2, seed: int = 5, context: Any = None, space: Any = SPACE, **kw: Any
):
    return train_candidate(
        space=space,
        problem=kw.pop("problem", Problem()),
        data=kw.pop("data", None) or images(),
        candidate=Candidate(0, kw.pop("genotype", GENOTYPE), fidelity=epochs, schedule_epochs=epochs),
        recipe=Recipe.from_mapping({"batch_size": 16, "lr": 0.05}, recipe),
        seed=seed,
        context=context or LocalContext(),
        **kw,
    )


def assert_same(a: Any, b: Any) -> None:
    for (name, x), y in zip(a.model.state_dict().items(), b.model.state_dict().values(), strict=True):
        assert torch.equal(x, y), name
    assert torch.equal(a.outputs, b.outputs)


# ---- the loss -------------------------------------------------------------------------------------------------------


def plain_formula(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    def softmax(row: np.ndarray) -> list[float]:
        powers = [math.exp(v / temperature) for v in row]
        return [p / sum(powers) for p in powers]

    total = 0.0
    for one, other in zip(student, teacher, strict=True):
        q, p = softmax(one), softmax(other)
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_loss_is_its_formula(temperature: float):
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 7, 5)) * 2
    found = distillation_loss(torch.tensor(student), torch.tensor(teacher), temperature)
    assert found.item() == pytest.approx(plain_formula(student, teacher, temperature), rel=1e-5)


def test_its_gradient_is_that_of_finite_differences():
    rng = np.random.default_rng(1)
    student, teacher = rng.normal(size=(2, 3, 4))
    outputs = torch.tensor(student, requires_grad=True)
    distillation_loss(outputs, torch.tensor(teacher), 2.0).backward()
    step = 1e-5
    for i in range(3):
        for j in range(4):
            up, down = student.copy(), student.copy()
            up[i, j] += step
            down[i, j] -= step
            slope = (plain_formula(up, teacher, 2.0) - plain_formula(down, teacher, 2.0)) / (2 * step)
            assert outputs.grad[i, j].item() == pytest.approx(slope, abs=1e-6)


def test_who_says_the_same_has_no_loss_and_half_precision_is_computed_in_full():
    outputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)) * 10
    assert distillation_loss(outputs, outputs + 3.0).item() == pytest.approx(0, abs=1e-6)
    assert distillation_loss(outputs.bfloat16(), outputs).dtype == torch.float32


# ---- where teachers come from ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["/a/b", "/a/b@" + "0f" * 16, "torchvision:resnet18:/a/b.pth", "torchvision:resnet18:/a/b.pth@" + "0f" * 16]
)
def test_texts_round_trip(text: str):
    assert str(Source.parse(text)) == text


@pytest.mark.parametrize("text", ["torchvision:resnet18", "torchvision::x", "  ", "@" + "0" * 32])
def test_texts_without_a_place_are_refused(text: str):
    with pytest.raises(SpecError, match=r"recipe\.teacher"):
        Source.parse(text)


def test_an_exported_folder_answers_as_its_network(tmp_path: Path):
    teacher = Teacher.of(Recipe(teacher=str(export(tmp_path / "t"))), SHAPE, CPU)
    x = torch.randn(5, 1, 8, 8)
    assert teacher is not None and torch.equal(teacher((x,)), network()(x).detach())
    assert not teacher.network.training and not teacher((x,)).requires_grad
    assert Teacher.of(Recipe(), SHAPE, CPU) is None


def test_a_network_that_is_no_trial_can_be_written_as_one(tmp_path: Path):
    folder = save_teacher(tmp_path / "t", network(2), SPACE, GENOTYPE, SHAPE)
    x = torch.randn(5, 1, 8, 8)
    assert torch.equal(Teacher(Source(folder), SHAPE, Recipe(), CPU)((x,)), network(2)(x).detach())
    assert json.loads((folder / "architecture.json").read_text()) == json.loads(
        (export(tmp_path / "as exported") / "architecture.json").read_text()
    )
    with pytest.raises(UnknownNameError):
        save_teacher(tmp_path / "u", nn.Linear(2, 2), TinySpace(), (0, 0, 0), SHAPE)


def test_an_exported_folder_of_a_task_with_its_own_space(tmp_path: Path):
    folder = export(tmp_path / "t")
    facts = json.loads((folder / "architecture.json").read_text())
    facts["space"] |= {"source": "task", "name": "task", "params": {}}
    (folder / "architecture.json").write_text(json.dumps(facts))
    (folder / "task").mkdir()
    (folder / "task" / "problem.py").write_text(
        "from xnas_ray.spaces.nasbench201 import NASBench201\nfrom xnas_ray.tasks.base import Problem\n"
        "problem = Problem(space=NASBench201(cells_per_stage=1, channels=4, stages=1), evaluate=lambda **_: {})\n"
    )
    before = Source(folder).content_hash()
    x = torch.randn(5, 1, 8, 8)
    assert torch.equal(Teacher(Source(folder), SHAPE, Recipe(), CPU)((x,)), network()(x).detach())
    problem = folder / "task" / "problem.py"
    problem.write_text(problem.read_text() + "# another\n")
    assert Source(folder).content_hash() != before, "the code is part of the content"


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_state_dictionary_of_torchvision(tmp_path: Path, wrapped: bool):
    from torchvision.models import get_model

    torch.manual_seed(0)
    model, shape = get_model("squeezenet1_1", num_classes=3).eval(), DataShape(((3, 32, 32),), 3)
    state = model.state_dict()
    torch.save({"model": state, "epoch": 3} if wrapped else state, tmp_path / "s.pth")
    source = Source.parse(f"torchvision:squeezenet1_1:{tmp_path / 's.pth'}")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(Teacher(source, shape, Recipe(), CPU)((x,)), model(x).detach())
    with pytest.raises(SpecError, match="no state dictionary of this network"):
        Teacher(source, dataclasses.replace(shape, outputs=4), Recipe(), CPU)
    with pytest.raises(SpecError, match="does not take the task's inputs"):
        Teacher(source, DataShape(((1, 32, 32),), 3), Recipe(), CPU)
    with pytest.raises(SpecError, match="Did you mean 'squeezenet1_1'"):
        Teacher(dataclasses.replace(source, model="squeezenet11"), shape, Recipe(), CPU)


def test_it_is_loaded_without_a_random_number(tmp_path: Path):
    folder = export(tmp_path / "t")
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    Teacher(Source(folder), SHAPE, Recipe(), CPU)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (DataShape(((1, 8, 8),), 4), "3 outputs, the task 4 classes"),
        (DataShape(((2, 8, 8),), 3), "does not take"),
        (DataShape(((1, 8, 8),), 3, "regression"), "has none"),
    ],
)
def test_a_teacher_of_another_task_is_refused(tmp_path: Path, shape: DataShape, words: str):
    with pytest.raises(SpecError, match=words) as caught:
        Teacher(Source(export(tmp_path / "t")), shape, Recipe(), CPU)
    assert caught.value.field == "recipe.teacher"


def test_damaged_folders_are_refused(tmp_path: Path):
    folder = export(tmp_path / "t")
    (folder / "weights.pt").write_bytes(b"garbage")
    with pytest.raises(SpecError, match="no state dictionary"):
        Teacher(Source(folder), SHAPE, Recipe(), CPU)
    (folder / "weights.pt").unlink()
    with pytest.raises(SpecError, match="keep_weights"):
        Teacher(Source(folder), SHAPE, Recipe(), CPU)
    torch.save([1.0], folder / "weights.pt")
    with pytest.raises(SpecError, match="no state dictionary"):
        Teacher(Source(folder), SHAPE, Recipe(), CPU)
    (folder / "architecture.json").write_text("{}")
    with pytest.raises(SpecError, match="malformed"):
        Teacher(Source(folder), SHAPE, Recipe(), CPU)


def test_another_space_is_refused(tmp_path: Path):
    space = {"source": "registry", "name": "nasbench201", "params": {"channels": 8}, "fingerprint": "old"}
    with pytest.raises(SpecError, match="space is now"):
        Teacher(Source(export(tmp_path / "t", space=space)), SHAPE, Recipe(), CPU)
    with pytest.raises(SpecError, match="nasbench999"):
        Teacher(Source(export(tmp_path / "u", space=space | {"name": "nasbench999"})), SHAPE, Recipe(), CPU)


class Evil:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (self.marker,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["exported", "torchvision"])
def test_nothing_in_the_weights_is_executed(tmp_path: Path, kind: str):
    folder = export(tmp_path / "t")
    (folder / "weights.pt").write_bytes(pickle.dumps(Evil(str(tmp_path / "pwned"))))
    source = Source(folder) if kind == "exported" else Source(folder / "weights.pt", "squeezenet1_1")
    with pytest.raises(SpecError, match="no state dictionary"):
        Teacher(source, SHAPE, Recipe(), CPU)
    assert not (tmp_path / "pwned").exists()


# ---- its content is part of the recipe ------------------------------------------------------------------------------


def test_pinned_at_submit_another_teacher_in_its_place_is_another_recipe(tmp_path: Path):
    folder = export(tmp_path / "t")
    first = pinned(Recipe(teacher=str(folder)), SHAPE)
    assert Source.parse(first.teacher) == Source(folder, hash=Source(folder).content_hash())
    assert pinned(first, SHAPE) == first
    save_weights(network(1), folder / "weights.pt")
    with pytest.raises(SpecError, match="other content now"):
        train({"teacher": first.teacher})
    second = pinned(Recipe(teacher=str(folder)), SHAPE)
    assert first.canonical_json() != second.canonical_json()
    assert pinned(Recipe(), SHAPE) == Recipe()


def test_a_relative_path_means_nothing_to_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    export(tmp_path / "t")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=r"relative path.*'data' / 'teacher'"):
        pinned(Recipe(teacher="t"), SHAPE)
    assert train({"teacher": "t"}, epochs=1).metrics["train_loss"] > 0, "in a process of one's own it does"


def test_a_copy_elsewhere_has_the_same_hash(tmp_path: Path):
    hashes = {Source(export(tmp_path / name)).content_hash() for name in ("a", "b")}
    assert len(hashes) == 1
    assert Source(tmp_path / "a" / "weights.pt", "resnet18").content_hash() not in hashes


# ---- in a training --------------------------------------------------------------------------------------------------


def test_without_a_share_it_is_the_plain_training_bit_for_bit(tmp_path: Path):
    folder = str(export(tmp_path / "t"))
    extras = {"augment": ["mixup"], "label_smoothing": 0.1, "ema_decay": 0.9}
    assert_same(train({"teacher": folder, "distill_weight": 0.0, **extras}), train(extras))


def test_the_loss_of_a_training_is_both_shares(tmp_path: Path):
    """One step over all data, whose loss is that of the weights it began with."""
    folder, settings = export(tmp_path / "t", network(1)), {"batch_size": 60, "lr": 1e-12, "label_smoothing": 0.1}
    labels = train(settings, epochs=1).metrics["train_loss"]
    both = train({**settings, "teacher": str(folder), "distill_temperature": 2.0}, epochs=1)
    only = train({**settings, "teacher": str(folder), "distill_temperature": 2.0, "distill_weight": 1.0}, epochs=1)
    assert both.metrics["train_loss"] == pytest.approx(0.8 * only.metrics["train_loss"] + 0.2 * labels, rel=1e-6)
    student = both.model.train()  # untrained but for 1e-12
    (x,) = both.data.train.inputs
    with torch.no_grad():
        expected = plain_formula(student(x).double().numpy(), network(1)(x).double().numpy(), 2.0)
    assert only.metrics["train_loss"] == pytest.approx(expected, rel=1e-4)


def test_who_is_taught_by_itself_has_nothing_to_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without batch statistics teacher and student are one function: no loss, and weights that stay."""

    class Linear(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.flatten(1))

    def build(space: Any, genotype: Any, shape: DataShape) -> nn.Module:
        return Linear(64, shape.outputs)

    monkeypatch.setattr("xnas_ray.networks.nasbench201.build", build)
    recipe = {"weight_decay": 0.0, "augment": ["mixup"]}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        folder = export(tmp_path / "t", build(None, None, SHAPE))
    start = torch.load(folder / "weights.pt", weights_only=True)["weight"]
    taught = train({**recipe, "teacher": str(folder), "distill_weight": 1.0})
    assert taught.metrics["train_loss"] == pytest.approx(0.0, abs=1e-6)
    assert torch.allclose(taught.model.weight, start, atol=1e-5)
    assert not torch.allclose(train(recipe).model.weight, start, atol=1e-2)


def test_a_student_comes_near_a_teacher_that_knows_more_than_its_labels(tmp_path: Path):
    """Labels are noise here; what the teacher knows is what the student is measured on."""
    wise = train({"lr": 0.1}, epochs=6)
    folder, data = export(tmp_path / "t", wise.model), images()
    noise = data.train.targets[torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    noisy = dataclasses.replace(data, train=Split(data.train.inputs, noise))
    settings = {"lr": 0.1}
    taught = train({**settings, "teacher": str(folder), "distill_weight": 1.0}, epochs=6, data=noisy)
    alone = train(settings, epochs=6, data=noisy)
    assert wise.metrics["val_accuracy"] > 90
    assert taught.metrics["val_accuracy"] > alone.metrics["val_accuracy"] + 20


def test_an_auxiliary_head_is_taught_too(tmp_path: Path):
    space, shape = DARTS(layers=2, channels=2, auxiliary_weight=0.4), SHAPE
    genotype = space.sample(np.random.default_rng(0))
    folder = str(export(tmp_path / "t"))
    settings = {"space": space, "genotype": genotype, "epochs": 1}
    trained = train({"teacher": folder, "distill_weight": 1.0, "weight_decay": 0.0}, **settings)
    torch.manual_seed(5)
    start = space.build(genotype, shape).auxiliary
    assert any(
        not torch.equal(a, b) for a, b in zip(trained.model.auxiliary.parameters(), start.parameters(), strict=True)
    )


def test_dropout_and_teacher_resumed_at_any_batch(tmp_path: Path):
    class StopAt(LocalContext):
        left = 5

        def stop_requested(self):
            self.left -= 1
            return "checkpoint" if self.left < 0 else ""

    recipe = {
        "teacher": str(export(tmp_path / "t")),
        "dropout": 0.3,
        "augment": ["autoaugment"],
        "schedule": "exponential",
    }
    with pytest.raises(StoppedError):
        train(recipe, context=StopAt(folder=tmp_path / "c"))
    resume = LocalContext(resume_from=tmp_path / "c" / CHECKPOINT_NAME)
    torch.manual_seed(9)
    assert_same(train(recipe, context=resume), train(recipe))
    save_weights(network(1), tmp_path / "t" / "weights.pt")
    with pytest.raises(CheckpointError, match="another training"):
        train(recipe, context=resume)


def test_values_that_are_regressed_have_no_teacher(tmp_path: Path):
    with pytest.raises(SpecError, match=r"recipe\.teacher"):
        train(
            {"teacher": str(export(tmp_path / "t"))},
            space=TinySpace(),
            problem=tiny_problem("regression"),
            data=tiny_data("regression"),
            genotype=(0, 0, 0),
        )
