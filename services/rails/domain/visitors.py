"""Exactly which (article, visitor) pairs a bucket has seen.

An open-addressing hash table (linear probing), probed for a whole batch at once: each
round looks at one place for every view that is not yet settled. At a load of at most a
half a batch needs a handful of rounds. 12 bytes a place, and no error: a Bloom filter of
a seventh of the size undercounts, and depends on the order.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

FREE: Final = -1
SMALLEST: Final = 1 << 10
_MIX_VISITOR: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_ARTICLE: Final = np.uint64(0xD1B54A32D192ED03)


class VisitorSet:
    def __init__(self, *, expected: int = 0) -> None:
        """`expected` pairs fit in without growing, which costs as much as adding them."""
        self._size = 0
        self._make(max(SMALLEST, 1 << (2 * expected).bit_length()))

    def __len__(self) -> int:
        return self._size

    def add(self, articles: NDArray[np.int32], visitors: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which views are the first of their pair; of equal ones in the batch, one is."""
        while 2 * (self._size + len(articles)) > len(self._articles):
            self._double()
        fresh = self._insert(articles, visitors)
        self._size += int(np.count_nonzero(fresh))
        return fresh

    def pairs(self) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
        """All of them, in no order."""
        taken = self._articles != FREE
        return self._articles[taken], self._visitors[taken]

    def _make(self, places: int) -> None:
        self._articles = np.full(places, FREE, np.int32)
        self._visitors = np.empty(places, np.uint64)

    def _double(self) -> None:
        """All at once, in the order of their first places, each takes its own or the one
        after its predecessor: what probing would give, without probing."""
        articles, visitors = self.pairs()
        self._make(2 * len(self._articles))
        first = self._first_places(articles, visitors)
        # Nearly sorted already, for which the stable sort is the quick one.
        order = np.argsort(first, kind="stable")
        steps = np.arange(len(order))
        places = np.maximum.accumulate(first[order] - steps) + steps
        inside = np.searchsorted(places, len(self._articles))
        fit, over = order[:inside], order[inside:]
        self._articles[places[:inside]] = articles[fit]
        self._visitors[places[:inside]] = visitors[fit]
        self._insert(articles[over], visitors[over])

    def _insert(
        self, articles: NDArray[np.int32], visitors: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        fresh = np.zeros(len(articles), np.bool_)
        # A view claims a free place with a number below FREE that is its own.
        claims = np.arange(FREE - 1, FREE - 1 - len(articles), -1, dtype=np.int32)
        places = self._first_places(articles, visitors)
        while len(claims):
            free = np.flatnonzero(self._articles[places] == FREE)
            self._articles[places[free]] = claims[free]
            won = free[self._articles[places[free]] == claims[free]]
            self._articles[places[won]] = articles[won]
            self._visitors[places[won]] = visitors[won]
            fresh[FREE - 1 - claims[won]] = True
            # Winners find themselves here, and their equals in the batch find them.
            rest = np.flatnonzero(
                (self._articles[places] != articles) | (self._visitors[places] != visitors)
            )
            claims, articles, visitors = claims[rest], articles[rest], visitors[rest]
            places = (places[rest] + 1) & (len(self._articles) - 1)
        return fresh

    def _first_places(
        self, articles: NDArray[np.int32], visitors: NDArray[np.uint64]
    ) -> NDArray[np.intp]:
        mixed = (visitors ^ (articles.astype(np.uint64) * _MIX_ARTICLE)) * _MIX_VISITOR
        # The upper bits of a product are the well mixed ones.
        return (mixed >> np.uint64(64 - (len(self._articles).bit_length() - 1))).astype(np.intp)
