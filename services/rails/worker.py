"""A partition of `news.views`: read by offset, fold, rank, commit.

Nothing is counted twice or lost whoever dies when, for a commit writes totals, candidates
and offset in one step, and only if the stored offset is the one it started from and its
worker the newest (the epoch). An entry that cannot be read becomes a dead letter in the
same step. Cells are a function of the log, so they are kept only now
and then: a start loads the last snapshot, reads a little before it again to know who was
seen, then folds again what was committed since, without its totals.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from time import monotonic
from typing import Any, Final, TypeVar, TypeVarTuple, cast

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError
from structlog import get_logger

from services.rails import keys
from services.rails.consumer import Articles
from services.rails.domain import latest
from services.rails.domain.candidates import Candidate, changed, list_name, to_json
from services.rails.domain.catalogue import Catalogue
from services.rails.domain.columns import read
from services.rails.domain.counts import BUCKET_MS, CLOSED_AFTER_MS, Arrived, Cells, Counts
from services.rails.domain.popular import Popular
from services.rails.snapshots import packed, unpacked
from shared import metrics
from shared.clock import Clock, now, to_ms
from shared.events import Unreadable
from shared.streams.clients import is_outage
from shared.streams.dead import WRITE_LETTER
from shared.streams.entries import FIRST, Entry, entry_ms, place, read_after
from shared.streams.keys import belonging, dead

log = get_logger()

GROUP: Final = "rails"
READ_MOST: Final = 100
FOLD_MOST: Final = 50
"""Entries at a time, so that the arrays stay in the processor's cache."""
COMMIT_EVERY_S: Final = 0.25
COMMIT_BEHIND_EVERY_S: Final = 0.75
"""While a backlog is read: its lists are of the past anyway, and ranking takes a fifth of
the time at four times a second."""
RANK_ALL_EVERY_S: Final = 1.0
SNAPSHOT_EVERY_S: Final = 60.0
GATHER_S: Final = 0.02
"""A step costs the same for one entry as for many: what comes meanwhile goes with it."""
STOP_WITHIN_S: Final = 3.0

T = TypeVar("T")
Given = TypeVarTuple("Given")


class Superseded(Exception):
    """Another worker owns the partition, or the log is not the one that was folded."""


@dataclass(frozen=True, slots=True)
class Commit:
    start: str
    end: str
    entries: int
    ranked_ms: int
    totals: bytes
    tops: dict[str, bytes]
    dead: Sequence[tuple[str, str]]
    """Entries that cannot be read: id and reason."""
    cells: Cells | None
    """Now and then, to be kept as they are at `end`."""


