"""Articles from the log into the store, and a word on `news.indexed` about each."""

import asyncio
from collections.abc import Sequence
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
from shared.streams.entries import FIRST, place, read_after

log = get_logger()

GROUP: Final = "index"
SOURCE: Final = "/index"
CHUNK: Final = 200


@dataclass(frozen=True, slots=True)
class Articles:
    """Of one partition of `news.articles`."""

    redis: Redis
    stream_key: str
    store: SearchStore
    indexed: Appender

    async def apply(self, batch: Sequence[Delivered]) -> None:
        """Store first, event second, acknowledgement (the consumer's) last.

        After a crash the batch comes again: the store calls all of it stale, so what it
        holds decides what is announced, and the event's id that it is so once. What comes
        late, reclaimed or redriven, must not take the checkpoint back.
        """
        ops = [op for delivered in batch if (op := from_event(delivered.event))]
        before = (await self.store.checkpoint()).get(self.stream_key, FIRST)
        reached = max([before, *(delivered.entry_id for delivered in batch)], key=place)
        await self.store.apply(ops, {self.stream_key: reached})
        await self._announce([op for op in ops if isinstance(op, Upsert)])

    async def catch_up(self) -> None:
        """Applies what the group was given before and the store has not: its folder is
        new, or an older copy. Publishes nothing, as it was published then.
        """
        after = (await self.store.checkpoint()).get(self.stream_key, FIRST)
        until = await self._delivered()
        applied = 0
        while place(after) < place(until):
            entries = await read_after(
                self.redis, self.stream_key, after, count=CHUNK, block_ms=None
            )
            if not entries:
                break
            events = (decode(entry.fields) for entry in entries)
            ops: list[Op] = [
                op
                for event in events
                if not isinstance(event, Unreadable) and (op := from_event(event))
            ]
            after = entries[-1].id
            await self.store.apply(ops, {self.stream_key: after})
            applied += len(ops)
        log.info("store.caught_up", stream=self.stream_key, entry=after, applied=applied)

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


def _unit(op: Upsert) -> Unit:
    id_ = f"{op.id}.{op.version}.indexed"
    data = ArticleIndexed(id=ArticleId(op.id), version=op.version)
    event = Event(id=id_, source=SOURCE, subject=op.id, time=now(), data=data)
    return Unit([entry(event)], Seen(id_, ""))
