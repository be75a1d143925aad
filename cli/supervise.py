"""Keeps processes running: one that dies is started again, and none outlives us.

Each child has a session of its own, so that Ctrl-C in a terminal reaches only the
supervisor, which then stops them in order. Linux kills the children when the supervisor
dies without having stopped them, even of SIGKILL.
"""

import asyncio
import ctypes
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

LAST_LINES: Final = 8

_LIBC: Final = ctypes.CDLL(None)
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Program:
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a start: doubles with each death, is short again after a
    life of `steady_s`."""

    first_s: float = 0.2
    longest_s: float = 5.0
    steady_s: float = 10.0

    def deaths_in_a_row(self, before: int, lived_s: float) -> int:
        return 1 if lived_s >= self.steady_s else before + 1

    def delay_s(self, deaths: int) -> float:
        return min(self.first_s * 2.0 ** min(deaths - 1, 30), self.longest_s)


class Supervisor:
    """`pids`: of what runs, by name; `started` is called after each change of it."""

    def __init__(
        self,
        logs: Path,
        *,
        started: Callable[[], None],
        say: Callable[[str], None],
        backoff: Backoff = Backoff(),
        stop_within_s: float = 15.0,
    ) -> None:
        self.pids: dict[str, int] = {}
        self._logs = logs
        self._started = started
        self._say = say
        self._backoff = backoff
        self._stop_within_s = stop_within_s

    @asynccontextmanager
    async def running(self, *programs: Program) -> AsyncIterator[None]:
        """Keeps them running; at the end of the block all are stopped, side by side."""
        async with asyncio.TaskGroup() as tasks:
            kept = [tasks.create_task(self._keep(program)) for program in programs]
            try:
                yield
            finally:
                for task in kept:
                    task.cancel()

    async def _keep(self, program: Program) -> None:
        clock = asyncio.get_running_loop().time
        deaths = 0
        while True:
            began = clock()
            code = await self._run(program)
            deaths = self._backoff.deaths_in_a_row(deaths, clock() - began)
            delay_s = self._backoff.delay_s(deaths)
            self._say(f"{program.name} ended ({_reason(code)}); it starts again in {delay_s:.1f} s")
            if deaths == 2:
                self._say(self._last_words(program.name))
            await asyncio.sleep(delay_s)

    async def _run(self, program: Program) -> int:
        with self._log(program.name) as log:
            process = await asyncio.create_subprocess_exec(
                *program.command,
                env=program.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_dying_with(os.getpid()),
            )
        self.pids[program.name] = process.pid
        self._started()
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                await self._stop(process)

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        process.terminate()
        try:
            async with asyncio.timeout(self._stop_within_s):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def _log(self, name: str) -> IO[bytes]:
        return (self._logs / f"{name}.log").open("ab")

    def _last_words(self, name: str) -> str:
        path = self._logs / f"{name}.log"
        with path.open(errors="replace") as lines:
            last = deque(lines, LAST_LINES)
        return "".join([f"the end of {path}:\n", *(f"    {line}" for line in last)]).rstrip()


def _reason(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _dying_with(parent: int) -> Callable[[], None]:
    """For the child, before it becomes the program: bound to the life of its parent."""

    def bind() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # It died before we were bound to it.
            os._exit(1)

    return bind
