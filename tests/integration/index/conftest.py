"""Index as a process of its own, shared by the tests of this folder."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT

from shared.events import Article, ArticlePublished, ArticleRetracted, Contract, Event
from shared.streams.clients import writer
from tests.stack import Stack

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
INGEST = "http://127.0.0.1:9999/"
_feeds = count(1)


def an_article(id_: str, version: int = 1, **said: Any) -> Article:
    fixed = {"id": id_, "version": version, "story": id_, "received_at": NOON, "content_hash": "0"}
    usual = {"feed": "wire", "title": "Harbour opens", "published_at": NOON}
    return Article(**{**fixed, **usual, **said})


def fields_of(data: Contract, subject: str = "-") -> dict[FieldT, EncodableT]:
    """Of an entry."""
    event = Event(id="e", source="/test", subject=subject, time=NOON, data=data)
    fields = event.fields()
    return dict(zip(fields[::2], fields[1::2], strict=True))


async def publish(redis: Redis, stream: str, data: Contract, subject: str = "-") -> str:
    """The entry's id."""
    entry = await redis.xadd(stream, fields_of(data, subject))
    assert isinstance(entry, bytes)
    return entry.decode()


@dataclass(frozen=True, slots=True)
class Site:
    """`feed` is new in each test, and its articles' ids begin with it."""

    stack: Stack
    client: httpx.AsyncClient
    redis: Redis
    feed: str
    ids: "count[int]" = field(default_factory=count)

    async def publish(self, **said: Any) -> Article:
        """Returns once it can be found."""
        article = an_article(f"{self.feed}-{next(self.ids)}", feed=self.feed, **said)
        await publish(self.redis, "news.articles", ArticlePublished(article=article))
        await self.until(article.id, 200)
        return article

    async def retract(self, article: Article) -> None:
        data = ArticleRetracted(
            id=article.id, feed=self.feed, version=article.version + 1, retracted_at=NOON
        )
        await publish(self.redis, "news.articles", data)
        await self.until(article.id, 410)

    async def until(self, id_: str, status: int) -> None:
        async with asyncio.timeout(5):
            while (await self.client.get(f"/v1/articles/{id_}")).status_code != status:
                await asyncio.sleep(0.005)

    async def search(self, **parameters: Any) -> dict[str, Any]:
        answer = await self.client.get("/v1/search", params={"feed": self.feed, **parameters})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def page(self, path: str, status: int = 200) -> str:
        answer = await self.client.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"].startswith("text/html")
        return answer.text


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    os.environ["NEWSRAIL_INGEST_URL"] = INGEST
    try:
        with Stack(tmp_path_factory.mktemp("index"), "index") as running:
            yield running
    finally:
        del os.environ["NEWSRAIL_INGEST_URL"]


@pytest.fixture
async def site(stack: Stack) -> AsyncIterator[Site]:
    async with (
        httpx.AsyncClient(base_url=stack.url("index"), timeout=10) as client,
        writer(SecretStr(stack.redis.url)) as redis,
    ):
        yield Site(stack, client, redis, f"feed-{next(_feeds)}")
