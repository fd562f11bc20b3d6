from pathlib import Path

import pytest

from xnas_ray.explain.drawing import save_figure
from xnas_ray.explain.hypernym_drawing import hypernym_figure, hypernym_info
from xnas_ray.explain.wordnet import NOUNS, WordNet

SMALL = Path(__file__).parent / "small_wordnet"
DOG, CAT, CAR, CRANE, ROBOT = "n00000004", "n00000005", "n00000006", "n00000007", "n00000012"
ENTITY, ANIMAL, VEHICLE = "n00000001", "n00000002", "n00000003"


@pytest.fixture
def small() -> WordNet:
    return WordNet(SMALL / NOUNS)


def info(small, *wnids):
    synsets = [small.find(wnid) for wnid in wnids]
    return hypernym_info(small, synsets, [f"<{synset.name}>" for synset in synsets])


def test_only_where_ways_meet_is_shown(small):
    found = info(small, CAT, CAR, CRANE)
    assert set(found.labels.values()) == {"entity", "animal", "<cat>", "<car>", "<crane>"}
    assert set(found.edges) == {(ENTITY, ANIMAL, 1), (ENTITY, CAR, 2), (ANIMAL, CAT, 1), (ANIMAL, CRANE, 2)}
    assert found.classes == {CAT, CAR, CRANE}


def test_wnids_are_shown_as_words(small):
    found = hypernym_info(small, [small.find(CAT), small.find(DOG)], [CAT, "Hund"])
    assert {found.labels[CAT], found.labels[DOG]} == {"cat", "Hund"}


def test_several_hypernyms_stay(small):
    found = info(small, DOG, CAR, ROBOT)
    assert {(DOG, ROBOT, 1), (VEHICLE, ROBOT, 1), (VEHICLE, CAR, 1)} <= set(found.edges)


def test_a_class_below_a_class_stays_visible(small):
    found = info(small, ANIMAL, DOG, CAT)
    assert (ANIMAL, CAT, 1) in found.edges and found.labels[ANIMAL] == "<animal>"


def test_nothing_lies_on_another_row(small):
    found = info(small, DOG, CAT, CAR, CRANE, ROBOT)
    ends = [found.places[wnid] for wnid in (CAT, CAR, CRANE, ROBOT)]
    assert len({row for _, row in ends}) == 4
    assert all(found.places[above][0] < found.places[below][0] for above, below, _ in found.edges)


def test_the_file_names_the_classes(small, tmp_path):
    figure = hypernym_figure(info(small, DOG, CAT, CAR))
    paths = save_figure(figure, tmp_path, "tree")
    text = paths[0].read_text()
    assert "&lt;dog&gt;" in text and "entity" in text
    assert paths[1].stat().st_size > 1000
