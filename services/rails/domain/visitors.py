"""Exactly which (article, visitor) pairs a bucket has seen.

An open-addressing hash table (linear probing), probed for a whole batch at once: each
round looks at one place for every view that is not yet settled. At a load of at most a
half a batch needs a handful of rounds. 16 bytes a place, in one run of memory so that a
look costs one cache miss, and no error: a Bloom filter of a ninth of the size
undercounts, and depends on the order.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

FREE: Final = -1
SMALLEST: Final = 1 << 10
PLACE: Final = np.dtype([("visitor", np.uint64), ("article", np.int32), ("claim", np.int32)])
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
        table = np.zeros(places, PLACE)
        self._articles, self._visitors = table["article"], table["visitor"]
        self._articles[:] = FREE
        # Which view of the batch claimed a free place; read only where just written.
        self._claims = table["claim"]

    def _double(self) -> None:
        articles, visitors = self._articles, self._visitors
        self._make(2 * len(articles))
        taken = articles != FREE
        self._insert(articles[taken], visitors[taken])

    def _insert(
        self, articles: NDArray[np.int32], visitors: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        fresh = np.zeros(len(articles), np.bool_)
        views = np.arange(len(articles), dtype=np.int32)
        places = self._first_places(articles, visitors)
        while len(views):
            free = np.flatnonzero(self._articles[places] == FREE)
            self._claims[places[free]] = views[free]
            won = free[self._claims[places[free]] == views[free]]
            self._articles[places[won]] = articles[won]
            self._visitors[places[won]] = visitors[won]
            fresh[views[won]] = True
            # Winners find themselves here, and their equals in the batch find them.
            rest = np.flatnonzero(
                (self._articles[places] != articles) | (self._visitors[places] != visitors)
            )
            views, articles, visitors = views[rest], articles[rest], visitors[rest]
            places = (places[rest] + 1) & (len(self._articles) - 1)
        return fresh

    def _first_places(
        self, articles: NDArray[np.int32], visitors: NDArray[np.uint64]
    ) -> NDArray[np.intp]:
        mixed = (visitors ^ (articles.astype(np.uint64) * _MIX_ARTICLE)) * _MIX_VISITOR
        # The upper bits of a product are the well mixed ones.
        return (mixed >> np.uint64(64 - (len(self._articles).bit_length() - 1))).astype(np.intp)
