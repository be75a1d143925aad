"""The janitor: archives what is old enough, then trims it. Nobody else trims.

What may go, in this order:

1. nothing that one of newsrail's own groups has not acknowledged, however old;
2. nothing that came within the retention time, nor within `LEAST_S` when Redis fills up;
3. nothing that somebody else's group has not acknowledged, for a day: then it is reported
   and passed, and that group finds the rest in the archive.

An entry is archived once though the janitor dies anywhere, and though two of them run: the
archive itself says where the next segment begins and takes only one there. So there is no
lease, which a full Redis would refuse to give just when trimming is what helps.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError
from structlog import get_logger

from shared import metrics
from shared.clock import Clock, now, to_ms
from shared.events import Stream
from shared.process import Loop
from shared.settings import Settings
from shared.streams.archive import Archive, ArchiveUnavailable, Damaged, Taken
from shared.streams.backlog import memory_used
from shared.streams.entries import Entry, place, read_range
from shared.streams.groups import OWN_GROUPS, needed
from shared.streams.keys import keys

log = get_logger()

LOOK_EVERY_S: Final = 10.0
LEAST_S: Final = 1_200
"""Readers that follow the stream count on what came within this time."""
PRESSED_FROM: Final = 0.6
"""Of what Redis may hold: from there on entries stay for `LEAST_S` only."""
OTHERS_WAIT_S: Final = 86_400
GATHER: Final = 0.5
"""A segment is cut when its first entry is overdue by this part of the retention time: few
and large ones."""
SEGMENT_BYTES: Final = 16_000_000
READ_MOST: Final = 200

Place = tuple[int, int]
BEFORE_ALL: Final[Place] = (0, 0)


def janitors(redis: Redis, settings: Settings, *streams: Stream) -> list[Loop]:
    """The janitor of the streams that a service writes; none without an archive."""
    archive = Archive.of(settings.archive)
    if archive is None:
        return []
    janitor = Janitor(
        redis,
        archive,
        streams,
        partitions=settings.partitions,
        retention_s=settings.retention_s,
    )
    return [janitor.run]


class Janitor:
    """Of the streams that this service writes."""

    def __init__(
        self,
        redis: Redis,
        archive: Archive,
        streams: Sequence[Stream],
        *,
        partitions: int,
        retention_s: int,
        clock: Clock = now,
    ) -> None:
        self._redis = redis
        self._archive = archive
        self._pressed = False
        self._streams = {key: stream for stream in streams for key in keys(stream, partitions)}
        self._retention_s = retention_s
        self._clock = clock
        self._archived: dict[str, str] = {}
        """The last entry in the archive, once it was asked."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for stream_key in self._streams:
                await self._look(stream_key)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, stream_key: str) -> None:
        failing = metrics.ARCHIVE_FAILING.labels(stream_key)
        try:
            self._pressed = await memory_used(self._redis) >= PRESSED_FROM
            while await self.tend(stream_key):
                pass
        except RedisError as error:
            log.warning("janitor.waits", stream=stream_key, error=str(error)[:200])
        except (ArchiveUnavailable, Damaged) as error:
            failing.set(1)
            log.error("archive.failed", stream=stream_key, error=str(error)[:200])  # noqa: TRY400 - no defect of ours
        except Taken:
            # Another janitor was quicker; what is archived now is looked up anew.
            self._archived.pop(stream_key, None)
        else:
            failing.set(0)

    async def tend(self, stream_key: str) -> bool:
        """Archives and trims one segment, if one is due. Whether there was one.

        Raises RedisError, ArchiveUnavailable, Damaged, Taken; nothing is trimmed then.
        """
        if stream_key not in self._archived:
            self._archived[stream_key] = await self._archive.last(stream_key)
            await self._trim_archived(stream_key)
        after = self._archived[stream_key]
        if not await self._is_due(stream_key, after):
            return False
        needs = await needed(self._redis, stream_key)
        floor = self._floor(stream_key, needs)
        entries = await self._removable(stream_key, after, floor)
        if not entries:
            return False
        await self._archive.add(stream_key, after, entries)
        self._archived[stream_key] = entries[-1].id
        await self._trim(stream_key, floor)
        self._report(stream_key, needs, entries)
        return True

    def _floor(self, stream_key: str, needs: Mapping[str, Place]) -> Place:
        """The first entry that must stay."""
        own = OWN_GROUPS.get(self._streams[stream_key], ())
        now_ms = to_ms(self._clock())
        others_ms = now_ms - OTHERS_WAIT_S * 1000
        return min(
            [
                (now_ms - self._retention_ms(), 0),
                *(needs.get(group, BEFORE_ALL) for group in own),
                *(max(need, (others_ms, 0)) for group, need in needs.items() if group not in own),
            ]
        )

    def _retention_ms(self) -> int:
        return 1000 * (LEAST_S if self._pressed else self._retention_s)

    async def _is_due(self, stream_key: str, after: str) -> bool:
        late_ms = to_ms(self._clock()) - int((1 + GATHER) * self._retention_ms())
        return bool(await self._redis.xrange(stream_key, f"({after}", f"{late_ms}", count=1))

    async def _removable(self, stream_key: str, after: str, floor: Place) -> list[Entry]:
        """Up to a segment's entries."""
        entries: list[Entry] = []
        size = 0
        end = "({}-{}".format(*floor)
        while place(after) < floor and size < SEGMENT_BYTES:
            found = await read_range(self._redis, stream_key, f"({after}", end, count=READ_MOST)
            if not found:
                break
            entries += found
            after = found[-1].id
            size += sum(len(value) for entry in found for value in entry.fields.values())
        return entries

    async def _trim_archived(self, stream_key: str) -> None:
        """What the janitor before us archived and had no time to trim. A Redis that was
        restored from an older backup has groups that have not read all of it."""
        if await self._redis.xrange(stream_key, "-", self._archived[stream_key], count=1):
            floor = self._floor(stream_key, await needed(self._redis, stream_key))
            await self._trim(stream_key, floor)

    async def _trim(self, stream_key: str, floor: Place) -> None:
        ms, number = place(self._archived[stream_key])
        first = "{}-{}".format(*min((ms, number + 1), floor))
        await self._redis.xtrim(stream_key, minid=first, approximate=False)

    def _report(
        self, stream_key: str, needs: Mapping[str, Place], entries: Sequence[Entry]
    ) -> None:
        last = entries[-1].id
        metrics.ARCHIVED.labels(stream_key).inc(len(entries))
        log.info("entries.archived", stream=stream_key, entries=len(entries), last=last)
        for group, need in needs.items():
            if need <= place(last):
                metrics.PASSED.labels(stream_key, group).inc()
                log.warning("group.passed", stream=stream_key, group=group, last=last)
