"""The peer at the door: the least ASGI handler that appends each request by itself."""

import os
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis

redis = Redis.from_pool(
    BlockingConnectionPool.from_url(os.environ["PEER_REDIS_URL"], max_connections=32)
)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await redis.xadd("peer", {"data": body})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})
