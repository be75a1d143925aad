"""The salts that visitors are hashed with: one a UTC day, random, kept across restarts.

A salt is needed as long as a view of its day may arrive; then it is destroyed, and no
visitor of that day can be told again.
"""

import secrets
from datetime import date, timedelta
from typing import Final, cast

from redis.asyncio import Redis

from services.ingest import keys
from shared.events import VIEWS
from shared.streams.keys import belonging

KEPT: Final = timedelta(days=2)


class Salts:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._place = belonging(VIEWS.name, keys.SALTS)
        self._known: dict[date, bytes] = {}

    async def of(self, day: date, today: date) -> bytes:
        """A day that is over for longer than `KEPT` has a new one at each call: its views
        count in totals only, where nobody asks who it was."""
        if salt := self._known.get(day):
            return salt
        if day < today - KEPT:
            return secrets.token_bytes(16)
        field = day.isoformat()
        await self._redis.hsetnx(self._place, field, secrets.token_bytes(16))
        self._known[day] = cast("bytes", await self._redis.hget(self._place, field))
        await self._destroy_before(today - KEPT)
        return self._known[day]

    async def _destroy_before(self, oldest: date) -> None:
        self._known = {day: salt for day, salt in self._known.items() if day >= oldest}
        fields = cast("list[bytes]", await self._redis.hkeys(self._place))
        old = [field for field in fields if date.fromisoformat(field.decode()) < oldest]
        if old:
            await self._redis.hdel(self._place, *old)
