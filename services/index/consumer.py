"""Articles from the log into the store, and a word on `news.indexed` about each."""

import asyncio
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis
from structlog import get_logger

from services.index.domain.operations import from_event
from services.index.store import Op, SearchStore, Upsert
from shared.clock import now
from shared.events import ArticleId, ArticleIndexed, Event, Unreadable, decode
from shared.streams.append import Appender, Seen, Unit, entry
from shared.streams.consume import Delivered
from shared.streams.dead import letters
from shared.streams.entries import FIRST, Entry, place
from shared.streams.replay import Log
from shared.web.rebuild import Progress

log = get_logger()

GROUP: Final = "index"
SOURCE: Final = "/index"
CHUNK: Final = 1000


@dataclass(frozen=True, slots=True)
class Articles:
    """Of one partition of `news.articles`."""

    redis: Redis
    stream_key: str
    store: SearchStore
    indexed: Appender
    log: Log
    switching: asyncio.Lock
    """Held while a batch is applied, and by who puts another store in the place of this."""

    async def apply(self, batch: Sequence[Delivered]) -> None:
        """Store first, event second, acknowledgement (the consumer's) last.

        After a crash the batch comes again: the store calls all of it stale, so what it
        holds decides what is announced, and the event's id that it is so once. What comes
        late, reclaimed or redriven, must not take the checkpoint back.
        """
        ops = [op for delivered in batch if (op := from_event(delivered.event))]
        async with self.switching:
            before = (await self.store.checkpoint()).get(self.stream_key, FIRST)
            reached = max([before, *(delivered.entry_id for delivered in batch)], key=place)
            await self.store.apply(ops, {self.stream_key: reached})
        await self._announce([op for op in ops if isinstance(op, Upsert)])

    async def catch_up(self) -> None:
        """Fills a store whose folder is new, or an older copy."""
        progress = Progress()
        await self.fill(self.store, progress)
        log.info("store.caught_up", stream=self.stream_key, entries=progress.entries)

    async def fill(self, store: SearchStore, progress: Progress) -> None:
        """Applies what the group was given and `store` has not, without what the group gave
        up: that stays out until it is redriven. Publishes nothing, as it was published then.
        """
        after = (await store.checkpoint()).get(self.stream_key, FIRST)
        until = await self._delivered()
        given_up = await self._given_up()
        async for found in self.log.until(self.stream_key, after, until, count=CHUNK):
            for start in range(0, len(found), CHUNK):
                entries = found[start : start + CHUNK]
                ops = await asyncio.to_thread(_ops, entries, given_up)
                await store.apply(ops, {self.stream_key: entries[-1].id})
                progress.read(entries)

    async def _given_up(self) -> Set[str]:
        given_up: set[str] = set()
        after = FIRST
        while page := await letters(self.redis, self.stream_key, GROUP, after, CHUNK):
            given_up |= {letter.entry for letter in page}
            after = page[-1].id
        return given_up

    async def _announce(self, upserts: Sequence[Upsert]) -> None:
        held = await self.store.versions([op.id for op in upserts])
        try:
            async with asyncio.TaskGroup() as group:
                for op in upserts:
                    if held.get(op.id) == op.version:
                        group.create_task(self.indexed.append(_unit(op)))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _delivered(self) -> str:
        groups = await self.redis.xinfo_groups(self.stream_key)
        delivered = {group["name"]: group["last-delivered-id"] for group in groups}
        last: bytes = delivered[GROUP.encode()]
        return last.decode()


def _ops(entries: Sequence[Entry], given_up: Set[str]) -> list[Op]:
    events = (decode(entry.fields) for entry in entries if entry.id not in given_up)
    return [
        op for event in events if not isinstance(event, Unreadable) and (op := from_event(event))
    ]


def _unit(op: Upsert) -> Unit:
    id_ = f"{op.id}.{op.version}.indexed"
    data = ArticleIndexed(id=ArticleId(op.id), version=op.version)
    event = Event(id=id_, source=SOURCE, subject=op.id, time=now(), data=data)
    return Unit([entry(event)], Seen(id_, ""))
