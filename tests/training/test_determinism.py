import random

import numpy as np
import torch

from xnas_ray.training.determinism import isolated_randomness, random_state, set_random_state

CPU = torch.device("cpu")


def draw() -> tuple[float, float, float, float]:
    return torch.rand(()).item(), float(np.random.rand()), float(np.random.randn()), random.gauss(0, 1)


def test_same_numbers_inside_whatever_came_before():
    found = []
    for noise in range(3):
        for _ in range(noise):
            draw()
        with isolated_randomness(2**62 + 7, CPU):
            found.append((draw(), draw()))
    assert found[0] == found[1] == found[2]


def test_outside_nothing_changes_even_after_an_error():
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = draw()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    try:
        with isolated_randomness(5, CPU):
            draw()
            raise KeyError
    except KeyError:
        pass
    assert draw() == expected


def test_state_survives_a_checkpoint(tmp_path):
    draw()
    torch.save(random_state(CPU), tmp_path / "state.pt")
    expected = draw()
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True), CPU)
    assert draw() == expected
