"""What was trimmed from the streams: segments in a folder or an object store.

A segment is one zstd file of JSON lines: a head, then an entry a line, so that
`zstd -dc` shows it to anybody. Its name says after which entry of its stream it begins:

    news.articles/0-0.ndjson.zst
    news.articles/1764003600000-3.ndjson.zst

- The names are the index, by id and by time, for an entry's id begins with its time.
- A stream's segments are a chain: each begins where the one before it ended, which its
  head says too, so one that is missing is noticed.
- Whoever adds a segment says where it begins, and two cannot begin at one place. That is
  the fence between two janitors: who comes second is refused, whatever it believed.
"""

import asyncio
import os
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import obstore
import orjson
import zstandard
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, ObjectStore, from_url
from pydantic import BaseModel, ValidationError

from shared.streams.entries import FIRST, Entry, entry_ms, place

SUFFIX: Final = ".ndjson.zst"
LEVEL: Final = 6
NEW: Final = ".new"
LEFT_OVER_AFTER_S: Final = 3600


class ArchiveUnavailable(Exception):
    """It cannot be read or written now: a full disk, a store that does not answer."""


class Taken(Exception):
    """Another segment begins there already."""


class Damaged(Exception):
    """A segment that is cut short, altered or none of ours."""


@dataclass(frozen=True, slots=True)
class Segment:
    stream_key: str
    after: str
    """The entry before its first; entries up to the next segment's `after` are in it."""
    size: int
    """In bytes, compressed."""

    @property
    def name(self) -> str:
        return f"{self.stream_key}/{self.after}{SUFFIX}"


class Head(BaseModel):
    stream: str
    after: str
    last: str
    """The last entry that it covers. An erasure may have taken the entry itself."""
    entries: int


@dataclass(frozen=True, slots=True)
class Content:
    last: str
    entries: Sequence[Entry]


class Archive:
    """At `address`: a folder, or what obstore knows (`s3://bucket/prefix`, `gs://`,
    `az://`), with keys and regions from that store's usual environment variables."""

    def __init__(self, address: str) -> None:
        self._folder = None if urlsplit(address).scheme else Path(address).absolute()
        self._store = _store(address, self._folder)

    @classmethod
    def of(cls, address: str | None) -> Self | None:
        return cls(address) if address else None

    async def streams(self) -> list[str]:
        """The keys of the streams that have segments."""
        with _told():
            found = await obstore.list_with_delimiter_async(self._store)
        return sorted(found["common_prefixes"])

    async def segments(self, stream_key: str) -> list[Segment]:
        """In order."""
        with _told():
            listed = await obstore.list(self._store, stream_key).collect_async()
        found = [
            Segment(stream_key, after, meta["size"])
            for meta in listed
            if (after := _begins_after(meta["path"]))
        ]
        return sorted(found, key=lambda segment: place(segment.after))

    async def content(self, segment: Segment) -> Content:
        """Raises Damaged."""
        with _told():
            answer = await obstore.get_async(self._store, segment.name)
            packed = await answer.bytes_async()
        return await asyncio.to_thread(_unpacked, segment, bytes(packed))

    async def last(self, stream_key: str) -> str:
        """The last entry that is archived; `0-0` when none is. Raises Damaged."""
        segments = await self.segments(stream_key)
        return (await self.content(segments[-1])).last if segments else FIRST

    async def after(self, stream_key: str, entry_id: str) -> AsyncIterator[Sequence[Entry]]:
        """The archived entries after `entry_id`, a segment at a time. Raises Damaged, also
        where a segment is missing."""
        segments = await self.segments(stream_key)
        end = entry_id
        for segment, following in zip_longest(segments, segments[1:]):
            if following and place(following.after) <= place(entry_id):
                continue
            if place(segment.after) > place(end):
                raise missing(segment, end)
            content = await self.content(segment)
            rest = content.entries
            if place(segment.after) < place(entry_id):
                rest = [entry for entry in rest if place(entry.id) > place(entry_id)]
            if rest:
                yield rest
            end = content.last

    async def checked(self, stream_key: str, since_ms: int = 0) -> AsyncIterator[Content | Damaged]:
        """What each segment with entries of `since_ms` or later holds, and between them what
        is damaged or missing."""
        segments = await self.segments(stream_key)
        end: str | None = FIRST
        for segment, following in zip_longest(segments, segments[1:]):
            if following and entry_ms(following.after) < since_ms:
                end = following.after
                continue
            try:
                content = await self.content(segment)
            except Damaged as damage:
                yield damage
                end = None
                continue
            if end and segment.after != end:
                yield missing(segment, end)
            yield content
            end = content.last

    async def add(self, stream_key: str, after: str, entries: Sequence[Entry]) -> None:
        """On disk, and listed, when it returns. Raises Taken."""
        await self._put(stream_key, after, Content(entries[-1].id, entries), anew=True)

    async def replace(self, segment: Segment, content: Content) -> None:
        """For an erasure."""
        await self._put(segment.stream_key, segment.after, content, anew=False)

    async def _put(self, stream_key: str, after: str, content: Content, *, anew: bool) -> None:
        packed = await asyncio.to_thread(_packed, stream_key, after, content)
        name = Segment(stream_key, after, len(packed)).name
        with _told():
            if self._folder:
                # The library does not sync what it writes, and what is archived is trimmed.
                await asyncio.to_thread(_write, self._folder / name, packed, anew=anew)
            else:
                await obstore.put_async(
                    self._store, name, packed, mode="create" if anew else "overwrite"
                )


