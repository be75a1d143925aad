"""newsrail watch: events as they come."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import typer
from redis.asyncio import Redis

from cli import reach, told
from cli.console import errors
from shared.events import STREAMS
from shared.streams.clients import BLOCK_MS
from shared.streams.entries import FIRST, Entry, newest
from shared.streams.keys import keys, stored_partitions

READ_MOST = 100


def watch(
    types: Annotated[
        list[str] | None,
        typer.Argument(metavar="TYPE", help="Such as 'news.article.*'; none: all."),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="First what is in Redis already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON each.")] = False,
    redis: reach.RedisUrl = None,
    data: reach.Data = Path("data"),
) -> None:
    """Print events as they come, until Ctrl-C. It reads, and disturbs no group."""

    def show(stream_key: str, entry: Entry) -> None:
        kind = entry.fields.get(b"type", b"").decode(errors="replace")
        if not types or any(fnmatchcase(kind, pattern) for pattern in types):
            line = told.as_json(stream_key, entry).decode() if as_json else None
            print(line or told.as_line(stream_key, entry), flush=True)

    try:
        reach.ask(redis, data, lambda client: _watch(client, show, first=all_))
    except KeyboardInterrupt:
        errors.print("stopped")
    except BrokenPipeError:
        # Whoever read it has seen enough.
        raise typer.Exit from None


async def _watch(redis: Redis, show: Callable[[str, Entry], None], *, first: bool) -> None:
    partitions = await stored_partitions(redis)
    offsets: dict[Any, Any] = {}
    for stream_key in (key for stream in STREAMS for key in keys(stream, partitions)):
        last = None if first else await newest(redis, stream_key)
        offsets[stream_key] = last.id if last else FIRST
    while True:
        reply: Any = await redis.xread(offsets, count=READ_MOST, block=BLOCK_MS)
        for name, rows in reply:
            for id_, fields in rows:
                offsets[name.decode()] = id_.decode()
                show(name.decode(), Entry(id_.decode(), fields))
