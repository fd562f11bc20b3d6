import dataclasses
import math

import pytest
import torch
from torch import nn

from xnas_ray.errors import NanLossError, OutOfMemoryError, SpecError, StoppedError
from xnas_ray.messages import Candidate
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.base import Data, Problem, Split
from xnas_ray.testing import tiny
from xnas_ray.testing.tiny import TinySpace, tiny_data, tiny_problem
from xnas_ray.training.checkpoint import CHECKPOINT_NAME, CheckpointError
from xnas_ray.training.context import LocalContext
from xnas_ray.training.loop import train_candidate
from xnas_ray.training.recipe import Recipe

RECIPE = Recipe(batch_size=16, lr=0.1)
RICH = Recipe(
    batch_size=16, lr=0.1, label_smoothing=0.1, ema_decay=0.9, grad_clip=1.0, warmup_epochs=0.5, augment=["mixup"]
)


def train(
    recipe=RECIPE, *, epochs=3, schedule=None, seed=5, context=None, kind="classification", genotype=(1, 1, 0), **kw
):
    return train_candidate(
        space=kw.pop("space", TinySpace()),
        problem=kw.pop("problem", tiny_problem(kind)),
        data=kw.pop("data", tiny_data(kind)),
        candidate=Candidate(0, genotype, fidelity=epochs, schedule_epochs=schedule or epochs),
        recipe=recipe,
        seed=seed,
        context=context or LocalContext(),
        **kw,
    )


def curve(trained) -> list[dict[str, float]]:
    return [{k: v for k, v in record.items() if k != "elapsed_s"} for record in trained.curve]


def assert_same(a, b) -> None:
    assert curve(a) == curve(b)
    assert a.metrics == b.metrics
    assert torch.equal(a.outputs, b.outputs)
    for (name, x), y in zip(a.model.state_dict().items(), b.model.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


class StopAt(LocalContext):
    """Asks to stop before batch ``number`` of the whole training."""

    def __init__(self, number: int, stop: str, **kw) -> None:
        super().__init__(**kw)
        self.left, self.answer = number, stop

    def stop_requested(self):
        self.left -= 1
        return self.answer if self.left < 0 else ""


def test_learns_and_reports_every_epoch():
    context = LocalContext()
    trained = train(epochs=6, context=context)
    assert trained.metrics["val_accuracy"] > 80
    assert [r["epoch"] for r in trained.curve] == [1, 2, 3, 4, 5, 6]
    assert context.records == list(trained.curve)
    assert set(trained.curve[0]) == {"epoch", "lr", "train_loss", "val_loss", "val_accuracy", "elapsed_s"}
    elapsed = [r["elapsed_s"] for r in trained.curve]
    assert elapsed == sorted(elapsed)
    assert trained.build_s + trained.train_s == pytest.approx(trained.duration_s, abs=0.1)


def test_same_seed_same_bits_whatever_ran_before():
    first = train(RICH)
    train(seed=99, epochs=1)
    torch.manual_seed(123)
    assert_same(first, train(RICH))
    other = train(RICH, seed=6)
    assert not torch.equal(first.outputs, other.outputs)


def test_the_process_is_left_as_it_was():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_shorter_fidelity_is_a_prefix_of_a_longer_one():
    long, short = train(RICH, epochs=6), train(RICH, epochs=2, schedule=6)
    assert curve(short) == curve(long)[:2]
    assert curve(train(RICH, epochs=2)) != curve(short), "a schedule of its own length is another training"


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("batch", [0, 3, 8, 13])  # 8 batches an epoch: before the first, within, and between epochs
def test_resumed_at_any_batch_it_is_the_uninterrupted_training(tmp_path, optimizer, batch):
    recipe = dataclasses.replace(RICH, optimizer=optimizer, lr=0.01)
    with pytest.raises(StoppedError, match="with a checkpoint"):
        train(recipe, context=StopAt(batch, "checkpoint", folder=tmp_path))
    torch.manual_seed(batch)
    resumed = train(recipe, context=LocalContext(resume_from=tmp_path / CHECKPOINT_NAME))
    assert_same(resumed, train(recipe))


def test_resumed_after_a_kill_between_epochs(tmp_path):
    killed = StopAt(20, "cancel", folder=tmp_path, checkpoint_every_s=0.0)
    with pytest.raises(StoppedError):
        train(RICH, context=killed)
    assert len(killed.records) == 2
    context = LocalContext(folder=tmp_path, resume_from=tmp_path / CHECKPOINT_NAME)
    assert_same(train(RICH, context=context), train(RICH))
    assert [r["epoch"] for r in context.records] == [3], "only what was left to do"


def test_interrupted_twice_with_images_and_convolutions(tmp_path):
    rng = torch.Generator().manual_seed(0)
    split = Split(torch.randn(50, 1, 8, 8, generator=rng), torch.arange(50) % 3)
    recipe = Recipe(batch_size=8, augment=["random_crop", "horizontal_flip", "cutout", "mixup"], crop_padding=1)
    setup = {
        "space": NASBench201(cells_per_stage=1, channels=4, stages=2),
        "problem": Problem(),
        "data": Data(split, split, split, classes=("a", "b", "c")),
        "genotype": (3, 1, 2, 0, 4, 3),
    }
    resume = None
    for batch in (4, 5):
        with pytest.raises(StoppedError):
            train(recipe, context=StopAt(batch, "checkpoint", folder=tmp_path, resume_from=resume), **setup)
        resume = tmp_path / CHECKPOINT_NAME
    resumed = train(recipe, context=LocalContext(resume_from=resume), **setup)
    assert_same(resumed, train(recipe, **setup))


def test_a_checkpoint_continues_to_a_higher_fidelity(tmp_path):
    with pytest.raises(StoppedError):
        train(RICH, epochs=2, schedule=6, context=StopAt(12, "checkpoint", folder=tmp_path))
    resumed = train(RICH, epochs=6, context=LocalContext(resume_from=tmp_path / CHECKPOINT_NAME))
    assert_same(resumed, train(RICH, epochs=6))


@pytest.mark.parametrize(
    "changes", [{"seed": 6}, {"recipe": Recipe(batch_size=16, lr=0.2)}, {"schedule": 9}, {"genotype": (0, 1, 0)}]
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, changes):
    with pytest.raises(StoppedError):
        train(context=StopAt(5, "checkpoint", folder=tmp_path))
    with pytest.raises(CheckpointError, match="another training"):
        train(**{"context": LocalContext(resume_from=tmp_path / CHECKPOINT_NAME), **changes})


def test_checkpoints_are_as_rare_as_asked(tmp_path):
    train(context=LocalContext(folder=tmp_path, checkpoint_every_s=3600))
    assert list(tmp_path.iterdir()) == []
    train(epochs=1, context=LocalContext(folder=tmp_path, checkpoint_every_s=0))
    assert list(tmp_path.iterdir()) == [], "after the last epoch nothing is left to save"
    train(context=LocalContext(folder=tmp_path, checkpoint_every_s=0))
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT_NAME]


