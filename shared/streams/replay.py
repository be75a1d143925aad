"""The log of a stream: what is archived of it, then what is in Redis still."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from redis.asyncio import Redis

from shared.streams.archive import Archive
from shared.streams.entries import FIRST, Entry, place, read_after

LOOK_AGAIN_S: Final = 300.0
"""Nothing that came since can have been trimmed: Redis keeps it four times as long."""


@dataclass(slots=True)
class Log:
    """`redis` waits for entries, so its time-out is above the block time. Without an
    archive nothing is ever trimmed, and the stream is all there is."""

    redis: Redis
    archive: Archive | None = None
    _ends: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Of a stream, the entry after which the log had nothing, and when that was so."""

    async def after(
        self, stream_key: str, entry_id: str, *, count: int, block_ms: int | None = None
    ) -> Sequence[Entry]:
        """The next entries after `entry_id`, oldest first, with no hole before or in them:
        about `count` from the stream, a segment's from the archive. Empty at the end of
        the log, once `block_ms` have passed. Raises RedisError, and of the archive
        Damaged and ArchiveUnavailable.
        """
        async for entries in self._part(stream_key, entry_id, count=count, block_ms=block_ms):
            return entries
        return ()

    async def rest(
        self, stream_key: str, entry_id: str, *, count: int
    ) -> AsyncIterator[Sequence[Entry]]:
        """All entries after `entry_id`, in chunks, to the end of the log. Raises as `after`."""
        reached = ""
        while reached != entry_id:
            reached = entry_id
            async for entries in self._part(stream_key, entry_id, count=count):
                yield entries
                entry_id = entries[-1].id

    async def until(
        self, stream_key: str, entry_id: str, end: str, *, count: int
    ) -> AsyncIterator[Sequence[Entry]]:
        """All entries after `entry_id` up to `end`, in chunks. Raises as `after`."""
        if place(entry_id) >= place(end):
            return
        async for entries in self.rest(stream_key, entry_id, count=count):
            if place(entries[-1].id) >= place(end):
                if last := [entry for entry in entries if place(entry.id) <= place(end)]:
                    yield last
                return
            yield entries

    async def _part(
        self, stream_key: str, entry_id: str, *, count: int, block_ms: int | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        """All that is archived after `entry_id`, else one read of the stream."""
        entries = await read_after(self.redis, stream_key, entry_id, count=count, block_ms=block_ms)
        # In this order: what was trimmed before the stream was read is archived by now.
        if self.archive and await self._may_begin_later(stream_key, entry_id):
            is_archived = False
            async for archived in self.archive.after(stream_key, entry_id):
                yield archived
                is_archived = True
            if is_archived:
                return
            if not entries:
                self._ends[stream_key] = (entry_id, monotonic())
        if entries:
            yield entries

    async def _may_begin_later(self, stream_key: str, entry_id: str) -> bool:
        """Whether the stream has lost entries after this one, for all it shows."""
        looked_at, when = self._ends.get(stream_key, ("", 0.0))
        if looked_at == entry_id and monotonic() - when < LOOK_AGAIN_S:
            return False
        oldest = await read_after(self.redis, stream_key, FIRST, count=1, block_ms=None)
        return not oldest or place(oldest[0].id) > place(entry_id)
