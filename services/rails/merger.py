"""The lists of all partitions: merge, hold steady, publish what changed.

List and event are written in one compare-and-set on the list as it was last read; the
same ids in the same order make no event, though the stored scores may move on.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError
from structlog import get_logger

from services.rails import keys
from services.rails.domain.candidates import Candidate, from_json, merged
from services.rails.domain.changes import between
from services.rails.domain.rules import RULES
from shared.clock import Clock, from_ms, now
from shared.errors import Unavailable
from shared.events import RAILS, Event, RailArticle, RailChanged, RailEntry, to_json
from shared.streams.append import Appender, Changed, Unit, Write, entry
from shared.streams.clients import is_outage
from shared.streams.keys import belonging

log = get_logger()

SOURCE: Final = "/rails"
LOOK_EVERY_S: Final = 1.0
BEAT_EVERY_MS: Final = 1_000
AT_ONCE: Final = 200
"""Lists in one call of the script."""


@dataclass(frozen=True, slots=True)
class Published:
    """A list as it is stored; '' and nothing before the first time."""

    text: str = ""
    version: int = 0
    entries: tuple[RailEntry, ...] = ()

    @classmethod
    def of(cls, text: str) -> "Published":
        said = RailChanged.model_validate_json(text) if text else None
        return cls(text, said.version, said.entries) if said else cls()

    @property
    def ids(self) -> list[str]:
        return [each.article.id for each in self.entries]


class Merger:
    def __init__(
        self,
        redis: Redis,
        appender: Appender,
        stream_keys: Sequence[str],
        *,
        committed: asyncio.Event,
        clock: Clock = now,
    ) -> None:
        """`appender`: of `news.rails`; its loop must be running. `stream_keys`: the
        partitions of `news.views`."""
        self._redis = redis
        self._appender = appender
        self._committed = committed
        self._clock = clock
        self._lists: dict[str, Published] = {}
        self._again: set[str] = set()
        self._seen = dict.fromkeys(stream_keys, 0)
        """The number of each partition's last commit that was looked at."""
        self._beat_ms = 0

    async def run(self) -> None:
        """After each commit, and every second."""
        await self._load()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._committed.wait()
            self._committed.clear()
            try:
                await self.step()
            except RedisError as error:
                if not is_outage(error):
                    raise
                log.warning("merger.waits", error=str(error)[:200])
                await asyncio.sleep(0.2)

    async def step(self) -> None:
        """Publishes the lists whose candidates changed since the last call."""
        names, seen, ranked = set(self._again), dict(self._seen), []
        for stream_key, number in seen.items():
            found, state = await self._news(stream_key, number)
            names.update(found)
            seen[stream_key], ranked_ms = state
            ranked.append(ranked_ms)
        if not all(ranked):
            # A partition that has yet to rank would look like one without articles.
            return
        self._again.clear()
        waiting = sorted(names)
        for start in range(0, len(waiting), AT_ONCE):
            await self._merge(waiting[start : start + AT_ONCE], ranked_ms=min(ranked))
        self._seen = seen
        if not self._again and min(ranked) - self._beat_ms >= BEAT_EVERY_MS:
            self._beat_ms = min(ranked)
            await self._redis.set(belonging(RAILS.name, keys.HEARTBEAT), self._beat_ms)

    async def _load(self) -> None:
        stored = cast(
            "dict[bytes, bytes]", await self._redis.hgetall(belonging(RAILS.name, keys.LISTS))
        )
        self._lists = {name.decode(): Published.of(text.decode()) for name, text in stored.items()}

    async def _news(self, stream_key: str, seen: int) -> tuple[list[str], tuple[int, int]]:
        """Lists whose candidates a partition changed; its last commit, and when it ranked."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.hmget(belonging(stream_key, keys.OFFSET), "commits", "ranked")
        pipe.zrangebyscore(belonging(stream_key, keys.CHANGED), f"({seen}", "+inf")
        (commits, ranked_ms), found = await pipe.execute()
        return [name.decode() for name in found], (int(commits or 0), int(ranked_ms or 0))

    async def _merge(self, names: Sequence[str], *, ranked_ms: int) -> None:
        tops = [
            await self._redis.hmget(belonging(stream_key, keys.TOPS), names)
            for stream_key in self._seen
        ]
        async with asyncio.TaskGroup() as group:
            for name, texts in zip(names, zip(*tops, strict=True), strict=True):
                candidates = merged(from_json(text) for text in texts if text)
                group.create_task(self._publish(name, candidates, ranked_ms))

    async def _publish(self, name: str, candidates: Sequence[Candidate], ranked_ms: int) -> None:
        old = self._lists.get(name, Published())
        if (new := following(name, old, candidates, ranked_ms)) is None:
            return
        text = to_json(new).decode()
        writes = [Write("HSET", keys.LISTS, [name, text])]
        if new.version != old.version:
            event = Event(f"{name}:{new.version}", SOURCE, name, self._clock(), new)
            writes.append(entry(event))
        try:
            outcome = await self._appender.append(Unit(writes, expect=[(name, old.text)]))
        except Unavailable:
            self._again.add(name)
            return
        match outcome:
            case Changed((stored,)):
                # Also when our own answer was lost: then it is what we wrote.
                self._lists[name] = Published.of(stored)
                self._again.add(name)
            case _:
                self._lists[name] = Published(text, new.version, new.entries)


def following(
    name: str, old: Published, candidates: Sequence[Candidate], ranked_ms: int
) -> RailChanged | None:
    """The list after `old`, or that it stays as it is. Its version grows by one when an
    article entered, left or moved."""
    rail, _, section = name.partition(":")
    rows = RULES[rail](old.ids, candidates)
    entries = tuple(_entry(rank, row) for rank, row in enumerate(rows, 1))
    changes = between(old.ids, [row.id for row in rows])
    if not changes and entries == old.entries:
        return None
    return RailChanged(
        rail=rail,
        section=section or None,
        version=old.version + bool(changes),
        computed_at=from_ms(ranked_ms),
        entries=entries,
        entered=changes.entered,
        left=changes.left,
        moved=changes.moved,
    )


def _entry(rank: int, row: Candidate) -> RailEntry:
    article = RailArticle(id=row.id, title=row.title, section=row.section, url=row.url)
    return RailEntry(rank=rank, article=article, score=row.score, parts=row.parts)
