"""Publishes what was held, when its time comes."""

import asyncio
from collections.abc import Sequence
from typing import Final, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError
from structlog import get_logger

from services.ingest import keys
from services.ingest.domain import versions
from services.ingest.domain.normalise import field_hashes
from services.ingest.domain.versions import Record
from services.ingest.publish import published_event, writes_of
from services.ingest.records import Records
from shared.clock import Clock, now, to_ms
from shared.errors import Unavailable
from shared.events import ARTICLES, Article
from shared.streams.append import Appender, Unit
from shared.streams.keys import belonging, key

log = get_logger()

LOOK_EVERY_S: Final = 0.5
AT_ONCE: Final = 100


class Embargoes:
    """Any number of processes may run it: the record decides who publishes, once."""

    def __init__(
        self, redis: Redis, appenders: Sequence[Appender], records: Records, clock: Clock = now
    ) -> None:
        self._redis = redis
        self._appenders = appenders
        self._records = records
        self._clock = clock

    async def run(self) -> None:
        while True:
            try:
                await self.publish_due()
            except (RedisError, Unavailable) as error:
                log.warning("embargo.waits", error=str(error)[:200])
            await asyncio.sleep(LOOK_EVERY_S)

    async def publish_due(self) -> None:
        for partition, appender in enumerate(self._appenders):
            stream_key = key(ARTICLES, partition, len(self._appenders))
            due = cast(
                "list[bytes]",
                await self._redis.zrangebyscore(
                    belonging(stream_key, keys.HELD),
                    0,
                    to_ms(self._clock()),
                    start=0,
                    num=AT_ONCE,
                ),
            )
            for id_ in due:
                await self._publish(appender, stream_key, id_.decode())

    async def _publish(self, appender: Appender, stream_key: str, id_: str) -> None:
        held = await self._redis.hget(belonging(stream_key, keys.HELD_ARTICLES), id_)
        text = (await self._records.articles([id_])).get(id_)
        if held is None or text is None:
            return
        record = Record.from_json(text)
        article = Article.model_validate_json(held)
        decision = versions.publish(record, article, field_hashes(article), record.held_order)
        event = published_event(decision, self._clock())
        # A record that changed meanwhile decides anew at the next look.
        await appender.append(Unit(list(writes_of(decision, id_, event)), expect=[(id_, text)]))
        log.info("embargo.ended", article=id_, version=decision.article.version)
