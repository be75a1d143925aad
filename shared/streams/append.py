"""Appending once: many requests' events in one call of one script.

Few calls are under way at once; what arrives meanwhile goes with the next (group commit).
It needs no timer: alone, a request leaves at once, and under load a call carries up to
`MAX_UNITS` of them.

Redis is configured to answer after fsync, so an answer means: on disk.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError
from structlog import get_logger

from shared import metrics
from shared.clock import Clock, now, to_ms
from shared.errors import Unavailable
from shared.events import Event
from shared.streams.clients import is_outage
from shared.streams.keys import belonging

log = get_logger()

MAX_UNITS: Final = 256
MAX_BYTES: Final = 1_000_000
CALLS: Final = 2
"""Under way at once: while one waits for the disk, the next are made."""
PATIENCE_S: Final = 1.3
"""A sender hears within 1.5 s that Redis is gone or hung."""

EVEN_WHEN_FULL: Final = "#!lua flags=allow-oom\n"

Value = str | bytes | int


@dataclass(frozen=True, slots=True)
class Write:
    """One command on a key that belongs to the stream (its suffix), or on the stream ('')."""

    command: str
    suffix: str
    args: Sequence[Value]


def entry(event: Event, *, cap: int | None = None) -> Write:
    """`cap` bounds a stream that keeps only the newest; the others are never cut here:
    MAXLEN deletes what a slow group has not read."""
    limit: list[Value] = [] if cap is None else ["MAXLEN", "~", cap]
    return Write("XADD", "", [*limit, "*", *event.fields()])


@dataclass(frozen=True, slots=True)
class Seen:
    """Makes a request tell its repeat: `id` names it, `value` is given to the repeat."""

    id: str
    value: str


@dataclass(frozen=True, slots=True)
class Unit:
    """All of it is written, or nothing."""

    writes: Sequence[Write]
    seen: Seen | None = None
    expect: Sequence[tuple[str, str]] = ()
    """(record field, its value as last read, '' for none)."""


@dataclass(frozen=True, slots=True)
class Done:
    pass


@dataclass(frozen=True, slots=True)
class Repeated:
    value: str


@dataclass(frozen=True, slots=True)
class Changed:
    """Somebody was quicker: the expected records as they are now. Nothing was written."""

    records: tuple[str, ...]


Outcome = Done | Repeated | Changed


@dataclass(slots=True)
class _Waiting:
    unit: Unit
    answer: asyncio.Future[Outcome] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Appender:
    """The only writer of one stream key in this process.

    `run` must be running. `window_s`: how long at least a seen id is remembered (and at
    most twice as long: two windows are looked at). `require_room` raises BacklogFull while
    nothing more is to be written. `even_when_full`: for events that follow from others;
    were they refused, those could not be acknowledged and trimmed, and Redis stayed full.
    """

    def __init__(
        self,
        redis: Redis,
        stream_key: str,
        *,
        window_s: int = 86_400,
        require_room: Callable[[], None] = lambda: None,
        even_when_full: bool = False,
        clock: Clock = now,
    ) -> None:
        self._redis = redis
        self._key = stream_key
        self._window_s = window_s
        self._require_room = require_room
        self._clock = clock
        source = files(__package__).joinpath("lua/append.lua").read_text()
        self._script = redis.register_script(EVEN_WHEN_FULL * even_when_full + source)
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()

    async def append(self, unit: Unit) -> Outcome:
        """What became of the unit, once it is on disk. Raises Unavailable."""
        self._require_room()
        waiting = _Waiting(unit)
        self._queue.append(waiting)
        self._arrived.set()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await waiting.answer
        except TimeoutError:
            raise Unavailable("the log does not answer; send the request again as it was") from None

    async def run(self) -> None:
        """Sends what is queued until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLS):
                group.create_task(self._send_queued())

    async def _send_queued(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while batch := self._next_batch():
                await self._send(batch)

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._queue and len(batch) < MAX_UNITS and size < MAX_BYTES:
            waiting = self._queue.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
                size += _size(waiting.unit)
        return batch

    async def _send(self, batch: list[_Waiting]) -> None:
        try:
            replies = await self._call([waiting.unit for waiting in batch])
        except Exception as error:  # noqa: BLE001 - outermost loop: its senders hear it, others go on
            metrics.APPEND_FAILED.labels(self._key).inc(len(batch))
            log.warning("append.failed", stream=self._key, units=len(batch), error=str(error)[:200])
            failure: Exception = error
            if isinstance(error, RedisError) and is_outage(error):
                failure = Unavailable("the log cannot be written; send the request again as it was")
                # The next call would wait as long: whoever waits already hears it now.
                batch = [*batch, *self._queue]
                self._queue.clear()
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(failure)
            return
        for waiting, reply in zip(batch, replies, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(self._outcome(waiting.unit, reply))

    async def _call(self, units: Sequence[Unit]) -> list[list[bytes]]:
        window = to_ms(self._clock()) // 1000 // self._window_s
        keys = [
            belonging(self._key, "seen", str(window)),
            belonging(self._key, "seen", str(window - 1)),
            belonging(self._key, "records"),
            self._key,
        ]
        places = {"": 4}
        args: list[Value] = [2 * self._window_s]
        for unit in units:
            args += (unit.seen.id, unit.seen.value) if unit.seen else ("", "")
            args.append(len(unit.expect))
            for expected in unit.expect:
                args += expected
            args.append(len(unit.writes))
            for write in unit.writes:
                if write.suffix not in places:
                    keys.append(belonging(self._key, write.suffix))
                    places[write.suffix] = len(keys)
                args += (write.command, places[write.suffix], len(write.args), *write.args)
        replies: list[list[bytes]] = await self._script(keys=keys, args=args)
        return replies

    def _outcome(self, unit: Unit, reply: list[bytes]) -> Outcome:
        match reply[0]:
            case b"done":
                added = sum(write.command == "XADD" for write in unit.writes)
                metrics.APPENDED.labels(self._key).inc(added)
                return Done()
            case b"seen":
                metrics.REPEATED.labels(self._key).inc()
                return Repeated(reply[1].decode())
            case _:
                return Changed(tuple(record.decode() for record in reply[1:]))


def _size(unit: Unit) -> int:
    return sum(
        len(arg) for write in unit.writes for arg in write.args if isinstance(arg, str | bytes)
    )
