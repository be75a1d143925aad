"""Consumer groups: newsrail's own, created before anything is read.

A group starts at 0: one that starts at `$` (FastStream's default) never sees what was
posted before it existed.
"""

from collections.abc import Mapping
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.events import ARTICLES, RAILS, VIEWS, Stream
from shared.streams.entries import place
from shared.streams.keys import keys

OWN_GROUPS: Final[Mapping[Stream, tuple[str, ...]]] = {
    ARTICLES: ("index", "rails"),
    VIEWS: ("rails",),
    RAILS: ("index",),
}
"""Whom the janitor waits for."""


class GroupLost(Exception):
    """The stream or its group was deleted under us: exit non-zero, never go on in silence."""


async def create_groups(redis: Redis, partitions: int = 1) -> None:
    """Creates what is missing, of all services: whichever starts first, no group misses
    an entry. Existing ones are left alone, so a start needs no write when Redis is full.
    """
    for stream, groups in OWN_GROUPS.items():
        for stream_key in keys(stream, partitions):
            missing = set(groups) - await existing_groups(redis, stream_key)
            for group in sorted(missing):
                try:
                    await redis.xgroup_create(stream_key, group, id="0", mkstream=True)
                except ResponseError as error:
                    if "BUSYGROUP" not in str(error):
                        raise


async def existing_groups(redis: Redis, stream_key: str) -> set[str]:
    try:
        return {group["name"].decode() for group in await redis.xinfo_groups(stream_key)}
    except ResponseError as error:
        if "no such key" not in str(error):
            raise
        return set()


async def needed(redis: Redis, stream_key: str) -> dict[str, tuple[int, int]]:
    """For each group of the stream the oldest entry that it has not acknowledged, there
    or still to come. Places, as `entries.place` gives them."""
    groups = await redis.xinfo_groups(stream_key)
    found: dict[str, tuple[int, int]] = {}
    for group in groups:
        ms, number = place(group["last-delivered-id"].decode())
        need = (ms, number + 1)
        if group["pending"]:
            pending = await redis.xpending(stream_key, group["name"])
            if pending["min"]:
                need = min(need, place(pending["min"].decode()))
        found[group["name"].decode()] = need
    return found
