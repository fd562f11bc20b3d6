from __future__ import annotations

import pytest

from xnas_ray.spec_forms import as_spec, dotted


def test_overrides_by_keyword():
    given = {"trials": 3, "budget__gpu_hours": 2.0, "controller": "random_search", "priority": 2, "workers": 4}
    assert dotted(given) == {
        "budget.trials": 3,
        "budget.gpu_hours": 2.0,
        "controller.name": "random_search",
        "priority": 2,
        "resources.workers": 4,
    }
    whole = {"name": "random_search", "params": {}}
    assert dotted({"controller": whole}) == {"controller": whole}


def test_spec_from_every_form(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('task = "digits"\nseed = 4\n')
    expected = as_spec({"task": "digits", "seed": 4})
    assert as_spec(path) == as_spec(str(path)) == as_spec(expected) == expected
    changed = as_spec(expected, {"budget.trials": 7, "recipe.lr": 1})
    assert changed.budget.trials == 7 and changed.recipe == {"lr": 1} and changed.seed == 4


@pytest.mark.parametrize("task", [".", "./", "./sub", "../other"])
def test_a_task_beside_the_file(tmp_path, task):
    path = tmp_path / "a" / "s.toml"
    path.parent.mkdir()
    path.write_text(f'task = "{task}"\n')
    assert as_spec(path).task == str((tmp_path / "a" / task).resolve())
    assert as_spec(path, {"task": "digits"}).task == "digits"


def test_a_task_by_name_stays(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('task = "digits"\n')
    assert as_spec(path).task == "digits"
