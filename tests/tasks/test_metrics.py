import numpy as np
import pytest
import torch
from sklearn.metrics import mean_squared_error, r2_score, top_k_accuracy_score

from xnas_ray.errors import TaskError
from xnas_ray.tasks.metrics import measure, mse, r2, resolve_loss, resolve_metrics, top1, top5


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(200, 8, generator=generator), torch.randint(8, (200,), generator=generator)


def test_top1_and_top5_as_scikit_learn(logits):
    outputs, targets = logits
    for metric, k in ((top1, 1), (top5, 5)):
        expected = 100 * top_k_accuracy_score(targets.numpy(), outputs.numpy(), k=k)
        assert metric(outputs, targets) == pytest.approx(expected)


def test_top5_of_three_classes_is_everything():
    assert top5(torch.eye(3), torch.tensor([2, 0, 1])) == 100.0


@pytest.mark.parametrize("columns", [1, 3])
def test_regression_metrics_as_scikit_learn(columns):
    rng = np.random.default_rng(0)
    targets = rng.standard_normal((100, columns))
    outputs = targets + 0.3 * rng.standard_normal((100, columns))
    t = torch.from_numpy(targets if columns > 1 else targets[:, 0])
    o = torch.from_numpy(outputs)
    assert mse(o, t) == pytest.approx(mean_squared_error(targets, outputs))
    assert r2(o, t) == pytest.approx(r2_score(targets, outputs))


def test_r2_of_a_constant_target_is_refused():
    with pytest.raises(TaskError, match="constant"):
        r2(torch.zeros(3, 1), torch.ones(3))


def test_a_column_of_outputs_is_not_broadcast_against_the_targets():
    outputs, targets = torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0])
    assert mse(outputs, targets) == 2.0
    assert resolve_loss("mse")(outputs, targets).item() == 2.0


def test_metrics_are_recorded_under_their_names(logits):
    def margin(outputs, targets):
        return outputs.max() - outputs.min()

    found = measure(resolve_metrics(["top1", margin]), *logits, "val")
    assert list(found) == ["val_accuracy", "val_margin"]
    named = measure(resolve_metrics({"best": "top1", "spread": margin}), *logits, "val")
    assert named == {"val_best": found["val_accuracy"], "val_spread": found["val_margin"]}


def test_a_metric_cannot_take_the_name_of_the_loss():
    with pytest.raises(TaskError, match="taken"):
        resolve_metrics({"loss": "mse"})
