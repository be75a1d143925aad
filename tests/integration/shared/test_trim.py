"""The janitor: what is trimmed is archived, once, and was nobody's any more."""

import asyncio
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from shared import metrics
from shared.events import INDEXED
from shared.streams import trim
from shared.streams.archive import Archive, ArchiveUnavailable, Damaged, Taken
from shared.streams.entries import Entry
from shared.streams.groups import OWN_GROUPS
from shared.streams.replay import Log
from shared.streams.trim import Janitor
from tests.eventually import running, until
from tests.integration.shared.conftest import NOON
from tests.integration.shared.logs import NOON_MS, STREAM, add, archived, in_redis, whole

RETENTION_S = 3_600
LONG_AFTER = NOON + timedelta(hours=10)


@dataclass
class Time:
    now: datetime = LONG_AFTER

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Place:
    """A stream, its archive and a janitor of both."""

    redis: Redis
    archive: Archive
    time: Time = field(default_factory=Time)

    def janitor(self, archive: Archive | None = None) -> Janitor:
        return Janitor(
            self.redis,
            archive or self.archive,
            [INDEXED],
            partitions=1,
            retention_s=RETENTION_S,
            clock=self.time,
        )

    async def log(self) -> list[Entry]:
        return await whole(Log(self.redis, self.archive))


@pytest.fixture
def place(redis: Redis, tmp_path: Path) -> Place:
    return Place(redis, Archive(str(tmp_path)))


@pytest.fixture
def own_group(monkeypatch: pytest.MonkeyPatch) -> str:
    """The stream of these tests has one of newsrail's own groups."""
    monkeypatch.setattr(trim, "OWN_GROUPS", {**OWN_GROUPS, INDEXED: ("own",)})
    return "own"


def names(entries: Sequence[Entry]) -> list[str]:
    return [entry.fields[b"id"].decode() for entry in entries]


async def read_by(redis: Redis, group: str, count: int) -> list[bytes]:
    reply: Any = await redis.xreadgroup(group, "one", {STREAM: ">"}, count=count)
    return [id_ for _, rows in reply for id_, _ in rows]


async def test_what_is_old_enough_is_archived_then_trimmed(place: Place) -> None:
    added = await add(place.redis, range(100), every_s=60)
    place.time.now = NOON + timedelta(minutes=150)
    assert await place.janitor().tend(STREAM)
    # An hour stays; beyond it, what has not waited half an hour more had company.
    assert names(await in_redis(place.redis)) == [f"e{n}" for n in range(90, 100)]
    assert await archived(place.archive) == added[:90]
    assert await place.log() == added


async def test_few_segments_are_cut_and_large_ones(place: Place) -> None:
    await add(place.redis, range(100), every_s=60)
    janitor = place.janitor()
    for minute in range(300):
        place.time.now = NOON + timedelta(minutes=minute)
        await janitor.tend(STREAM)
    assert len(await place.archive.segments(STREAM)) == 4


@pytest.mark.usefixtures("own_group")
async def test_what_an_own_group_has_not_acknowledged_stays_however_old(place: Place) -> None:
    added = await add(place.redis, range(10))
    await place.redis.xgroup_create(STREAM, "own", id="0")
    janitor = place.janitor()
    assert not await janitor.tend(STREAM)
    delivered = await read_by(place.redis, "own", 6)
    await place.redis.xack(STREAM, "own", *delivered[:2], *delivered[3:])
    await janitor.tend(STREAM)
    assert names(await in_redis(place.redis))[0] == "e2"
    await place.redis.xack(STREAM, "own", delivered[2])
    await janitor.tend(STREAM)
    assert names(await in_redis(place.redis)) == ["e6", "e7", "e8", "e9"]
    assert await place.log() == added


@pytest.mark.usefixtures("own_group")
async def test_nothing_is_trimmed_while_an_own_group_is_missing(place: Place) -> None:
    added = await add(place.redis, range(10))
    assert not await place.janitor().tend(STREAM)
    assert await in_redis(place.redis) == added


