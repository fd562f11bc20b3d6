"""The two parts of the training split, and batches that every rank knows."""

from __future__ import annotations

from itertools import chain

import pytest
import torch

from xnas_ray.errors import SpecError
from xnas_ray.supernets.search_data import SearchData
from xnas_ray.tasks.base import Split
from xnas_ray.training.ranks import ALONE, GroupRanks, Ranks


class OneOf(GroupRanks):
    """A rank without a process group."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size, self.device = rank, size, torch.device("cpu")


def data(ranks: Ranks = ALONE, samples: int = 41, batch_size: int = 6, seed: int = 0) -> SearchData:
    """Samples that are their own number."""
    numbers = torch.arange(samples)
    return SearchData(Split((numbers[:, None].float(),), numbers), batch_size=batch_size, seed=seed, ranks=ranks)


def numbers(batches) -> list[list[int]]:
    return [batch.targets.tolist() for batch in batches]


def test_the_parts_are_disjoint_and_the_whole():
    one = data()
    parts = [set(part.tolist()) for part in (one.weight_indices, one.architecture_indices)]
    assert parts[0].isdisjoint(parts[1]) and parts[0] | parts[1] == set(range(41))
    assert [len(part) for part in parts] == [20, 21]
    assert set(data(seed=1).weight_indices.tolist()) != parts[0]


def test_an_epoch_has_every_sample_once_and_an_order_of_its_own():
    one = data()
    part = one.weight_indices  # 20 samples: three batches of 6 and one of 2
    epochs = [numbers(one.batches(part, epoch)) for epoch in (0, 1, 0)]
    assert epochs[0] == epochs[2] != epochs[1] and len(epochs[0]) == one.steps(part) == 4
    for epoch in epochs:
        assert sorted(chain.from_iterable(epoch)) == sorted(part.tolist())
    assert numbers(one.batches(part, 0, purpose=1)) != epochs[0]


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_share_fixed_batches_or_have_whole_ones(size):
    alone = data().fixed(data().architecture_indices, 5)
    ranks = [data(OneOf(rank, size)) for rank in range(size)]
    part = ranks[0].architecture_indices
    shared = [one.fixed(part, 5) for one in ranks]
    dealt = [one.dealt(part, 5) for one in ranks]
    for number, batch in enumerate(alone):
        parts = [own[number] for own in shared]
        assert list(chain.from_iterable(numbers(parts))) == batch.targets.tolist() and all(p.whole == 6 for p in parts)
        own = dealt[number % size][number // size]
        assert own.targets.tolist() == batch.targets.tolist() and own.whole == len(own.targets)
    assert sum(len(batches) for batches in dealt) == 5
    assert not data(OneOf(2, 3)).dealt(part, 2), "more ranks than batches"


def test_fixed_batches_wrap_around_and_are_always_the_same():
    one = data()
    part = one.architecture_indices
    batches = numbers(one.fixed(part, 7, 6))
    assert batches == numbers(one.fixed(part, 7, 6)) and {len(batch) for batch in batches} == {6}
    together = list(chain.from_iterable(batches))
    assert set(together) == set(part.tolist()) and together[21:] == together[:21], "42 of 21 samples"
    assert numbers(one.fixed(part, 1, 1000)) == [together[:21]], "a batch is no larger than the part"


def test_too_few_samples_for_the_ranks():
    with pytest.raises(SpecError, match=r"batch_size: .* leave a rank without two samples"):
        data(OneOf(0, 4), batch_size=6)
