"""Work on arrays, off the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Given = TypeVarTuple("Given")


async def in_thread(work: Callable[[*Given], T], *given: *Given) -> T:
    """As `to_thread`, but a cancellation waits for the thread: it cannot be stopped, and
    would go on changing what the caller cleans up."""
    running = asyncio.get_running_loop().run_in_executor(None, work, *given)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
