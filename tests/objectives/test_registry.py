import subprocess
import sys

import pytest

from xnas_ray.errors import UnknownNameError
from xnas_ray.objectives.base import Objective
from xnas_ray.objectives.names import OBJECTIVE_NAMES
from xnas_ray.objectives.registry import OBJECTIVES, create_objectives, list_objectives


def test_names_directions_and_units_are_those_of_the_classes():
    assert set(OBJECTIVE_NAMES) == set(list_objectives())
    for objective in create_objectives(list(OBJECTIVE_NAMES), {"latency_table_ms": {"table": "data/phone.json"}}):
        entry = OBJECTIVE_NAMES[objective.name]
        assert (objective.name, objective.direction, objective.unit) == (entry.name, entry.direction, entry.unit)


def test_names_need_no_torch():
    code = "import sys, xnas_ray.objectives.names; assert not {'torch', 'pandas', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nearest_spelling_and_parameters():
    with pytest.raises(UnknownNameError, match="Did you mean 'val_accuracy'") as caught:
        create_objectives(["val_acuracy"])
    assert caught.value.field == "objectives"
    (latency,) = create_objectives(["latency_ms"], {"latency_ms": {"batch_size": 8}})
    assert latency.batch_size == 8
    with pytest.raises(UnknownNameError, match="batchsize"):
        create_objectives(["latency_ms"], {"latency_ms": {"batchsize": 8}})


def test_an_own_objective_is_named_by_its_module():
    assert OBJECTIVES.get("xnas_ray.objectives.cost:Flops").name == "flops"
    assert issubclass(OBJECTIVES.get("flops"), Objective)
