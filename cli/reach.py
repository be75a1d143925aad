"""How a command reaches the Redis and the archive of what runs."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cli.console import fail
from cli.runfile import RUN_FILE, Run
from shared.settings import SECRETS
from shared.streams.archive import Archive
from shared.streams.clients import reader

T = TypeVar("T")

ARCHIVE_FOLDER = "archive"
"""Of a data folder, where nothing else is said."""

RedisUrl = Annotated[
    str | None, typer.Option("--redis", envvar="NEWSRAIL_REDIS_URL", help="Where the streams are.")
]
ArchiveAddress = Annotated[
    str | None,
    typer.Option("--archive", envvar="NEWSRAIL_ARCHIVE", help="Folder or object store."),
]
Data = Annotated[Path, typer.Option(help="The data folder of what runs.")]


def ask(url: str | None, data: Path, question: Callable[[Redis], Awaitable[T]]) -> T:
    address = url or _secret() or _running(data)
    if not address:
        fail(f"no newsrail runs on {data}; start one, or set NEWSRAIL_REDIS_URL", 2)

    async def asked() -> T:
        async with reader(SecretStr(address)) as redis:
            return await question(redis)

    try:
        return asyncio.run(asked())
    except RedisError as error:
        fail(f"Redis does not answer: {error}", 2)


def archive(address: str | None, data: Path) -> Archive:
    """The one that is named, else that of the data folder."""
    folder = data / ARCHIVE_FOLDER
    if not address and not folder.is_dir():
        fail(f"there is no archive in {data}; give --archive, or set NEWSRAIL_ARCHIVE", 2)
    return Archive(address or str(folder))


def _secret() -> str | None:
    """Where a container has it."""
    secret = SECRETS / "newsrail_redis_url"
    return secret.read_text().strip() if secret.is_file() else None


def _running(data: Path) -> str | None:
    run = Run.read(data / RUN_FILE)
    return run.redis if run else None
