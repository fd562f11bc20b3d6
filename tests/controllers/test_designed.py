"""What trains designs proposes each of them once a seed, and nothing else."""

from __future__ import annotations

import pytest

from xnas_ray.controllers.base import Goal, Horizon
from xnas_ray.controllers.designed import Designed
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.errors import SpecError
from xnas_ray.messages import Outcome, TrialStatus
from xnas_ray.spaces.nasbench201 import NASBench201

SPACE = NASBench201(cells_per_stage=1, channels=4, stages=1)
GOALS = [Goal("val_accuracy", True)]
PREDICTED = {"mean": 93.5, "std": 0.2, "epoch": 4}
SAME = (1, 3, 0, 3, 0, 3), (3, 3, 0, 3, 0, 3)  # nothing reads the node whose input differs


def given(*genotypes: tuple[int, ...]) -> list[dict[str, object]]:
    return [
        {"genotype": list(g), "budget": {"flops": 1e6 * i}, "predicted": PREDICTED} for i, g in enumerate(genotypes)
    ]


def designed(candidates: object, **params: object) -> Designed:
    return Designed(SPACE, GOALS, seed=0, horizon=Horizon(5, 7), candidates=candidates, **params)  # type: ignore[arg-type]


def test_each_once_a_seed_in_their_order():
    one, two = (3, 3, 3, 3, 3, 3), (2, 3, 3, 3, 3, 1)
    controller = designed(given(one, two), seeds=2)
    asked = [controller.propose() for _ in range(5)]
    assert asked[-1] is None
    assert [(c.genotype, c.replicate) for c in asked[:4]] == [(one, 0), (two, 0), (one, 1), (two, 1)]
    assert all((c.fidelity, c.schedule_epochs) == (5, 7) for c in asked[:4])
    assert asked[1].origin == {"stage": "designed", "budget": {"flops": 1e6}, "predicted": PREDICTED}


def test_what_is_best_for_two_budgets_is_trained_once():
    assert SPACE.key(SAME[0]) == SPACE.key(SAME[1])
    controller = designed(given(*SAME))
    assert controller.propose().genotype == SPACE.canonical(SAME[0]) and controller.propose() is None


def test_replayed_it_goes_on():
    first = designed(given((3,) * 6, (2,) * 6, (1,) * 6))
    asked = [first.propose(), first.propose()]
    again = designed(given((3,) * 6, (2,) * 6, (1,) * 6))
    again.tell(Outcome(1, asked[1], TrialStatus.COMPLETED, {"val_accuracy": 90.0}))
    again.adopt(asked[0])
    assert again.propose() == first.propose()


@pytest.mark.parametrize(
    ("candidates", "params", "field"),
    [
        ([3], {}, "candidates.0"),
        ([{"genotype": [0] * 6}], {}, "candidates.0"),
        ([*given((0,) * 6), *given((0,) * 5)], {}, r"candidates.1.genotype"),
        (given((9,) * 6), {}, "candidates.0.genotype"),
        ([{**given((0,) * 6)[0], "predicted": 93.5}], {}, "candidates.0.predicted"),
        ([{**given((0,) * 6)[0], "budget": None}], {}, "candidates.0.budget"),
        (given((0,) * 6), {"seeds": 0}, "seeds"),
    ],
)
def test_mistakes_are_named(candidates, params, field):
    with pytest.raises(SpecError, match=f"^controller.params.{field}: "):
        designed(candidates, **params)


def test_it_is_found_by_its_path_alone():
    assert not [name for name in CONTROLLERS.names() if "design" in name]
    kind = CONTROLLERS.get("xnas_ray.controllers.designed:Designed")
    assert kind is Designed
