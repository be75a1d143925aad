"""newsrail archive: what was trimmed from the streams, checked and shown."""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.filesize import decimal
from rich.progress import Progress
from rich.table import Table

from cli import reach, told
from cli.console import console, errors, fail
from shared.clock import from_ms
from shared.streams.archive import Archive, ArchiveUnavailable, Damaged
from shared.streams.entries import FIRST, entry_ms

T = TypeVar("T")

Since = Annotated[str | None, typer.Option(help="From this time on (RFC 3339; else UTC).")]
Until = Annotated[str | None, typer.Option(help="Before this time.")]

app = typer.Typer(no_args_is_help=True)


@app.command()
def verify(address: reach.ArchiveAddress = None, data: reach.Data = Path("data")) -> None:
    """Read every segment and name those that are cut short, altered or missing.

    Exit code 0: all is there; 1: something is not.
    """
    damages = _run(_verify(reach.archive(address, data)))
    for damage in damages:
        errors.print(f"damaged: {damage}", markup=False, soft_wrap=True)
    raise typer.Exit(1 if damages else 0)


@app.command()
def cat(
    streams: Annotated[list[str] | None, typer.Argument(help="None: all of them.")] = None,
    since: Since = None,
    until: Until = None,
    address: reach.ArchiveAddress = None,
    data: reach.Data = Path("data"),
) -> None:
    """Print entries, a line of JSON each, as they came. What is damaged is named and left out."""
    since_ms = told.time_ms(since) if since else 0
    until_ms = told.time_ms(until) if until else sys.maxsize
    damages = _run(_cat(reach.archive(address, data), streams, since_ms, until_ms))
    raise typer.Exit(1 if damages else 0)


async def _verify(archive: Archive) -> list[Damaged]:
    damages: list[Damaged] = []
    table = Table("stream", "segments", "entries", "size", "until", box=None)
    with Progress(console=errors, transient=True) as progress:
        for stream in await archive.streams():
            segments = await archive.segments(stream)
            task = progress.add_task(stream, total=len(segments))
            entries, last = 0, FIRST
            async for found in archive.checked(stream):
                progress.advance(task)
                if isinstance(found, Damaged):
                    damages.append(found)
                else:
                    entries += len(found.entries)
                    last = found.last
            size = decimal(sum(segment.size for segment in segments))
            until = f"{from_ms(entry_ms(last)):%Y-%m-%d %H:%M:%S}"
            table.add_row(stream, str(len(segments)), str(entries), size, until)
    console.print(table)
    return damages


async def _cat(archive: Archive, streams: list[str] | None, since_ms: int, until_ms: int) -> int:
    damages = 0
    for stream in streams or await archive.streams():
        async for found in archive.checked(stream, since_ms):
            if isinstance(found, Damaged):
                damages += 1
                errors.print(f"damaged: {found}", markup=False, soft_wrap=True)
                continue
            for entry in found.entries:
                if since_ms <= entry.at_ms < until_ms:
                    print(told.as_json(stream, entry).decode())
            if entry_ms(found.last) >= until_ms:
                break
    return damages


def _run(work: Coroutine[None, None, T]) -> T:
    """Exit code 2 where the archive does not answer."""
    try:
        return asyncio.run(work)
    except ArchiveUnavailable as error:
        fail(f"the archive cannot be read: {error}", 2)
