"""Groups and partitions: settled once, by whichever service starts first."""

import asyncio

import pytest
from redis.asyncio import Redis

from shared.errors import Conflict
from shared.events import ARTICLES, VIEWS
from shared.streams.entries import FIRST, read_after
from shared.streams.groups import OWN_GROUPS, create_groups, existing_groups
from shared.streams.keys import keys, settle_partitions


@pytest.mark.parametrize("partitions", [1, 3])
async def test_any_start_makes_every_group_of_every_service_at_the_beginning(
    redis: Redis, partitions: int
) -> None:
    await create_groups(redis, partitions)
    for stream, names in OWN_GROUPS.items():
        for stream_key in keys(stream, partitions):
            groups = await redis.xinfo_groups(stream_key)
            found = {(g["name"].decode(), g["last-delivered-id"].decode()) for g in groups}
            assert found == {(name, FIRST) for name in names}


async def test_services_that_start_together_do_not_disturb_each_other(redis: Redis) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(create_groups(redis))
    assert await existing_groups(redis, ARTICLES.name) == set(OWN_GROUPS[ARTICLES])


async def test_a_later_start_leaves_a_group_where_it_is(redis: Redis) -> None:
    await create_groups(redis)
    id_ = await redis.xadd(ARTICLES.name, {"a": "b"})
    await redis.xreadgroup("index", "one", {ARTICLES.name: ">"})
    await create_groups(redis)
    groups = {g["name"].decode(): g for g in await redis.xinfo_groups(ARTICLES.name)}
    assert groups["index"]["last-delivered-id"] == id_
    assert groups["index"]["pending"] == 1


async def test_a_start_writes_nothing_when_all_is_there(fragile: Redis) -> None:
    """A full Redis refuses writes, and services must be able to start to empty it."""
    await settle_partitions(fragile, 2)
    await create_groups(fragile, 2)
    await fragile.config_set("maxmemory", "1")
    await settle_partitions(fragile, 2)
    await create_groups(fragile, 2)


async def test_no_group_on_a_stream_that_is_not_there(redis: Redis) -> None:
    assert await existing_groups(redis, "news.nothing") == set()


async def test_another_number_of_partitions_is_refused_with_both_numbers(redis: Redis) -> None:
    await settle_partitions(redis, 2)
    await settle_partitions(redis, 2)
    with pytest.raises(Conflict, match=r"news\.articles has 2 partitions, not 3"):
        await settle_partitions(redis, 3)


async def test_the_first_of_many_starts_settles_it(redis: Redis) -> None:
    async def start(partitions: int) -> bool:
        try:
            await settle_partitions(redis, partitions)
        except Conflict:
            return False
        return True

    async with asyncio.TaskGroup() as group:
        starts = [group.create_task(start(partitions)) for partitions in (1, 2, 1, 2)]
    agreed = [start.result() for start in starts]
    assert agreed in ([True, False, True, False], [False, True, False, True])


async def test_reading_after_an_offset_gives_each_entry_once_and_in_order(redis: Redis) -> None:
    for n in range(25):
        await redis.xadd(VIEWS.name, {"n": n}, id=f"{n + 1}-0")
    offset, seen = FIRST, []
    while entries := await read_after(redis, VIEWS.name, offset, count=10, block_ms=None):
        seen += [(entry.id, entry.at_ms, entry.fields[b"n"]) for entry in entries]
        offset = entries[-1].id
    assert seen == [(f"{n + 1}-0", n + 1, str(n).encode()) for n in range(25)]


async def test_reading_waits_for_the_first_entry(redis: Redis) -> None:
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read_after(redis, VIEWS.name, FIRST, count=10, block_ms=5_000))
        await redis.xadd(VIEWS.name, {"a": "b"})
    assert len(reading.result()) == 1
