"""Who sends a request, and whether the key allows it."""

from collections import OrderedDict
from hashlib import sha256
from typing import Final

from redis.asyncio import Redis
from starlette.requests import Request

from shared.clock import Clock, now, to_ms
from shared.errors import Forbidden, Unauthorized
from shared.web import keys
from shared.web.keys import Key, Scope

REMEMBERED_MS: Final = 5_000
"""A revoked key works no longer than this."""
REMEMBERED: Final = 10_000


class Authority:
    """Looks keys up in Redis and remembers each answer for a few seconds."""

    def __init__(self, redis: Redis, *, public_read: bool = True, clock: Clock = now) -> None:
        self._redis = redis
        self._public_read = public_read
        self._clock = clock
        self._answers: OrderedDict[bytes, tuple[int, Key | None]] = OrderedDict()

    async def require(self, request: Request, *scopes: Scope) -> Key:
        """The sender's key. Raises Unauthorized without a valid one, Forbidden when it
        has none of the scopes."""
        key = await self.sender(request)
        if key is None:
            raise Unauthorized(
                "Authorization: no key; send 'Authorization: Bearer nr_...' "
                "(newsrail keys create makes one)"
            )
        if scopes and not key.scopes.intersection(scopes):
            wanted = " or ".join(scopes)
            raise Forbidden(
                f"this key has not the scope {wanted}; ask an operator for one that has"
            )
        return key

    async def require_read(self, request: Request) -> None:
        if not self._public_read:
            await self.require(request, *Scope)

    async def sender(self, request: Request) -> Key | None:
        """The key of the request, None where it has none. Raises Unauthorized for one
        that is not valid: a typing error should not make a sender anonymous."""
        header = request.headers.get("authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        key = await self._find(token.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise Unauthorized(
                "Authorization: this key is not valid (mistyped or revoked); ask an operator"
            )
        return key

    async def _find(self, token: str) -> Key | None:
        digest = sha256(token.encode()).digest()
        time_ms = to_ms(self._clock())
        known = self._answers.get(digest)
        if known and time_ms - known[0] < REMEMBERED_MS:
            return known[1]
        key = await keys.find(self._redis, token)
        self._answers[digest] = (time_ms, key)
        self._answers.move_to_end(digest)
        if len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)
        return key
