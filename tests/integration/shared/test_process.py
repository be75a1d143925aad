"""A service's server and its loops live and end together."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.eventually import until
from tests.redis_server import free_port
from tests.stack import ROOT


class Service:
    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "log"
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "tests.integration.shared.service_process"]
        environment = {**os.environ, "NEWSRAIL_PORT": str(self.port)}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*command, str(self.folder)], cwd=ROOT, env=environment, stderr=log
            )

    async def listens(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    async def ended(self) -> bool:
        return self.process.poll() is not None

    async def has(self, name: str) -> bool:
        return (self.folder / name).exists()


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    service = Service(tmp_path, free_port())
    try:
        await until(service.listens)
        yield service
    finally:
        service.process.kill()
        service.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_answers_what_is_in_progress_ends_the_loops_and_leaves_with_0(
    service: Service, number: signal.Signals
) -> None:
    async with httpx.AsyncClient(timeout=10) as client, asyncio.TaskGroup() as group:
        answer = group.create_task(client.get(f"{service.url}/slow"))
        await until(lambda: service.has("begun"))
        service.process.send_signal(number)
        await until(lambda: refuses(service))
        assert not await service.has("ended")
        (service.folder / "release").touch()
    assert answer.result().text == "done"
    await until(service.ended)
    assert service.process.returncode == 0
    assert await service.has("ended")
    assert "service.stopped" in service.log.read_text()


async def refuses(service: Service) -> bool:
    return not await service.listens()


async def test_a_loop_that_fails_ends_the_process_with_an_error(service: Service) -> None:
    (service.folder / "fail").touch()
    await until(service.ended)
    assert service.process.returncode not in (0, None)
    log = service.log.read_text()
    assert "loop.failed" in log
    assert "the loop cannot go on" in log


async def test_a_port_that_is_taken_is_an_error_and_no_loop_is_left(service: Service) -> None:
    (service.folder / "other").mkdir()
    second = Service(service.folder / "other", service.port)
    await until(second.ended)
    assert second.process.returncode not in (0, None)
    assert "address already in use" in second.log.read_text()
