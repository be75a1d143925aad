"""The supervisor with real processes."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from cli.supervise import Backoff, Program, Supervisor
from tests.stack import ROOT

QUICK: Final = Backoff(first_s=0.01, longest_s=0.05)
GONE_WITHIN_MS: Final = 10_000

A_SUPERVISOR: Final = """
import asyncio, os, sys
from pathlib import Path
from cli.supervise import Program, Supervisor

async def main():
    def started():
        print(*supervisor.pids.values(), flush=True)

    supervisor = Supervisor(Path(sys.argv[1]), started=started, say=print)
    async with supervisor.running(Program("child", ("sleep", "600"), os.environ)):
        await asyncio.Event().wait()

asyncio.run(main())
"""


class Watched:
    """A supervisor, what it says, and the pids after each start."""

    def __init__(self, folder: Path, *, stop_within_s: float = 15) -> None:
        self.said: asyncio.Queue[str] = asyncio.Queue()
        self.starts: asyncio.Queue[dict[str, int]] = asyncio.Queue()
        self.supervisor = Supervisor(
            folder,
            started=lambda: self.starts.put_nowait(dict(self.supervisor.pids)),
            say=self.said.put_nowait,
            backoff=QUICK,
            stop_within_s=stop_within_s,
        )


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


@pytest.fixture
def deaf_to_sigterm() -> Iterator[None]:
    """Children inherit that a signal is ignored."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, before)


def sleeper(name: str = "child") -> Program:
    return Program(name, ("sleep", "600"), os.environ)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_killed_child_is_started_again(watched: Watched) -> None:
    async with watched.supervisor.running(sleeper()):
        first = (await watched.starts.get())["child"]
        os.kill(first, signal.SIGKILL)
        second = (await watched.starts.get())["child"]
        assert second != first
        assert is_alive(second)
        assert "child ended (SIGKILL)" in await watched.said.get()


async def test_the_others_stay_when_one_dies(watched: Watched) -> None:
    async with watched.supervisor.running(sleeper("one"), sleeper("other")):
        await watched.starts.get()
        before = await watched.starts.get()
        os.kill(before["one"], signal.SIGKILL)
        after = await watched.starts.get()
        assert after["other"] == before["other"]
        assert is_alive(after["other"])


async def test_all_are_gone_at_the_end_of_the_block(watched: Watched) -> None:
    async with watched.supervisor.running(sleeper("one"), sleeper("other")):
        await watched.starts.get()
        pids = (await watched.starts.get()).values()
    assert len(pids) == 2
    assert not any(map(is_alive, pids))


async def test_cancelling_stops_all_before_it_goes_on(watched: Watched) -> None:
    async def run() -> None:
        async with watched.supervisor.running(sleeper()):
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run())
        pid = (await watched.starts.get())["child"]
        running.cancel()
    assert not is_alive(pid)


@pytest.mark.usefixtures("deaf_to_sigterm")
async def test_one_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    watched = Watched(tmp_path, stop_within_s=0.05)
    async with watched.supervisor.running(sleeper()):
        pid = (await watched.starts.get())["child"]
    assert not is_alive(pid)


async def test_one_that_keeps_dying_shows_the_end_of_its_log(watched: Watched) -> None:
    failing = Program("child", ("sh", "-c", "echo no such setting >&2; exit 3"), os.environ)
    async with watched.supervisor.running(failing):
        assert "child ended (exit code 3)" in await watched.said.get()
        await watched.said.get()
        assert "no such setting" in await watched.said.get()


async def test_a_child_has_a_session_of_its_own(watched: Watched) -> None:
    """Else Ctrl-C would reach all of them at once, and the server before the services."""
    async with watched.supervisor.running(sleeper()):
        pid = (await watched.starts.get())["child"]
        assert os.getsid(pid) == pid


def test_no_child_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", A_SUPERVISOR, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT
    ) as supervisor:
        assert supervisor.stdout
        child = os.pidfd_open(int(supervisor.stdout.readline()))
        supervisor.kill()
        gone = select.poll()
        gone.register(child, select.POLLIN)
        assert gone.poll(GONE_WITHIN_MS)
        os.close(child)
