"""Dead letters: the entries that a group gave up, kept with the reason until an operator
redrives or drops them.

A letter is an entry of `{stream}:dead:<group>`: `dead-stream`, `dead-group`, `dead-entry`,
`dead-reason`, `dead-attempts`, then the original's own fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Final, Self, cast

from redis.asyncio import Redis

from shared.clock import from_ms
from shared.streams.entries import Entry, read_after
from shared.streams.keys import dead

WRITE_LETTER: Final = files(__package__).joinpath("lua/letter.lua").read_text()
"""Lua that goes before a script which gives entries up."""

ADDED: Final = b"dead-"


@dataclass(frozen=True, slots=True)
class Letter:
    id: str
    entry: str
    """The id that the original has on its stream."""
    reason: str
    attempts: int
    fields: Mapping[bytes, bytes]
    """The original's; none where it was deleted before it was given up."""

    @property
    def at(self) -> datetime:
        """When it was given up."""
        return from_ms(Entry(self.id, {}).at_ms)

    @classmethod
    def of(cls, stored: Entry) -> Self:
        return cls(
            id=stored.id,
            entry=stored.fields[b"dead-entry"].decode(),
            reason=stored.fields[b"dead-reason"].decode(errors="replace"),
            attempts=int(stored.fields[b"dead-attempts"]),
            fields={
                name: value for name, value in stored.fields.items() if not name.startswith(ADDED)
            },
        )


async def count(redis: Redis, stream_key: str, group: str) -> int:
    return int(await redis.xlen(dead(stream_key, group)))


async def letters(
    redis: Redis, stream_key: str, group: str, after: str, limit: int
) -> list[Letter]:
    """Oldest first."""
    stored = await read_after(redis, dead(stream_key, group), after, count=limit, block_ms=None)
    return [Letter.of(each) for each in stored]


async def find(redis: Redis, stream_key: str, group: str, letter_id: str) -> Letter | None:
    rows = cast(
        "list[tuple[bytes, dict[bytes, bytes]]]",
        await redis.xrange(dead(stream_key, group), letter_id, letter_id),
    )
    return Letter.of(Entry(letter_id, rows[0][1])) if rows else None


async def drop(redis: Redis, stream_key: str, group: str, letter_id: str) -> bool:
    """Whether there was such a letter. It is gone for good."""
    return bool(await redis.xdel(dead(stream_key, group), letter_id))
