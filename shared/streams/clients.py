"""Redis clients. A writer fails fast and never repeats by itself: redis-py's own retries
store an XADD twice after a time-out, and a sender that gets 503 repeats better.
"""

import asyncio
from collections.abc import Iterable

import hiredis
from pydantic import SecretStr
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.typing import EncodableT

BLOCK_MS = 1000
"""How long a reader's call waits in Redis for something new."""


def writer(url: SecretStr) -> Redis:
    """For commands that answer at once: a blocking pool and a second's patience."""
    return _client(url, connections=32, timeout_s=1.0)


def reader(url: SecretStr) -> Redis:
    """For blocking reads: its time-out is well above the block time."""
    return _client(url, connections=8, timeout_s=BLOCK_MS / 1000 + 4)


def _client(url: SecretStr, *, connections: int, timeout_s: float) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url.get_secret_value(),
        max_connections=connections,
        timeout=1,
        socket_timeout=timeout_s,
        socket_connect_timeout=0.5,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    mend(pool)
    return Redis.from_pool(pool)


def mend(pool: ConnectionPool) -> None:
    """Gives a pool connections without two faults of redis-py's asyncio ones; see there."""
    pool.connection_class = type("Connection", (_Mended, pool.connection_class), {})


class _Mended(AbstractConnection):
    def pack_command(self, *args: EncodableT) -> list[bytes]:
        """By hiredis, as the other client does: a seventh of the time."""
        command, *rest = args
        return [hiredis.pack_command((*str(command).split(), *rest))]  # type: ignore[arg-type]  # Its stub says: of one.

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        """Without Python 3.11's `asyncio.wait_for`, with which redis-py sends when there is
        a time-out: it loses a cancellation that comes as it ends, and the loop that was
        cancelled runs on for ever."""
        timeout_s, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(timeout_s):
                await super().send_packed_command(command, check_health)
        except TimeoutError:
            raise RedisTimeoutError("Timeout writing to socket") from None
        finally:
            self.socket_timeout = timeout_s


def is_outage(error: RedisError) -> bool:
    """Whether Redis is gone, hung, full or loading, rather than asked something wrong."""
    if isinstance(error, RedisConnectionError | RedisTimeoutError):
        return True
    return isinstance(error, OutOfMemoryError | ReadOnlyError) or (
        isinstance(error, ResponseError) and str(error).startswith(("MISCONF", "LOADING"))
    )


def is_lost_group(error: RedisError) -> bool:
    return isinstance(error, ResponseError) and "NOGROUP" in str(error)
