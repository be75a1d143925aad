"""Makes the faults, one after the other, and measures how long each is felt.

They are cards of a deck that is shuffled anew each time it is through, so that even a short
run has of all of them.
"""

import asyncio
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any, Final, cast

import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from shared.events import INDEXED
from shared.streams.clients import is_outage
from shared.streams.groups import OWN_GROUPS
from tests.faults.door import Door
from tests.faults.system import ALWAYS, INGESTS, LOOK_EVERY_S, System

REST_S: Final = (2.0, 6.0)
"""Of ordinary life between two faults."""
HANG_S: Final = (2.0, 8.0)
STARTING_S: Final = (0.0, 2.0)
STOPS_WITHIN_S: Final = 15.0
FULL_S: Final = (2.0, 4.0)
BELOW_BYTES: Final = 100_000
WORKS_AGAIN_WITHIN_S: Final = 60.0
REFUSED_WITHIN_S: Final = 20.0
OFFSET: Final = "{news.views}:rails:offset"
DECK: Final[Mapping[str, int]] = {
    **{f"kill {name}": 1 for name in (*ALWAYS, "redis")},
    "kill several": 3,
    "kill twice": 1,
    "power loss": 2,
    **{f"stop {name}": 1 for name in ("ingest", "index", "rails")},
    **{f"hang {name}": 1 for name in ("ingest", "index", "rails", "redis")},
    "cut redis connections": 1,
    "fill redis": 1,
    "second rails": 1,
    "second index": 1,
    "lose a group": 1,
    "rebuild index": 1,
    "rebuild rails": 1,
}
CONSUMED: Final = {
    name: [(stream.name, name) for stream, groups in OWN_GROUPS.items() if name in groups]
    for name in ("index", "rails")
}


