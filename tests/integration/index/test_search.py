"""What a program is answered."""

from datetime import timedelta
from typing import Any

import pytest

from shared.web import keys
from shared.web.keys import Scope
from tests.integration.index.conftest import NOON, Site
from tests.stack import Stack


async def test_an_article_is_answered_whole(site: Site) -> None:
    article = await site.publish(body_text="It did.", authors=("Mara Lind",))
    answer = await site.client.get(f"/v1/articles/{article.id}")
    assert answer.json() == article.model_dump(mode="json")


async def test_unknown_and_retracted_articles_are_told_apart(site: Site) -> None:
    article = await site.publish()
    await site.retract(article)
    for id_, status, slug in ((article.id, 410, "gone"), ("nobody", 404, "not-found")):
        answer = await site.client.get(f"/v1/articles/{id_}")
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == f"urn:newsrail:problem:{slug}"
    assert (await site.search(q="harbour"))["total"] == 0


async def test_a_hit_shows_what_a_list_needs(site: Site) -> None:
    article = await site.publish(
        title="Harbour opens",
        body_text="Crowds came to <see> the harbour.",
        section="World",
        authors=("Mara Lind",),
        url="https://paper.example/1",
        language="en",
    )
    found = await site.search(q="harbour")
    (hit,) = found["hits"]
    assert found["total"] == 1
    assert found["next"] is None
    assert hit.pop("score") > 0
    assert hit == {
        "id": article.id,
        "title": "Harbour opens",
        "snippet": "Crowds came to &lt;see&gt; the <mark>harbour</mark>.",
        "story": article.story,
        "section": "World",
        "feed": site.feed,
        "url": "https://paper.example/1",
        "published_at": "2026-05-04T12:00:00Z",
        "updated_at": None,
        "language": "en",
        "authors": ["Mara Lind"],
        "version": 1,
    }


@pytest.mark.parametrize("sort", ["newest", "relevance"])
async def test_pages_hold_each_article_once(site: Site, sort: str) -> None:
    published = [
        await site.publish(published_at=NOON + timedelta(minutes=number)) for number in range(5)
    ]
    seen: list[str] = []
    more: dict[str, str] = {}
    while True:
        page = await site.search(q="harbour", sort=sort, limit=2, **more)
        assert page["total"] == 5
        seen += [hit["id"] for hit in page["hits"]]
        if page["next"] is None:
            break
        more = {"cursor": page["next"]}
    assert sorted(seen) == [article.id for article in published]
    if sort == "newest":
        assert seen == [article.id for article in reversed(published)]


async def test_dates_narrow_and_a_day_counts_whole(site: Site) -> None:
    article = await site.publish(published_at=NOON)

    async def is_found(**when: str) -> bool:
        return bool((await site.search(**when))["hits"])

    assert await is_found(**{"from": "2026-05-04", "to": "2026-05-04"})
    assert await is_found(to="2026-05-04T14:00:01+02:00")
    assert not await is_found(to="2026-05-04T12:00:00Z")
    assert not await is_found(**{"from": "2026-05-05"})
    assert article.published_at == NOON


@pytest.mark.parametrize(
    ("parameters", "status", "said"),
    [
        ({"query": "x"}, 400, "query: no such parameter; there are q, section, feed, from"),
        ({"limit": "0"}, 422, "limit"),
        ({"limit": "101"}, 422, "limit"),
        ({"limit": "٣"}, 422, "limit"),
        ({"from": "31/02/2025"}, 422, "from"),
        ({"to": "2026-05-04T12:00:00"}, 422, "to"),
        ({"sort": "oldest"}, 422, "sort"),
        ({"cursor": "x"}, 400, "cursor"),
        ({"q": "x" * 2001}, 422, "q"),
    ],
)
async def test_what_cannot_be_asked_is_named(
    site: Site, parameters: dict[str, Any], status: int, said: str
) -> None:
    answer = await site.client.get("/v1/search", params=parameters)
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(said)


async def test_a_cursor_of_another_query_is_refused(site: Site) -> None:
    for _ in range(2):
        await site.publish()
    cursor = (await site.search(q="harbour", limit=1))["next"]
    answer = await site.client.get("/v1/search", params={"q": "other", "cursor": cursor})
    assert answer.status_code == 400
    assert "another query" in answer.json()["detail"]


async def test_where_reading_is_not_public_it_needs_a_key(
    site: Site, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEWSRAIL_PUBLIC_READ", "0")
    article = await site.publish()
    assert stack.stop("index") == 0
    stack.start("index")
    try:
        _, token = await keys.create(
            site.redis, name="reader", scopes=[Scope.READ], feeds=[], now=NOON
        )
        for path in ("/v1/search", f"/v1/articles/{article.id}", "/", "/search?q=x"):
            assert (await site.client.get(path)).status_code == 401
            allowed = {"Authorization": f"Bearer {token}"}
            assert (await site.client.get(path, headers=allowed)).status_code == 200
    finally:
        monkeypatch.undo()
        stack.stop("index")
        stack.start("index")
