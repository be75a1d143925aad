"""A rebuild of index as an operator asks for it, of the service as it runs."""

import random
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from shared.events import Article, ArticlePublished, ArticleRetracted, Contract
from shared.streams.archive import Archive
from shared.streams.clients import writer
from shared.streams.entries import FIRST, read_after
from shared.web import keys
from shared.web.keys import Scope
from tests.eventually import until
from tests.integration.index.conftest import NOON, an_article, fields_of
from tests.stack import Stack

STREAM = "news.articles"
INDEXED = "news.indexed"
PAGES = 3
WORDS = [f"word{number}" for number in range(2000)]
QUERIES: Sequence[dict[str, Any]] = (
    {},
    {"section": "world"},
    {"from": "2026-05-04T13:00:00Z"},
    *({"q": f"{WORDS[n]} {WORDS[n + 1]}"} for n in range(0, 20, 2)),
    *({"q": WORDS[n], "sort": "newest"} for n in range(0, 40, 10)),
    {"q": f'"{WORDS[0]} {WORDS[1]}" {WORDS[2]} {WORDS[3]}'},
    {"q": "the same words"},
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("rebuild")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEWSRAIL_ARCHIVE", str(folder / "archive"))
        with Stack(folder, "index") as running:
            yield running


@pytest.fixture
async def redis_log(stack: Stack) -> AsyncIterator[Redis]:
    async with writer(SecretStr(stack.redis.url)) as redis:
        yield redis


@pytest.fixture
async def index(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    key = {"Authorization": f"Bearer {stack.token}"}
    async with httpx.AsyncClient(base_url=stack.url("index"), headers=key, timeout=10) as client:
        yield client


def articles(count: int, seed: int) -> list[Article]:
    """A tenth of them of the same words, so that they are equally relevant."""
    chance = random.Random(seed)

    def text(words: int) -> str:
        return " ".join(chance.choices(WORDS, [1 / n for n in range(1, 2001)], k=words))

    return [
        an_article(
            f"{seed}-{number}",
            title="The same words" if number % 10 == 0 else text(6),
            body_text="" if number % 10 == 0 else text(chance.randint(20, 200)),
            section=chance.choice(["World", "Sport"]),
            published_at=NOON + timedelta(seconds=chance.randint(0, 9000)),
        )
        for number in range(count)
    ]


async def post(redis: Redis, data: Sequence[Contract]) -> str:
    """The last entry's id."""
    async with redis.pipeline(transaction=False) as pipe:
        for each in data:
            pipe.xadd(STREAM, fields_of(each))
        ids = await pipe.execute()
    last: bytes = ids[-1]
    return last.decode()


async def until_applied(redis: Redis, last: str) -> None:
    async def is_applied() -> bool:
        groups = {group["name"]: group for group in await redis.xinfo_groups(STREAM)}
        group = groups[b"index"]
        return bool(group["last-delivered-id"] == last.encode() and not group["pending"])

    await until(is_applied)


async def answers(index: httpx.AsyncClient) -> list[bytes]:
    """The first pages, as bytes."""
    found = []
    for query in QUERIES:
        more: dict[str, str] = {}
        for _ in range(PAGES):
            answer = await index.get("/v1/search", params={**query, "limit": 50, **more})
            assert answer.status_code == 200, answer.text
            found.append(answer.content)
            if not (cursor := answer.json()["next"]):
                break
            more = {"cursor": cursor}
    return found


async def progress_of(index: httpx.AsyncClient) -> dict[str, Any]:
    progress: dict[str, Any] = (await index.get("/v1/rebuild")).json()
    return progress


async def rebuild(index: httpx.AsyncClient) -> dict[str, Any]:
    assert (await index.post("/v1/rebuild")).status_code == 202

    async def has_ended() -> bool:
        return bool((await progress_of(index))["state"] != "running")

    await until(has_ended)
    return await progress_of(index)


async def test_it_answers_as_before_and_all_the_while_and_announces_nothing(
    index: httpx.AsyncClient, redis_log: Redis
) -> None:
    last = await post(redis_log, [ArticlePublished(article=each) for each in articles(1200, 1)])
    await until_applied(redis_log, last)
    before, announced = await answers(index), await redis_log.xlen(INDEXED)
    everything = (await index.get("/v1/search")).content
    assert (await index.post("/v1/rebuild")).status_code == 202
    assert (await index.post("/v1/rebuild")).status_code == 409
    while (progress := await progress_of(index))["state"] == "running":
        assert (await index.get("/v1/search")).content == everything
    assert (progress["state"], progress["entries"]) == ("done", 1200)
    assert await answers(index) == before
    assert await redis_log.xlen(INDEXED) == announced


@pytest.mark.parametrize(("how", "seed"), [("killed", 3), ("stopped", 5)])
async def test_a_rebuild_that_is_cut_short_leaves_the_old_answers_and_no_folder(
    stack: Stack, index: httpx.AsyncClient, redis_log: Redis, how: str, seed: int
) -> None:
    last = await post(redis_log, [ArticlePublished(article=each) for each in articles(1200, seed)])
    await until_applied(redis_log, last)
    before = await answers(index)
    assert (await index.post("/v1/rebuild")).status_code == 202

    async def has_begun() -> bool:
        return bool((await progress_of(index))["entries"] > 0)

    await until(has_begun)
    if how == "killed":
        stack.kill("index")
    else:
        assert stack.stop("index") == 0
    assert len(folders(stack)) == 2
    stack.start("index")
    assert len(folders(stack)) == 1
    assert (await progress_of(index))["state"] == "idle"
    assert await answers(index) == before


async def test_what_is_posted_meanwhile_is_there_and_announced_once(
    index: httpx.AsyncClient, redis_log: Redis
) -> None:
    held = articles(400, 2)
    last = await post(redis_log, [ArticlePublished(article=each) for each in held])
    await until_applied(redis_log, last)
    announced = await redis_log.xlen(INDEXED)
    assert (await index.post("/v1/rebuild")).status_code == 202
    rounds = 0
    while rounds < 3 or (await progress_of(index))["state"] == "running":
        one, other = held[2 * rounds : 2 * rounds + 2]
        newer = one.model_copy(update={"version": 2, "title": "Newer"})
        gone = ArticleRetracted(id=other.id, feed=other.feed, version=2, retracted_at=NOON)
        last = await post(redis_log, [ArticlePublished(article=newer), gone])
        assert (await index.get(f"/v1/articles/{held[-1].id}")).status_code == 200
        rounds += 1
    await until_applied(redis_log, last)
    assert (await progress_of(index))["state"] == "done"
    for one, other in zip(held[: 2 * rounds : 2], held[1 : 2 * rounds : 2], strict=True):
        assert (await index.get(f"/v1/articles/{one.id}")).json()["title"] == "Newer"
        assert (await index.get(f"/v1/articles/{other.id}")).status_code == 410
    assert await redis_log.xlen(INDEXED) == announced + rounds


async def test_a_wiped_folder_is_filled_from_archive_and_stream_and_answers_as_before(
    stack: Stack, index: httpx.AsyncClient, redis_log: Redis
) -> None:
    """Also where articles were updated and retracted."""
    held = articles(600, 4)
    newer = [each.model_copy(update={"version": 2, "title": "Newer"}) for each in held[:200]]
    gone = [
        ArticleRetracted(id=each.id, feed=each.feed, version=2, retracted_at=NOON)
        for each in held[200:300]
    ]
    await post(redis_log, [ArticlePublished(article=each) for each in held])
    entries = await read_after(redis_log, STREAM, FIRST, count=10_000, block_ms=None)
    last = await post(redis_log, [*(ArticlePublished(article=each) for each in newer), *gone])
    await until_applied(redis_log, last)
    before = await answers(index)

    await Archive(str(stack.folder / "archive")).add(STREAM, FIRST, entries)
    await redis_log.xtrim(STREAM, minid=entries[-1].id, approximate=False)
    stack.kill("index")
    shutil.rmtree(stack.folder / "index")
    stack.start("index")
    assert await answers(index) == before
    assert (await rebuild(index))["entries"] == len(entries) + 300
    assert await answers(index) == before


async def test_only_an_operator_may_rebuild(
    stack: Stack, index: httpx.AsyncClient, redis_log: Redis
) -> None:
    _, token = await keys.create(redis_log, name="r", scopes=[Scope.EDIT], feeds=[], now=NOON)
    for header, status in (("", 401), (f"Bearer {token}", 403)):
        for method in ("GET", "POST"):
            answer = await index.request(method, "/v1/rebuild", headers={"Authorization": header})
            assert answer.status_code == status


def folders(stack: Stack) -> list[Path]:
    return [path for path in (stack.folder / "index").iterdir() if path.is_dir()]
