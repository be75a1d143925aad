"""newsrail keys: who may do what, for which feeds."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cli.console import console, errors, fail
from cli.reach import Data, RedisUrl, ask
from shared.clock import now
from shared.web import keys
from shared.web.keys import Scope

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
    key, token = ask(
        redis, data, lambda r: keys.create(r, name=name, scopes=scope, feeds=feed or [], now=now())
    )
    errors.print(f"key {key.id}, kept only as a hash; this is the one time that it is shown:")
    print(token)


@app.command("list")
def list_keys(redis: RedisUrl = None, data: Data = Path("data")) -> None:
    """Show the keys that are valid, without their secrets."""
    table = Table("id", "name", "scopes", "feeds", "created", box=None)
    for key in ask(redis, data, keys.listed):
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
    if not ask(redis, data, lambda r: keys.revoke(r, key_id)):
        fail(f"there is no key {key_id}; `newsrail keys list` shows those there are")
    console.print(f"revoked {key_id}")
