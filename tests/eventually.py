"""Waiting for what other tasks and processes do: bounded, and without a guessed pause."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

POLL_S = 0.005
WITHIN_S = 20.0


async def until(holds: Callable[[], Awaitable[bool]], within_s: float = WITHIN_S) -> None:
    """Returns when it holds. Raises TimeoutError when it never does."""
    async with asyncio.timeout(within_s):
        while not await holds():
            await asyncio.sleep(POLL_S)


@asynccontextmanager
async def running(*loops: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Loops that run until cancelled; one that fails fails the test."""

    async def run(loop: Callable[[], Awaitable[None]]) -> None:
        await loop()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(loop)) for loop in loops]
        yield
        for task in tasks:
            task.cancel()