class Worker:
    def __init__(
        self,
        redis: Redis,
        reading: Redis,
        stream_key: str,
        articles: Articles,
        *,
        committed: asyncio.Event,
        min_readers: int,
        clock: Clock = now,
    ) -> None:
        """`committed` is set after each commit; whoever waits for it clears it."""
        self.live = False
        self.entries = 0
        """Read in all, and committed."""
        self._told = committed
        self._redis = redis
        self._reading = reading
        self.stream_key = stream_key
        self._articles = articles
        self._min_readers = min_readers
        self._clock = clock
        self._keys = [
            stream_key,
            *(
                belonging(stream_key, suffix)
                for suffix in (keys.OFFSET, keys.TOTALS, keys.TOPS, keys.CHANGED)
            ),
            dead(stream_key, GROUP),
        ]
        self._snapshot_key = belonging(stream_key, keys.SNAPSHOT)
        self._commit_script = redis.register_script(WRITE_LETTER + _lua("commit"))
        self._snapshot_script = redis.register_script(_lua("snapshot"))
        self._epoch = 0
        self._offset = self._committed = FIRST
        self._entries = 0
        self._pending: Commit | None = None
        self._unreadable: list[tuple[str, str]] = []
        self._tops: dict[str, Sequence[Candidate]] = {}
        self._unconfirmed: set[str] = set()
        self._counts = Counts()
        self._catalogue = Catalogue()
        self._popular = Popular(self._counts, self._catalogue, min_readers=min_readers)
        self._rank_all_due = self._snapshot_due = 0.0
        self._is_behind = False
        self._read: asyncio.Queue[list[Entry]] = asyncio.Queue(maxsize=1)
        self._state = asyncio.Lock()
        """Held by whoever changes counts, catalogue or offset."""

    async def run(self) -> None:
        """Until cancelled. Raises Superseded when it may no longer commit."""
        await self._recover()
        self.live = True
        try:
            async with asyncio.TaskGroup() as tasks:
                for loop in (self._keep_reading, self._keep_folding, self._keep_committing):
                    tasks.create_task(loop())
        except asyncio.CancelledError:
            async with asyncio.timeout(STOP_WITHIN_S):
                await self._finish()
            raise

    async def check(self) -> None:
        if not self.live:
            raise RuntimeError("the log is still being read")

    async def _recover(self) -> None:
        offset_key, tops_key = self._keys[1], self._keys[3]
        # First of all: from here on the worker before can commit no more.
        self._epoch = await self._redis.hincrby(offset_key, "epoch", 1)
        state = cast("dict[bytes, bytes]", await self._redis.hgetall(offset_key))
        committed = state.get(b"offset", FIRST.encode()).decode()
        kept_at = state.get(b"snapshot", FIRST.encode()).decode()
        if snapshot := cast("bytes | None", await self._redis.get(self._snapshot_key)):
            self._counts = Counts.of(await _in_thread(unpacked, snapshot))
            oldest_open_ms = (entry_ms(kept_at) - CLOSED_AFTER_MS) // BUCKET_MS * BUCKET_MS
            seen_from = f"{max(oldest_open_ms - 60_000, 0)}-0"
            await self._fold_again(seen_from, kept_at, only_visitors=True)
        await self._fold_again(kept_at, committed)
        # Both were committed with the offset.
        self._counts.take_totals()
        self._unreadable.clear()
        self._offset = self._committed = committed
        self._entries = int(state.get(b"entries", 0))
        known = await self._articles.known()
        self._catalogue = await _in_thread(lambda: Catalogue(known, now_ms=to_ms(self._clock())))
        self._popular = Popular(self._counts, self._catalogue, min_readers=self._min_readers)
        self._unconfirmed = {
            name.decode() for name in cast("list[bytes]", await self._redis.hkeys(tops_key))
        }
        await _in_thread(self._prepare)
        log.info(
            "worker.recovered",
            stream=self.stream_key, epoch=self._epoch, snapshot=kept_at, offset=committed,
        )  # fmt: skip

    async def _fold_again(self, after: str, end: str, *, only_visitors: bool = False) -> None:
        while place(after) < place(end):
            found = await read_after(
                self._reading, self.stream_key, after, count=READ_MOST, block_ms=None
            )
            entries = [entry for entry in found if place(entry.id) <= place(end)]
            if not entries:
                return
            after = entries[-1].id
            await _in_thread(self._fold, entries, only_visitors)

    async def _keep_reading(self) -> None:
        """A read ahead of the fold."""
        after = self._offset
        while True:
            try:
                entries = await read_after(self._reading, self.stream_key, after, count=READ_MOST)
            except RedisError as error:
                await self._wait_out(error)
                continue
            if entries:
                after = entries[-1].id
                await self._read.put(entries)
                self._is_behind = len(entries) == READ_MOST
                if not self._is_behind:
                    await asyncio.sleep(GATHER_S)

    async def _keep_folding(self) -> None:
        while True:
            entries = await self._read.get()
            async with self._state:
                await _in_thread(self._fold, entries, False)

    async def _keep_committing(self) -> None:
        while True:
            began = monotonic()
            await self._commit()
            every_s = COMMIT_BEHIND_EVERY_S if self._is_behind else COMMIT_EVERY_S
            await asyncio.sleep(began + every_s - monotonic())

    async def _finish(self) -> None:
        if self._pending:
            await self._commit()
        self._snapshot_due = 0.0
        await self._commit()

    async def _wait_out(self, error: RedisError) -> None:
        if not is_outage(error):
            raise error
        log.warning("worker.waits", stream=self.stream_key, error=str(error)[:200])
        await asyncio.sleep(0.2)

    def _fold(self, entries: Sequence[Entry], only_visitors: bool) -> None:
        for start in range(0, len(entries), FOLD_MOST):
            arrived = self._arrived(entries[start : start + FOLD_MOST])
            self._counts.fold(arrived, only_visitors=only_visitors)
        self._offset = entries[-1].id
        self._entries += len(entries)

    def _arrived(self, entries: Sequence[Entry]) -> list[Arrived]:
        arrived = []
        for entry in entries:
            match read(entry.fields):
                case Unreadable(reason):
                    self._unreadable.append((entry.id, f"unreadable: {reason}"))
                case columns:
                    arrived.append(Arrived(entry.at_ms, columns))
        return arrived

    async def _commit(self) -> None:
        """The fold goes on meanwhile."""
        if self._pending is None:
            async with self._state:
                await _in_thread(self._prepare)
        if (commit := self._pending) is None:
            return
        args = [GROUP, self._epoch, commit.start, commit.end, commit.entries, commit.ranked_ms]
        args += [commit.totals, len(commit.dead), *chain.from_iterable(commit.dead)]
        args += chain.from_iterable(commit.tops.items())
        await self._fenced(self._commit_script, self._keys, args)
        self._committed = commit.end
        self.entries = commit.entries
        self._pending = None
        for entry_id, reason in commit.dead:
            metrics.DEAD.labels(self.stream_key, GROUP).inc()
            log.error("entry.dead", stream=self.stream_key, entry=entry_id, reason=reason)
        metrics.FOLD_OFFSET_MS.set(entry_ms(commit.end))
        self._told.set()
        if commit.cells:
            snapshot = await _in_thread(packed, commit.cells)
            args = [self._epoch, commit.end, snapshot]
            await self._fenced(self._snapshot_script, [self._keys[1], self._snapshot_key], args)

    def _prepare(self) -> None:
        """What there is to commit, or that there is nothing."""
        every, keep = monotonic() >= self._rank_all_due, monotonic() >= self._snapshot_due
        if not (every or keep or self._articles.news or self._offset != self._committed):
            return
        if every:
            self._rank_all_due = monotonic() + RANK_ALL_EVERY_S
        if keep:
            self._snapshot_due = monotonic() + SNAPSHOT_EVERY_S
        while self._articles.news:
            facts = self._articles.news.popleft()
            if self._catalogue.put(facts):
                self._popular.replace(facts.id)
        # A view's time may be a little ahead of this machine's.
        now_ms = max(to_ms(self._clock()), self._counts.arrived_ms)
        tops = self._changed_tops(now_ms, every=every)
        articles, views = self._counts.take_totals()
        unreadable, self._unreadable = self._unreadable, []
        self._pending = Commit(
            start=self._committed,
            end=self._offset,
            entries=self._entries,
            ranked_ms=now_ms,
            totals=orjson.dumps({"articles": articles, "views": views}),
            tops={name: to_json(rows) if rows else b"" for name, rows in tops.items()},
            dead=unreadable,
            cells=self._counts.cells() if keep else None,
        )

    def _changed_tops(self, now_ms: int, *, every: bool) -> dict[str, Sequence[Candidate]]:
        self._catalogue.advance(now_ms)
        lists: dict[str, Sequence[Candidate]] = {name: [] for name in self._unconfirmed}
        for section, rows in self._popular.rank(now_ms, every=every).items():
            lists[list_name("popular", section)] = rows
        for section in self._catalogue.dirty:
            lists[list_name("latest", section)] = latest.rank(self._catalogue, section, now_ms)
        self._catalogue.dirty.clear()
        tops = {
            name: rows
            for name, rows in lists.items()
            if name in self._unconfirmed or changed(self._tops.get(name, ()), rows)
        }
        self._tops |= tops
        self._unconfirmed.clear()
        return tops

    async def _fenced(self, script: Any, script_keys: list[str], args: list[Any]) -> None:
        """Until it is answered: the script knows a repeat of itself."""
        while True:
            try:
                reply = await script(keys=script_keys, args=args)
            except RedisError as error:
                await self._wait_out(error)
                continue
            if reply[0] == b"refused":
                raise Superseded(
                    f"{self.stream_key}: epoch {self._epoch} from {self._committed} was refused, "
                    f"stored are epoch {reply[2].decode()} and {reply[1].decode()}"
                )
            return


def _lua(name: str) -> str:
    return files(__package__).joinpath(f"lua/{name}.lua").read_text()


async def _in_thread(work: Callable[[*Given], T], *given: *Given) -> T:
    """As `to_thread`, but a cancellation waits for the thread: it cannot be stopped, and
    would go on changing what the caller cleans up."""
    running = asyncio.get_running_loop().run_in_executor(None, work, *given)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
