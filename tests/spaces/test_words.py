"""Texts of spaces of layers are split, and what is wrong is named with its place."""

from __future__ import annotations

import pytest

from xnas_ray.errors import GenotypeError
from xnas_ray.spaces.words import option_index, split_parts, split_words


def test_parts_words_and_options():
    assert split_parts(" r8 | k3 c4 | k5 c8\n", 2, "layers", "x") == ["r8", "k3 c4", "k5 c8"]
    assert split_words("k3 c4", 2, "layer 0", "k3 c4") == ["k3", "c4"]
    assert option_index("k5", ("k3", "k5"), "layer 1") == 1


@pytest.mark.parametrize("text", ["r8", "r8 | k3", "r8 | k3 | k3 | k3", "", None, 3])
def test_another_number_of_parts(text):
    with pytest.raises(GenotypeError, match="the space has 2") as caught:
        split_parts(text, 2, "layers", "r8 | k3 | k3")
    assert "r8 | k3 | k3" in str(caught.value)


def test_another_number_of_words_and_an_unknown_one():
    with pytest.raises(GenotypeError, match=r"stage 1 is 'k3  c4'"):
        split_words("k3  c4", 2, "stage 1", "k3 c4")
    with pytest.raises(GenotypeError, match="stage 1 has 'k4'") as caught:
        option_index("k4", ["k3", "k5"], "stage 1")
    assert "k5" in str(caught.value)
