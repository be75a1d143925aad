"""The real system: Redis and the services, each a process that is started again at once
when it dies. Redis remembers what it has synced, so that its power can be cut.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cli.supervise import Backoff, Program, Supervisor
from shared.clock import now
from shared.streams.archive import Archive
from shared.streams.clients import reader
from shared.streams.replay import Log
from shared.web import keys
from shared.web.keys import ANY_FEED, Scope
from tests.redis_server import binary, free_port
from tests.stack import ROOT

SHIM: Final = ROOT.parent / "shared" / "faults"
"""What notes each sync, and cuts files to it. Not part of the project."""
SERVICES: Final = {
    "ingest": "ingest", "ingest-2": "ingest", "index": "index", "index-2": "index",
    "rails": "rails", "rails-2": "rails",
}  # fmt: skip
"""By the name of a copy."""
ALWAYS: Final = ("ingest", "ingest-2", "index", "rails")
INGESTS: Final = ("ingest", "ingest-2")
LOOK_EVERY_S: Final = 0.02
_START: Final = """
folder=$1 cut=$2 shim=$3; shift 3
if [ -e "$folder/power-lost" ]; then
  "$cut" "$folder/synced" "$folder/redis" >> "$folder/cuts"
  tail -n 200 "$folder/synced" > "$folder/kept" && mv "$folder/kept" "$folder/synced"
  rm "$folder/power-lost"
fi
[ -z "$shim" ] || export LD_PRELOAD="$shim" FSYNC_LOG="$folder/synced" FSYNC_DELAY_MS=5
exec "$@"
"""
"""Starts Redis; after a power loss from what was on disk. Each of its syncs takes 5 ms, else
there would hardly ever be something to lose."""


class System:
    def __init__(self, folder: Path, *, mutant: str | None, fsync: str) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in (*SERVICES, "redis")}
        self.token = ""
        self.started: dict[str, float] = {}
        """When a process last began, by the loop's clock."""
        self.exits: Counter[str] = Counter()
        """Processes that ended by themselves."""
        self.reasons: dict[str, str] = {}
        """Why each ended last."""
        self.redis: Redis
        self.log: Log
        self._mutant = [mutant] if mutant else []
        self._fsync = fsync
        self._shim = _shim(folder)
        self._supervisor = Supervisor(
            folder,
            started=self._note,
            say=self._ended,
            backoff=Backoff(first_s=0.05, longest_s=0.5),
        )
        self._pids: dict[str, int] = {}

    @property
    def can_lose_power(self) -> bool:
        return bool(self._shim)

    @property
    def operator(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def bytes_lost(self) -> int:
        cuts = self.folder / "cuts"
        return sum(int(line.split()[0]) for line in cuts.open()) if cuts.exists() else 0

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    def pid(self, name: str) -> int:
        return self._supervisor.pids[name]

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def redis_url(self, client: str) -> str:
        return f"redis://127.0.0.1:{self.ports['redis']}/0?client_name={client}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        (self.folder / "redis").mkdir()
        async with (
            self._supervisor.running(self._server()),
            reader(SecretStr(self.redis_url("harness"))) as self.redis,
        ):
            self.log = Log(self.redis, Archive(str(self.archive)))
            await self._create_key()
            async with self._supervisor.running(*map(self._service, ALWAYS)):
                for name in ALWAYS:
                    await self.ready(name)
                yield

    @asynccontextmanager
    async def also(self, name: str) -> AsyncIterator[None]:
        """A second copy, for as long as the block runs."""
        async with self._supervisor.running(self._service(name)):
            yield

    async def exit_code(self, name: str, within_s: float) -> int | None:
        """Of a copy that is expected to end by itself; None if it did not."""
        program = self._service(name)
        with (self.folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *program.command, env=program.environment, stdout=log, stderr=log
            )
        try:
            async with asyncio.timeout(within_s):
                return await process.wait()
        except TimeoutError:
            return None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def ready(self, name: str, within_s: float = 60) -> None:
        async with asyncio.timeout(within_s), httpx.AsyncClient(timeout=2) as client:
            while True:
                try:
                    if (await client.get(f"{self.url(name)}/readyz")).is_success:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(LOOK_EVERY_S)

    async def redis_answers(self, within_s: float = 60) -> None:
        async with asyncio.timeout(within_s):
            while True:
                try:
                    await self.redis.ping()
                except RedisError:
                    await asyncio.sleep(LOOK_EVERY_S)
                else:
                    return

    def power_fails(self) -> None:
        """The next start of Redis cuts its files to what was synced."""
        (self.folder / "power-lost").touch()

    async def _create_key(self) -> None:
        await self.redis_answers()
        _, self.token = await keys.create(
            self.redis, name="faults", scopes=list(Scope), feeds=[ANY_FEED], now=now()
        )

    def _server(self) -> Program:
        data = self.folder / "redis"
        options = {
            "port": self.ports["redis"], "bind": "127.0.0.1", "dir": data, "save": "",
            "appendonly": "yes", "appendfsync": self._fsync, "maxmemory-policy": "noeviction",
        }  # fmt: skip
        arguments = [part for name, value in options.items() for part in (f"--{name}", f"{value}")]
        script = ["sh", "-c", _START, "sh", f"{self.folder}", f"{SHIM / 'powercut'}", self._shim]
        return Program("redis", (*script, binary(), *arguments), os.environ)

    def _service(self, name: str) -> Program:
        environment = {
            **os.environ,
            "NEWSRAIL_REDIS_URL": self.redis_url(name),
            "NEWSRAIL_PORT": f"{self.ports[name]}",
            # Copies of one service share its folder.
            "NEWSRAIL_DATA": f"{self.folder / SERVICES[name]}",
            "NEWSRAIL_ARCHIVE": f"{self.archive}",
        }
        module = (sys.executable, "-m", "tests.faults.service", SERVICES[name])
        return Program(name, (*module, *self._mutant), environment)

    def _note(self) -> None:
        for name, pid in self._supervisor.pids.items():
            if self._pids.get(name) != pid:
                self._pids[name] = pid
                self.started[name] = asyncio.get_running_loop().time()

    def _ended(self, said: str) -> None:
        if ended := re.match(r"(\S+) ended \((.+?)\)", said):
            name, reason = ended.groups()
            self.reasons[name] = reason
            if reason not in {"SIGKILL", "exit code 0"}:
                self.exits[name] += 1


def _shim(folder: Path) -> str:
    """The library that notes syncs; '' where it cannot be made."""
    made, source = folder / "shim.so", SHIM / "fsync_shim.c"
    if not source.exists():
        return ""
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", f"{made}", f"{source}", "-ldl"]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{made}"
