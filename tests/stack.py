"""Services as an operator runs them, each a process, on a Redis of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx
import redis as sync_redis

from shared.clock import now
from shared.web import keys
from shared.web.keys import Scope
from tests.redis_server import RedisServer, free_port

READY_WITHIN_S: Final = 30
ROOT: Final = Path(__file__).parent.parent


def hears_ctrl_c() -> None:
    """For a child before it begins: whoever runs in the background of a shell ignores SIGINT,
    and its children with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Stack:
    """`services`: of ingest, index, rails. Use as a context manager."""

    def __init__(self, folder: Path, *services: str) -> None:
        self.folder = folder
        self.redis = RedisServer(folder / "redis")
        self.ports = {name: free_port() for name in services}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.token = ""

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    def start(self, service: str) -> None:
        """Returns when the service says that it is ready."""
        environment = {
            **os.environ,
            "NEWSRAIL_REDIS_URL": self.redis.url,
            "NEWSRAIL_PORT": str(self.ports[service]),
            "NEWSRAIL_DATA": str(self.folder / service),
        }
        with (self.folder / f"{service}.log").open("ab") as log:
            self.processes[service] = subprocess.Popen(
                [sys.executable, "-m", f"services.{service}"], cwd=ROOT, env=environment, stderr=log
            )
        self._wait_ready(service)

    def _wait_ready(self, service: str) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if self.processes[service].poll() is not None:
                break
            try:
                if httpx.get(f"{self.url(service)}/readyz", timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                # The port is not open yet: nothing can be awaited but the next try.
                time.sleep(0.02)
        raise AssertionError((self.folder / f"{service}.log").read_text()[-3000:])

    def kill(self, service: str) -> None:
        self.processes[service].kill()
        self.processes[service].wait()

    def stop(self, service: str) -> int:
        """SIGTERM; the exit code."""
        self.processes[service].terminate()
        return self.processes[service].wait(timeout=30)

    def __enter__(self) -> Self:
        self.redis.start()
        key, self.token = keys.new(
            name="test", scopes=list(Scope), feeds=[keys.ANY_FEED], now=now()
        )
        with sync_redis.Redis(port=self.redis.port) as client:
            client.hset(keys.KEYS, key.id, key.model_dump_json())
        for service in self.ports:
            self.start(service)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.redis.__exit__(kind, error, trace)
