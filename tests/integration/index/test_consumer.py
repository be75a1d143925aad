"""From the log into the store, and onto `news.indexed`."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from redis.asyncio import Redis

from services.index.consumer import Articles
from services.index.lists import Lists
from services.index.rebuild import rebuild
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
from shared.streams.archive import Archive, Damaged
from shared.streams.consume import Delivered
from shared.streams.entries import FIRST, read_after
from shared.streams.groups import create_groups
from shared.streams.keys import dead
from shared.streams.replay import Log
from shared.web.rebuild import Progress
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
        yield Articles(redis, STREAM, store, indexed, Log(redis), asyncio.Lock())
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


async def test_what_was_trimmed_is_filled_from_the_archive(
    articles: Articles, store: TantivyStore, redis: Redis, tmp_path: Path
) -> None:
    for id_ in ("a", "b"):
        await publish(redis, STREAM, published(id_))
    await redis.xadd(STREAM, {"who": "knows"})
    archive = Archive(str(tmp_path / "archive"))
    entries = await read_after(redis, STREAM, FIRST, count=100, block_ms=None)
    await archive.add(STREAM, FIRST, entries)
    await redis.xtrim(STREAM, maxlen=0, approximate=False)
    await publish(redis, STREAM, published("b", 2))
    await publish(redis, STREAM, published("c"))
    await redis.xreadgroup("index", "index", {STREAM: ">"}, count=100)
    filled = replace(articles, log=Log(redis, archive))
    await filled.catch_up()
    assert await store.versions("abc") == {"a": 1, "b": 2, "c": 1}
    assert await announced(redis) == []


async def test_a_damaged_archive_is_named_and_the_store_stays_as_it_is(
    articles: Articles, store: TantivyStore, redis: Redis, tmp_path: Path
) -> None:
    archive = Archive(str(tmp_path / "archive"))
    last = await publish(redis, STREAM, published("a"))
    await archive.add(STREAM, FIRST, await read_after(redis, STREAM, FIRST, count=1, block_ms=None))
    (segment,) = (tmp_path / "archive").rglob("*.zst")
    segment.write_bytes(segment.read_bytes()[:-9])
    await redis.xtrim(STREAM, maxlen=0, approximate=False)
    await redis.xgroup_setid(STREAM, "index", last)
    await store.apply([Upsert(an_article("held"))])
    broken = replace(articles, log=Log(redis, archive))
    with pytest.raises(Damaged, match=segment.name):
        await rebuild(store, [broken], broken.switching, Progress())
    assert await store.versions(["a", "held"]) == {"held": 1}


async def test_what_the_group_gave_up_stays_out_until_it_is_redriven(
    articles: Articles, store: TantivyStore, redis: Redis
) -> None:
    given_up = await publish(redis, STREAM, published("a"))
    await publish(redis, STREAM, published("b"))
    await redis.xreadgroup("index", "index", {STREAM: ">"})
    letters = dead(STREAM, "index")
    await redis.xadd(
        letters, {"dead-entry": given_up, "dead-reason": "failed", "dead-attempts": "5"}
    )
    await rebuild(store, [articles], articles.switching, Progress())
    assert await store.versions("ab") == {"b": 1}
    await redis.delete(letters)
    await rebuild(store, [articles], articles.switching, Progress())
    assert await store.versions("ab") == {"a": 1, "b": 1}


async def test_a_rebuild_goes_on_from_where_the_group_is(
    articles: Articles, store: TantivyStore, redis: Redis
) -> None:
    for version in range(1, 5):
        last = await publish(redis, STREAM, published("a", version))
    await redis.xreadgroup("index", "index", {STREAM: ">"}, count=100)
    await articles.apply([delivered(last, published("a", 4))])
    before = await announced(redis)
    progress = Progress()
    await rebuild(store, [articles], articles.switching, progress)
    assert progress.entries == 4
    assert await store.checkpoint() == {STREAM: last}
    await articles.apply([delivered(last, published("a", 4))])
    assert await announced(redis) == before == [("a", 4)]


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
