import pytest
import torch

from xnas_ray.testing.tiny import tiny_data, tiny_problem, tiny_trained
from xnas_ray.training.recipe import Recipe
from xnas_ray.training.trained import Evaluator


def test_outputs_and_metrics_belong_to_the_model_at_the_end():
    trained = tiny_trained(epochs=3)
    with torch.no_grad():
        expected = trained.model(*trained.data.validation.inputs)
    assert torch.allclose(trained.outputs, expected)
    accuracy = 100 * (expected.argmax(1) == trained.targets).float().mean().item()
    assert trained.metrics["val_accuracy"] == pytest.approx(accuracy)
    loss = torch.nn.functional.cross_entropy(expected, trained.targets).item()
    assert trained.metrics["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert trained.cost.params == sum(p.numel() for p in trained.model.parameters())
    assert not trained.model.training
    assert all(p.grad is None for p in trained.model.parameters())


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_batch_size_of_evaluations_does_not_matter(size):
    trained = tiny_trained()
    evaluator = Evaluator(tiny_problem(), Recipe(eval_batch_size=size), torch.device("cpu"))
    assert torch.allclose(evaluator.predict(trained.model, trained.data.validation), trained.outputs, atol=1e-6)


def test_predicting_keeps_the_mode_and_needs_no_gradient():
    trained = tiny_trained()
    trained.model.train()
    outputs = Evaluator(tiny_problem(), Recipe(), torch.device("cpu")).predict(trained.model, tiny_data().test)
    assert trained.model.training
    assert not outputs.requires_grad
    assert not outputs.is_inference()
