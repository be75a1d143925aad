"""newsrail erase: an article's text, out of streams, dead letters and archive."""

from pathlib import Path
from typing import Annotated

import typer
from redis.asyncio import Redis

from cli import reach
from cli.console import console, errors, fail
from shared.errors import NewsrailError
from shared.streams.archive import Archive, ArchiveUnavailable, Damaged
from shared.streams.erase import Erased
from shared.streams.erase import erase as erased


def erase(
    article: Annotated[str, typer.Argument(metavar="ARTICLE", help="Its id.")],
    redis: reach.RedisUrl = None,
    address: reach.ArchiveAddress = None,
    no_archive: Annotated[
        bool, typer.Option("--no-archive", help="There is none; else one must be named.")
    ] = False,
    data: reach.Data = Path("data"),
) -> None:
    """Take a retracted article's text, and the comments on it, out of the log for good.

    Rewrites the archive's segments that have it. Backups and what subscribers have read
    are not ours to reach.
    """
    archive = None if no_archive else reach.archive(address, data)
    with errors.status("reading the log; this takes half a minute or more"):
        done = reach.ask(redis, data, lambda client: _erase(client, archive, article))
    console.print(f"erased {done.in_redis} entries in Redis, {done.in_archive} in the archive")


async def _erase(client: Redis, archive: Archive | None, article: str) -> Erased:
    try:
        return await erased(client, archive, article)
    except NewsrailError as refusal:
        fail(refusal.detail)
    except (ArchiveUnavailable, Damaged) as error:
        fail(f"{error}; `newsrail archive verify` names all that is damaged", 2)