async def test_another_group_holds_the_trim_for_a_day_and_is_then_reported(place: Place) -> None:
    added = await add(place.redis, range(10))
    await place.redis.xgroup_create(STREAM, "theirs", id="0")
    janitor = place.janitor()
    assert not await janitor.tend(STREAM)
    assert await in_redis(place.redis) == added
    before = metrics.PASSED.labels(STREAM, "theirs")._value.get()
    place.time.now = NOON + timedelta(hours=24, seconds=5)
    await janitor.tend(STREAM)
    assert names(await in_redis(place.redis)) == ["e5", "e6", "e7", "e8", "e9"]
    assert metrics.PASSED.labels(STREAM, "theirs")._value.get() == before + 1
    assert await place.log() == added


async def test_a_full_redis_keeps_less_and_can_still_be_trimmed(
    fragile: Redis, tmp_path: Path
) -> None:
    place = Place(fragile, Archive(str(tmp_path)))
    added = await add(fragile, range(100), every_s=60)
    place.time.now = NOON + timedelta(minutes=60)
    janitor = place.janitor()
    async with running(janitor.run):
        await until(lambda: _looked(janitor))
        assert await in_redis(fragile) == added
    await fragile.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        await fragile.xadd(STREAM, {"one": "more"})
    async with running(place.janitor().run):
        await until(lambda: _begins_with(fragile, "e40"))
    assert await place.log() == added


async def _looked(janitor: Janitor) -> bool:
    return bool(janitor._archived)


async def _begins_with(redis: Redis, name: str) -> bool:
    return names(await in_redis(redis))[:1] == [name]


class Dying(Archive):
    """Its janitor is killed in the moment after a segment is there."""

    async def add(self, stream_key: str, after: str, entries: Sequence[Entry]) -> None:
        await super().add(stream_key, after, entries)
        raise asyncio.CancelledError


async def test_a_janitor_that_died_before_the_trim_leaves_each_entry_once(
    place: Place, tmp_path: Path
) -> None:
    added = await add(place.redis, range(10))
    with pytest.raises(asyncio.CancelledError):
        await place.janitor(Dying(str(tmp_path))).tend(STREAM)
    assert await in_redis(place.redis) == await archived(place.archive) == added
    assert await place.log() == added
    assert not await place.janitor().tend(STREAM)
    assert await in_redis(place.redis) == []
    assert await archived(place.archive) == added


@pytest.mark.usefixtures("own_group")
async def test_a_restored_redis_keeps_what_is_archived_until_its_groups_have_read_it(
    place: Place, tmp_path: Path
) -> None:
    """Its backup is older than the archive beside it."""
    added = await add(place.redis, range(10))
    await place.archive.add(STREAM, "0-0", added[:8])
    await place.redis.xgroup_create(STREAM, "own", id=added[2].id)
    await place.janitor().tend(STREAM)
    assert await in_redis(place.redis) == added[3:]
    await place.redis.xack(STREAM, "own", *await read_by(place.redis, "own", 10))
    await place.janitor().tend(STREAM)
    assert await in_redis(place.redis) == []
    assert await archived(place.archive) == added


