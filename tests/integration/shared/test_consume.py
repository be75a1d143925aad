"""Consuming by group: nothing is lost, whoever dies when, and one bad entry stops nobody."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from prometheus_client import generate_latest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from shared import metrics
from shared.errors import Conflict, NotFound, Unavailable
from shared.events import Event
from shared.streams.consume import MAX_ATTEMPTS, Apply, Consumer, Delivered, Stopped
from shared.streams.entries import FIRST, Entry, read_after
from shared.streams.groups import GroupLost, create_groups
from shared.streams.keys import dead
from tests.eventually import running, until
from tests.integration.shared.conftest import an_event
from tests.integration.shared.consumer_process import (
    APPLIED,
    GROUP,
    OPEN,
    STREAM,
    WAITED,
    Supervised,
)
from tests.redis_server import RedisServer

DEAD = dead(STREAM, GROUP)
IDLE_MS = 50
PROBE_S = 0.001


@dataclass(slots=True)
class Effects:
    """What was applied, by subject; `before` may raise in its place."""

    before: Callable[[str], None] = lambda _: None
    applied: list[str] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)

    async def apply(self, batch: Sequence[Delivered]) -> None:
        subjects = [delivered.event.subject for delivered in batch]
        self.batches.append(subjects)
        for subject in subjects:
            self.before(subject)
        self.applied += subjects


@dataclass(frozen=True, slots=True)
class Group:
    redis: Redis
    url: SecretStr

    async def post(self, *subjects: str) -> None:
        for subject in subjects:
            await self.redis.xadd(STREAM, pairs(an_event(subject)))

    def consumer(
        self,
        apply: Apply,
        *,
        name: str = "one",
        sole: bool = True,
        idle_ms: int = IDLE_MS,
        max_records: int = 1_000,
        probe_s: float = PROBE_S,
    ) -> Consumer:
        return Consumer(
            self.url,
            self.redis,
            STREAM,
            GROUP,
            apply,
            name=name,
            sole=sole,
            idle_ms=idle_ms,
            max_records=max_records,
            probe_s=probe_s,
        )

    @asynccontextmanager
    async def consuming(self, apply: Apply) -> AsyncIterator[None]:
        async with running(self.consumer(apply).run):
            yield

    async def is_done(self) -> bool:
        (group,) = [g for g in await self.redis.xinfo_groups(STREAM) if g["name"].decode() == GROUP]
        return (group["pending"], group["lag"]) == (0, 0)

    async def dead(self) -> list[Entry]:
        return await read_after(self.redis, DEAD, FIRST, count=1_000, block_ms=None)


Fields = dict[Any, Any]
"""Of bytes; but xadd wants the very union of all it takes."""


def pairs(event: Event) -> Fields:
    fields = [value if isinstance(value, bytes) else value.encode() for value in event.fields()]
    return dict(zip(fields[::2], fields[1::2], strict=True))


@pytest.fixture
async def group(redis: Redis, redis_url: SecretStr) -> Group:
    await create_groups(redis)
    return Group(redis, redis_url)


async def test_what_was_posted_before_the_group_existed_is_seen(
    redis: Redis, redis_url: SecretStr
) -> None:
    group, effects = Group(redis, redis_url), Effects()
    await group.post("a", "b")
    await create_groups(redis)
    async with group.consuming(effects.apply):
        await until(group.is_done)
        await group.post("c")
        await until(group.is_done)
    assert effects.applied == ["a", "b", "c"]


def raises_for(poison: str) -> Callable[[str], None]:
    def before(subject: str) -> None:
        if subject == poison:
            raise ValueError("poison")

    return before


@pytest.mark.logs_errors("batch.failed", "entry.dead")
async def test_a_poison_is_given_up_after_five_attempts_and_the_others_are_applied(
    group: Group,
) -> None:
    effects = Effects(before=raises_for("poison"))
    await group.post("a", "poison", "b")
    async with group.consuming(effects.apply):
        await until(group.is_done)
    assert sorted(effects.applied) == ["a", "b"]
    # The batch, itself alone, and four times when it was claimed again.
    assert sum("poison" in batch for batch in effects.batches) == 1 + MAX_ATTEMPTS
    (letter,) = await group.dead()
    original = {name: value for name, value in letter.fields.items() if name[:5] != b"dead-"}
    assert original == pairs(an_event("poison"))
    assert letter.fields[b"dead-reason"] == b"failed 5 times"
    assert letter.fields[b"dead-attempts"] == b"5"
    assert letter.fields[b"dead-group"] == GROUP.encode()


FOREIGN: dict[str, Fields] = {
    "other fields": {b"hello": b"world"},
    "no JSON": {**pairs(an_event("x")), b"data": b"<rss/>"},
    "a newer type": {**pairs(an_event("x")), b"type": b"news.article.indexed.v2"},
    "a wrong field": {**pairs(an_event("x")), b"data": b'{"id": "x", "version": 0}'},
    "a time without a zone": {**pairs(an_event("x")), b"time": b"2026-05-04T12:00:00"},
    "more fields than Lua unpacks": {str(n).encode(): b"x" for n in range(5_000)},
}


@pytest.mark.logs_errors("entry.dead")
@pytest.mark.parametrize("kind", FOREIGN)
async def test_an_entry_of_somebody_else_is_a_dead_letter_at_once(group: Group, kind: str) -> None:
    effects = Effects()
    await group.post("a")
    await group.redis.xadd(STREAM, FOREIGN[kind])
    await group.post("b")
    async with group.consuming(effects.apply):
        await until(group.is_done)
    assert effects.applied == ["a", "b"]
    (letter,) = await group.dead()
    assert letter.fields[b"dead-reason"].startswith(b"unreadable: ")
    assert letter.fields[b"dead-attempts"] == b"1"


async def test_unavailable_makes_the_batch_wait_and_counts_no_attempt(group: Group) -> None:
    refusals = iter(range(3))

    def before(subject: str) -> None:
        if next(refusals, None) is not None:
            raise Unavailable("the store is away")

    effects = Effects(before=before)
    attempts: list[int] = []

    async def apply(batch: Sequence[Delivered]) -> None:
        pending = await group.redis.xpending_range(STREAM, GROUP, "-", "+", 10)
        attempts.extend(int(row["times_delivered"]) for row in pending)
        await effects.apply(batch)

    await group.post("a")
    async with group.consuming(apply):
        await until(group.is_done)
    assert effects.batches == [["a"]] * 4
    assert effects.applied == ["a"]
    assert max(attempts) == 1


async def test_a_lost_group_ends_the_consumer(group: Group) -> None:
    effects = Effects()
    await group.post("a")

    async def lose_it() -> None:
        await until(group.is_done)
        await group.redis.flushall()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(lose_it())
        with pytest.raises(GroupLost):
            await group.consumer(effects.apply).run()


async def test_a_cancelled_consumer_finishes_the_batch_in_progress(group: Group) -> None:
    begun, release, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def apply(batch: Sequence[Delivered]) -> None:
        begun.set()
        await release.wait()
        done.set()

    await group.post("a")
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(group.consumer(apply).run())
        await begun.wait()
        task.cancel()
        await asyncio.sleep(0)
        release.set()
    assert done.is_set()
    assert await group.is_done()


@pytest.mark.parametrize("steps", range(0, 100, 5))
async def test_a_consumer_cancelled_as_it_starts_leaves_nothing_running(
    group: Group, steps: int
) -> None:
    await group.post("a")
    before = asyncio.all_tasks()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(group.consumer(Effects().apply).run())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()

    async def nothing_runs() -> bool:
        return asyncio.all_tasks() <= before

    await until(nothing_runs, within_s=1)


@pytest.mark.logs_errors("entry.dead")
async def test_a_full_redis_stops_neither_start_nor_acknowledgement_nor_dead_letters(
    group: Group,
) -> None:
    effects = Effects()
    await group.post("a")
    await group.redis.xadd(STREAM, {"hello": "world"})
    await group.redis.config_set("maxmemory", "1")
    try:
        await create_groups(group.redis)
        async with group.consuming(effects.apply):
            await until(group.is_done)
    finally:
        await group.redis.config_set("maxmemory", "0")
    assert effects.applied == ["a"]
    assert len(await group.dead()) == 1


async def test_two_members_do_not_take_each_others_entries_in_progress(group: Group) -> None:
    """Both see what a third left pending; each entry is taken again by one of them."""
    subjects = [str(n) for n in range(600)]
    await group.post(*subjects)
    await leave_pending(group.redis)
    effects = Effects()

    async def apply(batch: Sequence[Delivered]) -> None:
        await effects.apply(batch)
        await asyncio.sleep(0)  # Lets the other one come in between.

    members = [
        group.consumer(apply, name=name, sole=False, idle_ms=1_000).run for name in ("one", "two")
    ]
    async with running(*members):
        await until(group.is_done)
    assert Counter(effects.applied) == Counter(subjects)


async def leave_pending(redis: Redis) -> None:
    """As a member does that died a minute ago."""
    await redis.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=10_000)
    entries = await read_after(redis, STREAM, FIRST, count=10_000, block_ms=None)
    await redis.xclaim(
        STREAM, GROUP, "dead", 0, [e.id for e in entries], idle=60_000, retrycount=1, justid=True
    )


async def applied(redis: Redis) -> Counter[str]:
    subjects = cast("list[bytes]", await redis.lrange(APPLIED, 0, -1))
    return Counter(subject.decode() for subject in subjects)


async def until_done(process: Supervised, group: Group) -> None:
    async def done() -> bool:
        process.restart_if_dead()
        return await group.is_done()

    await until(done, within_s=60)


async def test_killed_in_the_middle_nothing_is_lost(group: Group) -> None:
    subjects = [str(n) for n in range(500)]
    await group.post(*subjects)

    async def in_the_middle() -> bool:
        return await group.redis.llen(APPLIED) > 120

    with Supervised(group.url) as process:
        await until(in_the_middle)
        process.kill()
        assert not await group.is_done()
        await until_done(process, group)
    assert set(await applied(group.redis)) == set(subjects)


async def test_a_crash_between_effect_and_acknowledgement_repeats_the_effect(group: Group) -> None:
    await group.post("a", "dies-once", "b")
    with Supervised(group.url) as process:
        await until_done(process, group)
    assert await applied(group.redis) == {"a": 2, "dies-once": 2, "b": 1}


async def test_restarts_while_a_batch_waits_count_no_attempt(group: Group) -> None:
    """Somebody restarts the service again and again while its store is away."""
    await group.post("waits")

    async def waited_twice() -> bool:
        process.restart_if_dead()
        return await group.redis.llen(WAITED) >= 2

    with Supervised(group.url) as process:
        for _ in range(MAX_ATTEMPTS + 1):
            await until(waited_twice)
            process.kill()
            await group.redis.delete(WAITED)
        await group.redis.set(OPEN, "yes")
        await until_done(process, group)
    assert await applied(group.redis) == {"waits": 1}
    assert await group.dead() == []


async def test_a_poison_that_kills_the_process_is_given_up_and_takes_no_other_with_it(
    group: Group,
) -> None:
    await group.post("a", "kills", "b", "kills too", "c")
    with Supervised(group.url) as process:
        await until_done(process, group)
    assert set(await applied(group.redis)) == {"a", "b", "c"}
    letters = await group.dead()
    assert sorted(letter.fields[b"subject"] for letter in letters) == [b"kills", b"kills too"]
    assert {letter.fields[b"dead-attempts"] for letter in letters} == {b"5"}


@dataclass(slots=True)
class Bug:
    """In a handler, until it is mended."""

    bites: Callable[[str], bool] = lambda _: True
    error: Exception = field(default_factory=lambda: ValueError("a bug"))
    tried: list[str] = field(default_factory=list)

    def __call__(self, subject: str) -> None:
        self.tried.append(subject)
        if self.bites(subject):
            raise self.error

    def mend(self) -> None:
        self.bites = lambda _: False


async def is_stopped(consumer: Consumer) -> bool:
    try:
        await consumer.check()
    except Stopped:
        return True
    return False


@pytest.mark.logs_errors("batch.failed", "breaker.opened")
@pytest.mark.parametrize(
    ("max_records", "error"),
    [(1, ValueError("a bug")), (1_000, ValueError("a bug")), (1_000, ResponseError("WRONGTYPE"))],
)
async def test_a_bug_stops_the_group_after_twenty_and_mended_it_goes_on_and_nothing_is_dead(
    group: Group, max_records: int, error: Exception
) -> None:
    bug = Bug(error=error)
    effects = Effects(before=bug)
    subjects = [f"{n:02}" for n in range(60)]
    consumer = group.consumer(effects.apply, max_records=max_records)
    await group.post(*subjects)
    async with running(consumer.run):
        await until(lambda: is_stopped(consumer))
        await group.post("later")
        # It is open while it tries one by one, many times more often than it would give up.
        await until(lambda: tried(bug, 20 * MAX_ATTEMPTS))
        assert set(bug.tried) <= {*subjects}
        assert await group.dead() == []
        assert "newsrail_breaker_open" in gauges()
        bug.mend()
        await until(group.is_done)
        assert not await is_stopped(consumer)
    assert Counter(effects.applied) == Counter([*subjects, "later"])
    assert await group.dead() == []
    assert gauges() == ""


async def tried(bug: Bug, times: int) -> bool:
    return len(bug.tried) > times


def gauges() -> str:
    """Of the breakers that are open."""
    lines = generate_latest().decode().splitlines()
    return "".join(x for x in lines if x.startswith("newsrail_breaker_open{") and x.endswith("1.0"))


@pytest.mark.logs_errors("batch.failed", "breaker.opened")
async def test_a_bug_for_one_in_five_stops_the_group_and_kills_nothing_over_restarts(
    group: Group,
) -> None:
    bug = Bug(bites=lambda subject: int(subject) % 5 == 0)
    effects = Effects(before=bug)
    subjects = [str(n) for n in range(700)]
    await group.post(*subjects)
    for _ in range(MAX_ATTEMPTS + 1):
        await consume_until_stopped(group, effects)
    assert await group.dead() == []
    bug.mend()
    async with group.consuming(effects.apply):
        await until(group.is_done)
    assert Counter(effects.applied) == Counter(subjects)


async def consume_until_stopped(group: Group, effects: Effects) -> None:
    consumer = group.consumer(effects.apply)
    async with running(consumer.run):
        await until(lambda: is_stopped(consumer))
        await until(lambda: is_held(group))


async def is_held(group: Group) -> bool:
    """Of no entry that is pending an attempt counts."""
    pending = await group.redis.xpending_range(STREAM, GROUP, "-", "+", 10_000)
    return {row["times_delivered"] for row in pending} == {0}


@pytest.mark.logs_errors("batch.failed", "breaker.opened")
async def test_while_it_waits_for_the_next_try_nothing_is_tried_and_it_stops_when_told(
    group: Group,
) -> None:
    bug = Bug()
    consumer = group.consumer(Effects(before=bug).apply, probe_s=1_000)
    await group.post(*map(str, range(50)))
    # FastStream would wait 5 s for a batch that does not end.
    async with asyncio.timeout(4):
        async with running(consumer.run):
            await until(lambda: is_stopped(consumer))
            await until(lambda: is_held(group))
    assert set(bug.tried) == {*map(str, range(20))}
    assert await group.dead() == []


@pytest.mark.logs_errors("entry.dead")
async def test_a_hundred_entries_of_somebody_else_stop_nobody(group: Group) -> None:
    effects = Effects()
    consumer = group.consumer(effects.apply)
    for number in range(100):
        await group.redis.xadd(STREAM, {"hello": "world"})
        if number % 30 == 0:
            await group.post(str(number))
    async with running(consumer.run):
        await until(group.is_done)
        assert not await is_stopped(consumer)
    assert effects.applied == ["0", "30", "60", "90"]
    assert len(await group.dead()) == 100


@pytest.mark.logs_errors("entry.dead", "breaker.opened")
async def test_of_entries_of_a_newer_newsrail_only_twenty_are_given_up_before_it_stops(
    group: Group,
) -> None:
    effects = Effects()
    consumer = group.consumer(effects.apply)
    for _ in range(50):
        await group.redis.xadd(STREAM, FOREIGN["a newer type"])
    async with running(consumer.run):
        await until(lambda: is_stopped(consumer))
        await until(lambda: is_held(group))
        assert len(await group.dead()) == 20


@pytest.mark.logs_errors("entry.dead", "breaker.opened")
async def test_where_all_that_failed_is_dead_the_next_entry_closes_the_breaker(
    group: Group,
) -> None:
    effects = Effects()
    consumer = group.consumer(effects.apply)
    for _ in range(20):
        await group.redis.xadd(STREAM, FOREIGN["a newer type"])
    async with running(consumer.run):
        await until(lambda: is_stopped(consumer))
        await group.post("a", "b")
        await until(group.is_done)
        assert not await is_stopped(consumer)
    assert effects.applied == ["a", "b"]


@pytest.mark.logs_errors("batch.failed", "breaker.opened")
async def test_an_open_breaker_outlasts_an_outage_of_redis(
    fragile: Redis, fragile_server: RedisServer
) -> None:
    await create_groups(fragile)
    group, bug = Group(fragile, SecretStr(fragile_server.url)), Bug()
    effects = Effects(before=bug)
    consumer = group.consumer(effects.apply)
    await group.post(*map(str, range(20)))
    async with running(consumer.run):
        await until(lambda: is_stopped(consumer))
        fragile_server.kill()
        await until(lambda: is_stopped(consumer))
        await asyncio.to_thread(fragile_server.start)
        bug.mend()
        await until(lambda: is_done_again(group))
    assert Counter(effects.applied) == Counter(map(str, range(20)))


async def is_done_again(group: Group) -> bool:
    try:
        return await group.is_done()
    except RedisConnectionError:
        return False


@pytest.mark.logs_errors("entry.dead")
async def test_what_was_deleted_while_pending_is_a_dead_letter_and_nothing_else_is(
    group: Group,
) -> None:
    """A peer may have acknowledged what is no longer there: that is no loss."""
    await group.post("deleted", "deleted later", "acknowledged", "kept")
    await leave_pending(group.redis)
    entries = await read_after(group.redis, STREAM, FIRST, count=9, block_ms=None)
    ids = {entry.fields[b"subject"].decode(): entry.id for entry in entries}
    effects = Effects()
    consumer = group.consumer(effects.apply)
    listed = await consumer._pending(0)
    await group.redis.xack(STREAM, GROUP, ids["acknowledged"])
    await group.redis.xdel(STREAM, ids["acknowledged"], ids["deleted"])
    lost = lost_pending()
    await consumer._take_again(listed, 0)
    assert effects.applied == ["deleted later", "kept"]
    (letter,) = await group.dead()
    assert letter.fields == {
        b"dead-stream": STREAM.encode(), b"dead-group": GROUP.encode(),
        b"dead-entry": ids["deleted"].encode(), b"dead-reason": b"deleted while pending",
        b"dead-attempts": b"1",
    }  # fmt: skip
    assert lost_pending() == lost + 1


def lost_pending() -> float:
    value: float = metrics.LOST_PENDING.labels(STREAM, GROUP)._value.get()
    return value


@pytest.mark.logs_errors("batch.failed", "entry.dead")
async def test_a_redrive_reaches_the_group_that_failed_and_no_other(group: Group) -> None:
    bug = Bug(bites=lambda subject: subject == "poison")
    effects, others = Effects(before=bug), Effects()
    other = Consumer(
        group.url,
        group.redis,
        STREAM,
        "rails",
        others.apply,
        name="one",
        sole=True,
        idle_ms=IDLE_MS,
    )
    consumer = group.consumer(effects.apply)
    await group.post("a", "poison", "b")
    async with running(consumer.run, other.run):
        await until(group.is_done)
        (letter,) = await group.dead()
        with pytest.raises(Conflict, match="a bug"):
            await consumer.redrive(letter.id)
        assert await group.dead() == [letter]
        bug.mend()
        await consumer.redrive(letter.id)
        with pytest.raises(NotFound):
            await consumer.redrive(letter.id)
    assert await group.dead() == []
    assert sorted(effects.applied) == ["a", "b", "poison"]
    assert sorted(others.applied) == ["a", "b", "poison"]
    assert await group.redis.xlen(STREAM) == 3


@pytest.mark.logs_errors("entry.dead")
@pytest.mark.parametrize("kind", ["other fields", "a newer type"])
async def test_what_cannot_be_read_still_is_no_redrive_and_stays(group: Group, kind: str) -> None:
    consumer = group.consumer(Effects().apply)
    await group.redis.xadd(STREAM, FOREIGN[kind])
    async with running(consumer.run):
        await until(group.is_done)
        (letter,) = await group.dead()
        with pytest.raises(Conflict, match="unreadable"):
            await consumer.redrive(letter.id)
    assert await group.dead() == [letter]


@pytest.mark.logs_errors("entry.dead")
async def test_a_redrive_while_the_store_is_away_leaves_the_letter(group: Group) -> None:
    def before(subject: str) -> None:
        raise Unavailable("the store is away")

    consumer = group.consumer(Effects(before=before).apply)
    await group.redis.xadd(DEAD, {
        "dead-entry": "1-0", "dead-reason": "x", "dead-attempts": "5", **pairs(an_event("a")),
    })  # fmt: skip
    (letter,) = await group.dead()
    with pytest.raises(Unavailable):
        await consumer.redrive(letter.id)
    assert await group.dead() == [letter]
