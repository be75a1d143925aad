"""Articles to the catalogue: first where it is kept, then in memory, then acknowledged."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib.resources import files
from typing import Final

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from services.rails import keys
from services.rails.domain.catalogue import Facts, of_event
from services.rails.fold import READ_MOST
from services.rails.rebuild import given, letters_by_entry
from services.rails.threads import in_thread
from shared.events import Unreadable, decode
from shared.streams import dead
from shared.streams.consume import Delivered
from shared.streams.entries import FIRST, Entry, place
from shared.streams.keys import belonging
from shared.streams.replay import Log
from shared.web.rebuild import Progress

KEEP_MOST: Final = 1_000

Read = Mapping[str, Facts | None]
"""Entries that can be read, and what they say of an article."""


class Articles:
    """Of one partition. What changed waits in `news` for the worker, which owns the
    catalogue in memory."""

    def __init__(self, redis: Redis, reading: Log, stream_key: str) -> None:
        self.news: deque[Facts] = deque()
        self._redis = redis
        self._reading = reading
        self._stream_key = stream_key
        self._key = belonging(stream_key, keys.CATALOGUE)
        self._rebuilt_key = belonging(stream_key, keys.CATALOGUE_REBUILT)
        self._keep_script = _script(redis, "catalogue")
        self._switch_script = _script(redis, "catalogue_switch")
        self._is_there = asyncio.Event()

    async def known(self) -> list[Facts]:
        """What is kept. Where that was lost it is made from the log first."""
        last, _ = await given(self._redis, self._stream_key)
        if last != FIRST and not await self._redis.exists(self._key):
            await self.rebuild(Progress())
        self._is_there.set()
        return [
            Facts.from_json(kept.partition(b" ")[2])
            async for _, kept in self._redis.hscan_iter(self._key, count=1000)
        ]

    async def apply(self, batch: Sequence[Delivered]) -> None:
        # Else a catalogue that was lost would look as if it were there.
        await self._is_there.wait()
        facts = [of_event(delivered.event.data) for delivered in batch]
        articles = [each for each in facts if each]
        await self._keep(self._key, articles)
        self.news.extend(articles)

    async def rebuild(self, progress: Progress) -> str:
        """Makes the catalogue anew from the log, beside the old one, and puts it in that
        one's place. The entry up to which it holds."""
        await self._redis.unlink(self._rebuilt_key)
        letters = await letters_by_entry(self._redis, self._stream_key)
        last, ids, readable = FIRST, set[str](), list[str]()
        switched = False
        while not switched:
            # The log may have lost the last of these.
            until, _ = await given(self._redis, self._stream_key)
            async for entry_id, read in self._after(last, progress):
                last = entry_id
                facts = [each for each in read.values() if each]
                await self._keep(self._rebuilt_key, facts)
                ids.update(each.id for each in facts)
                readable += [letters[id_] for id_ in letters.keys() & read.keys()]
            last = max(last, until, key=place)
            switched = await self._switch_script(
                keys=[self._stream_key, self._key, self._rebuilt_key],
                args=[keys.GROUP, last, len(ids)],
            )
        for letter_id in readable:
            await dead.drop(self._redis, self._stream_key, keys.GROUP, letter_id)
        return last

    async def since(self, entry_id: str) -> list[Facts]:
        """What the log says after this entry."""
        return [
            facts
            async for _, read in self._after(entry_id, Progress())
            for facts in read.values()
            if facts
        ]

    async def _after(self, entry_id: str, progress: Progress) -> AsyncIterator[tuple[str, Read]]:
        async for entries in self._reading.rest(self._stream_key, entry_id, count=READ_MOST):
            progress.read(entries)
            yield entries[-1].id, await in_thread(_read, entries)

    async def _keep(self, key: str, facts: Sequence[Facts]) -> None:
        for start in range(0, len(facts), KEEP_MOST):
            args: list[str | int | bytes] = []
            for each in facts[start : start + KEEP_MOST]:
                args += (each.id, each.version, each.to_json())
            await self._keep_script(keys=[key], args=args)


def _read(entries: Sequence[Entry]) -> Read:
    events = ((entry.id, decode(entry.fields)) for entry in entries)
    return {id_: of_event(event.data) for id_, event in events if not isinstance(event, Unreadable)}


def _script(redis: Redis, name: str) -> AsyncScript:
    return redis.register_script(files(__package__).joinpath(f"lua/{name}.lua").read_text())