class Slow(Archive):
    """Its janitor has read, and is about to write, when it is let go."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def add(self, stream_key: str, after: str, entries: Sequence[Entry]) -> None:
        self.reached.set()
        await self.go_on.wait()
        await super().add(stream_key, after, entries)


async def test_a_janitor_that_was_frozen_and_overtaken_archives_nothing_twice(
    place: Place, tmp_path: Path
) -> None:
    added = await add(place.redis, range(10))
    slow = Slow(str(tmp_path))
    async with asyncio.TaskGroup() as group:
        frozen = group.create_task(_refused(place.janitor(slow)))
        await slow.reached.wait()
        await place.janitor().tend(STREAM)
        added = [*added, *(await add(place.redis, range(10, 20)))]
        await place.janitor().tend(STREAM)
        slow.go_on.set()
    assert frozen.result()
    assert await archived(place.archive) == added
    assert await place.log() == added


async def _refused(janitor: Janitor) -> bool:
    with pytest.raises(Taken):
        await janitor.tend(STREAM)
    return True


@pytest.mark.logs_errors("archive.failed")
async def test_an_archive_that_cannot_be_written_stops_the_trim_and_raises_the_alarm(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trim, "LOOK_EVERY_S", 0.01)
    added = await add(place.redis, range(10))
    in_the_way = tmp_path / STREAM
    in_the_way.write_text("a file where the folder must be")
    with pytest.raises(ArchiveUnavailable):
        await place.janitor().tend(STREAM)
    alarm = metrics.ARCHIVE_FAILING.labels(STREAM)._value
    async with running(place.janitor().run):
        await until(lambda: _is(alarm.get, 1))
        assert await in_redis(place.redis) == added
        in_the_way.unlink()
        await until(lambda: _is(alarm.get, 0))
    assert await in_redis(place.redis) == []
    assert await place.log() == added


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs to mount a file system: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_stops_the_trim_until_there_is_room(
    redis: Redis, small_disk: Path
) -> None:
    place = Place(redis, Archive(str(small_disk)))
    filling = small_disk / "somebody's"
    with suppress(OSError), filling.open("wb") as file:
        file.write(b"\0" * 100_000)
    added = await add(redis, range(200))
    with pytest.raises(ArchiveUnavailable):
        await place.janitor().tend(STREAM)
    assert await in_redis(redis) == added
    assert [path for path in small_disk.rglob("*.zst*") if path.is_file()] == []
    filling.unlink()
    assert await place.janitor().tend(STREAM)
    assert await in_redis(redis) == []
    assert await place.log() == added


async def _is(value: object, expected: float) -> bool:
    return callable(value) and value() == expected


async def test_nothing_is_trimmed_when_the_newest_segment_is_damaged(
    place: Place, tmp_path: Path
) -> None:
    """Where the archive ends cannot be known then."""
    await add(place.redis, range(10))
    await place.janitor().tend(STREAM)
    added = await add(place.redis, range(10, 20))
    (segment,) = await place.archive.segments(STREAM)
    (tmp_path / segment.name).write_bytes(b"")
    with pytest.raises(Damaged):
        await place.janitor().tend(STREAM)
    assert await in_redis(place.redis) == added


async def test_entries_of_any_size_fill_segments_up_to_their_limit(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trim, "SEGMENT_BYTES", 1_000)
    monkeypatch.setattr(trim, "READ_MOST", 1)
    added = await add(place.redis, range(20))
    janitor = place.janitor()
    while await janitor.tend(STREAM):
        pass
    assert len(await place.archive.segments(STREAM)) == 3
    assert await place.log() == added


async def test_the_log_is_whole_for_a_reader_whatever_is_trimmed_meanwhile(place: Place) -> None:
    """A janitor at each step of the reader, and between its two questions."""
    added = await add(place.redis, range(200), every_s=60)
    janitor = place.janitor()

    class Trimming(Archive):
        async def after(self, stream_key: str, entry_id: str):  # type: ignore[no-untyped-def]  # As its parent.
            place.time.now += timedelta(minutes=7)
            await janitor.tend(STREAM)
            async for found in super().after(stream_key, entry_id):
                yield found

    place.time.now = NOON + timedelta(minutes=85)
    log = Log(place.redis, Trimming(str(place.archive._folder)))
    read: list[Entry] = []
    while found := await log.after(STREAM, read[-1].id if read else "0-0", count=3):
        read += found
        place.time.now += timedelta(minutes=5)
        await janitor.tend(STREAM)
    assert read == added
    assert len(await place.archive.segments(STREAM)) > 3


async def test_a_log_is_whole_also_when_it_is_read_again(place: Place) -> None:
    """What was in Redis at the first reading may be in the archive at the next."""
    added = await add(place.redis, range(100), every_s=60)
    log = Log(place.redis, place.archive)
    for minute in (60, 120, 180):
        place.time.now = NOON + timedelta(minutes=minute)
        await place.janitor().tend(STREAM)
        assert await whole(log) == added


async def test_the_log_until_an_entry_ends_with_it(place: Place) -> None:
    added = await add(place.redis, range(30), every_s=60)
    place.time.now = NOON + timedelta(minutes=95)
    await place.janitor().tend(STREAM)
    end = f"{NOON_MS + 20 * 60_000}-0"
    log = Log(place.redis, place.archive)
    read = [e async for found in log.until(STREAM, added[3].id, end, count=4) for e in found]
    assert read == added[4:21]
