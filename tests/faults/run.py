"""One run: senders and faults side by side, then everything comes to rest and is compared."""

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

from tests.faults.door import Door
from tests.faults.faults import DECK, Faults
from tests.faults.history import History
from tests.faults.model import Differences
from tests.faults.mutants import MUTANTS
from tests.faults.readback import differences, drained
from tests.faults.senders import SENDERS, Sender
from tests.faults.system import INGESTS, System

SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    minutes: float
    history: History
    faults: Faults
    door: Door
    exits: Mapping[str, int]
    """Processes that ended by themselves."""
    bytes_lost: int
    differences: Mapping[str, Differences]

    @property
    def is_green(self) -> bool:
        return not any(True for _ in self.complaints())

    def complaints(self) -> Iterator[str]:
        for name, found in self.differences.items():
            for kind, facts in found:
                yield from (f"{name}: {kind} {times} x {fact}" for fact, times in facts.items())
        yield from self.faults.wrong
        yield from self.history.wrong

    def table(self) -> str:
        """Markdown."""
        history, faults = self.history, self.faults
        made: Counter[str] = Counter()
        for card, times in faults.made.items():
            made[card.split()[0] if card.startswith(("kill", "hang", "stop")) else card] += times
        rows = [
            ("seed", f"{self.seed}"),
            ("minutes of faults", f"{self.minutes:g}"),
            ("acknowledged, each view being one", _by_kind(history.acked)),
            ("given up with an unknown outcome", _by_kind(history.maybe)),
            ("answers", _listed(self.door.statuses)),
            ("answers that were not foretold", f"{len(history.wrong)}"),
            ("connections cut by senders", _listed(self.door.cut)),
            ("faults", f"{made.total()}: {_listed(made)}"),
            ("processes killed", f"{faults.kills}"),
            ("power losses", f"{made['power loss']}, took {self.bytes_lost:,} bytes"),
            ("processes that ended by themselves", _listed(self.exits)),
        ]
        rows += [
            (f"first effect of {victim} after its restart", _spread(times))
            for victim, times in sorted(faults.effects_s.items())
        ]
        rows.append(("pending entries of the dead taken on", _spread(faults.pending_s)))
        rows.append(("from SIGTERM to exit code 0", _spread(faults.stops_s)))
        lines = ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows), ""]
        lines += ["| | lost | twice | invented |", "| --- | --- | --- | --- |"]
        for name, found in self.differences.items():
            numbers = " | ".join(f"{facts.total()}" for _, facts in found)
            lines.append(f"| {name} | {numbers} |")
        return "\n".join(lines)


async def run(
    *, minutes: float, seed: int, mutant: str | None = None, cards: Sequence[str] | None = None
) -> Outcome:
    print(f"seed {seed}" + (f", without a guard: {mutant}" if mutant else ""), flush=True)
    rng = Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="newsrail-faults-"))
    fsync = MUTANTS[mutant].fsync if mutant else "always"
    system = System(folder, mutant=mutant, fsync=fsync)
    async with system.running():
        history = History()
        door = Door({name: system.ports[name] for name in INGESTS})
        faults = Faults(system, door, rng, lambda line: print(line, flush=True))
        await _send_under_faults(system, history, door, faults, rng, 60 * minutes, cards)
        try:
            await drained(system)
        except TimeoutError:
            faults.wrong.append("the groups never have all of the log")
        found = await differences(system, history)
    outcome = Outcome(seed, minutes, history, faults, door, system.exits, system.bytes_lost, found)
    for complaint in islice(outcome.complaints(), SHOWN):
        print(complaint)
    if outcome.is_green or mutant:
        shutil.rmtree(folder)
    else:
        print(f"red; seed {seed}; what is left of it is in {folder}")
    return outcome


async def _send_under_faults(
    system: System,
    history: History,
    door: Door,
    faults: Faults,
    rng: Random,
    seconds: float,
    cards: Sequence[str] | None,
) -> None:
    stopping = asyncio.Event()
    senders = [
        Sender(door, history, system.operator, Random(rng.getrandbits(64))) for _ in range(SENDERS)
    ]
    async with asyncio.TaskGroup() as group:
        for sender in senders:
            group.create_task(sender.run(stopping))
        await faults.run(cards or _deck(system), seconds)
        stopping.set()


def _deck(system: System) -> list[str]:
    if not system.can_lose_power:
        print("no power losses: ../shared/faults or a C compiler is missing")
    return [
        card
        for card, times in DECK.items()
        if card != "power loss" or system.can_lose_power
        for _ in range(times)
    ]


def _by_kind(events: Mapping[str, int]) -> str:
    return f"{sum(events.values()):,}: {_listed(events)}"


def _listed(numbers: Mapping[Any, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(numbers.items())) or "none"


def _spread(times: Sequence[float]) -> str:
    if not times:
        return "none"
    return f"median {median(times):.1f} s, at most {max(times):.1f} s, of {len(times)}"
