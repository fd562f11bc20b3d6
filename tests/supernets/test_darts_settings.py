"""The settings of gradient-based searches: the papers' values, and learning rates as torch's scheduler has them."""

from __future__ import annotations

import pytest
import torch

from xnas_ray.supernets.darts_settings import DartsSettings


def test_the_settings_of_the_paper():
    settings = DartsSettings()
    assert (settings.lr, settings.final_lr, settings.momentum, settings.weight_decay) == (0.025, 0.001, 0.9, 3e-4)
    assert (settings.architecture_lr, settings.architecture_betas) == (3e-4, (0.5, 0.999))
    assert (settings.architecture_weight_decay, settings.grad_clip, settings.nesterov) == (1e-3, 5.0, False)
    assert DartsSettings(architecture_betas=[0.9, 0.99]).architecture_betas == (0.9, 0.99)  # type: ignore[arg-type]


@pytest.mark.parametrize(("lr", "final_lr", "epochs"), [(0.025, 0.001, 50), (0.1, 0.0, 7), (0.5, 0.5, 3)])
def test_the_cosine_is_torchs(lr: float, final_lr: float, epochs: int):
    settings = DartsSettings(epochs=epochs, lr=lr, final_lr=final_lr)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=final_lr)
    for epoch in range(epochs):
        assert settings.rate(epoch) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_the_recipe_augments():
    assert DartsSettings(augment=["random_crop", "cutout"]).recipe.augment == ("random_crop", "cutout")
