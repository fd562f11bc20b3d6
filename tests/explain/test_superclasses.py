"""Which class belongs to which child of a node: of one, of none and of both, by WordNet and by a user's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from xnas_ray.errors import ExplanationError, UnknownNameError
from xnas_ray.explain.hierarchy import Hierarchy, Node
from xnas_ray.explain.superclasses import Side, hypothesis, side_of, unseen_only, user_sides, wordnet_hypotheses
from xnas_ray.explain.wordnet import WordNet

from .stored_trees import ANIMAL, BIRD, CAR, CAT, CLASSES, CRANE, ENTITY, REX, ROBOT, VEHICLE, by_kind, leaf


@pytest.fixture(scope="module")
def wordnet() -> WordNet:
    return WordNet(Path(__file__).parent / "small_wordnet" / "data.noun")


@pytest.mark.parametrize(
    ("wnid", "expected"),
    [(CRANE, 0), (CAR, 1), (REX, 0), (ROBOT, None), (ENTITY, None), (None, None), (ANIMAL, 0)],
)
def test_classes_of_one_child_of_none_and_of_both(wordnet, wnid, expected):
    sides = [Side("animal", wnids=frozenset({ANIMAL})), Side("vehicle", wnids=frozenset({VEHICLE}))]
    assert side_of(wnid, sides, wordnet) == expected
    assert side_of(wnid, sides, None) is None


def test_the_narrower_of_two_kinds_has_the_class(wordnet):
    sides = [Side("animal", wnids=frozenset({ANIMAL})), Side("bird", wnids=frozenset({BIRD}))]
    assert side_of(CRANE, sides, wordnet) == 1 and side_of(CAT, sides, wordnet) == 0
    several = [Side("animal", wnids=frozenset({ANIMAL})), Side("bird or car", wnids=frozenset({BIRD, CAR}))]
    assert side_of(CRANE, several, wordnet) == 1 and side_of(REX, several, wordnet) == 0
    equal = [Side("animal", wnids=frozenset({ANIMAL})), Side("beast", wnids=frozenset({ANIMAL}))]
    assert side_of(CRANE, equal, wordnet) is None


def test_a_class_that_is_named_belongs_where_it_is_named(wordnet):
    sides = [Side("animal", wnids=frozenset({ANIMAL})), Side("crane", frozenset({0}), frozenset({VEHICLE}))]
    assert side_of(CRANE, sides, wordnet, 0) == 1
    assert side_of(None, sides, None, 0) == 1 and side_of(None, sides, None, 1) is None
    assert side_of(None, [Side("a", frozenset({0})), Side("b", frozenset({0}))], None, 0) is None


def test_wordnets_hypotheses(wordnet):
    tree = by_kind()
    unseen = [CRANE, ROBOT, None, VEHICLE]
    found = wordnet_hypotheses(tree, unseen, wordnet)
    assert [one.node for one in found] == [0, 1, 4]
    assert found[0].meanings == ("animal", "vehicle") and found[0].unseen == (frozenset({0}), frozenset({3}))
    assert found[0].seen == (frozenset({0, 1}), frozenset({2, 3}))
    assert found[1].unseen == (frozenset({1}), frozenset()), "a robot dog is a dog, and no cat"
    nameless = by_kind().mapped(lambda node: (node.name, None if node.name == "vehicle" else node.wnid))
    assert [one.node for one in wordnet_hypotheses(nameless, unseen, wordnet)] == [1, 4]


def test_seen_classes_of_the_kind_elsewhere(wordnet):
    pair = Node.over([leaf("cat"), leaf("car")])
    tree = Hierarchy(Node.over([pair, leaf("dog"), leaf("derrick")]), CLASSES)
    sides = [Side("animal", wnids=frozenset({ANIMAL})), Side("vehicle", wnids=frozenset({VEHICLE}))]
    one = hypothesis(tree, 1, sides, [CRANE], wordnet)
    assert one.seen == (frozenset({0, 1}), frozenset({2, 3}))


def test_what_the_network_has_seen_is_not_unseen(wordnet):
    names = ("Rex", "crane", "cat", "lorry", "car")
    assert unseen_only(by_kind(), names, (REX, CRANE, CRANE, "n99999999", CAR), wordnet) == [None, CRANE, *[None] * 3]
    assert unseen_only(by_kind(), ("bird", "crane"), None, wordnet) == [BIRD, None], "crane has two meanings"
    assert unseen_only(by_kind(), names, None, None) == [None] * 5


def test_a_users_hypothesis(wordnet):
    node, sides = user_sides(by_kind(), "0 = animal , lorry+vehicle", ("lorry", "crane"), wordnet)
    assert node == 0 and sides == [
        Side("animal", wnids=frozenset({ANIMAL})),
        Side("lorry+vehicle", frozenset({0}), frozenset({VEHICLE})),
    ]
    assert user_sides(by_kind(), "0=lorry,crane", ("lorry", "crane"), None)[1][1].labels == {1}


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("animal,vehicle", ExplanationError, r"number of a node.*0, 1, 4"),
        ("2=a,b", ExplanationError, "number of a node"),
        ("0=lorry", ExplanationError, r"each of the 2 children.*0=<animal>,<vehicle>"),
        ("0=lorry,", ExplanationError, "each of the 2 children"),
        ("0=lorry,nonsense", UnknownNameError, "no noun 'nonsense'"),
        ("0=lorry,Crane", UnknownNameError, "2 meanings"),
    ],
)
def test_hypotheses_that_are_none(wordnet, text, error, message):
    with pytest.raises(error, match=message):
        user_sides(by_kind(), text, ("lorry",), wordnet)


def test_without_wordnet_only_classes_can_be_named():
    with pytest.raises(ExplanationError, match=r"'animal' is no class.*no WordNet"):
        user_sides(by_kind(), "0=lorry,animal", ("lorry",), None)