def missing(segment: Segment, end: str) -> Damaged:
    return Damaged(f"{segment.name}: missing is what came after {end}")


@contextmanager
def _told() -> Iterator[None]:
    """The engines' errors as ours."""
    try:
        yield
    except AlreadyExistsError as error:
        raise Taken from error
    except (BaseError, OSError) as error:
        raise ArchiveUnavailable(str(error).partition("\n")[0]) from error


def _store(address: str, folder: Path | None) -> ObjectStore:
    return LocalStore(folder, mkdir=True) if folder else from_url(address)


def _begins_after(path: str) -> str | None:
    name = path.rpartition("/")[2]
    if not name.endswith(SUFFIX):
        return None
    after = name.removesuffix(SUFFIX)
    try:
        place(after)
    except ValueError:
        return None
    return after


def _packed(stream_key: str, after: str, content: Content) -> bytes:
    entries = content.entries
    head = Head(stream=stream_key, after=after, last=content.last, entries=len(entries))
    lines = [head.model_dump_json().encode(), *map(_line, entries), b""]
    return zstandard.ZstdCompressor(LEVEL, write_checksum=True).compress(b"\n".join(lines))


def _unpacked(segment: Segment, packed: bytes) -> Content:
    try:
        # Not `decompress`: that allocates whatever length an altered frame claims.
        frame = zstandard.ZstdDecompressor().decompressobj()
        first, *lines = frame.decompress(packed).splitlines()
        head = Head.model_validate_json(first)
        entries = [_entry(orjson.loads(line)) for line in lines]
    except (zstandard.ZstdError, ValidationError, ValueError, KeyError) as error:
        raise Damaged(f"{segment.name}: {str(error).partition(chr(10))[0]}") from error
    if (head.stream, head.after) != (segment.stream_key, segment.after):
        raise Damaged(f"{segment.name}: is {head.stream} after {head.after}")
    if not frame.eof or head.entries != len(entries):
        raise Damaged(f"{segment.name}: has {len(entries)} of its {head.entries} entries")
    return Content(head.last, entries)


def _line(entry: Entry) -> bytes:
    try:
        fields = {name.decode(): value.decode() for name, value in entry.fields.items()}
    except UnicodeDecodeError:
        return orjson.dumps({"id": entry.id, "base64": _encoded(entry.fields)})
    return orjson.dumps({"id": entry.id, "fields": fields})


def _encoded(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {b64encode(name).decode(): b64encode(value).decode() for name, value in fields.items()}


def _entry(said: dict[str, Any]) -> Entry:
    if "base64" in said:
        pairs = said["base64"].items()
        return Entry(said["id"], {b64decode(name): b64decode(value) for name, value in pairs})
    pairs = said["fields"].items()
    return Entry(said["id"], {name.encode(): value.encode() for name, value in pairs})


def _write(path: Path, content: bytes, *, anew: bool) -> None:
    """Whole and on disk, or not there. Raises Taken if `anew` and it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}{NEW}")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _sweep(new)
        if anew:
            _link(path, new)
        else:
            new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    for folder in (path.parent, path.parent.parent):
        _sync(folder)


def _link(path: Path, new: Path) -> None:
    try:
        path.hardlink_to(new)
    except FileExistsError as error:
        raise Taken from error


def _sweep(new: Path) -> None:
    """Takes away what a killed process was writing beside it long ago."""
    for other in new.parent.glob(f"*{NEW}"):
        with suppress(FileNotFoundError):
            if other.stat().st_mtime < new.stat().st_mtime - LEFT_OVER_AFTER_S:
                other.unlink()


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
