import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.errors import SpecError
from xnas_ray.spaces.base import DataShape
from xnas_ray.training.augment import Augmentation, cutout, horizontal_flip, mixup_pairs, random_crop, stream_seed
from xnas_ray.training.recipe import Recipe

SHAPE = DataShape(inputs=((2, 8, 8),), outputs=10)
ALL = ["random_crop", "horizontal_flip", "cutout", "mixup"]


def images(n: int = 64) -> torch.Tensor:
    return torch.rand(n, 2, 8, 8, generator=torch.Generator().manual_seed(1)) + 1.0


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_crop_is_a_shift_with_zeros_coming_in():
    batch = images()
    padded = torch.nn.functional.pad(batch, (2, 2, 2, 2))
    shifts = set()
    for before, after in zip(padded, random_crop(batch, 2, generator()), strict=True):
        found = [(y, x) for y in range(5) for x in range(5) if torch.equal(before[:, y : y + 8, x : x + 8], after)]
        assert len(found) == 1
        shifts.update(found)
    assert len(shifts) > 15, "shifts differ between the images of a batch"


def test_about_half_of_the_images_are_mirrored_and_the_others_untouched():
    batch = images(400)
    flipped = horizontal_flip(batch, generator())
    mirrored = (flipped == batch.flip(3)).flatten(1).all(1)
    untouched = (flipped == batch).flatten(1).all(1)
    assert bool((mirrored ^ untouched).all())
    assert 150 < int(mirrored.sum()) < 250


@pytest.mark.parametrize("size", [1, 3, 4])
def test_cutout_blanks_one_square_in_every_channel(size):
    batch = images(200)
    cut = cutout(batch, size, generator())
    blank = cut == 0
    assert torch.equal(blank[:, 0], blank[:, 1])
    assert torch.equal(cut[~blank], batch[~blank])
    for mask in blank[:, 0]:
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        assert 1 <= len(rows) <= size
        assert 1 <= len(columns) <= size
        assert int(mask.sum()) == len(rows) * len(columns), "a rectangle"
    assert int(blank[:, 0].flatten(1).sum(1).max()) == size * size


def test_mixup_mixes_pairs_with_the_share_that_it_gives():
    augment = Augmentation(Recipe(augment=["mixup"], mixup_alpha=1.0), SHAPE, 0, torch.device("cpu"))
    batch = images(16)
    (mixed,), pairing = augment((batch,), epoch=1, batch=2)
    assert pairing is not None
    partners, share = pairing
    assert sorted(partners.tolist()) == list(range(16))
    assert 0.5 <= share <= 1
    assert torch.allclose(mixed, share * batch + (1 - share) * batch[partners])


def test_shares_follow_the_beta_distribution():
    shares = [mixup_pairs(4, 1.0, generator(), seed)[1] for seed in range(2000)]
    assert sum(shares) / len(shares) == pytest.approx(0.75, abs=0.01)  # of max(u, 1 - u), u uniform


@given(seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 500), batch=st.integers(0, 10_000))
def test_a_function_of_seed_epoch_and_batch(seed, epoch, batch):
    recipe = Recipe(augment=ALL, crop_padding=2, cutout_size=3)
    first, second = (Augmentation(recipe, SHAPE, seed, torch.device("cpu")) for _ in range(2))
    second((images(5),), epoch + 1, batch)  # what was drawn before does not matter
    (a,), pair_a = first((images(5),), epoch, batch)
    (b,), pair_b = second((images(5),), epoch, batch)
    assert torch.equal(a, b)
    assert pair_a is not None
    assert pair_b is not None
    assert torch.equal(pair_a[0], pair_b[0])
    assert pair_a[1] == pair_b[1]


def test_every_batch_of_every_epoch_is_augmented_differently():
    augment = Augmentation(Recipe(augment=["random_crop"]), SHAPE, 3, torch.device("cpu"))
    crops = [augment((images(8),), epoch, batch)[0][0] for epoch in range(3) for batch in range(3)]
    assert not any(torch.equal(a, b) for i, a in enumerate(crops) for b in crops[:i])


def test_inputs_are_not_changed_in_place():
    recipe, batch = Recipe(augment=ALL), images(8)
    before = batch.clone()
    Augmentation(recipe, SHAPE, 0, torch.device("cpu"))((batch,), 0, 0)
    assert torch.equal(batch, before)


def test_streams_differ_by_every_counter():
    seeds = {stream_seed(s, p, e, b) for s in range(5) for p in range(3) for e in range(10) for b in range(10)}
    assert len(seeds) == 5 * 3 * 10 * 10
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("inputs", [((10,),), ((1, 8, 8), (1, 8, 8))])
def test_images_only(inputs):
    with pytest.raises(SpecError, match=r"recipe\.augment"):
        Augmentation(Recipe(augment=["cutout"]), DataShape(inputs, 2), 0, torch.device("cpu"))
