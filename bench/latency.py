"""How soon a post is found, and how soon views move *Popular now*; through HTTP.

50 articles a second for a while, each looked for by its title as soon as it is answered;
meanwhile every so often a burst of readers on an article that nobody has read, until it
is in the list.
"""

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from uuid import uuid4

import httpx
import orjson
from rich.console import Console
from rich.table import Table

from bench.requests import an_article
from shared.clock import now, to_ms
from tests.stack import Stack

ARTICLES_A_S: Final = 50
ASK_EVERY_S: Final = 0.005
READERS: Final = 20
PATIENCE_S: Final = 10


@dataclass(slots=True)
class Taken:
    searchable_s: list[float] = field(default_factory=list)
    popular_s: list[float] = field(default_factory=list)


def main(*, seconds: float) -> dict[str, dict[str, float]]:
    with (
        TemporaryDirectory() as folder,
        Stack(Path(folder), "ingest", "index", "rails") as stack,
    ):
        taken = asyncio.run(_measure(stack, seconds))
    table = Table(title=f"from the post to what readers see, at {ARTICLES_A_S} articles/s")
    for column in ("", "n", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right")
    figures = {"POST to searchable": taken.searchable_s, "view to popular": taken.popular_s}
    shown = {}
    for name, values in figures.items():
        p50, p99 = 1000 * statistics.median(values), 1000 * _quantile(values, 0.99)
        table.add_row(name, str(len(values)), f"{p50:.0f}", f"{p99:.0f}")
        shown[name] = {"p50_ms": p50, "p99_ms": p99}
    Console().print(table)
    return shown


async def _measure(stack: Stack, seconds: float) -> Taken:
    taken = Taken()
    headers = {"Authorization": f"Bearer {stack.token}", "Content-Type": "application/json"}
    limits = httpx.Limits(max_connections=64)
    async with (
        httpx.AsyncClient(headers=headers, limits=limits, timeout=PATIENCE_S) as client,
        asyncio.TaskGroup() as group,
    ):
        run, began = uuid4().hex[:8], time.monotonic()
        for number in range(int(seconds * ARTICLES_A_S)):
            await asyncio.sleep(began + number / ARTICLES_A_S - time.monotonic())
            group.create_task(_post(client, stack, run, number, taken))
            if number % (2 * ARTICLES_A_S) == ARTICLES_A_S:
                group.create_task(_read(client, stack, f"{run}-hot", number, taken))
    return taken


async def _post(
    client: httpx.AsyncClient, stack: Stack, run: str, number: int, taken: Taken
) -> str:
    began = time.monotonic()
    answer = await client.post(
        f"{stack.url('ingest')}/v1/articles?feed=bench", content=an_article(number, run)
    )
    id_: str = answer.raise_for_status().json()["results"][0]["id"]
    title = orjson.loads(an_article(number, run))["title"]
    while True:
        found = await client.get(f"{stack.url('index')}/v1/search", params={"q": title, "limit": 5})
        if any(hit["id"] == id_ for hit in found.json()["hits"]):
            taken.searchable_s.append(time.monotonic() - began)
            return id_
        if time.monotonic() - began > PATIENCE_S:
            raise TimeoutError(title)
        await asyncio.sleep(ASK_EVERY_S)


async def _read(
    client: httpx.AsyncClient, stack: Stack, run: str, number: int, taken: Taken
) -> None:
    """Each burst is bigger than those before it, so that it must reach the list."""
    article = await _post(client, stack, run, number, Taken())
    readers = READERS * (1 + number // ARTICLES_A_S)
    at = to_ms(now())
    columns = {
        "article": [article] * readers,
        "visitor": [f"{article}-{reader}" for reader in range(readers)],
        "at": [at] * readers,
    }
    began = time.monotonic()
    answer = await client.post(f"{stack.url('ingest')}/v1/views", content=orjson.dumps(columns))
    answer.raise_for_status()
    while True:
        rail = await client.get(f"{stack.url('rails')}/v1/rails/popular")
        if any(entry["article"]["id"] == article for entry in rail.json()["entries"]):
            taken.popular_s.append(time.monotonic() - began)
            return
        if time.monotonic() - began > PATIENCE_S:
            raise TimeoutError(article)
        await asyncio.sleep(ASK_EVERY_S)


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
