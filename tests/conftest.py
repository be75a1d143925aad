"""Fixtures for every test: a real Redis, emptied for each."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from shared.streams.clients import writer
from tests.redis_server import RedisServer

DATA = Path(__file__).parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def redis_url(redis_server: RedisServer, redis: Redis) -> SecretStr:
    """Of the server that `redis` speaks to."""
    return SecretStr(redis_server.url)


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    client = writer(SecretStr(redis_server.url))
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real documents that others published; not part of the project."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA}")
    return DATA
