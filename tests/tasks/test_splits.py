import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.errors import TaskError
from xnas_ray.tasks.splits import split_indices, split_tensors


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    cuts=st.lists(st.integers(1, 8), min_size=2, max_size=4),
    seed=st.integers(0, 2**32),
)
def test_disjoint_whole_and_stratified(counts, cuts, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    fractions = [c / sum(cuts) for c in cuts]
    try:
        parts = split_indices(len(labels), fractions, seed, labels)
    except TaskError as error:
        assert "too few" in str(error)
        return
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    for fraction, part in zip(fractions, parts, strict=True):
        assert abs(len(part) - fraction * len(labels)) <= 1
        for label, count in enumerate(counts):
            assert abs((labels[part] == label).sum() - fraction * count) <= 2


def test_seeds_decide_and_are_repeatable():
    first, again, other = (split_indices(100, (0.5, 0.5), seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("fractions", [(), (0.5,), (0.5, 0.6), (1.0, 0.0), (1.5, -0.5)])
def test_fractions_must_be_shares_of_a_whole(fractions):
    with pytest.raises(TaskError, match="sum to 1"):
        split_indices(10, fractions, 0)


def test_inputs_and_targets_stay_together():
    targets = torch.arange(60) % 3
    rows = torch.arange(60.0)[:, None]
    for part in split_tensors((rows, 10 * rows), targets, (0.5, 0.5), seed=3):
        numbers = part.inputs[0][:, 0]
        assert torch.equal(part.inputs[1][:, 0], 10 * numbers)
        assert torch.equal(part.targets, numbers.long() % 3)
        assert torch.bincount(part.targets).tolist() == [10, 10, 10]
