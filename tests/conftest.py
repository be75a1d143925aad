"""Fixtures for every test: a real Redis, emptied for each, and the logs watched."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from structlog.testing import capture_logs
from structlog.typing import EventDict

from shared.streams.clients import writer
from tests.redis_server import RedisServer

DATA = Path(__file__).parent.parent.parent / "shared" / "data"

# Two busy cores say nothing about an example's time. `HYPOTHESIS_PROFILE=many` looks longer.
hypothesis.settings.register_profile("few", max_examples=50, deadline=None, print_blob=True)
hypothesis.settings.register_profile("many", max_examples=5_000, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "few"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "logs_errors(*events): the errors that this test may log, by their events"
    )


@pytest.fixture(autouse=True)
def logged(request: pytest.FixtureRequest) -> Iterator[list[EventDict]]:
    """What the test logs. An error that `logs_errors` does not name fails it."""
    marker = request.node.get_closest_marker("logs_errors")
    expected = marker.args if marker else ()
    with capture_logs() as entries:
        yield entries
    for entry in entries:
        print(entry)
    errors = [entry for entry in entries if entry["log_level"] in {"error", "critical"}]
    assert [entry for entry in errors if entry["event"] not in expected] == []


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
