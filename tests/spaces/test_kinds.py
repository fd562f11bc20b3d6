"""What is made for one kind of space takes its parts too, and refuses others."""

from __future__ import annotations

import pytest

from xnas_ray.errors import SpecError
from xnas_ray.spaces.darts import DARTS
from xnas_ray.spaces.defined import DefinedSpace
from xnas_ray.spaces.fbnetv2 import FBNetV2
from xnas_ray.spaces.kinds import whole_space
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spaces.wrapped import RestrictedSpace


def test_a_part_of_a_space_is_of_its_kind():
    whole = NASBench201()
    part = RestrictedSpace(RestrictedSpace(whole, [(1, 2, 3, 4, 0, 1), (0,) * 6]), [(0,) * 6])
    assert whole_space(part, NASBench201) is whole and whole_space(whole, NASBench201) is whole


def test_a_subclass_is_of_the_kind():
    space = FBNetV2()
    assert whole_space(space, DefinedSpace) is space


@pytest.mark.parametrize(("kind", "named"), [(DARTS, "'darts'"), (DefinedSpace, "'DefinedSpace'")])
def test_another_space_is_refused(kind, named):
    with pytest.raises(SpecError, match=rf"space\.name.*{named}.*'nasbench201'"):
        whole_space(NASBench201(), kind)
