"""What is known of articles, and the newest of them."""

import random
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.rails.domain import latest
from services.rails.domain.catalogue import Catalogue, Facts, of_event
from shared.events import Article, ArticleRetracted, ArticleUpdated, CommentRemoved
from tests.oracles import rails as oracle
from tests.unit.rails.logs import BEGIN_MS, IDS, SECTIONS, articles, catalogue, facts

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
NOON_MS = 1_777_896_000_000
ARTICLE = Article(
    id="a", feed="wire", story="s", version=3, title="Harbour opens", section="world",
    sections=("world", "sea"), url="https://wire.example/1", published_at=NOON, received_at=NOON,
    embargoed_until=NOON.replace(hour=13), content_hash="x",
)  # fmt: skip


def listed(books: Catalogue, now_ms: int, section: str | None = None) -> list[tuple[str, float]]:
    return [(row.id, row.score) for row in latest.rank(books, section, now_ms)]


@given(st.randoms(use_true_random=False), st.lists(st.sampled_from(IDS), max_size=20))
def test_latest_is_the_oracle_s_in_whichever_order_articles_come(
    rng: random.Random, changing: list[str]
) -> None:
    known: dict[str, dict[str, Any]] = articles(rng, BEGIN_MS)
    books = catalogue(known)
    changes = []
    for version, id_ in enumerate(changing, 2):
        if id_ in (after := articles(rng, BEGIN_MS)):
            known[id_] = after[id_]
            changes.append(facts(id_, after[id_], version))
    for change in rng.sample(changes, len(changes)):
        books.put(change)
    for section in (None, *SECTIONS):
        assert listed(books, BEGIN_MS, section) == oracle.latest(known, BEGIN_MS, section=section)


def test_an_older_version_never_replaces_a_newer_one() -> None:
    books = Catalogue([Facts("a", 2, title="new", published_ms=1)])
    assert not books.put(Facts("a", 1, title="old", published_ms=1))
    assert not books.put(Facts("a", 2, title="other", published_ms=1))
    assert books.shown("a") == Facts("a", 2, title="new", published_ms=1)


def test_a_retracted_article_stays_away_until_a_higher_version_brings_it_back() -> None:
    books = Catalogue([Facts("a", 1, published_ms=1)])
    books.put(Facts("a", 3, retracted=True))
    books.put(Facts("a", 2, published_ms=1))
    assert books.shown("a") is None
    assert listed(books, BEGIN_MS) == []
    books.put(Facts("a", 4, published_ms=2_000))
    assert listed(books, BEGIN_MS) == [("a", 2.0)]


def test_a_back_catalogue_that_comes_late_does_not_push_itself_to_the_top() -> None:
    books = Catalogue([Facts("new", 1, story="n", published_ms=9_000)])
    books.put(Facts("old", 1, story="o", published_ms=1_000))
    assert listed(books, BEGIN_MS) == [("new", 9.0), ("old", 1.0)]


def test_an_article_whose_time_has_come_makes_its_sections_dirty() -> None:
    books = Catalogue()
    books.put(Facts("a", 1, sections=("sport",), published_ms=500, from_ms=1_000))
    books.dirty.clear()
    books.advance(999)
    assert not books.dirty
    assert listed(books, 999) == []
    books.advance(1_000)
    assert books.dirty == {None, "sport"}
    assert listed(books, 1_000, "sport") == [("a", 0.5)]


def test_a_change_makes_the_sections_it_leaves_and_enters_dirty() -> None:
    books = Catalogue([Facts("a", 1, sections=("sport",))])
    books.dirty.clear()
    books.put(Facts("a", 2, sections=("world",)))
    assert books.dirty == {None, "sport", "world"}


def test_facts_come_from_events_and_go_through_json() -> None:
    facts = of_event(ArticleUpdated(article=ARTICLE))
    assert facts == Facts(
        id="a", version=3, feed="wire", story="s", title="Harbour opens", sections=("world", "sea"),
        url="https://wire.example/1", published_ms=NOON_MS, from_ms=NOON_MS + 3_600_000,
    )  # fmt: skip
    assert Facts.from_json(facts.to_json()) == facts
    gone = of_event(ArticleRetracted(id="a", feed="wire", version=4, retracted_at=NOON))
    assert gone == Facts("a", 4, retracted=True, feed="wire")
    assert of_event(CommentRemoved(id="c", article="a", version=2, removed_at=NOON)) is None
