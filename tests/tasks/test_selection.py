import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.errors import TaskError
from xnas_ray.tasks.selection import Selection

FOUND = [f"n{number:08d}" for number in range(50)]


def test_all_by_default():
    assert Selection().choose(reversed(FOUND)) == tuple(FOUND)
    assert Selection().images(np.zeros(5)).tolist() == [0, 1, 2, 3, 4]


def test_a_seeded_subset_is_always_the_same_and_another_seed_another():
    first = Selection(classes=10).choose(FOUND)
    assert len(first) == 10 and first == tuple(sorted(first)) and first == Selection(classes=10).choose(FOUND[::-1])
    assert first != Selection(classes=10, seed=1).choose(FOUND)
    assert set(first) <= set(Selection(classes=20).choose(FOUND)), "a larger subset holds the smaller one"


def test_classes_by_name():
    assert Selection(classes=[FOUND[7], FOUND[3]]).choose(FOUND) == (FOUND[3], FOUND[7])
    with pytest.raises(TaskError, match="no class 'n0000007'"):
        Selection(classes=["n0000007", FOUND[3]]).choose(FOUND)
    with pytest.raises(TaskError, match="twice"):
        Selection(classes=[FOUND[3], FOUND[3]]).choose(FOUND)


@given(share=st.floats(0.05, 0.9), classes=st.integers(8, 50), seed=st.integers(0, 99))
def test_kept_and_withheld_classes_make_the_whole(share, classes, seed):
    settings = {"classes": classes, "withheld_classes": share, "seed": seed}
    whole = set(Selection(classes=classes, seed=seed).choose(FOUND))
    count = round(share * classes)
    if count < 2 or classes - count < 2:
        return
    kept, withheld = (set(Selection(**settings, part=part).choose(FOUND)) for part in ("kept", "withheld"))
    assert kept | withheld == whole and not kept & withheld and len(withheld) == count


def test_withheld_classes_by_name():
    given = {"withheld_classes": FOUND[:2]}
    assert Selection(**given).choose(FOUND) == tuple(FOUND[2:])
    assert Selection(**given, part="withheld").choose(FOUND) == tuple(FOUND[:2])


def test_withheld_images_are_a_share_of_every_class():
    labels = np.repeat(np.arange(4), 25)
    kept, withheld = (Selection(withheld_images=0.2, part=part).images(labels) for part in ("kept", "withheld"))
    assert sorted([*kept, *withheld]) == list(range(100))
    assert np.bincount(labels[withheld]).tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"classes": 1}, "classes"),
        ({"classes": 51}, "classes"),
        ({"classes": True}, "classes"),
        ({"classes": 3, "withheld_classes": 0.5}, "classes"),
        ({"withheld_classes": 1.0}, "withheld_classes"),
        ({"withheld_classes": "n00000001"}, "withheld_classes"),
        ({"withheld_images": -0.1}, "withheld_images"),
        ({"part": "both"}, "part"),
        ({"part": "withheld"}, "part"),
    ],
)
def test_wrong_settings_are_named(given, field):
    with pytest.raises(TaskError) as caught:
        Selection(**given).choose(FOUND)
    assert caught.value.field == f"data.{field}"