@pytest.mark.parametrize("stop", ["cancel", "checkpoint"])
def test_stops_at_the_next_batch(stop):
    with pytest.raises(StoppedError, match="epoch 2, batch 3 of 8") as caught:
        train(context=StopAt(10, stop))  # without a folder nothing can be written
    assert caught.value.kind == "cancelled"


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_a_loss_that_explodes_is_a_typed_failure(kind):
    with pytest.raises(NanLossError, match=r"is (nan|inf).*recipe\.lr") as caught:
        train(Recipe(lr=1e6, batch_size=16, momentum=0.0, nesterov=False, weight_decay=1.0), epochs=20, kind=kind)
    assert caught.value.kind == "nan"


def test_a_metric_that_is_not_a_number_is_a_typed_failure():
    def broken(outputs, targets):
        return math.nan

    with pytest.raises(NanLossError, match="val_broken"):
        train(problem=Problem(metrics=[broken]))


def test_out_of_memory_is_a_typed_failure_and_lets_go(monkeypatch):
    class Hungry(nn.Linear):
        def forward(self, x):
            torch.empty(2**60)

    monkeypatch.setattr(tiny, "build", lambda space, genotype, shape: Hungry(6, 2))
    with pytest.raises(OutOfMemoryError, match="batch_size"):
        train()
    monkeypatch.undo()
    assert train(epochs=1).metrics["val_accuracy"] > 0, "the process lives on"


