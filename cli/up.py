"""newsrail up: a Redis server and the services, on this machine, for as long as it runs."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import httpx
import typer
from pydantic import SecretStr
from redis.exceptions import RedisError
from rich.table import Table

from cli import delivery, readers, server
from cli.console import console, fail
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
    host = os.environ.get("NEWSRAIL_HOST", server.LOOPBACK)
    ports = {name: port + place for place, name in enumerate(SERVICES)}
    folder = data.resolve()
    if not shutil.which(server.binary()):
        fail(f"NEWSRAIL_REDIS_SERVER: there is no program {server.binary()}")
    try:
        with claimed(folder):
            for name, wanted in ports.items():
                if not server.is_free(host, wanted):
                    fail(f"port {wanted} ({name}) is in use; choose others with --port N")
            asyncio.run(_run(folder, host, ports, sample=not empty))
    except InUse:
        fail(
            f"another `newsrail up` runs on {folder} ({LOCK_FILE} is locked); "
            "stop it, or choose another folder with --data DIR"
        )
    except asyncio.CancelledError:
        console.print("stopped")


async def _run(folder: Path, host: str, ports: Mapping[str, int], *, sample: bool) -> None:
    _stop_on_signals()
    run_file, kept_file, logs = folder / RUN_FILE, folder / KEPT_FILE, folder / "logs"
    run_file.unlink(missing_ok=True)
    logs.mkdir(exist_ok=True)
    (folder / "redis").mkdir(exist_ok=True)
    kept = Kept.read(kept_file) or Kept()
    redis_port = server.settle_port(kept.redis_port)
    urls = _urls(host, ports)
    run: Run | None = None

    def started() -> None:
        if run:
            run.model_copy(update={"pids": dict(supervisor.pids)}).write(run_file)

    supervisor = Supervisor(logs, started=started, say=_say)
    services = [
        _service(name, folder, host, ports[name], server.url(redis_port), urls) for name in SERVICES
    ]
    try:
        async with supervisor.running(server.program(folder / "redis", redis_port)):
            key = await _key(server.url(redis_port), kept.key)
            kept = kept.model_copy(update={"redis_port": redis_port, "key": key})
            kept.write(kept_file)
            async with (
                supervisor.running(*services),
                delivery.client(urls["ingest"], key) as door,
            ):
                for url in urls.values():
                    await _ready(door, url)
                run = Run(**urls, redis=server.url(redis_port), key=key, pids={})
                started()
                _announce(run, folder, logs)
                if sample:
                    began = kept.sample_began or now()
                    kept.model_copy(update={"sample_began": began}).write(kept_file)
                    _say("sample readers are clicking; leave them out with --empty")
                    await readers.live(door, began, _say)
                await asyncio.Event().wait()
    finally:
        run_file.unlink(missing_ok=True)


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


def _urls(host: str, ports: Mapping[str, int]) -> dict[str, str]:
    reached = server.LOOPBACK if host in ANY_ADDRESS else host
    return {name: f"http://{reached}:{port}" for name, port in ports.items()}


def _service(
    name: str, folder: Path, host: str, port: int, redis_url: str, urls: Mapping[str, str]
) -> Program:
    environment = {
        **os.environ,
        "NEWSRAIL_REDIS_URL": redis_url,
        "NEWSRAIL_HOST": host,
        "NEWSRAIL_PORT": str(port),
        "NEWSRAIL_DATA": str(folder / name),
        "NEWSRAIL_INGEST_URL": urls["ingest"],
    }
    # -P: a folder named `services` in the working directory is not ours.
    return Program(name, (sys.executable, "-P", "-m", f"services.{name}"), environment)


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


def _announce(run: Run, folder: Path, logs: Path) -> None:
    table = Table("newsrail runs", "", box=None)
    table.add_row("pages, search", run.index)
    table.add_row("ingest", run.ingest)
    table.add_row("rails", run.rails)
    table.add_row("redis", run.redis)
    table.add_row("key (every scope)", run.key)
    table.add_row("data", str(folder))
    table.add_row("logs", str(logs))
    console.print(table)


def _say(message: str) -> None:
    console.print(message, markup=False, soft_wrap=True)
