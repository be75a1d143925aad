"""Views to the log: beacons gathered, columns as entries of their own."""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import uuid4

import orjson

from services.ingest.domain.views import Drop, View, recorded
from services.ingest.publish import Repeatable
from shared import metrics
from shared.clock import Clock, now
from shared.events import Event, ViewsRecorded
from shared.streams.append import CALLS, Appender, Done, Repeated, Unit, Write, entry
from shared.streams.keys import partition_of

GATHER_MOST: Final = 1_000
SOURCE: Final = "/ingest/views"


@dataclass(slots=True)
class _Waiting:
    view: View
    written: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Beacons:
    """Gathers beacons as an Appender gathers units: what arrives while calls are under way
    becomes one entry a partition. No timer: alone, a beacon leaves at once."""

    def __init__(self, appenders: Sequence[Appender], clock: Clock = now) -> None:
        self._appenders = appenders
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._dropped: Counter[str] = Counter()

    def drop(self, reason: Drop) -> None:
        """Counts a view that does not count; the next entry carries the number."""
        self._dropped[reason] += 1
        metrics.VIEWS.labels(reason).inc()

    async def record(self, view: View) -> None:
        """Returns when the view is on disk. Raises Unavailable."""
        waiting = _Waiting(view)
        self._queue.append(waiting)
        self._arrived.set()
        await waiting.written

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLS):
                group.create_task(self._write_queued())

    async def _write_queued(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), GATHER_MOST))]
                await self._write(batch)

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        by_partition: dict[int, list[_Waiting]] = {}
        for waiting in batch:
            partition = partition_of(waiting.view.article, len(self._appenders))
            by_partition.setdefault(partition, []).append(waiting)
        async with asyncio.TaskGroup() as group:
            for partition, part in by_partition.items():
                group.create_task(self._write_part(self._appenders[partition], part))

    async def _write_part(self, appender: Appender, part: Sequence[_Waiting]) -> None:
        dropped, self._dropped = self._dropped, Counter()
        data = recorded([waiting.view for waiting in part], dropped=dropped)
        try:
            await appender.append(Unit([_entry(data, self._clock())]))
        except Exception as error:  # noqa: BLE001 - each sender hears it; the loop goes on
            self._dropped.update(dropped)
            # The next call would wait as long: whoever waits already hears it now.
            waiting_too = [self._queue.popleft() for _ in range(len(self._queue))]
            for waiting in (*part, *waiting_too):
                if not waiting.written.done():
                    waiting.written.set_exception(error)
            return
        metrics.VIEWS.labels("counted").inc(len(part))
        for waiting in part:
            if not waiting.written.done():
                waiting.written.set_result(None)


@dataclass(frozen=True, slots=True)
class Counted:
    counted: int
    late: int


async def record_columns(
    appenders: Sequence[Appender],
    views: Sequence[View],
    late: Sequence[View],
    repeatable: Repeatable,
    at: datetime,
) -> Counted:
    """One request's views, as entries of their own in each partition, so that a repeat
    can be told. Raises KeyReused and Unavailable."""
    answer = Counted(len(views), len(late))
    for partition, appender in enumerate(appenders):
        parts = [
            ([v for v in column if partition_of(v.article, len(appenders)) == partition], is_late)
            for column, is_late in ((views, False), (late, True))
        ]
        writes = [_entry(recorded(part, late=is_late), at) for part, is_late in parts if part]
        if writes:
            seen = repeatable.seen(orjson.dumps([answer.counted, answer.late]).decode())
            match await appender.append(Unit(writes, seen)):
                case Repeated(stored):
                    answer = Counted(*orjson.loads(repeatable.answer_of(stored)))
                case Done():
                    for part, is_late in parts:
                        metrics.VIEWS.labels("late" if is_late else "counted").inc(len(part))
    return answer


def _entry(data: ViewsRecorded, at: datetime) -> Write:
    return entry(Event(id=uuid4().hex, source=SOURCE, subject="views", time=at, data=data))
