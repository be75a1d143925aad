"""API keys: who may do what, for which feeds.

A key is `nr_<id>_<secret>`. Kept is only the SHA-256 of the secret (24 random bytes, so
a slow hash would add nothing), in one hash: revoking is deleting a field.
"""

import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final, cast

from pydantic import AwareDatetime, BaseModel, ConfigDict
from redis.asyncio import Redis

KEYS: Final = "newsrail:keys"
ANY_FEED: Final = "*"


class Scope(StrEnum):
    READ = "read"
    PUBLISH = "publish"
    MODERATE = "moderate"
    EDIT = "edit"
    OPERATE = "operate"


class Key(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    scopes: frozenset[Scope]
    feeds: tuple[str, ...] = ()
    """Feeds it may publish for; `*`: any."""
    secret_sha256: str
    created_at: AwareDatetime

    def may_post_for(self, feed: str) -> bool:
        return ANY_FEED in self.feeds or feed in self.feeds


def new(
    *, name: str, scopes: Sequence[Scope], feeds: Sequence[str], now: datetime
) -> tuple[Key, str]:
    """A key and its token, which nobody can read again."""
    id_, secret = secrets.token_hex(6), secrets.token_urlsafe(24)
    key = Key(
        id=id_,
        name=name,
        scopes=frozenset(scopes),
        feeds=tuple(feeds),
        secret_sha256=sha256(secret.encode()).hexdigest(),
        created_at=now,
    )
    return key, f"nr_{id_}_{secret}"


async def create(
    redis: Redis, *, name: str, scopes: Sequence[Scope], feeds: Sequence[str], now: datetime
) -> tuple[Key, str]:
    """As `new`; valid at once."""
    key, token = new(name=name, scopes=scopes, feeds=feeds, now=now)
    await redis.hset(KEYS, key.id, key.model_dump_json())
    return key, token


async def revoke(redis: Redis, key_id: str) -> bool:
    """Whether there was such a key. Services notice within seconds."""
    return bool(await redis.hdel(KEYS, key_id))


async def listed(redis: Redis) -> list[Key]:
    stored = cast("dict[bytes, bytes]", await redis.hgetall(KEYS))
    keys = (Key.model_validate_json(value) for value in stored.values())
    return sorted(keys, key=lambda key: key.created_at)


async def find(redis: Redis, token: str) -> Key | None:
    """The key a token belongs to; None for one that is made up, cut or revoked."""
    prefix, _, rest = token.partition("_")
    id_, _, secret = rest.partition("_")
    if prefix != "nr" or not id_ or not secret or not token.isascii():
        return None
    stored = await redis.hget(KEYS, id_)
    if stored is None:
        return None
    key = Key.model_validate_json(stored)
    digest = sha256(secret.encode()).hexdigest()
    return key if hmac.compare_digest(digest, key.secret_sha256) else None
