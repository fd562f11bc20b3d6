import math

import pytest
import torch

from xnas_ray.training.recipe import Recipe
from xnas_ray.training.schedule import Schedule

STEPS, EPOCHS = 13, 6


def torch_rates(make, lr=0.3):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    schedule = make(optimizer)
    rates = []
    for _ in range(STEPS * EPOCHS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def ours(**settings):
    schedule = Schedule(Recipe(lr=0.3, **settings), STEPS, EPOCHS)
    return [schedule(step) for step in range(STEPS * EPOCHS)]


def test_cosine_as_torch():
    expected = torch_rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS * EPOCHS, eta_min=0.03))
    assert ours(schedule="cosine", final_lr=0.1) == pytest.approx(expected, rel=1e-9)


def test_step_as_torch():
    places = [math.ceil(STEPS * EPOCHS * share) for share in (0.5, 0.75)]
    expected = torch_rates(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, places, gamma=0.2))
    assert ours(schedule="step", step_at=[0.5, 0.75], step_factor=0.2) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("peak", [0.1, 0.3, 0.5])
def test_onecycle_as_torch(peak):
    expected = torch_rates(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, max_lr=0.3, total_steps=STEPS * EPOCHS, pct_start=peak, cycle_momentum=False
        )
    )[: STEPS * EPOCHS]
    assert ours(schedule="onecycle", onecycle_peak=peak) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("decay", [0.963, 0.9875, 1.0])
def test_exponential_as_torch_once_an_epoch(decay):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, decay)
    expected = []
    for _ in range(EPOCHS):
        expected += [optimizer.param_groups[0]["lr"]] * STEPS
        optimizer.step()
        schedule.step()
    assert ours(schedule="exponential", lr_decay=decay) == pytest.approx(expected, rel=1e-9)


def test_exponential_decays_from_the_end_of_the_warmup():
    rates, ramp = ours(schedule="exponential", lr_decay=0.5, warmup_epochs=1.5), round(1.5 * STEPS)
    assert rates[:ramp] == pytest.approx([0.3 * (i + 1) / ramp for i in range(ramp)])
    assert rates[ramp : ramp + STEPS + 1] == pytest.approx([0.3] * STEPS + [0.15])


def test_constant():
    assert set(ours(schedule="constant")) == {0.3}


def test_warmup_rises_linearly_and_the_cosine_starts_at_its_top():
    rates = ours(schedule="cosine", warmup_epochs=2)
    ramp = 2 * STEPS
    assert rates[:ramp] == pytest.approx([0.3 * (i + 1) / ramp for i in range(ramp)])
    assert rates[ramp] == 0.3
    assert rates[ramp + (STEPS * EPOCHS - ramp) // 2] == pytest.approx(0.15)


def test_a_warmup_longer_than_the_schedule_stays_within_it():
    rates = ours(schedule="cosine", warmup_epochs=100)
    assert rates[-1] == pytest.approx(0.3)
    assert rates == sorted(rates)
