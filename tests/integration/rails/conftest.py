"""Rails as a process of its own, and the log it reads, written as ingest writes it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any, Final

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from shared.clock import now, to_ms
from shared.events import (
    Article,
    ArticlePublished,
    ArticleRetracted,
    Contract,
    Event,
    RailChanged,
    ViewsRecorded,
)
from shared.streams.clients import writer
from shared.streams.entries import FIRST, read_after
from tests.stack import Stack
from tests.unit.rails.logs import data

WITHIN_S: Final = 10.0
_sections = count(1)


@dataclass(slots=True)
class Rails:
    """`section` is new in each test; articles are named within it. `log`: what was
    written to news.views, as the oracle takes it."""

    client: httpx.AsyncClient
    redis: Redis
    section: str
    log: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    numbers: "count[int]" = field(default_factory=count)

    async def add(self, stream: str, subject: str, about: Contract) -> bytes:
        event = Event(str(next(self.numbers)), "/test", subject, now(), about)
        fields = event.fields()
        added = await self.redis.xadd(stream, dict(zip(fields[::2], fields[1::2], strict=True)))
        assert isinstance(added, bytes)
        return added

    async def publish(
        self,
        name: str,
        *,
        version: int = 1,
        story: str | None = None,
        title: str = "Harbour opens",
        ago: timedelta = timedelta(hours=1),
    ) -> None:
        id_ = self.id(name)
        article = Article(
            id=id_, feed="wire", version=version, story=story or id_, title=title,
            section=self.section, sections=(self.section, "any"), published_at=now() - ago,
            received_at=now(), content_hash="x",
        )  # fmt: skip
        await self.add("news.articles", id_, ArticlePublished(article=article))

    async def retract(self, name: str, *, version: int = 2) -> None:
        gone = ArticleRetracted(id=self.id(name), feed="wire", version=version, retracted_at=now())
        await self.add("news.articles", gone.id, gone)

    async def view(self, name: str, *readers: int) -> None:
        at = to_ms(now())
        await self.record([(self.id(name), reader, at) for reader in readers])

    async def record(self, views: list[tuple[str, int, int]], *, late: bool = False) -> None:
        said = data(views, late=late)
        added = await self.add("news.views", "views", ViewsRecorded(**said))
        self.log.append((int(added.split(b"-")[0]), said))

    def id(self, name: str) -> str:
        return f"{self.section}-{name}"

    async def listed(self, rail: str) -> str:
        """The names in the section's list, in order; each is one letter."""
        said = await self.get(rail, self.section)
        ids = (entry["article"]["id"] for entry in said["entries"])
        return "".join(id_.removeprefix(f"{self.section}-") for id_ in ids)

    async def get(self, rail: str, section: str | None = None) -> dict[str, Any]:
        params = {"section": section or self.section}
        answer = await self.client.get(f"/v1/rails/{rail}", params=params)
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    async def events(self, rail: str) -> list[RailChanged]:
        """Of the section's list."""
        entries = await read_after(self.redis, "news.rails", FIRST, count=1000, block_ms=None)
        told = (RailChanged.model_validate_json(entry.fields[b"data"]) for entry in entries)
        return [each for each in told if (each.rail, each.section) == (rail, self.section)]


async def until(
    asked: Callable[[], Awaitable[object]], wanted: object, within_s: float = WITHIN_S
) -> float:
    """Asks until the answer is the wanted one; the seconds it took."""
    began = time.monotonic()
    while (answer := await asked()) != wanted:
        assert time.monotonic() - began < within_s, f"{answer} is not {wanted}"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def ranked_again(redis: Redis) -> None:
    """Returns when everything written before was ranked and its lists were published."""
    since = to_ms(now())

    async def is_so() -> bool:
        beat = await redis.get("{news.rails}:rails:heartbeat")
        return int(beat or 0) > since

    await until(is_so, True)


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("rails"), "rails") as running:
        yield running


@pytest.fixture
async def rails(stack: Stack) -> AsyncIterator[Rails]:
    async with rails_of(stack) as of:
        yield of


@asynccontextmanager
async def rails_of(stack: Stack) -> AsyncIterator[Rails]:
    async with (
        httpx.AsyncClient(base_url=stack.url("rails"), timeout=10) as client,
        writer(SecretStr(stack.redis.url)) as redis,
    ):
        yield Rails(client, redis, f"section{next(_sections)}")
