from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain import normalise, readers
from services.ingest.domain.items import Item, Origin, Refusal
from services.ingest.domain.normalise import Normalised, article_id
from shared.events import Article, Correction, Image
from tests.builders import NOON, an_article


def made_of(origin: Origin, **said: Any) -> Normalised | Refusal:
    item = Item(origin=origin, original="", **{"title": "T", **said})
    return normalise.article(item, feed="wire", now=NOON)


def from_feed(**said: Any) -> Normalised:
    made = made_of(Origin.FEED, external_id="1", **said)
    assert isinstance(made, Normalised), made
    return made


def posted_again(article: Article) -> Normalised:
    [item] = readers.read(article.model_dump_json().encode(), "application/json")
    assert isinstance(item, Item), item
    again = normalise.article(item, feed=article.feed, now=NOON + timedelta(days=1))
    assert isinstance(again, Normalised), again
    return again


names = st.sampled_from(["Jane Doe", "김민수", "By Design", "Reuters; X", " A  B ", "", "É"])
texts = st.text(max_size=200) | st.sampled_from(["&amp;lt;b&amp;gt;", "<p>a &amp;lt; b</p><br>c"])
said = st.fixed_dictionaries(
    {"title": st.text(min_size=1).filter(lambda title: bool(title.strip()))},
    optional={
        "external_id": st.none() | st.just("7"),
        "url": st.sampled_from(["https://Example.com/a//b/?utm_x=1&c=2#d", None]),
        "summary": texts,
        "body_html": texts | st.none(),
        "body_text": texts,
        "authors": st.lists(names).map(tuple),
        "credit": names,
        "section": names,
        "sections": st.lists(names).map(tuple),
        "tags": st.lists(texts).map(tuple),
        "language": st.sampled_from(["ko_KR", "en", "zh-hant", "?"]),
        "contact": texts,
        "image": st.builds(Image, url=st.just("https://e.com/ä?b"), alt=texts, credit=names),
        "corrections": st.just((Correction(at=NOON, text="It was May."),)),
        "embargoed_until": st.just("2027-01-01T00:00:00Z"),
    },
)


@given(st.sampled_from(Origin), said)
def test_an_article_taken_out_and_posted_again_is_the_same(
    origin: Origin, values: dict[str, Any]
) -> None:
    first = made_of(origin, **values)
    if isinstance(first, Refusal):
        return
    again = posted_again(first.article)
    assert again.article.id == first.article.id
    assert again.hashes == first.hashes
    assert again.article.content_hash == first.article.content_hash


def test_a_feed_never_has_the_id_of_another_feeds_article() -> None:
    assert an_article(feed="a").article.id != an_article(feed="b").article.id


def test_the_feeds_own_id_decides_then_the_address_then_the_title() -> None:
    by_id = article_id("f", external_id="1", url="http://e.com/", title="T")
    assert by_id == article_id("f", external_id="1", title="U")
    by_url = article_id("f", url="http://e.com/", title="T")
    assert by_url == article_id("f", url="http://e.com/", title="U")
    assert by_url != by_id
    assert article_id("f", title="Big  News") == article_id("f", title="big news")
    assert article_id("f", title="1") != article_id("f", external_id="1")


@pytest.mark.parametrize(
    ("said", "slug"),
    [
        ({"title": " \u200b"}, "missing-title"),
        ({"title": "x" * 1001}, "title-too-long"),
        ({"url": "/relative"}, "bad-url"),
        ({"published_at": "31/02/2025"}, "wrong-time"),
        ({"embargoed_until": "soon"}, "wrong-time"),
        ({"body_html": "<div>" * 9000}, "bad-body"),
        ({"body_text": "x" * 2_000_000}, "bad-body"),
        ({"title": "", "status": "canceled"}, "no-identity"),
    ],
)
def test_what_is_wrong_in_our_own_format_is_refused_by_name(
    said: dict[str, Any], slug: str
) -> None:
    refusal = made_of(Origin.OURS, **said)
    assert isinstance(refusal, Refusal)
    assert refusal.slug == slug
    assert ": " in refusal.detail or ";" in refusal.detail


def test_an_embargo_that_cannot_be_read_is_never_published() -> None:
    assert isinstance(made_of(Origin.FEED, embargoed_until="soon"), Refusal)


def test_a_cancellation_needs_no_title() -> None:
    assert an_article(title="", status="canceled").status == "canceled"


def test_a_feed_item_without_title_gets_its_first_sentence() -> None:
    made = from_feed(title=None, body_text="It opened. Nobody came.")
    assert made.article.title == "It opened."
    assert "title: missing; taken from the text" in made.warnings


def test_what_is_odd_in_a_feed_is_left_out_with_a_warning() -> None:
    made = from_feed(url="tag:1", published_at="03/04/2026", updated_at="tomorrow")
    assert made.article.url is None
    assert made.article.updated_at is None
    assert made.article.published_at == NOON
    assert len(made.warnings) == 4


@pytest.mark.parametrize(
    ("written", "published"),
    [
        ("1999-01-01T00:00:00Z", datetime(1999, 1, 1, tzinfo=UTC)),
        ("1899-12-31T00:00:00Z", NOON),
        ("2099-01-01T00:00:00Z", NOON),
    ],
)
def test_a_back_catalogue_keeps_its_dates_and_absurd_ones_are_flagged(
    written: str, published: datetime
) -> None:
    made = an_article(published_at=written)
    assert made.article.published_at == published
    assert bool(made.warnings) == (published == NOON)


def test_an_update_from_the_future_never_makes_later_ones_late() -> None:
    made = an_article(updated_at="2099-01-01T00:00:00Z")
    assert made.order_ms is None
    assert made.warnings


def test_a_text_only_article_has_no_html() -> None:
    assert an_article(body_text="a <b> c").article.body_html is None
    assert an_article(body_html="a &amp; b", body_text=None).article.body_html is None


def test_published_at_alone_is_not_material() -> None:
    one = an_article(published_at="2026-01-01T00:00:00Z")
    other = an_article(published_at="2026-01-02T00:00:00Z")
    assert one.hashes["published_at"] != other.hashes["published_at"]
    assert one.article.content_hash == other.article.content_hash


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Harbour closes"},
        {"summary": "New."},
        {"body_text": "It did not."},
        {"authors": ("Jane Doe",)},
        {"credit": "Wire"},
        {"section": "World"},
        {"tags": ("ports",)},
        {"url": "https://example.com/2"},
        {"image": Image(url="https://example.com/i.png")},
        {"corrections": (Correction(at=NOON, text="It was May."),)},
    ],
)
def test_what_a_reader_would_notice_is_material(change: dict[str, Any]) -> None:
    assert an_article(**change).article.content_hash != an_article().article.content_hash


def test_the_order_of_tags_and_trackers_are_not_material() -> None:
    one = an_article(tags=("a", "b"), url="https://e.com/1?utm_source=x")
    other = an_article(tags=("B", "a"), url="https://e.com/1")
    assert one.article.content_hash == other.article.content_hash