class Faults:
    def __init__(self, system: System, door: Door, rng: Random, say: Callable[[str], None]) -> None:
        self.made: Counter[str] = Counter()
        self.kills = 0
        self.effects_s: dict[str, list[float]] = defaultdict(list)
        """From the start after a kill to the first effect, by victim, and whether it died
        alone."""
        self.pending_s: list[float] = []
        """From that start until nothing is pending that was so at the death."""
        self.stops_s: list[float] = []
        """From SIGTERM to the next start, which follows the end at once."""
        self.wrong: list[str] = []
        self._system = system
        self._door = door
        self._rng = rng
        self._say = say
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()

    async def run(self, cards: Sequence[str], seconds: float) -> None:
        """Until the time is over; a fault that has begun is brought to its end."""
        deck: list[str] = []
        while self._clock() < self._began + seconds:
            if not deck:
                deck = self._rng.sample(list(cards), len(cards))
            await asyncio.sleep(self._rng.uniform(*REST_S))
            await self._make(deck.pop())

    async def _make(self, card: str) -> None:
        at_s = self._clock() - self._began
        self.made[card] += 1
        try:
            async with asyncio.timeout(WORKS_AGAIN_WITHIN_S):
                said = await self._maker(card)()
        except TimeoutError:
            said = "nothing works again"
            self.wrong.append(f"{said} after {card} at {at_s:.0f} s")
        self._say(f"{at_s:8.1f} s  {card:<22} {said}")

    def _maker(self, card: str) -> Callable[[], Awaitable[str]]:
        kind, _, victim = card.partition(" ")
        makers: dict[str, Callable[[], Awaitable[str]]] = {
            "kill several": self._kill_several,
            "kill twice": self._kill_twice,
            "power loss": self._power_loss,
            "cut redis connections": self._cut_redis_connections,
            "fill redis": self._fill_redis,
            "second rails": self._second_rails,
            "second index": self._second_index,
            "lose a group": self._lose_a_group,
        }
        on: dict[str, Callable[[str], Awaitable[str]]] = {
            "kill": self._kill,
            "hang": self._hang,
            "stop": self._stop,
            "rebuild": self._rebuild,
        }
        return makers.get(card) or partial(on[kind], victim)

    async def _kill(self, *victims: str) -> str:
        killed = {victim: self._signal(victim, signal.SIGKILL) for victim in victims}
        pending = {victim: await self._pending(victim) for victim in victims}
        self.kills += len(victims)
        async with asyncio.TaskGroup() as group:
            felt = [
                group.create_task(
                    self._felt(victim, killed[victim], pending[victim], alone=len(victims) == 1)
                )
                for victim in victims
            ]
        return "; ".join(task.result() for task in felt)

    async def _felt(
        self, victim: str, killed: float, left: set[tuple[str, str, bytes]], *, alone: bool
    ) -> str:
        started = await self._started_again(victim, killed)
        before = await self._probe(victim)
        while await self._probe(victim) == before:
            await asyncio.sleep(LOOK_EVERY_S)
        effect_s = self._clock() - started
        self.effects_s[victim if alone else f"{victim}, killed with others,"].append(effect_s)
        said = f"{victim} has an effect after {effect_s:.1f} s"
        if left:
            while left & await self._pending(victim):
                await asyncio.sleep(LOOK_EVERY_S)
            self.pending_s.append(self._clock() - started)
            said += f", {len(left)} pending ones after {self.pending_s[-1]:.1f} s"
        return said

    async def _kill_several(self) -> str:
        victims = self._rng.sample((*ALWAYS, "redis"), self._rng.randint(2, 4))
        return await self._kill(*victims)

    async def _kill_twice(self) -> str:
        """The second time while it takes on what the first one left."""
        victim = self._rng.choice((*ALWAYS, "redis"))
        killed = self._signal(victim, signal.SIGKILL)
        self.kills += 1
        await self._started_again(victim, killed)
        await asyncio.sleep(self._rng.uniform(*STARTING_S))
        return await self._kill(victim)

    async def _started_again(self, victim: str, since: float) -> float:
        while self._system.started[victim] <= since:
            await asyncio.sleep(LOOK_EVERY_S)
        return self._system.started[victim]

    async def _power_loss(self) -> str:
        """Of the whole machine, or of that of Redis."""
        before = self._system.bytes_lost
        self._system.power_fails()
        victims = ("redis", *(ALWAYS if self._rng.random() < 0.5 else ()))
        said = await self._kill(*victims)
        return f"{self._system.bytes_lost - before} bytes; {said}"

    async def _stop(self, victim: str) -> str:
        """As an operator does it, in the middle of the work."""
        await self._system.ready(victim)
        stopped = self._signal(victim, signal.SIGTERM)
        while self._system.started[victim] <= stopped:
            await asyncio.sleep(LOOK_EVERY_S)
        reason, seconds = self._system.reasons[victim], self._system.started[victim] - stopped
        self.stops_s.append(seconds)
        if reason != "exit code 0" or seconds > STOPS_WITHIN_S:
            self.wrong.append(
                f"{victim} was told to stop and ended with {reason} after {seconds:.1f} s"
            )
        return f"{reason} after {seconds:.1f} s; {await self._works_again(victim)}"

    async def _hang(self, victim: str) -> str:
        seconds = self._rng.uniform(*HANG_S)
        self._signal(victim, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._signal(victim, signal.SIGCONT)
        return f"for {seconds:.1f} s; {await self._works_again(victim)}"

    async def _works_again(self, victim: str) -> str:
        since, before = self._clock(), await self._probe(victim)
        while await self._probe(victim) == before:
            await asyncio.sleep(LOOK_EVERY_S)
        return f"{victim} has an effect after {self._clock() - since:.1f} s"

    async def _cut_redis_connections(self) -> str:
        """All of one service's."""
        victim = self._rng.choice(ALWAYS)
        clients = await self._ask(lambda redis: redis.client_list())
        mine = [client["id"] for client in clients if client["name"] == victim]
        for id_ in mine:
            await self._ask(partial(_kill_client, id_))
        return f"{len(mine)}; {await self._works_again(victim)}"

    async def _fill_redis(self) -> str:
        refused = self._door.statuses[503]
        memory = await self._ask(lambda redis: redis.info("memory"))
        under = memory["used_memory"] - BELOW_BYTES
        await self._ask(lambda redis: redis.config_set("maxmemory", under))
        await asyncio.sleep(self._rng.uniform(*FULL_S))
        await self._ask(lambda redis: redis.config_set("maxmemory", 0))
        return f"{self._door.statuses[503] - refused} x 503; {await self._works_again('redis')}"

    async def _second_rails(self) -> str:
        """It takes over while the first hangs; then the first goes on, and thinks that it
        still owns the partition."""
        self._signal("rails", signal.SIGSTOP)
        hung = self._system.pid("rails")
        async with self._system.also("rails-2"):
            await self._system.ready("rails-2")
            await self._works_again("rails")
            self._signal("rails", signal.SIGCONT)
            await asyncio.sleep(self._rng.uniform(*HANG_S))
        was = "was superseded" if self._system.pid("rails") != hung else "went on"
        return f"the first {was}; {await self._works_again('rails')}"

    async def _second_index(self) -> str:
        """On the folder of the first, which has it locked."""
        await self._system.ready("index")
        code = await self._system.exit_code("index-2", within_s=REFUSED_WITHIN_S)
        if not code:
            self.wrong.append(f"a second index on the folder of the first ended with {code}")
        return f"it ended with exit code {code}"

    async def _lose_a_group(self) -> str:
        """Its service ends, and the next one reads all that is there again."""
        stream, victim = self._rng.choice([each for own in CONSUMED.values() for each in own])
        since = self._clock()
        await self._ask(lambda redis: redis.xgroup_destroy(stream, victim))
        await self._started_again(victim, since)
        return f"{victim} of {stream}; {await self._works_again(victim)}"

    async def _rebuild(self, victim: str) -> str:
        """It goes on beside what comes next, and may not survive that; either way what is
        served afterwards must be right."""
        await self._system.ready(victim)
        async with httpx.AsyncClient(headers=self._system.operator, timeout=10) as client:
            answer = await client.post(f"{self._system.url(victim)}/v1/rebuild")
        return f"is asked for and answered {answer.status_code}"

    def _signal(self, victim: str, number: signal.Signals) -> float:
        """When it was sent. One who has just died of something else needs none."""
        with suppress(ProcessLookupError):
            os.kill(self._system.pid(victim), number)
        return self._clock()

    async def _probe(self, victim: str) -> object:
        """What changes with an effect that readers can see."""
        if victim in INGESTS:
            return self._door.answered[victim]
        if victim == "redis":
            return sum(self._door.answered.values())
        if victim == "rails":
            return await self._ask(lambda redis: redis.hget(OFFSET, "offset"))
        return (await self._ask(lambda redis: redis.xinfo_stream(INDEXED.name)))[
            "last-generated-id"
        ]

    async def _pending(self, victim: str) -> set[tuple[str, str, bytes]]:
        """Of what its groups were given, what they have not acknowledged."""
        found: set[tuple[str, str, bytes]] = set()
        for stream, group in CONSUMED.get(victim, []):
            try:
                rows = await self._ask(partial(_pending, stream, group))
            except ResponseError:  # The group is not there yet.
                continue
            found |= {(stream, group, row["message_id"]) for row in rows}
        return found

    async def _ask(self, question: Callable[[Redis], Awaitable[Any]]) -> Any:
        """Redis, until it answers."""
        while True:
            try:
                return await question(self._system.redis)
            except RedisError as error:
                if not is_outage(error):
                    raise
                await asyncio.sleep(LOOK_EVERY_S)


async def _kill_client(id_: str, redis: Redis) -> None:
    await redis.client_kill_filter(_id=id_)


async def _pending(stream: str, group: str, redis: Redis) -> list[dict[str, Any]]:
    rows = await redis.xpending_range(stream, group, min="-", max="+", count=1000)
    return cast("list[dict[str, Any]]", rows)
