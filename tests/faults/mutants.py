"""The guards of the promise, each of which can be taken out: then a run must turn red.

A guard in Lua is taken out of the text that the client registers. That the text is there is
asserted, and a mutant that stays green fails `make faults-mutants`: no refactoring turns
one into healthy code unseen.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from redis.asyncio import Redis

from shared.streams import trim
from shared.streams.consume import Apply, Consumer, Delivered
from shared.streams.entries import Entry
from shared.streams.groups import OWN_GROUPS

SLOW_DISK_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class Mutant:
    faults: tuple[str, ...]
    """Those that bite."""
    take_out: Callable[[], None] = lambda: None
    fsync: str = "always"


def replace(owner: object, name: str, new: object) -> None:
    assert hasattr(owner, name)
    setattr(owner, name, new)


def _without(package: str, script: str, *guards: str) -> Callable[[], None]:
    def take_out() -> None:
        source = files(package).joinpath(f"lua/{script}.lua").read_text()
        mutated = source
        for guard in guards:
            assert guard in mutated, f"{script}.lua no longer has: {guard}"
            mutated = mutated.replace(guard, "")
        registered = Redis.register_script

        def register(client: Redis, given: str) -> Any:
            return registered(client, given.replace(source, mutated))

        replace(Redis, "register_script", register)

    return take_out


def _acknowledge_first() -> None:
    original = Consumer.__init__

    def init(
        self: Consumer, url: Any, redis: Redis, stream: str, group: str, apply: Apply, **rest: Any
    ) -> None:
        async def acknowledged(batch: Sequence[Delivered]) -> None:
            await redis.xack(stream, group, *(delivered.entry_id for delivered in batch))
            await apply(batch)

        original(self, url, redis, stream, group, acknowledged, **rest)

    replace(Consumer, "__init__", init)


def _trim_what_groups_need() -> None:
    async def nothing(*_: object) -> dict[str, tuple[int, int]]:
        return {group: (2**60, 0) for own in OWN_GROUPS.values() for group in own}

    replace(trim, "needed", nothing)


def _trim_then_archive() -> None:
    original = trim.Janitor._removable

    async def trimmed(self: trim.Janitor, stream: str, *rest: Any) -> list[Entry]:
        entries = await original(self, stream, *rest)
        if entries:
            ms, _, number = entries[-1].id.partition("-")
            await self._redis.xtrim(stream, minid=f"{ms}-{int(number) + 1}", approximate=False)
            await asyncio.sleep(SLOW_DISK_S)
        return entries

    replace(trim.Janitor, "_removable", trimmed)


def _groups_at_the_end() -> None:
    original = Redis.xgroup_create

    async def create(self: Redis, name: Any, group: Any, id: Any, **rest: Any) -> Any:  # noqa: A002 - redis-py's
        assert id == "0"
        return await original(self, name, group, id="$", **rest)

    replace(Redis, "xgroup_create", create)


SENDING: Final = ("hang redis", "cut redis connections", "kill redis")
MUTANTS: Final[Mapping[str, Mutant]] = {
    "append: a repeat is not told": Mutant(
        SENDING,
        _without("shared.streams", "append", "if value then reply = {'seen', value} end"),
    ),
    "append: records are not compared": Mutant(
        SENDING,
        _without("shared.streams", "append", "if record ~= expected then changed = true end"),
    ),
    "commit: no fence": Mutant(
        ("second rails",),
        _without(
            "services.rails",
            "commit",
            "if epoch ~= ARGV[2] then return {'refused', offset, epoch} end",
            "if offset ~= ARGV[3] then return {'refused', offset, epoch} end",
        ),
    ),
    "acknowledged before the effect": Mutant(("kill index", "kill rails"), _acknowledge_first),
    "trimmed whatever groups need": Mutant(("hang index", "hang rails"), _trim_what_groups_need),
    "trimmed before it is archived": Mutant(("kill ingest", "kill ingest-2"), _trim_then_archive),
    "groups begin at the end": Mutant(("lose a group",), _groups_at_the_end),
    "synced once a second": Mutant(("power loss",), fsync="everysec"),
}
