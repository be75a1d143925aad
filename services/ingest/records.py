"""What ingest knows of articles and comments, as Redis keeps it."""

from collections.abc import Iterable, Mapping
from typing import cast

from redis.asyncio import Redis

from services.ingest import keys
from services.ingest.domain.versions import Record
from shared.events import ARTICLES, COMMENTS
from shared.streams.keys import belonging, key, partition_of


class Records:
    """Reads only: records are written together with their events (`append.lua`)."""

    def __init__(self, redis: Redis, partitions: int = 1) -> None:
        self._redis = redis
        self._partitions = partitions

    async def articles(self, ids: Iterable[str]) -> Mapping[str, str]:
        """The stored text of those that are known, by id."""
        by_partition: dict[int, list[str]] = {}
        for id_ in ids:
            by_partition.setdefault(partition_of(id_, self._partitions), []).append(id_)
        known: dict[str, str] = {}
        for partition, wanted in by_partition.items():
            place = belonging(key(ARTICLES, partition, self._partitions), keys.RECORDS)
            found = cast("list[bytes | None]", await self._redis.hmget(place, wanted))
            known |= {id_: text.decode() for id_, text in zip(wanted, found, strict=True) if text}
        return known

    async def article(self, id_: str) -> Record | None:
        text = (await self.articles([id_])).get(id_)
        return Record.from_json(text) if text else None

    async def comment(self, comment_id: str, article: str) -> str | None:
        stream_key = key(COMMENTS, partition_of(article, self._partitions), self._partitions)
        text = await self._redis.hget(belonging(stream_key, keys.RECORDS), comment_id)
        return cast("bytes", text).decode() if text else None

    async def article_at(self, url_hash: str) -> str | None:
        """The article that had an address first; partitions share the question."""
        for partition in range(self._partitions):
            place = belonging(key(ARTICLES, partition, self._partitions), keys.URLS)
            if found := await self._redis.hget(place, url_hash):
                return cast("bytes", found).decode()
        return None
