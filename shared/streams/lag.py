"""How far everybody is: what an operator asks first."""

from dataclasses import dataclass

from redis.asyncio import Redis

from shared.events import STREAMS
from shared.streams.archive import Archive, Damaged
from shared.streams.entries import entry_ms, newest, read_range
from shared.streams.groups import OWN_GROUPS, existing_groups, needed
from shared.streams.keys import dead, keys, stored_partitions


@dataclass(frozen=True, slots=True)
class GroupState:
    name: str
    own: bool
    lag: int | None
    """Entries not yet delivered; None when Redis does not know, after an erasure."""
    pending: int
    oldest_ms: int | None
    """When the oldest entry came that it has not acknowledged; None where it has all."""
    dead: int


@dataclass(frozen=True, slots=True)
class ArchiveState:
    segments: int
    size: int
    """In bytes, compressed."""
    last_ms: int | None
    """When the last archived entry came; None when the newest segment is damaged."""


@dataclass(frozen=True, slots=True)
class StreamState:
    key: str
    entries: int
    first_ms: int | None
    last_ms: int | None
    groups: tuple[GroupState, ...]
    archived: ArchiveState | None


async def states(redis: Redis, archive: Archive | None) -> list[StreamState]:
    """Of every stream that is there, or was."""
    partitions = await stored_partitions(redis)
    found = [
        await _state(redis, archive, stream_key, OWN_GROUPS.get(stream, ()))
        for stream in STREAMS
        for stream_key in keys(stream, partitions)
    ]
    return [state for state in found if state.last_ms or state.archived or state.groups]


async def _state(
    redis: Redis, archive: Archive | None, stream_key: str, own: tuple[str, ...]
) -> StreamState:
    first = await read_range(redis, stream_key, "-", "+", count=1)
    last = await newest(redis, stream_key)
    return StreamState(
        key=stream_key,
        entries=await redis.xlen(stream_key),
        first_ms=first[0].at_ms if first else None,
        last_ms=last.at_ms if last else None,
        groups=await _groups(redis, stream_key, own),
        archived=await _archived(archive, stream_key) if archive else None,
    )


async def _groups(redis: Redis, stream_key: str, own: tuple[str, ...]) -> tuple[GroupState, ...]:
    if not await existing_groups(redis, stream_key):
        return ()
    needs = await needed(redis, stream_key)
    found: list[GroupState] = []
    for group in await redis.xinfo_groups(stream_key):
        name = group["name"].decode()
        oldest = await read_range(redis, stream_key, "{}-{}".format(*needs[name]), "+", count=1)
        found.append(
            GroupState(
                name=name,
                own=name in own,
                lag=group["lag"],
                pending=group["pending"],
                oldest_ms=oldest[0].at_ms if oldest else None,
                dead=await redis.xlen(dead(stream_key, name)),
            )
        )
    return tuple(found)


async def _archived(archive: Archive, stream_key: str) -> ArchiveState | None:
    segments = await archive.segments(stream_key)
    if not segments:
        return None
    try:
        last = entry_ms(await archive.last(stream_key))
    except Damaged:
        last = None
    return ArchiveState(len(segments), sum(segment.size for segment in segments), last)