def test_label_smoothing_as_computed_by_hand(monkeypatch):
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.tensor([2.0, -1.0]))

        def forward(self, x):
            return self.logits.expand(len(x), 2)

    monkeypatch.setattr(tiny, "build", lambda space, genotype, shape: Fixed())
    data = tiny_data()
    trained = train(Recipe(label_smoothing=0.2, batch_size=1024, lr=1e-12), epochs=1, data=data)
    log_p = torch.log_softmax(torch.tensor([2.0, -1.0]), 0).double()
    ones = data.train.targets.double().mean().item()
    shares = torch.tensor([0.8 * (1 - ones) + 0.1, 0.8 * ones + 0.1])
    assert trained.metrics["train_loss"] == pytest.approx(-(shares * log_p).sum().item(), rel=1e-5)
    share = data.validation.targets.double().mean().item()
    plain = -((1 - share) * log_p[0] + share * log_p[1]).item()
    assert trained.metrics["val_loss"] == pytest.approx(plain, rel=1e-5), "never smoothed"


def test_the_moving_average_is_what_is_measured():
    plain, averaged = train(epochs=2), train(dataclasses.replace(RECIPE, ema_decay=0.99), epochs=2)
    assert [r["train_loss"] for r in plain.curve] == [r["train_loss"] for r in averaged.curve]
    assert plain.metrics["val_loss"] != averaged.metrics["val_loss"]
    with torch.no_grad():
        assert torch.allclose(averaged.model(*averaged.data.validation.inputs), averaged.outputs)


def test_a_rate_of_the_recipe_reaches_the_network():
    own, more = train(epochs=2), train(dataclasses.replace(RECIPE, dropout=0.5), epochs=2)
    assert [m.p for m in more.model.modules() if isinstance(m, nn.Dropout)] == [0.5]
    assert [m.p for m in own.model.modules() if isinstance(m, nn.Dropout)] == [0.05]
    still = Recipe(batch_size=16, lr=1e-12, weight_decay=0.0)
    start, dropped = train(still, epochs=1), train(dataclasses.replace(still, dropout=0.5), epochs=1)
    assert torch.allclose(start.model.head.weight, dropped.model.head.weight, atol=1e-6), "both begin alike"
    assert start.metrics["train_loss"] != dropped.metrics["train_loss"]


def test_a_rate_that_no_part_of_the_network_takes_is_refused():
    with pytest.raises(SpecError, match=r"recipe\.drop_path: .*'tiny'.*fbnetv2"):
        train(dataclasses.replace(RECIPE, drop_path=0.1))


def test_gradients_are_clipped():
    free, clipped = train(epochs=1), train(dataclasses.replace(RECIPE, grad_clip=1e-6), epochs=1)
    start = train(Recipe(batch_size=16, lr=1e-12), epochs=1)
    assert torch.allclose(clipped.model.head.weight, start.model.head.weight, atol=1e-3)
    assert not torch.allclose(free.model.head.weight, start.model.head.weight, atol=1e-3)


def test_regression_with_several_inputs():
    data = tiny_data("regression", inputs=3, samples=600)
    trained = train(epochs=15, kind="regression", data=data, genotype=(2, 0, 1))
    assert trained.metrics["val_r2"] > 0.8
    assert trained.outputs.shape == (120, 1)
    assert set(trained.metrics) == {"train_loss", "val_loss", "val_mse", "val_r2"}


def test_a_last_batch_of_one_sample_is_left_out():
    data = tiny_data(samples=55)  # 33 for training: 2 batches of 16 and one sample, which batch norm refuses
    assert len(data.train) == 33
    assert len(train(data=data, epochs=2).curve) == 2


def test_the_test_split_is_measured_only_on_demand():
    hidden, shown = train(epochs=2), train(epochs=2, report_test=True)
    assert not [name for name in hidden.metrics if name.startswith("test")]
    assert set(shown.metrics) - set(hidden.metrics) == {"test_loss", "test_accuracy"}
    assert all("test_accuracy" in record for record in shown.curve)
    assert {k: v for k, v in shown.metrics.items() if not k.startswith("test")} == hidden.metrics


def test_every_sample_once_an_epoch(monkeypatch):
    seen = []

    class Watching(nn.Linear):
        def forward(self, x):
            if self.training:
                seen.extend(x[:, 0].tolist())
            return super().forward(x)

    monkeypatch.setattr(tiny, "build", lambda space, genotype, shape: Watching(6, 2))
    data = tiny_data()
    train(data=data, epochs=2)
    expected = sorted(data.train.inputs[0][:, 0].tolist())
    first, second = seen[: len(data.train)], seen[len(data.train) :]
    assert sorted(first) == sorted(second) == expected
    assert first != second
