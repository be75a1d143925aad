"""Consuming by group: decode, apply, acknowledge, in this order.

FastStream's batch subscriber reads; its binary envelope, its per-message handlers and
its acknowledgement are not used. Nothing in it redelivers what a crashed consumer left
pending, so a claim loop of our own does:

- an entry that newsrail did not write is a dead letter at once;
- when a batch fails, its entries are tried one by one, and what fails stays pending;
- pending entries are claimed again once they are idle, one by one from the third
  delivery on, so that one killer cannot take a batch with it;
- after `MAX_ATTEMPTS` deliveries, checked before the handler, an entry is a dead letter;
- so is one that was deleted while it was pending: Redis would drop it in silence;
- when too much fails (breaker.py), everything waits, and now and then one entry is tried.

`Unavailable` is nobody's fault: the batch waits and is tried again, uncounted.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from itertools import count
from typing import Any, Final, cast

from faststream import NoCast
from faststream.middlewares import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.message import RedisStreamMessage
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from structlog import get_logger

from shared import metrics
from shared.errors import Conflict, NewsrailError, NotFound, Unavailable
from shared.events import Event, Unreadable, decode
from shared.streams import dead
from shared.streams.breaker import Breaker
from shared.streams.clients import BLOCK_MS, is_lost_group, is_outage, mend
from shared.streams.entries import Entry
from shared.streams.groups import GroupLost
from shared.streams.keys import dead as letters_key

log = get_logger()

MAX_ATTEMPTS: Final = 5
BATCH_MOST: Final = 250
"""Redis holds what it is about to send: of long articles a thousand are many megabytes."""
CLAIM_CHUNK: Final = 100
CLAIM_MOST: Final = 10_000
SINGLY_FROM: Final = 3
FIRST_WAIT_S: Final = 0.1
MOST_WAIT_S: Final = 2.0
FIRST_PROBE_S: Final = 5.0
PROBES_SLOW_DOWN: Final = 12
"""Times the first wait, by doubling: to a minute."""
REDRIVE_WITHIN_S: Final = 10.0


class Stopped(Exception):
    """The breaker is open: nothing is consumed."""


@dataclass(frozen=True, slots=True)
class Delivered:
    entry_id: str
    event: Event


Apply = Callable[[Sequence[Delivered]], Awaitable[None]]
"""Makes the effects durable before it returns. Must be idempotent: entries come again."""


class Consumer:
    """One member of one group on one stream key.

    `sole`: the group has no other member, so whatever is pending at the start is ours
    and taken at once.
    """

    def __init__(
        self,
        url: SecretStr,
        redis: Redis,
        stream_key: str,
        group: str,
        apply: Apply,
        *,
        name: str,
        sole: bool = False,
        max_records: int = BATCH_MOST,
        idle_ms: int = 10_000,
        probe_s: float = FIRST_PROBE_S,
    ) -> None:
        self.stream_key = stream_key
        self.group = group
        self._redis = redis
        self._name = name
        self._apply = apply
        self._sole = sole
        self._idle_ms = idle_ms
        self._probe_s = probe_s
        self._one_at_a_time = asyncio.Lock()
        self._breaker = Breaker()
        self._closed = asyncio.Event()
        self._closed.set()
        self._breaker_gauge = metrics.BREAKER_OPEN.labels(stream_key, group)
        self._log = log.bind(stream=stream_key, group=group)
        self._bury = redis.register_script(
            dead.WRITE_LETTER + files(__package__).joinpath("lua/dead_letter.lua").read_text()
        )
        self._broker = RedisBroker(
            url.get_secret_value(),
            logger=None,  # type: ignore[arg-type]  # Its way to say "none": two lines a message.
            apply_types=False,
            socket_timeout=BLOCK_MS / 1000 + 4,
            socket_connect_timeout=2,
            graceful_timeout=5,
        )
        self._subscriber = self._broker.subscriber(
            stream=StreamSub(
                stream_key,
                group=group,
                consumer=name,
                batch=True,
                max_records=max_records,
                polling_interval=BLOCK_MS,
            ),
            parser=_keep_entries,
            decoder=_decoded_already,
            ack_policy=AckPolicy.MANUAL,
        )
        self._subscriber(self._on_batch)

    async def check(self) -> None:
        """Raises Stopped while nothing is consumed."""
        if self._breaker.is_open:
            raise Stopped(
                f"{self.group} has stopped reading {self.stream_key}, as too much failed: mend what "
                "its log names; one entry is tried each minute, and the first that succeeds ends it"
            )

    async def run(self) -> None:
        """Consumes until cancelled. Raises GroupLost when the group is gone."""
        if self._sole:
            await self._reclaim(idle_ms=0)
        await self._broker.connect()
        client = self._subscriber._client  # noqa: SLF001 - no public way to it
        mend(client.connection_pool)
        # FastStream creates the group at each start, which a full Redis refuses.
        client.xgroup_create = _exists_already  # type: ignore[assignment, method-assign]  # Raises.
        try:
            await self._broker.start()
            while True:
                await asyncio.sleep(min(1.0, self._idle_ms / 1000))
                if not self._subscriber.running:
                    raise GroupLost(f"{self.stream_key} has lost its group {self.group}")
                if self._breaker.is_open:
                    await self._wait_until_closed()
                else:
                    await self._reclaim(idle_ms=self._idle_ms)
        finally:
            # What waits for it in FastStream would hold up the stop.
            self._closed.set()
            await self._broker.stop()

    async def _on_batch(self, entries: "NoCast[list[Entry]]") -> None:
        async with self._one_at_a_time:
            await self._handle(entries)
        # FastStream reads on when this returns.
        await self._closed.wait()

    async def _handle(self, entries: Sequence[Entry]) -> None:
        """What is left when the breaker opens stays pending."""
        batch: list[Delivered] = []
        for entry in entries:
            match decode(entry.fields):
                case Unreadable(reason, foreign):
                    if not foreign:
                        # The breaker counts in the order of the stream.
                        await self._try(batch)
                        batch = []
                    if self._breaker.is_open:
                        return
                    await self._give_up(entry.id, f"unreadable: {reason}", attempts=1)
                    if not foreign:
                        self._failed(entry.id)
                case event:
                    batch.append(Delivered(entry.id, event))
        await self._try(batch)

    async def _try(self, batch: Sequence[Delivered]) -> None:
        if not batch or self._breaker.is_open or await self._applied(batch) or len(batch) == 1:
            return
        for delivered in batch:
            if not self._breaker.is_open:
                await self._applied([delivered])

    async def _applied(self, batch: Sequence[Delivered]) -> bool:
        """Effect first, acknowledge after: a crash between the two repeats the effect,
        and whoever applies it drops what it has already."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                if wait_s > FIRST_WAIT_S:
                    await self._hold([delivered.entry_id for delivered in batch])
                await self._apply(batch)
                await self._redis.xack(self.stream_key, self.group, *(d.entry_id for d in batch))
            except Exception as error:
                if isinstance(error, RedisError) and is_lost_group(error):
                    raise
                if not _is_nobodys_fault(error):
                    self._log.exception("batch.failed", entries=len(batch), first=batch[0].entry_id)
                    if len(batch) == 1:
                        self._failed(batch[0].entry_id)
                    return False
                self._log.warning("batch.waits", entries=len(batch), error=str(error)[:200])
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, MOST_WAIT_S)
            else:
                if self._breaker.succeeded(len(batch)):
                    self._breaker_gauge.set(0)
                    self._log.info("breaker.closed")
                metrics.CONSUMED.labels(self.stream_key, self.group).inc(len(batch))
                return True

    def _failed(self, entry_id: str) -> None:
        if self._breaker.failed(entry_id):
            self._closed.clear()
            self._breaker_gauge.set(1)
            self._log.error("breaker.opened", entry=entry_id)

    async def _hold(self, ids: Sequence[str]) -> None:
        """Takes back the attempts of entries that wait: else a service that is restarted
        while its store is away gives up entries that never failed. Also keeps them from
        becoming idle, when another member would claim them."""
        await self._redis.xclaim(
            self.stream_key, self.group, self._name, 0, list(ids), retrycount=0, justid=True
        )

    async def _wait_until_closed(self) -> None:
        """Tries the pending entries in turn, one after each wait: those that failed show
        whether the bug is mended, and what is behind them is not out of reach for ever."""
        wait_s = self._probe_s
        async with self._claiming():
            await self._held()
        for turn in count():
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, PROBES_SLOW_DOWN * self._probe_s)
            async with self._claiming():
                await self._probe(turn)
            if not self._breaker.is_open:
                break
        self._closed.set()

    async def _probe(self, turn: int) -> None:
        held = await self._held()
        if not held:
            # All that failed are dead letters: the next entry tells.
            await self._redis.xreadgroup(self.group, self._name, {self.stream_key: ">"}, count=1)
            held = await self._held()
        if not held:
            return
        chosen = list(held)[turn % len(held)]
        for entry in await self._existing({chosen: held[chosen]}):
            event = decode(entry.fields)
            if not isinstance(event, Unreadable):
                await self._applied([Delivered(entry.id, event)])
        if not self._breaker.is_open:
            await self._take_again(await self._pending(0, of=self._name), 0)

    async def _held(self) -> dict[str, int]:
        """What is pending here, held."""
        if pending := await self._pending(0, of=self._name):
            await self._hold(list(pending))
        return pending

    async def redrive(self, letter_id: str) -> None:
        """Applies a dead letter as this version reads it; it goes once its effect is there.

        Raises NotFound, Conflict when it fails again, Unavailable when nothing is known.
        """
        try:
            async with asyncio.timeout(REDRIVE_WITHIN_S), self._one_at_a_time:
                await self._apply([await self._letter(letter_id)])
                await dead.drop(self._redis, self.stream_key, self.group, letter_id)
        except NewsrailError:
            raise
        except TimeoutError:
            raise Unavailable("the group is busy or waits for its store; try again") from None
        except Exception as error:
            if _is_nobodys_fault(error):
                raise Unavailable("Redis does not answer; try again") from error
            self._log.warning("redrive.failed", letter=letter_id, exc_info=error)
            raise Conflict(f"it failed again: {type(error).__name__}: {error!s:.200}") from error
        self._log.info("letter.redriven", letter=letter_id)

    async def _letter(self, letter_id: str) -> Delivered:
        letter = await dead.find(self._redis, self.stream_key, self.group, letter_id)
        if letter is None:
            raise NotFound(f"there is no letter {letter_id}; it was redriven or dropped")
        if not letter.fields:
            raise Conflict("its entry was deleted, nothing is left to apply; drop the letter")
        event = decode(letter.fields)
        if isinstance(event, Unreadable):
            raise Conflict(f"unreadable: {event.reason}; drop it, or redrive after an upgrade")
        return Delivered(letter.entry, event)

    async def _reclaim(self, *, idle_ms: int) -> None:
        async with self._claiming():
            await self._take_again(await self._pending(idle_ms), idle_ms)

    @asynccontextmanager
    async def _claiming(self) -> AsyncIterator[None]:
        """Alone, and again later where Redis is away."""
        try:
            async with self._one_at_a_time:
                yield
        except RedisError as error:
            if is_lost_group(error):
                raise GroupLost(f"{self.stream_key} has lost its group {self.group}") from error
            self._log.warning("reclaim.failed", error=str(error)[:200])

    async def _pending(self, idle_ms: int, of: str | None = None) -> dict[str, int]:
        """Deliveries so far of each entry that nobody has touched for `idle_ms`; only those
        of the member `of`."""
        rows = cast(
            "list[dict[str, Any]]",
            await self._redis.xpending_range(
                self.stream_key,
                self.group,
                min="-",
                max="+",
                count=CLAIM_MOST,
                consumername=of,
                idle=idle_ms or None,
            ),
        )
        return {row["message_id"].decode(): row["times_delivered"] for row in rows}

    async def _take_again(self, pending: dict[str, int], idle_ms: int) -> None:
        together = [id_ for id_, deliveries in pending.items() if deliveries < SINGLY_FROM]
        chunks = [
            together[start : start + CLAIM_CHUNK] for start in range(0, len(together), CLAIM_CHUNK)
        ]
        chunks += [[id_] for id_, deliveries in pending.items() if deliveries >= SINGLY_FROM]
        for chunk in chunks:
            if self._breaker.is_open:
                return
            deliveries = pending[chunk[0]]
            existing = await self._existing({id_: pending[id_] for id_ in chunk})
            ids = [entry.id for entry in existing]
            if ids and deliveries >= MAX_ATTEMPTS:
                await self._give_up(ids[0], f"failed {deliveries} times", attempts=deliveries)
            elif ids:
                await self._claim(ids, idle_ms)

    async def _existing(self, pending: Mapping[str, int]) -> list[Entry]:
        """Those still on the stream; the others are given up. To be asked before a claim:
        Redis then drops what was deleted, and nobody knows whether a peer had acknowledged it."""
        pipe = self._redis.pipeline(transaction=False)
        for id_ in pending:
            pipe.xrange(self.stream_key, id_, id_)
        found = cast("list[list[tuple[bytes, dict[bytes, bytes]]]]", await pipe.execute())
        for (id_, deliveries), rows in zip(pending.items(), found, strict=True):
            if rows:
                continue
            if await self._give_up(id_, "deleted while pending", attempts=deliveries):
                metrics.LOST_PENDING.labels(self.stream_key, self.group).inc()
        return [Entry(rows[0][0].decode(), rows[0][1]) for rows in found if rows]

    async def _claim(self, ids: Sequence[str], idle_ms: int) -> None:
        """Only what is idle still: another member may have taken it since it was listed."""
        rows = cast(
            "list[tuple[bytes, dict[bytes, bytes] | None]]",
            await self._redis.xclaim(self.stream_key, self.group, self._name, idle_ms, list(ids)),
        )
        entries = [Entry(id_.decode(), fields) for id_, fields in rows if fields]
        metrics.RECLAIMED.labels(self.stream_key, self.group).inc(len(entries))
        self._log.info("entries.reclaimed", count=len(entries))
        await self._handle(entries)

    async def _give_up(self, entry_id: str, reason: str, *, attempts: int) -> bool:
        """Whether it was pending still: else a peer was quicker."""
        given_up = await self._bury(
            keys=[self.stream_key, letters_key(self.stream_key, self.group)],
            args=[self.group, entry_id, reason, attempts],
        )
        if given_up:
            metrics.DEAD.labels(self.stream_key, self.group).inc()
            self._log.error("entry.dead", entry=entry_id, reason=reason, attempts=attempts)
        return bool(given_up)


def _is_nobodys_fault(error: Exception) -> bool:
    """Something is away: the entry was not even looked at."""
    return isinstance(error, Unavailable) or (isinstance(error, RedisError) and is_outage(error))


async def _keep_entries(
    raw: Any, original: Callable[[Any], Awaitable[RedisStreamMessage]]
) -> RedisStreamMessage:
    """The message without FastStream's decoding, which would encode and decode it twice.
    (`Any`: FastStream hands over its own untyped dict.)"""
    message = await original({**raw, "data": []})
    message.body = [
        Entry(id_.decode(), fields)
        for id_, fields in zip(raw["message_ids"], raw["data"], strict=True)
    ]
    return message


async def _decoded_already(message: RedisStreamMessage) -> Any:
    return message.body


async def _exists_already(*_: object, **__: object) -> None:
    raise ResponseError("BUSYGROUP Consumer Group name already exists")
