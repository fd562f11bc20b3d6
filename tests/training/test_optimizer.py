import pytest
import torch
from torch import nn

from xnas_ray.training.optimizer import make_optimizer
from xnas_ray.training.recipe import OPTIMIZERS, Recipe


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.BatchNorm1d(8), nn.Linear(8, 2))


def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
    for _ in range(5):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return list(model.parameters())


REFERENCE = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.8, 0.999), weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, betas=(0.8, 0.999), weight_decay=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.05, momentum=0.8, weight_decay=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fused_optimizers_step_as_torch_does_plainly(name):
    ours, plain = network(), network()
    recipe = Recipe(optimizer=name, lr=0.05, momentum=0.8, weight_decay=0.01)
    for a, b in zip(
        train(ours, make_optimizer(ours, recipe)), train(plain, REFERENCE[name](plain.parameters())), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-6)


def test_rmsprop_as_written_down():
    """Two steps on one weight with gradients 2 and -1, by hand."""
    weight = nn.Parameter(torch.tensor([[1.0]]))
    recipe = Recipe(optimizer="rmsprop", lr=0.1, momentum=0.5, weight_decay=0.0, rmsprop_alpha=0.9, rmsprop_eps=1e-3)
    module = nn.Module()
    module.weight = weight
    optimizer = make_optimizer(module, recipe)
    expected, square, velocity = 1.0, 0.0, 0.0
    for gradient in (2.0, -1.0):
        weight.grad = torch.tensor([[gradient]])
        optimizer.step()
        square = 0.9 * square + 0.1 * gradient**2
        velocity = 0.5 * velocity + gradient / (square**0.5 + 1e-3)
        expected -= 0.1 * velocity
        assert weight.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_batch_norm_without_decay_trains_as_if_there_were_none_for_it(name):
    """Of every optimizer: norms and biases as with weight decay 0, weights as with it."""
    gradients = [
        torch.randn(p.shape, generator=torch.Generator().manual_seed(i)) for i, p in enumerate(all_of(network()))
    ]

    def stepped(**settings):
        model = network()
        optimizer = make_optimizer(model, Recipe(optimizer=name, lr=0.05, **settings))
        for _ in range(3):
            for parameter, gradient in zip(all_of(model), gradients, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
        return all_of(model)

    spared = stepped(weight_decay=0.2, decay_norm_and_bias=False)
    none, full = stepped(weight_decay=0.0), stepped(weight_decay=0.2)
    for mine, without, decayed in zip(spared, none, full, strict=True):
        assert torch.allclose(mine, without if mine.dim() == 1 else decayed, atol=1e-7)
        assert not torch.allclose(without, decayed, atol=1e-5)


def all_of(model: nn.Module) -> list[nn.Parameter]:
    return list(model.parameters())


def test_biases_and_norms_can_be_spared_from_decay():
    model = network()
    optimizer = make_optimizer(model, Recipe(lr=0.1, weight_decay=0.5, decay_norm_and_bias=False))
    before = [p.clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.equal(old, new) == (old.dim() == 1 or not old.any())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(before)
