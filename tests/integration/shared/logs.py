"""Logs for tests: entries put on a stream at times of their own."""

from collections.abc import Sequence

from redis.asyncio import Redis

from shared.clock import to_ms
from shared.streams.archive import Archive
from shared.streams.entries import FIRST, Entry, read_after
from shared.streams.replay import Log
from tests.integration.shared.conftest import NOON, an_event

STREAM = "news.indexed"
NOON_MS = to_ms(NOON)


async def add(redis: Redis, numbers: Sequence[int], *, every_s: float = 1) -> list[Entry]:
    """An entry a second from noon on, or as told."""
    for number in numbers:
        words = iter(an_event(f"e{number}").fields())
        at_ms = NOON_MS + int(number * every_s * 1000)
        await redis.xadd(STREAM, dict(zip(words, words, strict=True)), id=f"{at_ms}-0")
    return await in_redis(redis)


async def in_redis(redis: Redis) -> list[Entry]:
    return await read_after(redis, STREAM, FIRST, count=100_000, block_ms=None)


async def archived(archive: Archive) -> list[Entry]:
    return [entry async for found in archive.after(STREAM, FIRST) for entry in found]


async def whole(log: Log) -> list[Entry]:
    return [entry async for found in log.rest(STREAM, FIRST, count=10) for entry in found]
