"""A closed-loop HTTP load: so many connections, each with one request under way.

Small on purpose: on two cores a general client would be most of what is measured.
Runs in a process of its own (`python -m bench.load`), so that it shares no interpreter
with what it measures.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import count
from typing import cast

import uvloop

from bench import requests

Render = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Outcome:
    per_s: float
    p50_ms: float
    p99_ms: float
    failed: int


class _Connection(asyncio.Protocol):
    def __init__(self, render: Render, numbers: "count[int]", done: Callable[[float, bool], None]):
        self._render = render
        self._numbers = numbers
        self._done = done
        self._buffer = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked with isinstance: uvloop's transport is no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or len(body) < _content_length(head):
            return
        self._buffer = b""
        self._done(time.perf_counter() - self._sent_at, head[9:10] == b"2")
        self._next()

    def _next(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self._render(next(self._numbers)))


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def run(port: int, render: Render, *, connections: int, seconds: float) -> Outcome:
    """Requests answered per second after a warm-up of a fifth of the time."""
    taken: list[float] = []
    failed = 0
    counting_from = time.perf_counter() + seconds / 5

    def done(took: float, good: bool) -> None:
        nonlocal failed
        if time.perf_counter() >= counting_from:
            taken.append(took)
            failed += not good

    loop = asyncio.get_running_loop()
    numbers = count()
    transports = [
        (
            await loop.create_connection(
                lambda: _Connection(render, numbers, done), "127.0.0.1", port
            )
        )[0]
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds * 1.2)
    measured = time.perf_counter() - counting_from
    for transport in transports:
        transport.abort()
    taken.sort()
    return Outcome(
        per_s=len(taken) / measured,
        p50_ms=1000 * taken[len(taken) // 2],
        p99_ms=1000 * taken[int(len(taken) * 0.99)],
        failed=failed,
    )


if __name__ == "__main__":
    port, kind, token, connections, seconds = sys.argv[1:]
    render = requests.RENDERERS[kind](token)
    outcome = uvloop.run(
        run(int(port), render, connections=int(connections), seconds=float(seconds))
    )
    print(json.dumps(asdict(outcome)))
