"""A consumer in a process of its own, that a test can kill.

Its effect is the entry's subject on a list. What a subject says happens to it:
`kills` ends the process before the effect, `dies-once` the first time after it, `waits`
finds its store away until `OPEN` is set.
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from typing import Self

from pydantic import SecretStr

from shared.errors import Unavailable
from shared.streams.clients import writer
from shared.streams.consume import Consumer, Delivered
from shared.streams.groups import create_groups

STREAM = "news.articles"
GROUP = "index"
APPLIED = "applied"
WAITED = "waited"
OPEN = "open"


async def main(url: SecretStr) -> None:
    async with writer(url) as redis:

        async def apply(batch: Sequence[Delivered]) -> None:
            for delivered in batch:
                subject = delivered.event.subject
                if subject.startswith("kills"):
                    os.kill(os.getpid(), signal.SIGKILL)
                if subject == "waits" and not await redis.exists(OPEN):
                    await redis.rpush(WAITED, subject)
                    raise Unavailable("the store is away")
                await redis.rpush(APPLIED, subject)
                if subject == "dies-once" and await redis.setnx(subject, "died"):
                    os.kill(os.getpid(), signal.SIGKILL)

        await create_groups(redis)
        await Consumer(
            url, redis, STREAM, GROUP, apply, name="one", sole=True, max_records=50
        ).run()


def run(url: str) -> None:
    asyncio.run(main(SecretStr(url)))


class Supervised:
    """The process, started anew whenever it has died. Forked from one that has imported
    all it needs: it starts a dozen times in a test."""

    def __init__(self, url: SecretStr) -> None:
        self._url = url.get_secret_value()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        self._process = self._start()

    def _start(self) -> ForkServerProcess:
        process = self._context.Process(target=run, args=(self._url,))
        process.start()
        return process

    def restart_if_dead(self) -> None:
        if not self._process.is_alive():
            self._process = self._start()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
