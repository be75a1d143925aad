"""Consuming by group: decode, apply, acknowledge, in this order.

FastStream's batch subscriber reads; its binary envelope, its per-message handlers and
its acknowledgement are not used. Nothing in it redelivers what a crashed consumer left
pending, so a claim loop of our own does:

- an entry that newsrail did not write is a dead letter at once;
- when a batch fails, its entries are tried one by one, and what fails stays pending;
- pending entries are claimed again once they are idle, one by one from the third
  delivery on, so that one killer cannot take a batch with it;
- after `MAX_ATTEMPTS` deliveries, checked before the handler, an entry is a dead letter.

`Unavailable` is nobody's fault: the batch waits and is tried again, uncounted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
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
from shared.errors import Unavailable
from shared.events import Event, Unreadable, decode
from shared.streams.clients import BLOCK_MS, is_lost_group, is_outage, mend
from shared.streams.dead import WRITE_LETTER
from shared.streams.entries import Entry
from shared.streams.groups import GroupLost
from shared.streams.keys import dead

log = get_logger()

MAX_ATTEMPTS: Final = 5
CLAIM_CHUNK: Final = 100
CLAIM_MOST: Final = 10_000
SINGLY_FROM: Final = 3
FIRST_WAIT_S: Final = 0.1
MOST_WAIT_S: Final = 2.0


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
        max_records: int = 1000,
        idle_ms: int = 10_000,
    ) -> None:
        self._redis = redis
        self._stream = stream_key
        self._group = group
        self._name = name
        self._apply = apply
        self._sole = sole
        self._idle_ms = idle_ms
        self._one_at_a_time = asyncio.Lock()
        self._log = log.bind(stream=stream_key, group=group)
        self._bury = redis.register_script(
            WRITE_LETTER + files(__package__).joinpath("lua/dead_letter.lua").read_text()
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
                    raise GroupLost(f"{self._stream} has lost its group {self._group}")
                await self._reclaim(idle_ms=self._idle_ms)
        finally:
            await self._broker.stop()

    async def _on_batch(self, entries: "NoCast[list[Entry]]") -> None:
        async with self._one_at_a_time:
            await self._handle(entries)

    async def _handle(self, entries: Sequence[Entry]) -> None:
        batch: list[Delivered] = []
        for entry in entries:
            match decode(entry.fields):
                case Unreadable(reason):
                    await self._give_up(entry.id, f"unreadable: {reason}", attempts=1)
                case event:
                    batch.append(Delivered(entry.id, event))
        if not batch or await self._applied(batch) or len(batch) == 1:
            return
        for delivered in batch:
            await self._applied([delivered])

    async def _applied(self, batch: Sequence[Delivered]) -> bool:
        """Effect first, acknowledge after: a crash between the two repeats the effect,
        and whoever applies it drops what it has already."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                if wait_s > FIRST_WAIT_S:
                    await self._hold(batch)
                await self._apply(batch)
                await self._redis.xack(self._stream, self._group, *(d.entry_id for d in batch))
            except (Unavailable, RedisError) as error:
                if isinstance(error, RedisError) and not is_outage(error):
                    raise
                self._log.warning("batch.waits", entries=len(batch), error=str(error)[:200])
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, MOST_WAIT_S)
            except Exception:  # noqa: BLE001 - the outermost loop: whatever it is, the rest goes on
                self._log.exception("batch.failed", entries=len(batch), first=batch[0].entry_id)
                return False
            else:
                metrics.CONSUMED.labels(self._stream, self._group).inc(len(batch))
                return True

    async def _hold(self, batch: Sequence[Delivered]) -> None:
        """Takes back the attempts of a batch that waits: else a service that is restarted
        while its store is away gives up entries that never failed. Also keeps the batch
        from becoming idle, when another member would claim it."""
        await self._redis.xclaim(
            self._stream,
            self._group,
            self._name,
            0,
            [delivered.entry_id for delivered in batch],
            retrycount=0,
            justid=True,
        )

    async def _reclaim(self, *, idle_ms: int) -> None:
        try:
            async with self._one_at_a_time:
                await self._take_again(await self._pending(idle_ms), idle_ms)
        except RedisError as error:
            if is_lost_group(error):
                raise GroupLost(f"{self._stream} has lost its group {self._group}") from error
            self._log.warning("reclaim.failed", error=str(error)[:200])

    async def _pending(self, idle_ms: int) -> dict[str, int]:
        """Deliveries so far of each entry that nobody has touched for `idle_ms`."""
        rows = cast(
            "list[dict[str, Any]]",
            await self._redis.xpending_range(
                self._stream, self._group, min="-", max="+", count=CLAIM_MOST, idle=idle_ms or None
            ),
        )
        return {row["message_id"].decode(): row["times_delivered"] for row in rows}

    async def _take_again(self, pending: dict[str, int], idle_ms: int) -> None:
        together = [id_ for id_, deliveries in pending.items() if deliveries < SINGLY_FROM]
        for start in range(0, len(together), CLAIM_CHUNK):
            await self._claim(together[start : start + CLAIM_CHUNK], idle_ms)
        for id_, deliveries in pending.items():
            if deliveries >= MAX_ATTEMPTS:
                await self._give_up(id_, f"failed {deliveries} times", attempts=deliveries)
            elif deliveries >= SINGLY_FROM:
                await self._claim([id_], idle_ms)

    async def _claim(self, ids: Sequence[str], idle_ms: int) -> None:
        """Only what is idle still: another member may have taken it since it was listed."""
        rows = cast(
            "list[tuple[bytes, dict[bytes, bytes] | None]]",
            await self._redis.xclaim(self._stream, self._group, self._name, idle_ms, list(ids)),
        )
        entries = [Entry(id_.decode(), fields) for id_, fields in rows if fields]
        await self._report_deleted(set(ids) - {entry.id for entry in entries})
        metrics.RECLAIMED.labels(self._stream, self._group).inc(len(entries))
        self._log.info("entries.reclaimed", count=len(entries))
        await self._handle(entries)

    async def _report_deleted(self, unclaimed: set[str]) -> None:
        """Redis drops a deleted entry from the pending ones when it is claimed."""
        for id_ in unclaimed:
            if not await self._redis.xrange(self._stream, id_, id_):
                metrics.LOST_PENDING.labels(self._stream, self._group).inc()
                self._log.error("entry.deleted_while_pending", entry=id_)

    async def _give_up(self, entry_id: str, reason: str, *, attempts: int) -> None:
        await self._bury(
            keys=[self._stream, dead(self._stream, self._group)],
            args=[self._group, entry_id, reason, attempts],
        )
        metrics.DEAD.labels(self._stream, self._group).inc()
        self._log.error("entry.dead", entry=entry_id, reason=reason, attempts=attempts)


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
