"""Names of differentiable searches, and settings that are refused before anything is trained."""

from __future__ import annotations

import pytest

from xnas_ray.errors import SpecError, UnknownNameError
from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.supernets.darts import DartsSearch
from xnas_ray.supernets.pc_darts import PcDartsSearch
from xnas_ray.supernets.registry import SEARCHES, check_settings

SPACE = NASBench201(cells_per_stage=1, channels=4, stages=1)
SHAPE = DataShape(((1, 4, 4),), 3)


def test_names():
    assert SEARCHES.names() == ["darts", "dmasking", "pc_darts"]
    assert SEARCHES.get("pc_darts") is PcDartsSearch
    assert SEARCHES.get("xnas_ray.supernets.darts:DartsSearch") is DartsSearch


def test_a_search_of_somebody_else():
    check_settings(f"{PcDartsSearch.__module__}:PcDartsSearch", {"partial": 2, "warmup_epochs": 1}, SPACE, SHAPE)


@pytest.mark.parametrize(
    ("name", "params", "error", "said"),
    [
        ("dart", {}, UnknownNameError, r"controller\.name.*'darts'"),
        ("no.module:Search", {}, UnknownNameError, r"cannot import differentiable search"),
        ("darts", {"partials": 2}, UnknownNameError, r"controller\.params.*'partial'"),
        ("pc_darts", {"partials": 2}, UnknownNameError, r"controller\.params.*'partial'"),
        ("darts", {"weight_share": 1}, SpecError, r"controller\.params\.weight_share"),
        ("pc_darts", {"batch_size": True}, SpecError, r"controller\.params\.batch_size"),
    ],
)
def test_mistakes_are_named(name, params, error, said):
    with pytest.raises(error, match=said):
        check_settings(name, params, SPACE, SHAPE)
