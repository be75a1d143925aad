"""Who may do what: keys, scopes and how long a revoked one works."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.requests import Request

from shared.errors import Forbidden, Unauthorized
from shared.web import keys
from shared.web.auth import REMEMBERED_MS, Authority
from shared.web.keys import ANY_FEED, KEYS, Key, Scope
from tests.integration.shared.conftest import NOON
from tests.redis_server import RedisServer

REVOKED_WITHIN = timedelta(seconds=10)


class Time:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def authority(redis: Redis, time: Time) -> Authority:
    return Authority(redis, clock=time)


def a_request(authorization: str | None = None) -> Request:
    headers = [] if authorization is None else [(b"authorization", authorization.encode("latin-1"))]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers})


async def a_key(redis: Redis, *scopes: Scope, feeds: tuple[str, ...] = ()) -> tuple[Key, str]:
    return await keys.create(redis, name="wire", scopes=scopes, feeds=feeds, now=NOON)


async def test_a_key_with_the_scope_is_let_in(redis: Redis, authority: Authority) -> None:
    key, token = await a_key(redis, Scope.PUBLISH)
    asked = a_request(f"Bearer {token}")
    assert await authority.require(asked, Scope.PUBLISH) == key
    assert await authority.require(asked, Scope.OPERATE, Scope.PUBLISH) == key
    assert await authority.require(a_request(f"bearer  {token} "), Scope.PUBLISH) == key


async def test_no_key_is_401_where_one_is_needed_and_nobody_elsewhere(
    authority: Authority,
) -> None:
    with pytest.raises(Unauthorized, match="no key"):
        await authority.require(a_request(), Scope.PUBLISH)
    assert await authority.sender(a_request()) is None


async def test_a_scope_that_is_missing_is_403_and_named(redis: Redis, authority: Authority) -> None:
    _, token = await a_key(redis, Scope.READ)
    with pytest.raises(Forbidden, match="publish or operate"):
        await authority.require(a_request(f"Bearer {token}"), Scope.PUBLISH, Scope.OPERATE)


CHANGES: dict[str, Callable[[str], str]] = {
    "another last letter": lambda token: token[:-1] + ("x" if token[-1] != "x" else "y"),
    "cut short": lambda token: token[:-1],
    "not ASCII": lambda token: token + "é",
    "another id": lambda token: "nr_" + "0" * 12 + token[15:],
    "another prefix": lambda token: token.replace("nr_", "xx_"),
    "the prefix alone": lambda token: token.partition("_")[0],
    "nothing": lambda _: "",
    "no id, no secret": lambda _: "nr__",
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_key_that_is_none_is_401_even_where_none_is_needed(
    redis: Redis, authority: Authority, change: str
) -> None:
    """A sender that mistyped its key should not become anonymous."""
    _, token = await a_key(redis, Scope.PUBLISH)
    with pytest.raises(Unauthorized, match="not valid"):
        await authority.sender(a_request(f"Bearer {CHANGES[change](token)}"))


async def test_another_way_to_authorize_is_401(redis: Redis, authority: Authority) -> None:
    _, token = await a_key(redis, Scope.PUBLISH)
    with pytest.raises(Unauthorized):
        await authority.sender(a_request(f"Basic {token}"))


@pytest.mark.parametrize("public", [True, False])
async def test_reading_needs_a_key_only_where_it_is_not_public(redis: Redis, public: bool) -> None:
    authority = Authority(redis, public_read=public)
    _, token = await a_key(redis, Scope.READ)
    await authority.require_read(a_request(f"Bearer {token}"))
    if public:
        await authority.require_read(a_request())
    else:
        with pytest.raises(Unauthorized):
            await authority.require_read(a_request())


async def test_a_revoked_key_works_no_longer_than_it_is_remembered(
    redis: Redis, authority: Authority, time: Time
) -> None:
    key, token = await a_key(redis, Scope.PUBLISH)
    asked = a_request(f"Bearer {token}")
    await authority.require(asked, Scope.PUBLISH)
    assert await keys.revoke(redis, key.id)
    await authority.require(asked, Scope.PUBLISH)
    remembered = timedelta(milliseconds=REMEMBERED_MS)
    assert remembered < REVOKED_WITHIN
    time.now += remembered
    with pytest.raises(Unauthorized):
        await authority.require(asked, Scope.PUBLISH)
    assert not await keys.revoke(redis, key.id)


async def test_using_a_revoked_key_does_not_keep_it_alive(
    redis: Redis, authority: Authority, time: Time
) -> None:
    key, token = await a_key(redis, Scope.PUBLISH)
    asked = a_request(f"Bearer {token}")
    await authority.require(asked, Scope.PUBLISH)
    await keys.revoke(redis, key.id)
    for _ in range(4):
        time.now += timedelta(milliseconds=REMEMBERED_MS // 5)
        await authority.require(asked, Scope.PUBLISH)
    time.now += timedelta(milliseconds=REMEMBERED_MS // 5)
    with pytest.raises(Unauthorized):
        await authority.require(asked, Scope.PUBLISH)


async def test_made_up_keys_do_not_fill_the_memory(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.web.auth.REMEMBERED", 10)
    for n in range(30):
        with pytest.raises(Unauthorized):
            await authority.sender(a_request(f"Bearer nr_{n}_x"))
    assert len(authority._answers) == 10


async def test_a_remembered_key_is_not_looked_up_again(
    fragile: Redis, fragile_server: RedisServer
) -> None:
    authority = Authority(fragile)
    _, token = await a_key(fragile, Scope.PUBLISH)
    _, unknown = await a_key(fragile, Scope.PUBLISH)
    asked = a_request(f"Bearer {token}")
    await authority.require(asked, Scope.PUBLISH)
    fragile_server.kill()
    assert await authority.require(asked, Scope.PUBLISH)
    with pytest.raises(RedisError):
        await authority.require(a_request(f"Bearer {unknown}"), Scope.PUBLISH)


async def test_the_secret_is_kept_nowhere(redis: Redis) -> None:
    key, token = await a_key(redis, Scope.PUBLISH)
    secret = token.removeprefix(f"nr_{key.id}_")
    kept = await redis.hget(KEYS, key.id)
    assert kept is not None
    assert secret not in str(kept)
    assert secret not in key.model_dump_json()


async def test_keys_are_listed_oldest_first(redis: Redis) -> None:
    made = []
    for day in (2, 0, 1):
        at = NOON + timedelta(days=day)
        made.append((await keys.create(redis, name=str(day), scopes=[], feeds=[], now=at))[0])
    assert [key.name for key in await keys.listed(redis)] == ["0", "1", "2"]
    assert {key.id for key in await keys.listed(redis)} == {key.id for key in made}


async def test_a_key_posts_for_its_feeds_only(redis: Redis) -> None:
    named, _ = await a_key(redis, Scope.PUBLISH, feeds=("wire",))
    any_, _ = await a_key(redis, Scope.PUBLISH, feeds=(ANY_FEED,))
    none, _ = await a_key(redis, Scope.PUBLISH)
    assert [key.may_post_for("wire") for key in (named, any_, none)] == [True, True, False]
    assert [key.may_post_for("other") for key in (named, any_, none)] == [False, True, False]
    assert not named.may_post_for("*")
