"""The counts of a partition made anew from its whole log, beside those that answer.

The totals are gathered in memory and kept under a key of their own; nobody reads them
before a commit of the worker puts them in the place of the old ones. Whatever a rebuild
that was killed leaves there is taken away by the next one, and by the next start.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Final
from uuid import uuid4

import orjson
from redis.asyncio import Redis

from services.rails import keys
from services.rails.domain.counts import Counts
from services.rails.fold import READ_MOST, fold
from services.rails.threads import in_thread
from shared.streams import dead
from shared.streams.entries import FIRST, Entry
from shared.streams.keys import belonging
from shared.streams.replay import Log
from shared.web.rebuild import Progress

KEEP_MOST: Final = 5_000


class Rebuilt:
    def __init__(self, redis: Redis, reading: Log, stream_key: str, progress: Progress) -> None:
        self.counts = Counts()
        """Their totals are taken."""
        self._id = uuid4().hex
        self._redis = redis
        self._reading = reading
        self._stream_key = stream_key
        self._key = belonging(stream_key, keys.TOTALS_REBUILT)
        self._progress = progress
        self._offset = FIRST
        self._totals: Counter[str] = Counter()
        self._letters: dict[str, str] = {}
        self._readable: list[str] = []
        """Letters whose entries were read."""

    async def begin(self) -> None:
        await self._redis.unlink(self._key)
        self._letters = await letters_by_entry(self._redis, self._stream_key)

    async def read_to(self, end: str) -> None:
        """Reads on up to this entry; then the totals are kept as of there."""
        changed: set[str] = set()
        entries_to_end = self._reading.until(self._stream_key, self._offset, end, count=READ_MOST)
        async for entries in entries_to_end:
            changed.update(await in_thread(self._fold, entries))
            self._progress.read(entries)
        self._offset = end
        await self._keep(changed)

    def to_json(self) -> bytes:
        """As the commit takes it."""
        return orjson.dumps(
            {"id": self._id, "articles": len(self._totals), "letters": self._readable}
        )

    def _fold(self, entries: Sequence[Entry]) -> list[str]:
        unreadable = {id_ for id_, _ in fold(self.counts, entries)}
        read = {entry.id for entry in entries} - unreadable
        self._readable += [self._letters[id_] for id_ in self._letters.keys() & read]
        articles, views = self.counts.take_totals()
        self._totals.update(dict(zip(articles, views, strict=True)))
        return articles

    async def _keep(self, articles: set[str]) -> None:
        rest = iter(articles)
        while chunk := list(islice(rest, KEEP_MOST)):
            pairs: list[str | int] = []
            for id_ in chunk:
                pairs += (id_, self._totals[id_])
            await self._redis.hset(self._key, items=pairs)


async def letters_by_entry(redis: Redis, stream_key: str) -> dict[str, str]:
    """The group's dead letters, by the ids of their entries."""
    found: dict[str, str] = {}
    after = FIRST
    while page := await dead.letters(redis, stream_key, keys.GROUP, after, READ_MOST):
        found |= {letter.entry: letter.id for letter in page}
        after = page[-1].id
    return found


async def given(redis: Redis, stream_key: str) -> tuple[str, int]:
    """The last entry that was given to the group, and how many were in all."""
    for group in await redis.xinfo_groups(stream_key):
        if group["name"].decode() == keys.GROUP:
            return group["last-delivered-id"].decode(), int(group["entries-read"] or 0)
    return FIRST, 0
