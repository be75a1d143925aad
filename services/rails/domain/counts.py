"""The fold: view entries to distinct readers per (article, 5 minutes), and totals.

Decided for each view by its own entry alone, so that reading the log again, in other
batches, gives the same:

1. A view of an entry marked `late`, one whose bucket was closed when the entry arrived,
   and one more than `AHEAD_MS` in front of it add to the article's total, each as it
   came. (Ingest lets neither of the latter through; another writer might.)
2. Any other counts once for its (article, visitor, bucket), in the cell and in the total.

An entry arrived when its stream id says. A bucket closes `LATE_MS` and a minute after
its end: later than ingest accepts anything for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from services.rails.domain.columns import Columns
from services.rails.domain.slots import Slots
from services.rails.domain.visitors import VisitorSet

BUCKET_MS: Final = 300_000
BUCKETS: Final = 72
"""Six hours: a longer ring changes no list (measured)."""
AHEAD_MS: Final = 60_000
LATE_MS: Final = 600_000
CLOSED_AFTER_MS: Final = BUCKET_MS + LATE_MS + 60_000

SEEN_MOST: Final = 500_000
"""Of visitors that a snapshot carries, 20 bytes each before it is compressed: what a quarter
of an hour with 500 views a second leaves. To read the log again takes a second for it, and
longer where entries are small."""

_RING: Final = BUCKETS + 1
"""One more than are summed: the next bucket may begin before the ranking's clock does."""
_SMALLEST: Final = 1 << 10
_ONE: Final = np.uint32(1)
"""Of the cells' type: `add.at` is forty times slower when it has to convert."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """An entry's views and when Redis took them."""

    at_ms: int
    columns: Columns


@dataclass(frozen=True, slots=True)
class Seen:
    """Who was counted in the buckets that are still open, in columns."""

    article: NDArray[np.uint32]
    """A place in the articles of the cells."""
    bucket: NDArray[np.int64]
    visitor: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Cells:
    """Everything a snapshot needs: the cells that are not zero, in columns."""

    newest: int
    """The newest bucket of the ring."""
    articles: Sequence[str]
    article: NDArray[np.uint32]
    """A place in `articles`."""
    bucket: NDArray[np.int64]
    readers: NDArray[np.uint32]
    seen: Seen | None = None
    """None where it would be long: then the log has to tell."""


