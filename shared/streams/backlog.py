"""How much room is left: senders are refused before Redis is full, not by it.

What is kept free is for what consumers write of events that are there already.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared import metrics
from shared.errors import BacklogFull
from shared.events import ARTICLES, COMMENTS, VIEWS, Stream

LOOK_EVERY_S: Final = 0.25
"""What senders can post meanwhile is little beside the part that is kept free."""
UP_TO: Final[Mapping[Stream, float]] = {VIEWS: 0.8, COMMENTS: 0.85, ARTICLES: 0.9}
"""The part of the room that each may fill: views are refused first, articles last."""


class Backlog:
    """`run` must be running. Until it has looked once there is room."""

    def __init__(self, redis: Redis, stream_keys: Sequence[str], *, most: int) -> None:
        """`most`: entries that a group may have before it, unread."""
        self.memory = 0.0
        self.entries = 0.0
        """The longest backlog of a group, as a part of the most there may be."""
        self._redis = redis
        self._stream_keys = stream_keys
        self._most = most

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            # Else whoever writes finds out.
            with suppress(RedisError):
                await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        self.memory = await memory_used(self._redis)
        lags = [await self._lag(stream_key) for stream_key in self._stream_keys]
        self.entries = max(lags, default=0) / self._most
        metrics.BACKLOG.labels("memory").set(self.memory)
        metrics.BACKLOG.labels("entries").set(self.entries)

    async def _lag(self, stream_key: str) -> int:
        groups = await self._redis.xinfo_groups(stream_key)
        return max((group["lag"] or 0 for group in groups), default=0)

    def require_room(self, stream: Stream) -> None:
        """Raises BacklogFull."""
        up_to = UP_TO[stream]
        if self.memory >= up_to or self.entries >= up_to:
            raise BacklogFull(
                f"{stream.name} takes nothing now: Redis is {self.memory:.0%} full, the backlog "
                f"{self.entries:.0%} of its limit; send the request again as it was"
            )


async def memory_used(redis: Redis) -> float:
    """The part of `maxmemory` that is in use; 0 where there is no such limit."""
    info = await redis.info("memory")
    used: int = info["used_memory"] - info.get("mem_not_counted_for_evict", 0)
    return used / info["maxmemory"] if info["maxmemory"] else 0.0
