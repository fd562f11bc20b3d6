"""AutoAugment on batches: torchvision's, image by image, whatever the units of the pixels."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from xnas_ray.errors import SpecError
from xnas_ray.spaces.base import DataShape
from xnas_ray.training.augment import Augmentation, stream_seed
from xnas_ray.training.autoaugment import Policy, pixel_range
from xnas_ray.training.recipe import POLICIES, Recipe

MEAN = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)
DEVIATION = torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
CPU = torch.device("cpu")


def pixels(n: int = 64, channels: int = 3, side: int = 12) -> torch.Tensor:
    """Whole numbers of 0..255, both among them in every channel."""
    images = torch.randint(256, (n, channels, side, side), generator=torch.Generator().manual_seed(1))
    images[0, :, 0, 0], images[0, :, 0, 1] = 0, 255
    return images.to(torch.uint8)


def normalised(images: torch.Tensor) -> torch.Tensor:
    return (images.float() / 255 - MEAN[: images.shape[1]]) / DEVIATION[: images.shape[1]]


def one_by_one(policy: Policy, images: torch.Tensor, seed: int) -> torch.Tensor:
    """Each image by itself, by torchvision's own operations in torchvision's own order."""
    results = []
    for image, drawn in zip(images, policy.draw(len(images), seed), strict=True):
        number, applied, signs = drawn

        class Fixed(AutoAugment):
            @staticmethod
            def get_params(count, drawn=(number, applied, signs)):
                chosen, on, positive = drawn
                return chosen, torch.tensor([0.0 if a else 1.1 for a in on]), torch.tensor(positive).int()

        results.append(Fixed(AutoAugmentPolicy(policy.name), fill=policy.fill)(image))
    return torch.stack(results)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_what_its_images_are_one_by_one(name: str, channels: int):
    images = pixels(200, channels)
    given = normalised(images)
    policy = Policy(name, channels, pixel_range(given))
    found = policy(given, seed=3)
    assert torch.allclose(found, normalised(one_by_one(policy, images, 3)), atol=1e-5)
    assert not torch.allclose(found, given, atol=0.1)


def test_images_without_an_operation_are_untouched():
    given = normalised(pixels(200))
    policy = Policy("cifar10", 3, pixel_range(given))
    kept = [i for i, (_, applied, _) in enumerate(policy.draw(200, 0)) if not any(applied)]
    assert 0 < len(kept) < 100
    assert torch.equal(policy(given, 0)[kept], given[kept])


def test_sub_policies_are_drawn_evenly_and_operations_as_often_as_they_say():
    policy = Policy("imagenet", 3, pixel_range(normalised(pixels())))
    drawn = policy.draw(50_000, 0)
    policies = AutoAugment(AutoAugmentPolicy.IMAGENET).policies
    for number, operations in enumerate(policies):
        mine = [applied for one, applied, _ in drawn if one == number]
        assert len(mine) == pytest.approx(2000, abs=250)
        for place, (_, chance, _) in enumerate(operations):
            assert sum(applied[place] for applied in mine) / len(mine) == pytest.approx(chance, abs=0.06)


@pytest.mark.parametrize("scale", ["0..1", "0..255", "normalised"])
def test_the_units_of_the_pixels_do_not_matter(scale: str):
    images = pixels()
    forms = {"0..1": images.float() / 255, "0..255": images.float(), "normalised": normalised(images)}
    given = forms[scale]
    low, high = pixel_range(given)
    policy = Policy("svhn", 3, (low, high))
    policy.fill = [0.0] * 3  # the mean of normalised images is not 0 in the other units
    found = (policy(given, 1) - low.view(3, 1, 1)) / (high - low).view(3, 1, 1) * 255
    expected = one_by_one(policy, images, 1)
    assert torch.allclose(found, expected.float(), atol=1e-2)


def test_what_comes_in_is_zero_as_in_other_augmentations():
    given = normalised(pixels())
    policy = Policy("cifar10", 3, pixel_range(given))
    low, high = pixel_range(given)
    assert torch.allclose(torch.tensor(policy.fill) / 255 * (high - low) + low, torch.zeros(3), atol=0.01)


def test_a_function_of_seed_epoch_and_batch_that_changes_no_other_augmentation():
    given = normalised(pixels())
    shape = DataShape(((3, 12, 12),), 10)
    both = Recipe(augment=["random_crop", "autoaugment", "cutout"], crop_padding=2, cutout_size=3)
    augment = [Augmentation(both, shape, 7, CPU, pixel_range(given)) for _ in range(2)]
    augment[1]((given,), 5, 5)
    (first,), (second,) = augment[0]((given,), 1, 2)[0], augment[1]((given,), 1, 2)[0]
    assert torch.equal(first, second)
    assert not torch.equal(first, augment[0]((given,), 1, 3)[0][0])
    alone = Augmentation(Recipe(augment=["random_crop", "cutout"], crop_padding=2, cutout_size=3), shape, 7, CPU)
    (cropped,) = alone((given,), 1, 2)[0]
    drawn = augment[0].policy.draw(len(given), stream_seed(7, Augmentation.POLICY_PURPOSE, 1, 2))
    kept = [i for i, (_, applied, _) in enumerate(drawn) if not any(applied)]
    assert kept and torch.equal(first[kept], cropped[kept])


def test_images_stay_as_they_were_given():
    given = normalised(pixels())
    before = given.clone()
    Policy("imagenet", 3, pixel_range(given))(given, 0)
    assert torch.equal(given, before)


def test_a_channel_of_one_value_is_no_division_by_zero():
    given = torch.zeros(8, 1, 6, 6)
    assert torch.isfinite(Policy("imagenet", 1, pixel_range(given))(given, 0)).all()


@pytest.mark.parametrize("shape", [((2, 8, 8),), ((10,),), ((3, 8, 8), (3, 8, 8))])
def test_other_inputs_are_refused(shape: tuple[tuple[int, ...], ...]):
    recipe = Recipe(augment=["autoaugment"])
    channels = torch.zeros(shape[0][0]), torch.ones(shape[0][0])
    with pytest.raises(SpecError, match=r"recipe\.augment"):
        Augmentation(recipe, DataShape(shape, 2), 0, CPU, channels)
    with pytest.raises(SpecError, match="needs images"):
        pixel_range(torch.zeros(4, 10))


def test_where_the_range_of_the_pixels_is_unknown_it_is_refused():
    with pytest.raises(SpecError, match="not possible here"):
        Augmentation(Recipe(augment=["autoaugment"]), DataShape(((3, 8, 8),), 2), 0, CPU)
