"""Rebuilding a service's read model from the log, when an operator asks for it.

`POST /v1/rebuild` starts it and `GET /v1/rebuild` tells how far it is. The service goes
on with the old read model until the new one is whole; when the rebuild fails, or the
process ends before, the old one stays.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fastapi import APIRouter
from starlette.requests import Request
from structlog import get_logger

from shared.clock import from_ms, now
from shared.errors import Conflict
from shared.streams.entries import Entry
from shared.web.auth import Authority
from shared.web.keys import Scope

log = get_logger()


class State(StrEnum):
    IDLE = "idle"
    """Nobody asked since the service started."""
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(slots=True)
class Progress:
    """As it is answered, too. The work tells it what it has read."""

    state: State = State.IDLE
    entries: int = 0
    since: datetime | None = None
    """When the first entry that was read came."""
    at: datetime | None = None
    """When the last one came; the log ends at about `started`."""
    started: datetime | None = None
    ended: datetime | None = None
    detail: str | None = None
    """Why it failed."""

    def read(self, entries: Sequence[Entry]) -> None:
        """In each of several partitions times begin anew: the latest is shown."""
        self.entries += len(entries)
        first, last = from_ms(entries[0].at_ms), from_ms(entries[-1].at_ms)
        self.since = min(self.since or first, first)
        self.at = max(self.at or last, last)


Work = Callable[[Progress], Awaitable[None]]
"""Fills a new read model and puts it in the place of the old one, or raises and leaves
the old one as it is."""


class Rebuild:
    """One at a time. `run` must be running."""

    def __init__(self, authority: Authority, work: Work) -> None:
        self._authority = authority
        self._work = work
        self._asked = asyncio.Event()
        self._progress = Progress()

    async def run(self) -> None:
        """Rebuilds each time that it is asked, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._rebuild(self._progress)

    async def _rebuild(self, progress: Progress) -> None:
        log.info("rebuild.started")
        try:
            await self._work(progress)
        except Exception as error:
            progress.state = State.FAILED
            progress.detail = f"{type(error).__name__}: {error}"
            log.exception("rebuild.failed", entries=progress.entries)
        else:
            progress.state = State.DONE
            log.info("rebuild.done", entries=progress.entries)
        progress.ended = now()

    def router(self) -> APIRouter:
        router = APIRouter(tags=["service"])
        router.post(
            "/v1/rebuild", status_code=202, summary="Rebuild the read model from the log"
        )(self.start)  # fmt: skip
        router.get("/v1/rebuild", summary="How far the rebuild is")(self.show)
        return router

    async def start(self, request: Request) -> Progress:
        await self._authority.require(request, Scope.OPERATE)
        if self._progress.state is State.RUNNING:
            raise Conflict(
                "a rebuild is running; wait for it (GET /v1/rebuild tells how far it is)"
            )
        self._progress = Progress(State.RUNNING, started=now())
        self._asked.set()
        return self._progress

    async def show(self, request: Request) -> Progress:
        await self._authority.require(request, Scope.OPERATE)
        return self._progress
