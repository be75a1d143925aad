"""Which slot an article has: its index in every array of the fold.

A dict knows. For a batch a table in numpy is asked first: a dict look-up among 100,000
articles waits for memory three or four times, one after the other, and was a quarter of
the fold; in the table all look-ups of a batch wait together. It has one place for each
hash and just forgets whom another displaces.

It takes two articles for one when their 64-bit hashes are equal. Python keys them anew in
each process, so nobody can look for such a pair, and among a million articles one exists
with a probability of 3e-8; visitors are told apart by 52 bits.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

PLACES: Final = 1 << 20
NOBODY: Final = 0
"""The hash of '' alone, which is no id."""


class Slots:
    def __init__(self) -> None:
        self.ids: list[str | None] = []
        self.touched: set[int] = set()
        """Slots that were given away or freed; whoever keeps arrays by slot clears it."""
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._hashes = np.full(PLACES, NOBODY, np.int64)
        self._found = np.zeros(PLACES, np.int32)

    def get(self, article: str) -> int | None:
        return self._slots.get(article)

    def named(self, slots: Sequence[int]) -> list[str]:
        """Whose they are; none of them may be free."""
        return [self.ids[slot] or "" for slot in slots]

    def of(self, articles: Sequence[str]) -> NDArray[np.int32]:
        """New articles are given slots."""
        hashes = np.fromiter(map(hash, articles), np.int64, len(articles))
        places = hashes & (PLACES - 1)
        slots: NDArray[np.int32] = self._found[places]
        missed = np.flatnonzero(self._hashes[places] != hashes)
        slots[missed] = [self._slot(articles[index]) for index in missed.tolist()]
        self._hashes[places[missed]] = hashes[missed]
        self._found[places[missed]] = slots[missed]
        return slots

    def release(self, slot: int) -> None:
        if article := self.ids[slot]:
            self._hashes[hash(article) & (PLACES - 1)] = NOBODY
            del self._slots[article]
            self.ids[slot] = None
            self._free.append(slot)
            self.touched.add(slot)

    def _slot(self, article: str) -> int:
        slot = self._slots.get(article)
        if slot is None:
            slot = self._free.pop() if self._free else len(self.ids)
            self.ids[slot : slot + 1] = [article]
            self._slots[article] = slot
            self.touched.add(slot)
        return slot
