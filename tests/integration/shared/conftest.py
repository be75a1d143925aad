"""A Redis that a test may kill, hang or fill, and events to put on it."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from shared.events import ArticleIndexed, Event
from shared.streams.clients import writer
from tests.redis_server import RedisServer

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def an_event(id_: str) -> Event:
    data = ArticleIndexed(id=id_, version=1)
    return Event(id=id_, source="/tests", subject=id_, time=NOON, data=data)


@pytest.fixture
def fragile_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of its own: what is broken here stays here."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
async def fragile(fragile_server: RedisServer) -> AsyncIterator[Redis]:
    async with writer(SecretStr(fragile_server.url)) as client:
        yield client
