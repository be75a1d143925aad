"""How a service's process runs: its HTTP server and its loops live and end together."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence

import uvicorn
import uvloop
from starlette.types import ASGIApp
from structlog import get_logger

from shared.settings import Settings

log = get_logger()

Loop = Callable[[], Awaitable[None]]
"""Runs until cancelled, then ends what it has begun."""

GRACE_S = 5
"""How long requests in progress may take to end."""


def run(main: Coroutine[None, None, None]) -> None:
    """Runs a service. Leaves with exit code 0 only after a clean stop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


async def serve(app: ASGIApp, settings: Settings, loops: Sequence[Loop]) -> None:
    """Until SIGTERM or SIGINT: refuse new requests, end those in progress, then the loops.

    A loop that fails ends the process with that error: half a service is worse than
    none, and whoever supervises it starts it anew.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=True,
            forwarded_allow_ips=settings.trusted_proxies,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    # What was made so far stays: the collector need not look at it again and again, which
    # stops a busy process for tens of milliseconds each time.
    gc.collect()
    gc.freeze()
    # Ours too: uvicorn restores these once it has stopped and raises the signal again,
    # which without them would end the process before its loops have.
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.handle_exit, number, None)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_guarded(loop, server)) for loop in loops]
        log.info("service.started", port=settings.port)
        await server.serve()
        for task in running:
            task.cancel()
    log.info("service.stopped")


async def _guarded(loop: Loop, server: uvicorn.Server) -> None:
    try:
        await loop()
    except Exception:
        log.exception("loop.failed", loop=getattr(loop, "__qualname__", str(loop)))
        server.should_exit = True
        raise
