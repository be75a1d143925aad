"""The clients fail fast, never repeat by themselves, and end when they are told to."""

import asyncio

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from shared.streams.clients import is_outage, reader, writer
from tests.redis_server import RedisServer

WITHIN_S = 1.5


@pytest.mark.parametrize("steps", range(40))
async def test_a_loop_that_is_cancelled_ends_whatever_it_waits_for(
    redis: Redis, steps: int
) -> None:
    """In Python 3.11 a cancellation that came while redis-py sent was lost."""
    give_up = asyncio.Event()

    async def loop() -> None:
        while not give_up.is_set():
            await redis.ping()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(loop())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        ended, _ = await asyncio.wait([task], timeout=1)
        give_up.set()
    assert ended
    assert await redis.echo("in step") == b"in step"


async def test_a_loop_that_is_cancelled_while_it_runs_ends_too(redis: Redis) -> None:
    """As Ctrl-C does it, between two waits: the cancellation comes with the next one."""
    pings = 0

    async def loop() -> None:
        nonlocal pings
        task = asyncio.current_task()
        assert task
        while pings < 1_000:
            pings += 1
            task.cancel()
            await redis.ping()

    with pytest.raises(asyncio.CancelledError):
        await loop()
    assert pings == 1


async def test_what_is_said_in_cleaning_up_after_a_cancellation_is_sent(redis: Redis) -> None:
    async def loop() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await redis.set("cleaned", "up")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(loop())
        await asyncio.sleep(0)
        task.cancel()
    assert await redis.get("cleaned") == b"up"


async def test_a_hung_or_dead_redis_is_told_in_time(
    fragile: Redis, fragile_server: RedisServer
) -> None:
    await fragile.ping()
    for break_it in (fragile_server.hang, fragile_server.kill):
        break_it()
        for _ in range(2):
            async with asyncio.timeout(WITHIN_S):
                with pytest.raises(RedisError) as caught:
                    await fragile.ping()
            assert is_outage(caught.value)


async def test_many_requests_on_a_hung_redis_are_all_told_in_time(
    fragile: Redis, fragile_server: RedisServer
) -> None:
    """More than there are connections: some wait for one first."""

    async def ask() -> RedisError | None:
        try:
            await fragile.ping()
        except RedisError as error:
            return error
        return None

    fragile_server.hang()
    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
        answers = [group.create_task(ask()) for _ in range(200)]
    errors = [answer.result() for answer in answers]
    assert all(error is not None and is_outage(error) for error in errors)


async def test_what_timed_out_is_not_sent_again(
    fragile: Redis, fragile_server: RedisServer
) -> None:
    """A second XADD would be a second entry."""
    await fragile.xadd("news.views", {"a": "b"})
    fragile_server.hang()
    with pytest.raises(RedisError):
        await fragile.xadd("news.views", {"a": "b"})
    fragile_server.go_on()
    assert await fragile.xlen("news.views") == 2


async def test_a_reader_waits_longer_than_a_read_blocks(redis_url: SecretStr) -> None:
    async with reader(redis_url) as client:
        assert await client.xread({"news.articles": "0"}, block=1_500) == []


async def test_a_full_redis_is_an_outage_and_a_wrong_question_is_none(fragile: Redis) -> None:
    await fragile.set("text", "x")
    with pytest.raises(RedisError) as wrong:
        await fragile.hget("text", "field")
    assert not is_outage(wrong.value)
    await fragile.config_set("maxmemory", "1")
    with pytest.raises(OutOfMemoryError) as full:
        await fragile.set("text", "y")
    assert is_outage(full.value)


def test_a_url_that_is_none_of_redis_is_refused() -> None:
    with pytest.raises(ValueError, match="redis://"):
        writer(SecretStr("localhost:6379"))
