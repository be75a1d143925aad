"""Entries as Redis gives them, narrowed to our types once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from redis.asyncio import Redis

from shared.streams.clients import BLOCK_MS

FIRST: Final = "0-0"


@dataclass(frozen=True, slots=True)
class Entry:
    id: str
    fields: Mapping[bytes, bytes]

    @property
    def at_ms(self) -> int:
        """When Redis took it."""
        return entry_ms(self.id)


def entry_ms(entry_id: str) -> int:
    return place(entry_id)[0]


def place(entry_id: str) -> tuple[int, int]:
    """By which entries of a stream are in order; their ids as text are not."""
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number)


async def read_after(
    redis: Redis, stream_key: str, offset: str, *, count: int, block_ms: int | None = BLOCK_MS
) -> list[Entry]:
    """Up to `count` entries after `offset`, oldest first; waits for the first one
    `block_ms` at most (None: not at all). For folds, which keep their own offset."""
    reply = cast(
        "list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]",
        await redis.xread({stream_key: offset}, count=count, block=block_ms),
    )
    return [Entry(id_.decode(), fields) for _, found in reply for id_, fields in found]


async def read_range(
    redis: Redis, stream_key: str, first: str, last: str, *, count: int
) -> list[Entry]:
    """As XRANGE: both ends count, unless a `(` is before them."""
    return _entries(await redis.xrange(stream_key, first, last, count=count))


async def newest(redis: Redis, stream_key: str) -> Entry | None:
    return next(iter(_entries(await redis.xrevrange(stream_key, count=1))), None)


def _entries(rows: Any) -> list[Entry]:
    return [Entry(id_.decode(), fields) for id_, fields in rows]
