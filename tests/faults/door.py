"""Sends a request as the promise says: as it was, until it is answered.

Each attempt has a connection of its own, to any of the ingests, and some are cut: before
the request is out, or before its answer is in.
"""

import asyncio
import re
import socket
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import orjson

ANSWER_WITHIN_S: Final = 4.0
CUT: Final = 0.012
"""Of all attempts; half of them before the request is out."""
GIVEN_UP: Final = 0.1
"""Of the operations whose first attempt is not answered."""
_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def raw(self) -> bytes:
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: ingest", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode() + self.body


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    said: dict[str, Any]
    doubted: bool = False
    """An attempt before may have been carried out."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    doubted: bool


class NotSent(Exception):
    """No service has the whole request."""


class Unknown(Exception):
    """It may have been carried out."""


class Door:
    """Of all ingests, by name."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._ports = ports
        self.answered: Counter[str] = Counter()
        """2xx by ingest."""
        self.statuses: Counter[int] = Counter()
        self.cut: Counter[str] = Counter()

    async def deliver(self, request: Request, rng: Random) -> Answer | GivenUp:
        doubted, gives_up = False, rng.random() < GIVEN_UP
        while True:
            try:
                answer = await self._attempt(rng.choice(list(self._ports)), request, rng)
                if answer.status < 500:
                    return Answer(answer.status, answer.said, doubted)
                doubted = True
            except NotSent:
                pass
            except Unknown:
                doubted = True
            if gives_up:
                return GivenUp(doubted)
            await asyncio.sleep(rng.uniform(0.02, 0.2))

    async def twice(self, request: Request) -> Sequence[Answer]:
        """At once, through each ingest; those that answered."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._once(name, request)) for name in self._ports]
        return [answer for task in tasks if (answer := task.result())]

    async def _once(self, name: str, request: Request) -> Answer | None:
        try:
            answer = await self._exchange(name, request.raw())
        except (NotSent, Unknown):
            return None
        return answer if answer.status < 500 else None

    async def _attempt(self, name: str, request: Request, rng: Random) -> Answer:
        raw, chance = request.raw(), rng.random()
        if chance < CUT / 2:
            self.cut["before it was sent"] += 1
            # The last byte is not out, so the body is not whole.
            await self._send_and_cut(name, raw[: rng.randrange(1, len(raw))], 0)
            raise NotSent
        if chance < CUT:
            self.cut["before its answer"] += 1
            await self._send_and_cut(name, raw, rng.uniform(0, 0.02))
            raise Unknown
        return await self._exchange(name, raw)

    async def _send_and_cut(self, name: str, raw: bytes, after_s: float) -> None:
        _, writer = await self._connect(name)
        reset: socket.socket = writer.get_extra_info("socket")
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.write(raw)
        await asyncio.sleep(after_s)
        writer.transport.abort()

    async def _exchange(self, name: str, raw: bytes) -> Answer:
        reader, writer = await self._connect(name)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                writer.write(raw)
                head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        except (OSError, TimeoutError) as error:
            raise Unknown from error
        finally:
            writer.transport.abort()
        length = _LENGTH.search(head)
        if not length or len(body) != int(length[1]):
            raise Unknown
        status = int(head[9:12])
        self.statuses[status] += 1
        if status < 300:
            self.answered[name] += 1
        return Answer(status, orjson.loads(body) if body else {})

    async def _connect(self, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await asyncio.open_connection("127.0.0.1", self._ports[name])
        except (OSError, TimeoutError) as error:
            raise NotSent from error
