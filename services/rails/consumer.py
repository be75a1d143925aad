"""Articles to the catalogue: first where it is kept, then in memory, then acknowledged."""

from collections import deque
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis

from services.rails import keys
from services.rails.domain.catalogue import Facts, of_event
from shared.streams.consume import Delivered
from shared.streams.keys import belonging


class Articles:
    """Of one partition. What changed waits in `news` for the worker, which owns the
    catalogue in memory."""

    def __init__(self, redis: Redis, stream_key: str) -> None:
        self.news: deque[Facts] = deque()
        self._redis = redis
        self._key = belonging(stream_key, keys.CATALOGUE)
        self._keep = redis.register_script(
            files(__package__).joinpath("lua/catalogue.lua").read_text()
        )

    async def known(self) -> list[Facts]:
        return [
            Facts.from_json(kept.partition(b" ")[2])
            async for _, kept in self._redis.hscan_iter(self._key, count=1000)
        ]

    async def apply(self, batch: Sequence[Delivered]) -> None:
        facts = [of_event(delivered.event.data) for delivered in batch]
        articles = [each for each in facts if each]
        args: list[Any] = []
        for each in articles:
            args += (each.id, each.version, each.to_json())
        if args:
            await self._keep(keys=[self._key], args=args)
        self.news.extend(articles)
