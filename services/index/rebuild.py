"""A new store, filled from the log beside the one that answers, then put in its place."""

import asyncio
from collections.abc import Sequence

from services.index.consumer import Articles
from services.index.store import SearchStore
from shared.web.rebuild import Progress


async def rebuild(
    store: SearchStore, partitions: Sequence[Articles], switching: asyncio.Lock, progress: Progress
) -> None:
    """The consumers go on with the old store; they wait only for the last entries."""
    new = await store.beside()
    try:
        # Again: what came during the first time, which is long, is much for them to wait for.
        for _ in range(2):
            await _fill(new, partitions, progress)
        async with switching:
            await _fill(new, partitions, progress)
            await store.become(new)
    finally:
        await new.close()


async def _fill(new: SearchStore, partitions: Sequence[Articles], progress: Progress) -> None:
    for partition in partitions:
        await partition.fill(new, progress)
