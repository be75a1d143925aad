"""newsrail keys: who may do what, for which feeds."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.markup import escape
from rich.table import Table

from cli.console import console, errors, fail
from cli.runfile import RUN_FILE, Run
from shared.clock import now
from shared.settings import SECRETS
from shared.streams.clients import writer
from shared.web import keys
from shared.web.keys import Scope

T = TypeVar("T")

RedisUrl = Annotated[
    str | None, typer.Option("--redis", envvar="NEWSRAIL_REDIS_URL", help="Where the keys are.")
]
Data = Annotated[Path, typer.Option(help="The data folder whose run.json knows the Redis.")]

app = typer.Typer(no_args_is_help=True)


@app.command()
def create(
    scope: Annotated[list[Scope], typer.Option(help="What it may do; give it once for each.")],
    feed: Annotated[
        list[str] | None, typer.Option(help="A feed it may publish for; '*': any.")
    ] = None,
    name: Annotated[str, typer.Option(help="Whose it is, for the list.")] = "",
    redis: RedisUrl = None,
    data: Data = Path("data"),
) -> None:
    """Make a key. It is printed once and cannot be read again."""
    if Scope.PUBLISH in scope and not feed:
        fail("a key that may publish needs a feed: --feed NAME, or --feed '*' for any", 2)
    key, token = _ask(
        redis, data, lambda r: keys.create(r, name=name, scopes=scope, feeds=feed or [], now=now())
    )
    errors.print(f"key {key.id}, kept only as a hash; this is the one time that it is shown:")
    print(token)


@app.command("list")
def list_keys(redis: RedisUrl = None, data: Data = Path("data")) -> None:
    """Show the keys that are valid, without their secrets."""
    table = Table("id", "name", "scopes", "feeds", "created", box=None)
    for key in _ask(redis, data, keys.listed):
        scopes, feeds = " ".join(sorted(key.scopes)), " ".join(key.feeds)
        table.add_row(key.id, escape(key.name), scopes, feeds, f"{key.created_at:%Y-%m-%d %H:%M}")
    console.print(table)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID")],
    redis: RedisUrl = None,
    data: Data = Path("data"),
) -> None:
    """Make a key invalid. Services notice within seconds."""
    if not _ask(redis, data, lambda r: keys.revoke(r, key_id)):
        fail(f"there is no key {key_id}; `newsrail keys list` shows those there are")
    console.print(f"revoked {key_id}")


def _ask(url: str | None, data: Path, question: Callable[[Redis], Awaitable[T]]) -> T:
    address = url or _secret() or _running(data)
    if not address:
        fail(f"no newsrail runs on {data}; start one, or set NEWSRAIL_REDIS_URL", 2)

    async def ask() -> T:
        async with writer(SecretStr(address)) as redis:
            return await question(redis)

    try:
        return asyncio.run(ask())
    except RedisError as error:
        fail(f"Redis does not answer: {error}", 2)


def _secret() -> str | None:
    """Where a container has it."""
    secret = SECRETS / "newsrail_redis_url"
    return secret.read_text().strip() if secret.is_file() else None


def _running(data: Path) -> str | None:
    run = Run.read(data / RUN_FILE)
    return run.redis if run else None
