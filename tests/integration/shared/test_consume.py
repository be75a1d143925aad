"""Consuming by group: nothing is lost, whoever dies when, and one bad entry stops nobody."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from shared.errors import Unavailable
from shared.events import Event
from shared.streams.consume import MAX_ATTEMPTS, Apply, Consumer, Delivered
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

DEAD = dead(STREAM, GROUP)
IDLE_MS = 50


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
        self, apply: Apply, *, name: str = "one", sole: bool = True, idle_ms: int = IDLE_MS
    ) -> Consumer:
        return Consumer(
            self.url, self.redis, STREAM, GROUP, apply, name=name, sole=sole, idle_ms=idle_ms
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


@pytest.mark.logs_errors("entry.deleted_while_pending")
async def test_an_entry_deleted_while_pending_is_reported(group: Group) -> None:
    effects = Effects()
    await group.post("a", "b")
    await leave_pending(group.redis)
    first = (await read_after(group.redis, STREAM, FIRST, count=1, block_ms=None))[0].id
    await group.redis.xdel(STREAM, first)
    async with group.consuming(effects.apply):
        await until(group.is_done)
    assert effects.applied == ["b"]


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
