"""The archive, in a folder and in an object store: whole segments, one after the other."""

import asyncio
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from shared.streams.archive import (
    NEW,
    Archive,
    ArchiveUnavailable,
    Content,
    Damaged,
    Segment,
    Taken,
)
from shared.streams.entries import FIRST, Entry
from tests.integration.shared.logs import STREAM, archived


@pytest.fixture(scope="module")
def object_store() -> Iterator[str]:
    """A real HTTP server that speaks S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "AWS_ENDPOINT": f"http://{host}:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
        }.items():
            environment.setenv(name, value)
        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="news")
        yield "s3://news"
    server.stop()


@pytest.fixture(params=["folder", "object store"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Archive:
    if request.param == "folder":
        return Archive(str(tmp_path / "archive"))
    return Archive(f"{request.getfixturevalue('object_store')}/{tmp_path.name}")


def entries(*ids: str) -> list[Entry]:
    return [Entry(id_, {b"id": id_.encode(), b"data": b'{"a":"\xc3\xa9"}'}) for id_ in ids]


async def filled(archive: Archive) -> list[Entry]:
    """Three segments; ids as text would be in another order."""
    parts = [entries("5-0", "9-2"), entries("9-10", "10-0"), entries("100-0")]
    after = FIRST
    for part in parts:
        await archive.add(STREAM, after, part)
        after = part[-1].id
    return [entry for part in parts for entry in part]


async def test_what_is_added_is_read_back_in_order(archive: Archive) -> None:
    assert await archive.last(STREAM) == FIRST
    assert await archive.streams() == []
    added = await filled(archive)
    await archive.add("news.rails", FIRST, entries("7-0"))
    assert await archived(archive) == added
    assert await archive.last(STREAM) == "100-0"
    assert await archive.streams() == [STREAM, "news.rails"]


async def test_reading_begins_after_any_entry_or_time(archive: Archive) -> None:
    added = await filled(archive)
    for place, entry in enumerate(added):
        found = [e async for part in archive.after(STREAM, entry.id) for e in part]
        assert found == added[place + 1 :]
    since = [e.id async for part in archive.after(STREAM, "9-3") for e in part]
    assert since == ["9-10", "10-0", "100-0"]


async def test_two_segments_never_begin_at_one_place(archive: Archive) -> None:
    """The fence between two janitors."""
    await filled(archive)
    with pytest.raises(Taken):
        await archive.add(STREAM, "9-2", entries("9-3"))
    assert await archive.last(STREAM) == "100-0"


async def test_a_replaced_segment_covers_what_it_did(archive: Archive) -> None:
    await filled(archive)
    last = (await archive.segments(STREAM))[-1]
    await archive.replace(last, Content("100-0", []))
    assert [entry.id for entry in await archived(archive)] == ["5-0", "9-2", "9-10", "10-0"]
    assert await archive.last(STREAM) == "100-0"


@given(st.lists(st.dictionaries(st.binary(), st.binary(), min_size=1), min_size=1))
def test_an_entry_of_any_bytes_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, fields: list[dict[bytes, bytes]]
) -> None:
    """Also what newsrail did not write is part of the log."""
    archive = Archive(str(tmp_path_factory.mktemp("archive")))
    added = [Entry(f"{number}-0", each) for number, each in enumerate(fields, 1)]

    async def there_and_back() -> list[Entry]:
        await archive.add(STREAM, FIRST, added)
        return await archived(archive)

    assert asyncio.run(there_and_back()) == added


async def test_an_altered_or_cut_segment_is_damaged_and_the_rest_is_read(tmp_path: Path) -> None:
    archive = Archive(str(tmp_path))
    added = await filled(archive)
    segments = await archive.segments(STREAM)
    file = tmp_path / segments[1].name
    whole = file.read_bytes()
    rng = random.Random(1)
    altered = [whole[:length] for length in range(len(whole))]
    for place in range(len(whole)):
        bits = bytes([whole[place] ^ rng.randrange(1, 256)])
        altered.append(whole[:place] + bits + whole[place + 1 :])
    for other in (*altered, (tmp_path / segments[0].name).read_bytes()):
        file.write_bytes(other)
        with suppress(Damaged):
            assert (await archive.content(segments[1])).entries == added[2:4]
    with pytest.raises(Damaged, match=segments[1].name):
        await archive.content(segments[1])
    assert (await archive.content(segments[2])).entries == added[4:]


@pytest.mark.parametrize("lost", [0, 1])
async def test_no_reader_passes_by_a_missing_segment(tmp_path: Path, lost: int) -> None:
    archive = Archive(str(tmp_path))
    added = await filled(archive)
    segments = await archive.segments(STREAM)
    (tmp_path / segments[lost].name).unlink()
    with pytest.raises(Damaged, match="missing"):
        await archived(archive)
    rest = [e async for part in archive.after(STREAM, segments[lost + 1].after) for e in part]
    assert rest == added[2 * (lost + 1) :]


async def test_what_a_killed_process_left_half_written_is_passed_by_and_swept(
    tmp_path: Path,
) -> None:
    archive = Archive(str(tmp_path))
    added = await filled(archive)
    left = tmp_path / STREAM / f"100-0.ndjson.zst.1{NEW}"
    left.write_bytes(b"half")
    assert await archived(archive) == added
    os.utime(left, (0, 0))
    await archive.add(STREAM, "100-0", entries("101-0"))
    assert [path.suffix for path in left.parent.iterdir()] == [".zst"] * 4


async def test_an_archive_that_cannot_be_written_or_read_says_so(tmp_path: Path) -> None:
    (tmp_path / STREAM).write_text("a file where the folder must be")
    archive = Archive(str(tmp_path))
    with pytest.raises(ArchiveUnavailable):
        await archive.add(STREAM, FIRST, entries("1-0"))
    with pytest.raises(ArchiveUnavailable):
        await archive.content(Segment(STREAM, "77-0", 1))
