"""newsrail up: a Redis server and the services, on this machine, for as long as it runs."""

import asyncio
import os
import shutil
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import httpx
import typer
from pydantic import SecretStr
from redis.exceptions import RedisError

from cli import delivery, readers, server
from cli.console import console, fail
from cli.reach import ARCHIVE_FOLDER
from cli.runfile import KEPT_FILE, LOCK_FILE, RUN_FILE, InUse, Kept, Run, claimed
from cli.supervise import Program, Supervisor
from shared.clock import now
from shared.streams.clients import writer
from shared.web import keys
from shared.web.keys import ANY_FEED, Scope

SERVICES: Final = ("index", "ingest", "rails")
"""In the order of their ports, the first of which is `--port`."""
LOOK_EVERY_S: Final = 0.05
ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound


def up(
    port: Annotated[
        int, typer.Option(min=1, max=65_000, help="Of the pages; ingest and rails follow it.")
    ] = 8000,
    data: Annotated[Path, typer.Option(help="The folder for all that is kept.")] = Path("data"),
    empty: Annotated[bool, typer.Option("--empty", help="Leave the sample news out.")] = False,
) -> None:
    """Run everything on this machine until Ctrl-C, and restart what dies."""
    if not shutil.which(server.binary()):
        fail(f"NEWSRAIL_REDIS_SERVER: there is no program {server.binary()}")
    folder = data.resolve()
    try:
        with claimed(folder):
            kept = Kept.read(folder / KEPT_FILE) or Kept()
            site = Site(folder, port, server.settle_port(kept.redis_port))
            for name, wanted in site.ports.items():
                if not server.is_free(site.host, wanted):
                    fail(f"port {wanted} ({name}) is in use; choose others with --port N")
            asyncio.run(_run(site, kept, sample=not empty))
    except InUse:
        fail(
            f"another `newsrail up` runs on {folder} ({LOCK_FILE} is locked); "
            "stop it, or choose another folder with --data DIR"
        )
    except asyncio.CancelledError:
        console.print("stopped")


@dataclass(frozen=True, slots=True)
class Site:
    """What is where on this machine."""

    folder: Path
    port: int
    redis_port: int
    host: str = field(default_factory=lambda: os.environ.get("NEWSRAIL_HOST", server.LOOPBACK))

    @property
    def ports(self) -> dict[str, int]:
        return {name: self.port + place for place, name in enumerate(SERVICES)}

    @property
    def urls(self) -> dict[str, str]:
        reached = server.LOOPBACK if self.host in ANY_ADDRESS else self.host
        return {name: f"http://{reached}:{port}" for name, port in self.ports.items()}

    @property
    def redis_url(self) -> str:
        return server.url(self.redis_port)

    @property
    def run_file(self) -> Path:
        return self.folder / RUN_FILE

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def server(self) -> Program:
        return server.program(self.folder / "redis", self.redis_port)

    def services(self) -> list[Program]:
        return [self._service(name, port) for name, port in self.ports.items()]

    def _service(self, name: str, port: int) -> Program:
        environment = {
            "NEWSRAIL_ARCHIVE": str(self.folder / ARCHIVE_FOLDER),
            **os.environ,
            "NEWSRAIL_REDIS_URL": self.redis_url,
            "NEWSRAIL_HOST": self.host,
            "NEWSRAIL_PORT": str(port),
            "NEWSRAIL_DATA": str(self.folder / name),
            "NEWSRAIL_INGEST_URL": self.urls["ingest"],
        }
        # -P: a folder named `services` in the working directory is not ours.
        return Program(name, (sys.executable, "-P", "-m", f"services.{name}"), environment)


async def _run(site: Site, kept: Kept, *, sample: bool) -> None:
    """Until a signal cancels it. The services end before the server they write to."""
    _stop_on_signals()
    run: Run | None = None

    def started() -> None:
        if run:
            run.model_copy(update={"pids": dict(supervisor.pids)}).write(site.run_file)

    site.run_file.unlink(missing_ok=True)
    for folder in (site.logs, site.folder / "redis"):
        folder.mkdir(exist_ok=True)
    supervisor = Supervisor(site.logs, started=started, say=_say)
    try:
        async with supervisor.running(site.server()):
            key = await _key(site.redis_url, kept.key)
            kept = kept.model_copy(update={"redis_port": site.redis_port, "key": key})
            kept.write(site.folder / KEPT_FILE)
            async with (
                supervisor.running(*site.services()),
                delivery.client(site.urls["ingest"], key) as door,
            ):
                for url in site.urls.values():
                    await _ready(door, url)
                run = Run(**site.urls, redis=site.redis_url, key=key, pids={})
                started()
                _announce(run, site)
                if sample:
                    await _live(site, kept, door)
                await asyncio.Event().wait()
    finally:
        site.run_file.unlink(missing_ok=True)


async def _live(site: Site, kept: Kept, door: httpx.AsyncClient) -> None:
    began = kept.sample_began or now()
    kept.model_copy(update={"sample_began": began}).write(site.folder / KEPT_FILE)
    _say("sample readers are clicking; leave them out with --empty")
    await readers.live(door, began, _say)


def _stop_on_signals() -> None:
    """The first signal cancels the caller; the next are ignored while children end."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task  # noqa: S101 - there is a loop, so there is a task

    def stop() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, lambda: None)
        _say("stopping")
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


async def _key(redis_url: str, kept: str | None) -> str:
    """The folder's key if it is still valid, else a new one. Waits for the server."""
    async with writer(SecretStr(redis_url)) as redis:
        while True:
            try:
                if kept and await keys.find(redis, kept):
                    return kept
                _, token = await keys.create(
                    redis, name="newsrail up", scopes=list(Scope), feeds=[ANY_FEED], now=now()
                )
            except RedisError:
                await asyncio.sleep(LOOK_EVERY_S)
            else:
                return token


async def _ready(client: httpx.AsyncClient, url: str) -> None:
    while True:
        try:
            answer = await client.get(f"{url}/readyz")
        except httpx.TransportError:
            pass
        else:
            if answer.is_success:
                return
        await asyncio.sleep(LOOK_EVERY_S)


def _announce(run: Run, site: Site) -> None:
    _say("newsrail runs")
    for what, where in (
        ("pages, search", run.index),
        ("ingest", run.ingest),
        ("rails", run.rails),
        ("redis", run.redis),
        ("key (every scope)", run.key),
        ("data", site.folder),
        ("logs", site.logs),
    ):
        _say(f"  {what:<20}{where}")


def _say(message: str) -> None:
    console.print(message, markup=False, soft_wrap=True)