class Counts:
    """Of every article that has a slot. A slot is freed when all of its cells are zero and
    its total was taken."""

    def __init__(self) -> None:
        self.slots = Slots()
        self.newest = -1
        self.arrived_ms = 0
        self._sets: dict[int, VisitorSet] = {}
        self._filled = np.zeros(_RING, np.bool_)
        # By bucket first, so that one bucket of all articles is one run of memory.
        self._ring = np.zeros((_RING, 0), np.uint32)
        self._totals = np.zeros(0, np.int64)
        self._changed = np.zeros(0, np.bool_)
        self._grow(_SMALLEST)

    @classmethod
    def of(cls, cells: Cells) -> Self:
        counts = cls()
        counts.roll(cells.newest)
        slots = counts._slots_of(cells.articles)
        counts._ring[cells.bucket % _RING, slots[cells.article]] = cells.readers
        counts._filled[cells.bucket % _RING] = True
        if seen := cells.seen:
            for bucket in np.unique(seen.bucket).tolist():
                of_it = seen.bucket == bucket
                counts._set(bucket).add(slots[seen.article[of_it]], seen.visitor[of_it])
        return counts

    @property
    def size(self) -> int:
        """How long an array by slot must be."""
        return len(self._changed)

    def fold(self, arrived: Sequence[Arrived], *, only_visitors: bool = False) -> None:
        """`only_visitors`: the cells and totals have these already; what is lost with the
        process is who was seen."""
        arrived = [entry for entry in arrived if len(entry.columns.article)]
        if not arrived:
            return
        columns = [entry.columns for entry in arrived]
        lengths = [len(of.article) for of in columns]
        entry_ms = np.repeat([entry.at_ms for entry in arrived], lengths)
        late = np.repeat([of.late for of in columns], lengths)
        at_ms = np.concatenate([of.at_ms for of in columns])
        buckets = at_ms // BUCKET_MS
        counts = ~late & (buckets * BUCKET_MS + CLOSED_AFTER_MS >= entry_ms)
        counts &= at_ms <= entry_ms + AHEAD_MS
        counted = np.flatnonzero(counts)
        if len(counted):
            self.roll(int(buckets[counted].max()))
        slots = self._slots_of_views(columns)
        if not only_visitors:
            np.add.at(self._totals, slots[~counts], 1)
        visitors = np.concatenate([of.visitor for of in columns]).view(np.uint64)
        self._count(buckets[counted], slots[counted], visitors[counted], only_visitors)
        self.arrived_ms = max(self.arrived_ms, int(entry_ms.max()))
        self._close()

    def roll(self, bucket: int) -> None:
        """Makes room for a bucket; before its first view, also after idle hours."""
        if bucket <= self.newest:
            return
        for opened in range(max(self.newest + 1, bucket - _RING + 1), bucket + 1):
            self._ring[opened % _RING] = 0
            self._filled[opened % _RING] = False
        self.newest = bucket
        # A set of visitors that is older than the ring may still know a slot by its old
        # article: while the log is read after a long outage.
        if min(self._sets, default=bucket) > bucket - _RING:
            idle = ~self._ring.any(axis=0) & (self._totals == 0)
            for slot in np.flatnonzero(idle[: len(self.slots.ids)]).tolist():
                self.slots.release(slot)

    def column(self, bucket: int) -> NDArray[np.uint32] | None:
        """The cells of a bucket by slot; None when all are zero."""
        if not self.newest - _RING < bucket <= self.newest or not self._filled[bucket % _RING]:
            return None
        column: NDArray[np.uint32] = self._ring[bucket % _RING]
        return column

    def take_changed(self) -> NDArray[np.bool_]:
        """By slot, whether a cell changed since the last call."""
        changed, self._changed = self._changed, np.zeros_like(self._changed)
        return changed

    def take_totals(self) -> tuple[list[str], list[int]]:
        """What came to the totals since the last call: articles and numbers."""
        slots = np.flatnonzero(self._totals)
        numbers: list[int] = self._totals[slots].tolist()
        self._totals[slots] = 0
        return self.slots.named(slots.tolist()), numbers

    def cells(self) -> Cells:
        places, slots = np.nonzero(self._ring)
        used, article = np.unique(slots, return_inverse=True)
        return Cells(
            seen=self._seen(used),
            newest=self.newest,
            articles=self.slots.named(used.tolist()),
            article=article.astype(np.uint32),
            # The newest bucket that stands in this place.
            bucket=self.newest - (self.newest - places) % _RING,
            readers=self._ring[places, slots],
        )

    def _seen(self, used: NDArray[np.intp]) -> Seen | None:
        """By place in `used`, the slots that have cells."""
        sets = self._sets
        if sum(map(len, sets.values())) > SEEN_MOST:
            return None
        # While a long backlog is read the ring may have lost the cells of an open bucket.
        if min(sets, default=self.newest) <= self.newest - _RING:
            return None
        pairs = [of.pairs() for of in sets.values()]
        slots = np.concatenate([np.empty(0, np.int32), *(slots for slots, _ in pairs)])
        return Seen(
            article=np.searchsorted(used, slots).astype(np.uint32),
            bucket=np.repeat(
                np.array(list(sets), np.int64), np.array([*map(len, sets.values())], np.int64)
            ),
            visitor=np.concatenate([np.empty(0, np.uint64), *(of for _, of in pairs)]),
        )

    def _count(
        self,
        buckets: NDArray[np.int64],
        slots: NDArray[np.int32],
        visitors: NDArray[np.uint64],
        only_visitors: bool,
    ) -> None:
        rest = np.arange(len(buckets))
        while len(rest):
            bucket = int(buckets[rest[0]])
            is_of_it = buckets[rest] == bucket
            these, rest = rest[is_of_it], rest[~is_of_it]
            fresh = self._set(bucket).add(slots[these], visitors[these])
            if not only_visitors:
                self._add(bucket, slots[these][fresh])

    def _add(self, bucket: int, slots: NDArray[np.int32]) -> None:
        np.add.at(self._totals, slots, 1)
        # A batch may span more than the ring, after a long outage.
        if bucket > self.newest - _RING:
            np.add.at(self._ring[bucket % _RING], slots, _ONE)
            self._filled[bucket % _RING] = True
            self._changed[slots] = True

    def _set(self, bucket: int) -> VisitorSet:
        if bucket not in self._sets:
            # About as many readers as the bucket before.
            expected = max(map(len, self._sets.values()), default=0)
            self._sets[bucket] = VisitorSet(expected=expected)
        return self._sets[bucket]

    def _close(self) -> None:
        for bucket in list(self._sets):
            if bucket * BUCKET_MS + CLOSED_AFTER_MS < self.arrived_ms:
                del self._sets[bucket]

    def _slots_of_views(self, columns: Sequence[Columns]) -> NDArray[np.int32]:
        known = np.array([len(of.articles) for of in columns])
        slots = self._slots_of(list(chain.from_iterable(of.articles for of in columns)))
        firsts = np.repeat(np.cumsum(known) - known, [len(of.article) for of in columns])
        places: NDArray[np.int64] = np.concatenate([of.article for of in columns]) + firsts
        return slots.take(places)

    def _slots_of(self, articles: Sequence[str]) -> NDArray[np.int32]:
        slots = self.slots.of(articles)
        while len(self.slots.ids) > self.size:
            self._grow(2 * self.size)
        return slots

    def _grow(self, size: int) -> None:
        self._ring = widened(self._ring, size)
        self._totals = widened(self._totals, size)
        self._changed = widened(self._changed, size)


def widened(array: NDArray[Any], size: int) -> NDArray[Any]:
    """With room for `size` slots in its last axis, the new ones zero."""
    room = [(0, 0)] * (array.ndim - 1) + [(0, size - array.shape[-1])]
    return np.pad(array, room)
