from pathlib import Path

import pytest

from xnas_ray.errors import DataMissingError, UnknownNameError
from xnas_ray.explain import wordnet
from xnas_ray.explain.wordnet import DEBIAN, NOUNS, WordNet, find_wordnet

SMALL = Path(__file__).parent / "small_wordnet"
needs_wordnet = pytest.mark.skipif(not (DEBIAN / NOUNS).is_file(), reason="Debian's wordnet-base is not installed")


@pytest.fixture
def small() -> WordNet:
    return WordNet(SMALL / NOUNS)


def test_synsets_are_read_as_written(small):
    assert len(small) == 12
    dog = small.synsets["n00000004"]
    assert (dog.words, dog.hypernyms) == (("dog", "domestic dog"), ("n00000002", "n00000010"))
    assert dog.gloss.startswith("a pet that barks; ")
    assert small.synsets["n00000011"].hypernyms == ("n00000004",), "an instance is below what it is one of"
    assert small.synsets["n00000001"].hypernyms == ()


@pytest.mark.parametrize(
    ("text", "wnid"),
    [("n00000005", "n00000005"), ("cat", "n00000005"), ("Domestic Dog", "n00000004"), ("crane:2", "n00000007")],
)
def test_classes_are_found(small, text, wnid):
    assert small.find(text).wnid == wnid


def test_several_meanings_are_listed_and_none_is_chosen(small):
    with pytest.raises(UnknownNameError, match=r"2 meanings.*crane:1 = n00000008 \(a vehicle that lifts\)") as caught:
        small.find("crane")
    assert "crane:2 = n00000007 (a large bird with long legs)" in caught.value.valid
    with pytest.raises(UnknownNameError, match="no sense 3, it has 2"):
        small.find("crane:3")


@pytest.mark.parametrize("text", ["unicorn", "n12345678", "unicorn:1", ""])
def test_what_is_not_there_is_named(small, text):
    with pytest.raises(UnknownNameError, match=r"WordNet 3\.0 has no noun"):
        small.find(text)


def test_without_the_index_senses_have_no_numbers(tmp_path):
    (tmp_path / NOUNS).write_bytes((SMALL / NOUNS).read_bytes())
    alone = WordNet(tmp_path / NOUNS)
    assert alone.find("cat").wnid == "n00000005"
    with pytest.raises(UnknownNameError, match="n00000007") as caught:
        alone.find("crane")
    assert "crane:1" not in str(caught.value)
    with pytest.raises(UnknownNameError, match="have no numbers"):
        alone.find("crane:1")


def test_ancestors_by_the_fewest_steps(small):
    assert small.ancestors("n00000011") == {
        "n00000011": 0,
        "n00000004": 1,
        "n00000002": 2,
        "n00000010": 2,
        "n00000001": 3,
    }


def test_distances_and_depths(small):
    assert small.distance("n00000004", "n00000005") == 2
    assert small.distance("n00000004", "n00000006") == 4
    assert small.distance("n00000011", "n00000010") == 2
    assert (small.min_depth("n00000004"), small.max_depth("n00000004")) == (2, 3)
    assert small.depth == 4


def test_places_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(wordnet, "DEBIAN", tmp_path / "absent")
    monkeypatch.delenv("XNAS_DATA", raising=False)
    monkeypatch.delenv("WNSEARCHDIR", raising=False)
    with pytest.raises(DataMissingError, match="apt-get install wordnet-base"):
        find_wordnet()
    monkeypatch.setenv("WNSEARCHDIR", str(SMALL))
    assert find_wordnet().path == SMALL / NOUNS
    assert find_wordnet() is find_wordnet(), "read once"
    (tmp_path / "wordnet").mkdir()
    (tmp_path / "wordnet" / NOUNS).write_bytes((SMALL / NOUNS).read_bytes())
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    assert find_wordnet().path == tmp_path / "wordnet" / NOUNS


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "has no synset"),
        ("00000001 03 v 01 run 0 000 | go fast\n", "damaged.*no noun"),
        ("00000001 03 n 01 dog 0 001 @ 00000002 n 0000 | barks\n", "lacks n00000002"),
        ("00000001 03 n 01 dog 0 002 @ 00000002 n 0000 | barks\n", "damaged.*pointers"),
        ("00000001 03 n", "damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, what):
    (tmp_path / NOUNS).write_text(content)
    with pytest.raises(DataMissingError, match=what):
        WordNet(tmp_path / NOUNS)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(DataMissingError, match="cannot read"):
        WordNet(tmp_path / NOUNS)


@needs_wordnet
def test_the_real_file():
    found = WordNet(DEBIAN / NOUNS)
    assert len(found) == 82_115
    assert found.depth == 19
    assert [s.wnid for s in found.synsets.values() if not s.hypernyms] == ["n00001740"]
    assert found.find("n02084071").name == "dog"
    assert found.find("beagle").wnid == "n02088364"
    assert found.find("crane:5").wnid == "n02012849"
    with pytest.raises(UnknownNameError, match="n02012849"):
        found.find("crane")
