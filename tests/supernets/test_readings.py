"""What a search reads off its supernet: names, tables of settings, labels."""

from __future__ import annotations

from typing import Any

import pytest

from xnas_ray.errors import SpecError, UnknownNameError
from xnas_ray.supernets.readings import Reading, readings


def test_methods_come_under_their_names_or_labels():
    found = readings(["magnitude", {"method": "influential_magnitude", "batches": 30, "label": "im_30"}])
    assert list(found) == ["magnitude", "im_30"]
    assert found["im_30"] == Reading("im_30", "influential_magnitude", {"batches": 30})


@pytest.mark.parametrize(
    ("given", "error", "named"),
    [
        ("magnitude", SpecError, "list of methods.*perturbation"),
        ([], SpecError, "list of methods"),
        ([3], SpecError, "3 names no method"),
        ([{"batches": 3}], SpecError, "names no method"),
        (["magnitude", "magnitude"], SpecError, "two methods.*label"),
        (["magnitud"], UnknownNameError, "Did you mean 'magnitude'"),
        ([{"method": "influence", "batch": 3}], UnknownNameError, "Did you mean 'batches'"),
        ([{"method": "influence", "batches": 0}], SpecError, "batches"),
    ],
)
def test_mistakes_show_before_anything_is_trained(given: Any, error: type[Exception], named: str):
    with pytest.raises(error, match=named):
        readings(given)
