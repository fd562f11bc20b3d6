import pytest
import torch
from torch import nn

from xnas_ray.training.ema import WeightAverage


def test_as_computed_by_hand():
    model = nn.Linear(1, 1, bias=False)
    values = [1.0, 2.0, 5.0, -3.0]
    with torch.no_grad():
        model.weight.fill_(values[0])
    average = WeightAverage(model, 0.3)
    expected = values[0]
    for step, value in enumerate(values[1:]):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update(model, step)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert average.model.weight.item() == pytest.approx(expected)


def test_buffers_are_copied_and_nothing_is_trained():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    average = WeightAverage(model, 0.9)
    model(torch.randn(8, 3) + 5)
    average.update(model, 0)
    assert torch.equal(average.model[0].running_mean, model[0].running_mean)
    assert average.model[0].num_batches_tracked.item() == 1
    assert not any(p.requires_grad for p in average.model.parameters())
    assert all(p.requires_grad for p in model.parameters())
