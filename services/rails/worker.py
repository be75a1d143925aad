"""A partition of `news.views`: read by offset, fold, rank, commit.

Nothing is counted twice or lost whoever dies when, for a commit writes totals, candidates
and offset in one step, and only if the stored offset is the one it started from and its
worker the newest (the epoch). An entry that cannot be read becomes a dead letter in the
same step. Cells are a function of the log, so they are kept only now and then: a start
loads the last snapshot, reads a little before it again to know who was seen where it does
not say so itself, then folds again what was committed since, without its totals.

A rebuild reads the whole log into counts of its own, beside all this, and a commit puts
them in the place of the old ones. A start that finds its state gone does the same first.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from time import monotonic
from typing import Any, Final, cast

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError
from structlog import get_logger

from services.rails import keys
from services.rails.consumer import Articles
from services.rails.domain import latest
from services.rails.domain.candidates import Candidate, changed, list_name, to_json
from services.rails.domain.catalogue import Catalogue
from services.rails.domain.counts import BUCKET_MS, CLOSED_AFTER_MS, Cells, Counts
from services.rails.domain.popular import Popular
from services.rails.fold import READ_MOST, fold
from services.rails.keys import GROUP
from services.rails.rebuild import Rebuilt, given
from services.rails.snapshots import packed, unpacked
from services.rails.threads import in_thread
from shared import metrics
from shared.clock import Clock, now, to_ms
from shared.errors import Unavailable
from shared.events import RAILS
from shared.streams.archive import ArchiveUnavailable
from shared.streams.clients import BLOCK_MS, is_outage
from shared.streams.dead import WRITE_LETTER
from shared.streams.entries import FIRST, Entry, entry_ms
from shared.streams.keys import belonging, dead
from shared.streams.replay import Log
from shared.web.rebuild import Progress

log = get_logger()

COMMIT_EVERY_S: Final = 0.25
COMMIT_BEHIND_EVERY_S: Final = 0.75
"""While a backlog is read: its lists are of the past anyway, and ranking takes a fifth of
the time at four times a second."""
RANK_ALL_EVERY_S: Final = 1.0
SNAPSHOT_EVERY_S: Final = 60.0
GATHER_S: Final = 0.02
"""A step costs the same for one entry as for many: what comes meanwhile goes with it."""
STOP_WITHIN_S: Final = 3.0
CATCH_UPS: Final = 2
"""Rounds in which a rebuild reads what came during the one before, while the fold goes
on; for the last of it the fold waits."""


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
    rebuilt: bytes
    """Which totals take the place of all before, or b''."""


class Worker:
    def __init__(
        self,
        redis: Redis,
        reading: Log,
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
            belonging(stream_key, keys.SNAPSHOT),
            belonging(stream_key, keys.TOTALS_REBUILT),
        ]
        self._own_script = redis.register_script(
            files(__package__).joinpath("lua/own.lua").read_text()
        )
        self._commit_script = redis.register_script(
            WRITE_LETTER + files(__package__).joinpath("lua/commit.lua").read_text()
        )
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
        self._read: asyncio.Queue[Sequence[Entry]] = asyncio.Queue(maxsize=1)
        self._state = asyncio.Lock()
        """Held by whoever changes counts, catalogue or offset."""
        self._committing = asyncio.Lock()
        """Held by whoever commits, and taken before the other."""

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

    async def rebuild(self, progress: Progress) -> None:
        """Catalogue and counts anew from the log, each beside the old one and then in its
        place. The lists follow from them; where they are the same, nothing is published.

        Raises what `Log` does, and leaves the old ones.
        """
        if not self.live:
            raise Unavailable("the log is still being read; try again when rails is ready")
        await self._rebuild_catalogue(progress)
        await self._rebuild_counts(progress)
        log.info("worker.rebuilt", stream=self.stream_key, offset=self._committed)

    async def _recover(self) -> None:
        _, offset_key, _, tops_key, _, _, snapshot_key, rebuilt_key = self._keys
        # First of all: from here on the worker before can commit no more.
        self._epoch = await self._own_script(keys=[offset_key])
        await self._redis.unlink(rebuilt_key)
        state = cast("dict[bytes, bytes]", await self._redis.hgetall(offset_key))
        known = await self._articles.known()
        catalogue = await in_thread(lambda: Catalogue(known, now_ms=to_ms(self._clock())))
        if b"offset" in state:
            snapshot = cast("bytes | None", await self._redis.get(snapshot_key))
            await self._read_again(state, snapshot)
            self._rank_anew(self._counts, catalogue, await self._names(tops_key))
            await in_thread(self._prepare)
        else:
            # Nothing was folded before, or the state is gone. Then all that the group was
            # given counts at once: lists of half of it would be published.
            self._offset, self._entries = await given(self._redis, self.stream_key)
            published = await self._names(belonging(RAILS.name, keys.LISTS))
            self._rank_anew(self._counts, catalogue, published)
            await self._rebuild_counts(Progress())
        log.info("worker.recovered", stream=self.stream_key, epoch=self._epoch, offset=self._offset)

    async def _names(self, lists_key: str) -> list[str]:
        found = cast("list[bytes]", await self._redis.hkeys(lists_key))
        return [name.decode() for name in found]

    async def _read_again(self, state: dict[bytes, bytes], snapshot: bytes | None) -> None:
        committed = state[b"offset"].decode()
        kept_at = state[b"snapshot"].decode() if snapshot else FIRST
        if snapshot:
            cells = await in_thread(unpacked, snapshot)
            self._counts = Counts.of(cells)
            if cells.seen is None:
                oldest_open_ms = (entry_ms(kept_at) - CLOSED_AFTER_MS) // BUCKET_MS * BUCKET_MS
                seen_from = f"{max(oldest_open_ms - 60_000, 0)}-0"
                await self._fold_again(seen_from, kept_at, only_visitors=True)
        await self._fold_again(kept_at, committed, only_visitors=False)
        self._offset = self._committed = committed
        self._entries = int(state[b"entries"])

    async def _fold_again(self, after: str, end: str, *, only_visitors: bool) -> None:
        def again(entries: Sequence[Entry]) -> None:
            """Totals and dead letters were committed with the offset."""
            fold(self._counts, entries, only_visitors=only_visitors)
            self._counts.take_totals()

        async for entries in self._reading.until(self.stream_key, after, end, count=READ_MOST):
            await in_thread(again, entries)

    async def _rebuild_catalogue(self, progress: Progress) -> None:
        last = await self._articles.rebuild(progress)
        known = await self._articles.known()
        catalogue = await in_thread(lambda: Catalogue(known, now_ms=to_ms(self._clock())))
        async with self._state:
            # What the old catalogue was given meanwhile.
            for facts in await self._articles.since(last):
                catalogue.put(facts)
            self._rank_anew(self._counts, catalogue, self._tops)

    async def _rebuild_counts(self, progress: Progress) -> None:
        rebuilt = Rebuilt(self._redis, self._reading, self.stream_key, progress)
        await rebuilt.begin()
        for _ in range(CATCH_UPS):
            await rebuilt.read_to(self._offset)
        async with self._committing:
            await self._send()
            async with self._state:
                await rebuilt.read_to(self._offset)
                self._rank_anew(rebuilt.counts, self._catalogue, self._tops)
                self._snapshot_due = 0.0
                await in_thread(self._prepare, rebuilt.to_json())
            await self._send()

    def _rank_anew(self, counts: Counts, catalogue: Catalogue, names: Iterable[str]) -> None:
        """All lists are made and committed once more, and of these also what is empty now."""
        self._counts, self._catalogue = counts, catalogue
        self._popular = Popular(counts, catalogue, min_readers=self._min_readers)
        catalogue.dirty.update(catalogue.newest)
        self._unconfirmed.update(names)
        self._rank_all_due = 0.0

    async def _keep_reading(self) -> None:
        """A read ahead of the fold."""
        after = self._offset
        while True:
            try:
                found = await self._reading.after(
                    self.stream_key, after, count=READ_MOST, block_ms=BLOCK_MS
                )
            except (RedisError, ArchiveUnavailable) as error:
                await self._wait_out(error)
                continue
            # A segment of the archive is long.
            for start in range(0, len(found), READ_MOST):
                await self._read.put(found[start : start + READ_MOST])
            if found:
                after = found[-1].id
                self._is_behind = len(found) >= READ_MOST
                if not self._is_behind:
                    await asyncio.sleep(GATHER_S)

    async def _keep_folding(self) -> None:
        while True:
            entries = await self._read.get()
            async with self._state:
                await in_thread(self._fold, entries)

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

    async def _wait_out(self, error: RedisError | ArchiveUnavailable) -> None:
        if isinstance(error, RedisError) and not is_outage(error):
            raise error
        log.warning("worker.waits", stream=self.stream_key, error=str(error)[:200])
        await asyncio.sleep(0.2)

    def _fold(self, entries: Sequence[Entry]) -> None:
        self._unreadable += fold(self._counts, entries)
        self._offset = entries[-1].id
        self._entries += len(entries)

    async def _commit(self) -> None:
        """The fold goes on meanwhile."""
        async with self._committing:
            if self._pending is None:
                async with self._state:
                    await in_thread(self._prepare)
            await self._send()

    async def _send(self) -> None:
        if (commit := self._pending) is None:
            return
        cells = await in_thread(packed, commit.cells) if commit.cells else b""
        args = [GROUP, self._epoch, commit.start, commit.end, commit.entries, commit.ranked_ms]
        args += [commit.totals, cells, commit.rebuilt]
        args += [len(commit.dead), *chain.from_iterable(commit.dead)]
        args += chain.from_iterable(commit.tops.items())
        await self._fenced(args)
        self._committed = commit.end
        self.entries = commit.entries
        self._pending = None
        for entry_id, reason in commit.dead:
            metrics.DEAD.labels(self.stream_key, GROUP).inc()
            log.error("entry.dead", stream=self.stream_key, entry=entry_id, reason=reason)
        metrics.FOLD_OFFSET_MS.set(entry_ms(commit.end))
        self._told.set()

    def _prepare(self, rebuilt: bytes = b"") -> None:
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
            rebuilt=rebuilt,
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

    async def _fenced(self, args: list[Any]) -> None:
        """Until it is answered: the script knows a repeat of itself."""
        while True:
            try:
                reply = await self._commit_script(keys=self._keys, args=args)
            except RedisError as error:
                await self._wait_out(error)
                continue
            if reply[0] == b"refused":
                raise Superseded(
                    f"{self.stream_key}: epoch {self._epoch} from {self._committed} was refused, "
                    f"stored are epoch {reply[2].decode()} and {reply[1].decode()}"
                )
            return
