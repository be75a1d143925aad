"""Exactly which (article, visitor) pairs a bucket has seen.

An open-addressing hash table (linear probing) in two arrays, probed for a whole batch at
once: each round looks at one place for every view that is not yet settled. At a load of
at most a half a batch needs a handful of rounds. 12 bytes a place, and no error: a Bloom
filter of a ninth of the size undercounts, and depends on the order.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

FREE: Final = -1
SMALLEST: Final = 1 << 10
_MIX_VISITOR: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_ARTICLE: Final = np.uint64(0xD1B54A32D192ED03)


class VisitorSet:
    def __init__(self) -> None:
        self._size = 0
        self._make(SMALLEST)

    def __len__(self) -> int:
        return self._size

    def add(self, articles: NDArray[np.int32], visitors: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which views are the first of their pair; of equal ones in the batch, one is."""
        while 2 * (self._size + len(articles)) > len(self._articles):
            self._double()
        fresh = self._insert(articles, visitors)
        self._size += int(np.count_nonzero(fresh))
        return fresh

    def _make(self, places: int) -> None:
        self._articles = np.full(places, FREE, np.int32)
        self._visitors = np.empty(places, np.uint64)
        # Which view of the batch claimed a free place; read only where just written.
        self._claims = np.empty(places, np.int32)

    def _double(self) -> None:
        articles, visitors = self._articles, self._visitors
        self._make(2 * len(articles))
        taken = articles != FREE
        self._insert(articles[taken], visitors[taken])

    def _insert(
        self, articles: NDArray[np.int32], visitors: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        fresh = np.zeros(len(articles), np.bool_)
        waiting = np.arange(len(articles), dtype=np.int32)
        places = self._first_places(articles, visitors)
        while len(waiting):
            free = self._articles[places] == FREE
            claimed, claimants = places[free], waiting[free]
            self._claims[claimed] = claimants
            won = self._claims[claimed] == claimants
            winners, taken = claimants[won], claimed[won]
            self._articles[taken] = articles[winners]
            self._visitors[taken] = visitors[winners]
            fresh[winners] = True
            # Winners find themselves here, and their equals in the batch find them.
            other = (self._articles[places] != articles[waiting]) | (
                self._visitors[places] != visitors[waiting]
            )
            waiting = waiting[other]
            places = (places[other] + 1) & (len(self._articles) - 1)
        return fresh

    def _first_places(
        self, articles: NDArray[np.int32], visitors: NDArray[np.uint64]
    ) -> NDArray[np.intp]:
        mixed = (visitors ^ (articles.astype(np.uint64) * _MIX_ARTICLE)) * _MIX_VISITOR
        # The upper bits of a product are the well mixed ones.
        return (mixed >> np.uint64(64 - (len(self._articles).bit_length() - 1))).astype(np.intp)
