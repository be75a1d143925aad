"""The judge of `make faults` sees a planted loss, repeat and invention."""

from collections import Counter

import pytest

from tests.faults.history import Life, Operation, Post, Retract, Said, Version
from tests.faults.model import Bag, compare

FIRST, SECOND = Said("First", "It rains."), Said("Second", "It rained.")


def a_bag() -> Bag:
    bag = Bag()
    bag.must("acknowledged")
    bag.may("given up")
    return bag


@pytest.mark.parametrize("found", [["acknowledged"], ["acknowledged", "given up"]])
def test_what_was_given_up_may_be_there_or_not(found: list[str]) -> None:
    assert not any(facts for _, facts in compare(a_bag(), Counter(found)))


def test_what_was_acknowledged_and_is_not_there_is_lost() -> None:
    assert compare(a_bag(), Counter()).lost == Counter(["acknowledged"])


@pytest.mark.parametrize("fact", ["acknowledged", "given up"])
def test_what_is_there_once_more_is_twice(fact: str) -> None:
    assert compare(a_bag(), Counter(["acknowledged", fact, fact])).twice[fact]


def test_what_nobody_sent_is_invented() -> None:
    assert compare(a_bag(), Counter(["acknowledged", "rumour"])).invented == Counter(["rumour"])


@pytest.mark.parametrize(
    ("operation", "outcome", "added"),
    [
        (Post(SECOND, order=4), "updated", (SECOND,)),
        (Post(SECOND, order=2), "late", ()),
        (Post(FIRST, order=4), "unchanged", ()),
        (Retract(), "retracted", (None,)),
    ],
)
def test_an_article_becomes_what_its_feed_says_in_the_feeds_order(
    operation: Operation, outcome: str, added: tuple[Version, ...]
) -> None:
    life = Life("1", "world", 0, versions=[FIRST], order=3)
    assert life.foretell(operation) == (outcome, added)


def test_only_a_reinstatement_brings_a_retracted_article_back() -> None:
    life = Life("1", "world", 0, versions=[FIRST, None], order=3)
    assert life.foretell(Retract()) == ("retracted", ())
    assert life.foretell(Post(SECOND, order=4)) == ("retracted", ())
    assert life.foretell(Post(SECOND, 4, reinstated=True)) == ("published", (SECOND,))
