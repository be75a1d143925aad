"""An article's text out of the log for good: out of the streams, their dead letters and the
archive's segments. What stays says only that there was one and that it was retracted, so
that reading the log again gives the same as before.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from shared.errors import Conflict, NotFound
from shared.events import (
    ARTICLES,
    COMMENTS,
    RAILS,
    ArticlePublished,
    ArticleRetracted,
    CommentPosted,
    Event,
    RailChanged,
    Stream,
    decode,
)
from shared.streams.archive import Archive, Content
from shared.streams.entries import FIRST, Entry, place, read_range
from shared.streams.groups import OWN_GROUPS, needed
from shared.streams.keys import dead, keys, stored_partitions
from shared.streams.replay import Log

WITH_TEXT: Final = (ARTICLES, COMMENTS, RAILS)
CHUNK: Final = 500
SETTLE_S: Final = 10.0
"""By then a segment is there that a janitor had read before the erasure."""


@dataclass(frozen=True, slots=True)
class Erased:
    in_redis: int
    in_archive: int


async def erase(redis: Redis, archive: Archive | None, article: str) -> Erased:
    """Raises NotFound, and Conflict while the article is not retracted or a group of
    newsrail's has not read what is to go. Repeating it is harmless."""
    partitions = await stored_partitions(redis)
    await _require_retracted(Log(redis, archive), article, partitions)
    stream_keys = {key: stream for stream in WITH_TEXT for key in keys(stream, partitions)}
    in_redis = in_archive = 0
    for stream_key, stream in stream_keys.items():
        in_redis += await _from_stream(redis, stream_key, stream, article)
    if archive:
        for stream_key in stream_keys:
            in_archive += await _from_archive(archive, stream_key, article)
        if in_redis:
            await asyncio.sleep(SETTLE_S)
            for stream_key in stream_keys:
                in_archive += await _from_archive(archive, stream_key, article)
    # What was deleted is in the append-only file until it is written anew.
    await redis.bgrewriteaof()
    return Erased(in_redis, in_archive)


async def _require_retracted(log: Log, article: str, partitions: int) -> None:
    newest: Event | None = None
    for stream_key in keys(ARTICLES, partitions):
        async for entries in log.rest(stream_key, FIRST, count=CHUNK):
            for event in (decode(entry.fields) for entry in entries):
                if isinstance(event, Event) and event.subject == article:
                    newest = event
    if newest is None:
        raise NotFound(f"article: the log has nothing of {article!r}")
    if not isinstance(newest.data, ArticleRetracted):
        raise Conflict(f"article: {article} is not retracted; DELETE /v1/articles/{article} first")


def carries(fields: Mapping[bytes, bytes], article: str) -> bool:
    """Whether an entry has words of the article, or of a comment on it."""
    match decode(fields):
        case Event(data=ArticlePublished(article=said)):
            return said.id == article
        case Event(data=CommentPosted(article=commented)):
            return commented == article
        case Event(data=RailChanged(entries=entries)):
            return any(entry.article.id == article for entry in entries)
    return False


async def _from_stream(redis: Redis, stream_key: str, stream: Stream, article: str) -> int:
    found = await _carrying(redis, stream_key, article)
    if found:
        needs = await needed(redis, stream_key)
        for group in OWN_GROUPS.get(stream, ()):
            if needs[group] <= place(found[-1]):
                raise Conflict(f"{stream_key}: {group} has not read all of it; try again soon")
        await redis.xdel(stream_key, *found)
    for group in OWN_GROUPS.get(stream, ()):
        letters = await _carrying(redis, dead(stream_key, group), article)
        if letters:
            await redis.xdel(dead(stream_key, group), *letters)
            found = [*found, *letters]
    return len(found)


async def _carrying(redis: Redis, stream_key: str, article: str) -> list[str]:
    found: list[str] = []
    after = "-"
    while entries := await read_range(redis, stream_key, after, "+", count=CHUNK):
        found += [entry.id for entry in entries if carries(entry.fields, article)]
        after = f"({entries[-1].id}"
    return found


async def _from_archive(archive: Archive, stream_key: str, article: str) -> int:
    erased = 0
    for segment in await archive.segments(stream_key):
        content = await archive.content(segment)
        kept = await asyncio.to_thread(_without, content.entries, article)
        if len(kept) < len(content.entries):
            await archive.replace(segment, Content(content.last, kept))
            erased += len(content.entries) - len(kept)
    return erased


def _without(entries: Sequence[Entry], article: str) -> list[Entry]:
    return [entry for entry in entries if not carries(entry.fields, article)]
