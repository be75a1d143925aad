"""The rails' lists as last published, for the pages."""

from collections.abc import Sequence
from typing import cast

from redis.asyncio import Redis

from services.index import keys
from shared.events import RAILS, RailChanged, RailEntry, to_json
from shared.streams.consume import Delivered
from shared.streams.keys import belonging

_KEY = belonging(RAILS.name, keys.LISTS)


class Lists:
    """In memory, and in Redis for the next start. Only this process writes them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._lists: dict[str, RailChanged] = {}

    async def load(self) -> None:
        stored = cast("dict[bytes, bytes]", await self._redis.hgetall(_KEY))
        self._lists = {
            name.decode(): RailChanged.model_validate_json(value) for name, value in stored.items()
        }

    async def apply(self, batch: Sequence[Delivered]) -> None:
        """A version that is not newer is dropped: entries come again."""
        newer: dict[str, RailChanged] = {}
        for delivered in batch:
            said = delivered.event.data
            if isinstance(said, RailChanged):
                name = _name(said.rail, said.section)
                known = newer.get(name) or self._lists.get(name)
                if known is None or said.version > known.version:
                    newer[name] = said
        if newer:
            stored = [part for name, said in newer.items() for part in (name, to_json(said))]
            await self._redis.hset(_KEY, items=stored)
            self._lists |= newer

    def entries(self, rail: str, section: str | None) -> Sequence[RailEntry]:
        found = self._lists.get(_name(rail, section))
        return found.entries if found else ()


def _name(rail: str, section: str | None) -> str:
    return f"{rail}|{section or ''}"
