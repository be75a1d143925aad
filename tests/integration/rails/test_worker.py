"""Each view counts exactly once, whoever dies when."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, cast

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from services.rails.consumer import Articles
from services.rails.snapshots import unpacked
from services.rails.worker import Superseded, Worker
from shared.clock import now, to_ms
from shared.streams.clients import reader
from shared.streams.entries import FIRST, read_after
from shared.streams.groups import create_groups
from shared.streams.replay import Log
from tests.eventually import running
from tests.integration.rails.conftest import Rails, rails_of, until
from tests.oracles import rails as oracle
from tests.stack import Stack
from tests.unit.rails.logs import as_counter, in_ring

OFFSET: Final = "{news.views}:rails:offset"
TOTALS: Final = "{news.views}:rails:totals"
SNAPSHOT: Final = "{news.views}:rails:snapshot"
KILLS: Final = 4


async def totals(redis: Redis) -> Counter[str]:
    stored = cast("dict[bytes, bytes]", await redis.hgetall(TOTALS))
    return Counter({id_.decode(): int(total) for id_, total in stored.items()})


async def as_the_oracle(rails: Rails) -> None:
    """The totals, and the cells of the snapshot that a clean stop leaves behind."""
    cells, counted = oracle.fold(rails.log)
    assert await totals(rails.redis) == counted
    kept = unpacked(cast("bytes", await rails.redis.get(SNAPSHOT)))
    assert as_counter(kept) == in_ring(cells, kept.newest)


async def test_killed_in_mid_stream_again_and_again_it_counts_as_the_oracle(
    tmp_path: Path,
) -> None:
    rng = random.Random(7)
    with Stack(tmp_path, "rails") as stack:
        async with rails_of(stack) as rails, asyncio.TaskGroup() as group:
            stop = asyncio.Event()
            group.create_task(keep_recording(rails, rng, stop))
            for kill in range(KILLS):
                await asyncio.sleep(rng.uniform(0.1, 1.2))
                stack.kill("rails")
                if kill == 1:
                    # Nothing but the log and the totals is left: all cells come from it.
                    await rails.redis.delete(SNAPSHOT)
                    await rails.redis.hdel(OFFSET, "snapshot")
                await asyncio.to_thread(stack.start, "rails")
                if kill == 2:
                    assert await asyncio.to_thread(stack.stop, "rails") == 0
                    await asyncio.to_thread(stack.start, "rails")
            stop.set()
            await all_read(rails.redis)
            assert await asyncio.to_thread(stack.stop, "rails") == 0
            await as_the_oracle(rails)


async def keep_recording(rails: Rails, rng: random.Random, stop: asyncio.Event) -> None:
    """On time, late, ahead, repeated."""
    while not stop.is_set():
        at = to_ms(now())
        views = [
            (f"a{int(rng.paretovariate(0.7)) % 200}", rng.randrange(50),
             at - rng.choice([0, 0, 0, 1_000, 250_000, 590_000, 1_300_000, -4_000, -90_000]))
            for _ in range(rng.randint(1, 300))
        ]  # fmt: skip
        await rails.record(views, late=rng.random() < 0.05)
        await asyncio.sleep(0.002)


async def all_read(redis: Redis) -> None:
    async def lag() -> object:
        return (await redis.xinfo_groups("news.views"))[0]["lag"]

    await until(lag, 0)


@asynccontextmanager
async def a_worker(redis: Redis, reading: Redis) -> AsyncIterator[Callable[[], Worker]]:
    """Makes workers; what they told nobody waits for."""
    await create_groups(redis)

    def make() -> Worker:
        history = Log(reading)
        articles = Articles(redis, history, "news.articles")
        return Worker(
            redis, history, "news.views", articles, committed=asyncio.Event(), min_readers=2
        )

    yield make


@pytest.fixture
async def workers(redis: Redis, redis_url: SecretStr) -> AsyncIterator[Callable[[], Worker]]:
    async with reader(redis_url) as reading, a_worker(redis, reading) as make:
        yield make


@pytest.fixture
def log(redis: Redis) -> Rails:
    return Rails(cast("Any", None), redis, "s")


async def test_a_worker_that_was_overtaken_may_commit_no_more(
    redis: Redis, workers: Callable[[], Worker], log: Rails
) -> None:
    old, new = workers(), workers()
    stopped = asyncio.create_task(old.run())  # noqa: TID251 - it is to fail by itself
    await log.view("a", 1, 2)
    await all_read(redis)
    running = asyncio.create_task(new.run())  # noqa: TID251 - it is cancelled below
    with pytest.RaisesGroup(Superseded):
        await stopped
    await log.view("a", 2, 3)
    await all_read(redis)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert await totals(redis) == {"s-a": 3}
    await as_the_oracle(log)


async def test_a_worker_is_overtaken_before_the_new_one_commits_anything(
    redis: Redis, workers: Callable[[], Worker], log: Rails
) -> None:
    """The offset is still the one it started from; the epoch tells."""
    running = asyncio.create_task(workers().run())  # noqa: TID251 - it is to fail by itself
    await log.view("a", 1)
    await all_read(redis)
    await redis.hincrby(OFFSET, "epoch", 1)
    await log.view("a", 2)
    with pytest.RaisesGroup(Superseded):
        await running
    assert await totals(redis) == {"s-a": 1}


async def test_a_commit_whose_answer_was_lost_counts_once(
    redis: Redis, workers: Callable[[], Worker], log: Rails, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = workers()
    lost = lose_the_first_answer_of(worker, monkeypatch)
    await log.view("a", 1, 2)
    running = asyncio.create_task(worker.run())  # noqa: TID251 - it is cancelled below
    await all_read(redis)
    await log.view("a", 3)
    await all_read(redis)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert lost
    await as_the_oracle(log)


def lose_the_first_answer_of(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """To a commit that moves the offset; what was lost."""
    script = worker._commit_script
    lost: list[Any] = []

    async def losing(**given: Any) -> Any:
        reply = await script(**given)
        _, _, start, end, *_ = given["args"]
        if start != end and not lost:
            lost.append(reply)
            raise RedisConnectionError("the answer is lost")
        return reply

    monkeypatch.setattr(worker, "_commit_script", losing)
    return lost


async def test_a_lost_group_ends_it_with_an_error_and_counts_nothing(
    redis: Redis, workers: Callable[[], Worker], log: Rails
) -> None:
    await log.view("a", 1)
    await redis.xgroup_destroy("news.views", "rails")
    with pytest.raises(ResponseError, match="NOGROUP"):
        await workers().run()
    assert await totals(redis) == {}


async def test_it_waits_for_a_redis_that_is_gone(tmp_path: Path) -> None:
    with Stack(tmp_path, "rails") as stack:
        async with rails_of(stack) as rails:
            await rails.publish("a")
            await rails.view("a", 1, 2)
            await until(lambda: rails.listed("popular"), "a")
            stack.redis.kill()
            await asyncio.to_thread(stack.redis.start)
            await rails.redis.connection_pool.disconnect()
            await rails.publish("b")
            await rails.view("b", *range(9))
            await until(lambda: rails.listed("popular"), "ba")
            assert await asyncio.to_thread(stack.stop, "rails") == 0
            await as_the_oracle(rails)


@pytest.mark.logs_errors("entry.dead")
async def test_an_entry_it_cannot_read_is_one_dead_letter_whoever_dies_and_the_others_count(
    redis: Redis, workers: Callable[[], Worker], log: Rails, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.view("a", 1)
    garbage = await redis.xadd("news.views", {"hello": "world"})
    await log.view("a", 2)
    worker = workers()
    lost = lose_the_first_answer_of(worker, monkeypatch)
    await commit_all(redis, worker)
    assert lost
    # With the snapshot or without it, all is folded once more.
    await commit_all(redis, workers())
    await redis.delete(SNAPSHOT)
    await redis.hdel(OFFSET, "snapshot")
    await log.view("a", 3)
    await commit_all(redis, workers())
    assert await totals(redis) == {"s-a": 3}
    (letter,) = await read_after(redis, "{news.views}:dead:rails", FIRST, count=9, block_ms=None)
    assert letter.fields == {
        b"dead-stream": b"news.views", b"dead-group": b"rails", b"dead-entry": garbage,
        b"dead-reason": b"unreadable: not a news.views.recorded.v1 of CloudEvents 1.0",
        b"dead-attempts": b"1", b"hello": b"world",
    }  # fmt: skip


async def commit_all(redis: Redis, worker: Worker) -> None:
    async with running(worker.run):
        await until(lambda: is_live(worker), True)
        await all_read(redis)


async def is_live(worker: Worker) -> bool:
    return worker.live


@pytest.mark.logs_errors("entry.dead")
async def test_a_full_redis_does_not_part_a_dead_letter_from_its_offset(
    redis: Redis, workers: Callable[[], Worker], log: Rails
) -> None:
    async with running(workers().run):
        await log.view("a", 1)
        await all_read(redis)
        await redis.xadd("news.views", {"hello": "world"})
        await redis.config_set("maxmemory", "1")
        try:
            await all_read(redis)
        finally:
            await redis.config_set("maxmemory", "0")
    assert await redis.xlen("{news.views}:dead:rails") == 1
