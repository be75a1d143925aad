"""newsrail lag: the streams, who has read how much of them, and what is archived."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from cli import reach
from cli.console import console, fail
from shared.clock import now, to_ms
from shared.streams.archive import Archive, ArchiveUnavailable
from shared.streams.lag import GroupState, StreamState, states


def lag(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, times in ms.")] = False,
    redis: reach.RedisUrl = None,
    address: reach.ArchiveAddress = None,
    data: reach.Data = Path("data"),
) -> None:
    """Show streams, groups, pending, oldest, dead letters and the archive.

    Exit code 0: nothing is dead; 1: there are dead letters.
    """
    folder = data / reach.ARCHIVE_FOLDER
    archive = Archive.of(address or (str(folder) if folder.is_dir() else None))
    try:
        found = reach.ask(redis, data, lambda client: states(client, archive))
    except ArchiveUnavailable as error:
        fail(f"the archive cannot be read: {error}", 2)
    if as_json:
        print(orjson.dumps(found).decode())
    else:
        console.print(_table(found, to_ms(now())))
    dead = sum(group.dead for stream in found for group in stream.groups)
    raise typer.Exit(1 if dead else 0)


def _table(found: Sequence[StreamState], now_ms: int) -> Table:
    table = Table(box=None)
    for name in ("stream", "entries", "since", "archived", "group"):
        table.add_column(name, justify="right" if name == "entries" else "left")
    for name in ("lag", "pending", "oldest", "dead"):
        table.add_column(name, justify="right")
    for stream in found:
        cells = [stream.key, str(stream.entries), _ago(stream.first_ms, now_ms), _archived(stream)]
        for group in stream.groups or (None,):
            table.add_row(*cells, *_group(group, now_ms))
            cells = [""] * len(cells)
    return table


def _group(group: GroupState | None, now_ms: int) -> Sequence[str]:
    if group is None:
        return ()
    name = escape(group.name) if group.own else f"{escape(group.name)} (another's)"
    lag = "?" if group.lag is None else str(group.lag)
    dead = f"[red]{group.dead}[/red]" if group.dead else "0"
    return name, lag, str(group.pending), _ago(group.oldest_ms, now_ms), dead


def _archived(stream: StreamState) -> str:
    if stream.archived is None:
        return ""
    segments, size = stream.archived.segments, decimal(stream.archived.size)
    damaged = " [red]damaged[/red]" if stream.archived.last_ms is None else ""
    return f"{segments} segments, {size}{damaged}"


def _ago(at_ms: int | None, now_ms: int) -> str:
    if at_ms is None:
        return ""
    seconds = max(now_ms - at_ms, 0) // 1000
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
