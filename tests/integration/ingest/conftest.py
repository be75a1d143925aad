"""Ingest as a process of its own, shared by the tests of this folder."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from shared.clock import now
from shared.streams.clients import writer
from shared.streams.entries import FIRST, read_after
from shared.web import keys
from shared.web.keys import Scope
from tests.stack import Stack

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
_feeds = count(1)


@dataclass(frozen=True, slots=True)
class Door:
    """`client` has the key of a sender that may do anything; `feed` is new in each test."""

    stack: Stack
    client: httpx.AsyncClient
    redis: Redis
    feed: str

    async def post(
        self, body: object, *, feed: str | None = None, **headers: str
    ) -> httpx.Response:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(
            "/v1/articles", params={"feed": feed or self.feed}, content=content, headers=names
        )

    async def key(self, *scopes: Scope, feeds: list[str] | None = None) -> dict[str, str]:
        """The header of a new key."""
        _, token = await keys.create(
            self.redis, name="other", scopes=scopes, feeds=feeds or [], now=now()
        )
        return {"Authorization": f"Bearer {token}"}

    async def events(self, stream: str, subject: str | None = None) -> list[dict[str, Any]]:
        """(type, data) of what is on a stream, about one thing if named."""
        entries = await read_after(self.redis, stream, FIRST, count=100_000, block_ms=None)
        return [
            {"type": entry.fields[b"type"].decode(), "data": orjson.loads(entry.fields[b"data"])}
            for entry in entries
            if subject is None or entry.fields[b"subject"].decode() == subject
        ]


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("ingest"), "ingest") as running:
        yield running


@pytest.fixture
async def door(stack: Stack) -> AsyncIterator[Door]:
    headers = {"Authorization": f"Bearer {stack.token}", "User-Agent": BROWSER}
    async with (
        httpx.AsyncClient(base_url=stack.url("ingest"), headers=headers, timeout=10) as client,
        writer(SecretStr(stack.redis.url)) as redis,
    ):
        yield Door(stack, client, redis, f"feed-{next(_feeds)}")
