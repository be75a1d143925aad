"""From the log into the store, and onto `news.indexed`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from redis.asyncio import Redis

from services.index.consumer import Articles
from services.index.lists import Lists
from services.index.store import Upsert
from services.index.stores.tantivy_store import TantivyStore
from shared.events import (
    ArticlePublished,
    ArticleRetracted,
    Contract,
    Event,
    RailArticle,
    RailChanged,
    RailEntry,
)
from shared.streams.append import Appender
from shared.streams.consume import Delivered
from shared.streams.entries import FIRST, read_after
from shared.streams.groups import create_groups
from tests.integration.index.conftest import NOON, an_article, publish

STREAM = "news.articles"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[TantivyStore]:
    store = TantivyStore(tmp_path)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def articles(redis: Redis, store: TantivyStore) -> AsyncIterator[Articles]:
    await create_groups(redis)
    indexed = Appender(redis, "news.indexed")
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(indexed.run())
        yield Articles(redis, STREAM, store, indexed)
        sending.cancel()


def delivered(entry_id: str, data: Contract) -> Delivered:
    return Delivered(entry_id, Event(id="e", source="/test", subject="-", time=NOON, data=data))


def published(id_: str, version: int = 1) -> ArticlePublished:
    return ArticlePublished(article=an_article(id_, version))


def retracted(id_: str, version: int) -> ArticleRetracted:
    return ArticleRetracted(id=id_, feed="wire", version=version, retracted_at=NOON)


async def announced(redis: Redis) -> list[tuple[str, int]]:
    entries = await read_after(redis, "news.indexed", FIRST, count=100, block_ms=None)
    said = [orjson.loads(entry.fields[b"data"]) for entry in entries]
    return [(data["id"], data["version"]) for data in said]


async def test_a_batch_that_comes_again_is_announced_once(articles: Articles, redis: Redis) -> None:
    batch = [delivered("1-0", published("a")), delivered("2-0", published("b"))]
    await articles.apply(batch)
    await articles.apply(batch)
    assert sorted(await announced(redis)) == [("a", 1), ("b", 1)]


async def test_what_was_applied_before_a_crash_is_announced_after_it(
    articles: Articles, store: TantivyStore, redis: Redis
) -> None:
    """The store calls it stale then: what it holds decides."""
    await store.apply([Upsert(an_article("a"))])
    await articles.apply([delivered("1-0", published("a"))])
    assert await announced(redis) == [("a", 1)]


async def test_only_what_is_held_is_announced(articles: Articles, redis: Redis) -> None:
    await articles.apply(
        [
            delivered("1-0", published("a", 1)),
            delivered("2-0", published("a", 2)),
            delivered("3-0", published("b", 1)),
            delivered("4-0", retracted("b", 2)),
        ]
    )
    assert await announced(redis) == [("a", 2)]


async def test_a_new_folder_is_filled_from_the_log_and_announces_nothing(
    articles: Articles, store: TantivyStore, redis: Redis
) -> None:
    for version in range(1, 4):
        await publish(redis, STREAM, published("a", version))
    await publish(redis, STREAM, published("b"))
    await redis.xadd(STREAM, {"who": "knows"})
    last = await publish(redis, STREAM, retracted("b", 2))
    await redis.xreadgroup("index", "index", {STREAM: ">"})
    waiting = await publish(redis, STREAM, published("c"))
    await articles.catch_up()
    assert (await store.versions(["a", "b"])) == {"a": 3, "b": 2}
    assert (await store.checkpoint())[STREAM] in {last, waiting}
    assert await announced(redis) == []


async def test_what_the_group_has_yet_to_give_is_left_to_it(
    articles: Articles, store: TantivyStore, redis: Redis
) -> None:
    await publish(redis, STREAM, published("a"))
    await articles.catch_up()
    assert await store.versions(["a"]) == {}


def a_list(version: int, title: str, section: str | None = None) -> RailChanged:
    entry = RailEntry(rank=1, article=RailArticle(id=title, title=title), score=1.0)
    return RailChanged(
        rail="latest", section=section, version=version, computed_at=NOON, entries=(entry,)
    )


async def test_a_list_is_kept_for_the_next_start_and_never_replaced_by_an_older_one(
    redis: Redis,
) -> None:
    lists = Lists(redis)
    await lists.apply([delivered("1-0", a_list(2, "new")), delivered("2-0", a_list(1, "old"))])
    await lists.apply([delivered("2-0", a_list(1, "old"))])
    await lists.apply([delivered("3-0", a_list(1, "sporty", section="sport"))])
    again = Lists(redis)
    await again.load()
    for one in (lists, again):
        assert [entry.article.id for entry in one.entries("latest", None)] == ["new"]
        assert [entry.article.id for entry in one.entries("latest", "sport")] == ["sporty"]
        assert one.entries("popular", None) == ()


async def test_an_old_entry_that_is_redriven_does_not_take_the_checkpoint_back(
    articles: Articles, store: TantivyStore
) -> None:
    await articles.apply([delivered("9-0", published("a", 2)), delivered("10-0", published("b"))])
    await articles.apply([delivered("8-0", published("a", 1))])
    assert await store.checkpoint() == {STREAM: "10-0"}
    assert await store.versions(["a"]) == {"a": 2}
