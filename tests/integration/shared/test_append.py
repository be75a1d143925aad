"""Appending once, whatever happens to the sender, to Redis or to the answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from shared.errors import Unavailable
from shared.streams.append import (
    MAX_UNITS,
    Appender,
    Changed,
    Done,
    Outcome,
    Repeated,
    Seen,
    Unit,
    Write,
    entry,
)
from shared.streams.entries import FIRST, read_after
from tests.eventually import running, until
from tests.integration.shared.conftest import NOON, an_event
from tests.redis_server import RedisServer

STREAM = "news.indexed"
RECORDS = "{news.indexed}:records"
WITHIN_S = 1.5


class Time:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def appender(redis: Redis) -> AsyncIterator[Appender]:
    appender = Appender(redis, STREAM)
    async with running(appender.run):
        yield appender


@asynccontextmanager
async def appending(redis: Redis) -> AsyncIterator[Appender]:
    appender = Appender(redis, STREAM)
    async with running(appender.run):
        yield appender


def a_unit(id_: str, *, seen: bool = False, expect: str | None = None) -> Unit:
    """Adds an entry and sets the record of the same name."""
    return Unit(
        [entry(an_event(id_)), Write("HSET", "records", [id_, "new"])],
        Seen(id_, f"answer to {id_}") if seen else None,
        [] if expect is None else [(id_, expect)],
    )


async def stored(redis: Redis) -> list[str]:
    entries = await read_after(redis, STREAM, FIRST, count=100_000, block_ms=None)
    return [entry.fields[b"id"].decode() for entry in entries]


async def answer_of(appender: Appender, unit: Unit) -> Outcome | Unavailable:
    try:
        return await appender.append(unit)
    except Unavailable as error:
        return error


async def test_a_request_that_comes_again_is_appended_once_and_given_its_value(
    appender: Appender, redis: Redis
) -> None:
    assert await appender.append(a_unit("a", seen=True)) == Done()
    assert await appender.append(a_unit("a", seen=True)) == Repeated("answer to a")
    assert await stored(redis) == ["a"]


async def test_a_request_and_its_repeat_in_one_call_are_told_apart(redis: Redis) -> None:
    appender = Appender(redis, STREAM)
    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(appender.append(a_unit("a", seen=True))) for _ in range(2)]
        await asyncio.sleep(0)
        async with running(appender.run):
            assert [await answer for answer in answers] == [Done(), Repeated("answer to a")]
    assert await stored(redis) == ["a"]


async def test_a_repeat_is_a_repeat_even_when_its_record_has_changed_since(
    appender: Appender, redis: Redis
) -> None:
    await appender.append(a_unit("a", seen=True, expect=""))
    assert await appender.append(a_unit("a", seen=True, expect="")) == Repeated("answer to a")


async def test_a_seen_id_survives_one_change_of_window_and_is_forgotten_after_the_second(
    redis: Redis,
) -> None:
    time = Time()
    appender = Appender(redis, STREAM, window_s=60, clock=time)
    async with running(appender.run):
        assert await appender.append(a_unit("a", seen=True)) == Done()
        time.now += timedelta(seconds=60)
        assert await appender.append(a_unit("a", seen=True)) == Repeated("answer to a")
        time.now += timedelta(seconds=60)
        assert await appender.append(a_unit("a", seen=True)) == Done()


async def test_redis_forgets_the_seen_ids_of_a_window_by_itself(
    appender: Appender, redis: Redis
) -> None:
    await appender.append(a_unit("a", seen=True))
    await appender.append(a_unit("b", seen=True))
    (window,) = await redis.keys("{news.indexed}:seen:*")
    assert 0 < await redis.ttl(window) <= 2 * 86_400


async def test_a_unit_whose_record_changed_writes_nothing_and_returns_it_as_it_is(
    appender: Appender, redis: Redis
) -> None:
    await redis.hset(RECORDS, "a", "of somebody quicker")
    assert await appender.append(a_unit("a", seen=True, expect="")) == Changed(
        ("of somebody quicker",)
    )
    assert await stored(redis) == []
    assert await redis.hget(RECORDS, "a") == b"of somebody quicker"
    assert await appender.append(a_unit("a", seen=True, expect="of somebody quicker")) == Done()


async def test_units_of_one_call_stand_or_fall_each_for_itself(redis: Redis) -> None:
    appender = Appender(redis, STREAM)
    await redis.hset(RECORDS, "b", "of somebody quicker")
    await redis.config_resetstat()
    async with asyncio.TaskGroup() as group:
        answers = [
            group.create_task(appender.append(a_unit(id_, expect=""))) for id_ in ("a", "b", "c")
        ]
        await asyncio.sleep(0)
        async with running(appender.run):
            outcomes = [await answer for answer in answers]
    assert outcomes == [Done(), Changed(("of somebody quicker",)), Done()]
    assert await stored(redis) == ["a", "c"]
    assert await calls(redis) == 1


async def calls(redis: Redis) -> int:
    stats = await redis.info("commandstats")
    return int(stats["cmdstat_evalsha"]["calls"]) - int(
        stats["cmdstat_evalsha"].get("failed_calls", 0)
    )


async def test_a_thousand_at_once_are_all_answered_and_stored_once_in_few_calls(
    appender: Appender, redis: Redis
) -> None:
    ids = [str(n) for n in range(1_000)]
    await redis.config_resetstat()
    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(appender.append(a_unit(id_, seen=True))) for id_ in ids]
    assert {answer.result() for answer in answers} == {Done()}
    assert sorted(await stored(redis)) == sorted(ids)
    assert await calls(redis) <= 6


async def test_a_sender_that_hangs_up_does_not_disturb_the_others(redis: Redis) -> None:
    appender = Appender(redis, STREAM)
    async with asyncio.TaskGroup() as group:
        gone, patient = (group.create_task(appender.append(a_unit(id_))) for id_ in "ab")
        await asyncio.sleep(0)
        gone.cancel()
        async with running(appender.run):
            assert await patient == Done()
    assert await stored(redis) == ["b"]


async def test_a_capped_stream_keeps_about_the_newest_and_others_keep_all(
    appender: Appender, redis: Redis
) -> None:
    for n in range(500):
        await appender.append(Unit([entry(an_event(str(n)), cap=10)]))
    kept = await stored(redis)
    assert 10 <= len(kept) <= 200
    assert kept[-1] == "499"


@pytest.mark.parametrize(
    "unit",
    [
        Unit([], Seen("\ud800", "no UTF-8 has this")),
        Unit([Write("HSET", "records", ["a field without a value"])]),
    ],
)
async def test_a_unit_that_is_wrong_fails_and_the_appender_goes_on(
    appender: Appender, unit: Unit
) -> None:
    with pytest.raises((UnicodeEncodeError, ResponseError)):
        await appender.append(unit)
    assert await appender.append(a_unit("b")) == Done()


async def test_gone_is_heard_at_once_and_it_works_again_when_redis_is_back(
    fragile: Redis, fragile_server: RedisServer
) -> None:
    async with appending(fragile) as appender:
        assert await appender.append(a_unit("a", seen=True)) == Done()
        fragile_server.kill()
        async with asyncio.timeout(WITHIN_S / 3):
            assert isinstance(await answer_of(appender, a_unit("b", seen=True)), Unavailable)
        fragile_server.start()
        assert await appender.append(a_unit("b", seen=True)) == Done()
    assert await stored(fragile) == ["a", "b"]


async def test_hung_is_heard_in_time_by_those_under_way_and_those_queued(
    fragile: Redis, fragile_server: RedisServer
) -> None:
    """More requests than one call takes, so that some wait for the next."""
    ids = [str(n) for n in range(MAX_UNITS + 100)]

    async def all_answers(appender: Appender) -> list[Outcome | Unavailable]:
        units = [a_unit(id_, seen=True) for id_ in ids]
        async with asyncio.TaskGroup() as group:
            answers = [group.create_task(answer_of(appender, unit)) for unit in units]
        return [answer.result() for answer in answers]

    async with appending(fragile) as appender:
        await appender.append(a_unit("first"))
        fragile_server.hang()
        # The second time over a new connection: the kernel accepts it, and it hangs as well.
        for _ in range(2):
            async with asyncio.timeout(WITHIN_S):
                answers = await all_answers(appender)
            assert all(isinstance(answer, Unavailable) for answer in answers)
        fragile_server.go_on()
        answers = await all_answers(appender)
        assert all(isinstance(answer, Done | Repeated) for answer in answers)
    assert sorted(await stored(fragile)) == sorted(["first", *ids])


async def test_hung_is_heard_in_time_when_every_connection_is_taken(
    fragile: Redis, fragile_server: RedisServer
) -> None:
    async def ask() -> None:
        with suppress(RedisError):
            await fragile.ping()

    async with appending(fragile) as appender:
        fragile_server.hang()
        async with asyncio.TaskGroup() as group:
            for _ in range(32):
                group.create_task(ask())
            # Late enough to be given a connection, which hangs in its turn.
            await asyncio.sleep(0.4)
            async with asyncio.timeout(WITHIN_S):
                assert isinstance(await answer_of(appender, a_unit("a")), Unavailable)


async def test_full_is_heard_and_leaves_nothing_in_part(fragile: Redis) -> None:
    await fragile.config_set("maxmemory", "1")
    async with appending(fragile) as appender:
        assert isinstance(await answer_of(appender, a_unit("a", seen=True)), Unavailable)
        assert await fragile.keys("*") == []
        await fragile.config_set("maxmemory", "0")
        assert await appender.append(a_unit("a", seen=True)) == Done()


async def test_whatever_was_answered_is_there_after_redis_is_killed(
    fragile: Redis, fragile_server: RedisServer
) -> None:
    answered: list[str] = []

    async def post(appender: Appender, sender: int) -> None:
        for n in range(10_000):
            id_ = f"{sender}-{n}"
            if await answer_of(appender, a_unit(id_, seen=True)) != Done():
                return
            answered.append(id_)

    async def enough() -> bool:
        return len(answered) > 500

    async with appending(fragile) as appender:
        async with asyncio.TaskGroup() as group:
            for sender in range(32):
                group.create_task(post(appender, sender))
            await until(enough)
            fragile_server.kill()
        fragile_server.start()
        ids = await stored(fragile)
        assert set(answered) <= set(ids)
        assert len(ids) == len(set(ids))
        for id_ in answered[-32:]:
            assert await appender.append(a_unit(id_, seen=True)) == Repeated(f"answer to {id_}")
