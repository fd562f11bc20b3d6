import pytest
import torch

from xnas_ray.errors import ObjectiveError
from xnas_ray.objectives import timing
from xnas_ray.objectives.latency import Latency
from xnas_ray.testing.tiny import tiny_trained


@pytest.fixture
def trained():
    return tiny_trained()


def test_the_median_of_the_warmed_runs(trained, monkeypatch):
    ticks = iter([0, 50, 0, 40, 0, 3, 0, 1, 0, 2])  # two warm-up passes, then 3, 1 and 2 seconds
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks))
    objective = Latency(repeats=3, warmup=2)
    assert objective.measure(trained) == 2000.0
    (row,) = objective.tables(trained)["latency"].to_dict("records")
    assert (row["median_ms"], row["repeats"], row["batch_size"]) == (2000.0, 3, 1)
    assert row["device"].startswith("cpu")
    assert row["lower_quartile_ms"] <= row["median_ms"] <= row["upper_quartile_ms"]


@pytest.mark.parametrize("size", [1, 7, 100])
def test_passes_have_the_batch_size_asked_for(trained, size):
    shapes = []
    trained.model.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape)))
    Latency(batch_size=size, repeats=4, warmup=1).measure(trained)
    assert shapes == [(size, 2)] * 5  # 100 is more than the 40 validation samples


def test_measured_in_evaluation_mode_and_mode_kept(trained):
    modes = []
    trained.model.register_forward_hook(lambda module, inputs, output: modes.append(module.training))
    trained.model.train()
    Latency(repeats=1, warmup=0).measure(trained)
    assert modes == [False]
    assert trained.model.training
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("params", [{"batch_size": 0}, {"repeats": 0}, {"warmup": -1}, {"repeats": 1.5}])
def test_parameters_are_checked(params):
    (name,) = params
    with pytest.raises(ObjectiveError) as caught:
        Latency(**params)
    assert caught.value.field == f"latency_ms.{name}"
