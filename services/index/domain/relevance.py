"""How relevant a word makes an article: BM25 in whole numbers, of the articles alone.

An engine's own BM25 counts and averages over all that it holds, replaced versions included
until it merges them away: its scores move while nothing changes, and differ between two
stores of the same articles. So what belongs to the article, how often the word stands in
how long a text, is a level, measured against fixed lengths, that is indexed with the word.
How rare the word is comes from the articles there are. Whole numbers add up to the same in
any order.

After Robertson and Zaragoza, The Probabilistic Relevance Framework (2009), with the usual
k1 and b; figures in docs/decisions/0006.
"""

from collections import Counter
from collections.abc import Sequence
from math import log
from typing import Final

LEVELS: Final = 16
TITLE_WEIGHT: Final = 3.0
BOTH: Final = 0.2
"""Of the lesser of title and body, where a word is in both."""
USUAL_TITLE: Final = 10
USUAL_BODY: Final = 200
K1: Final = 1.2
B: Final = 0.75
RARITIES: Final = 20
"""Steps of rarity in one natural logarithm."""

_MOST: Final = (TITLE_WEIGHT + BOTH) * (K1 + 1)
UNIT: Final = RARITIES * LEVELS / _MOST
"""What BM25 calls 1."""


def levels(title: Sequence[str], body: Sequence[str]) -> dict[str, int]:
    """Of each word of an article, 1 to LEVELS."""
    in_title = _weights(title, USUAL_TITLE)
    in_body = _weights(body, USUAL_BODY)
    return {word: _level(in_title.get(word, 0.0), in_body.get(word, 0.0))
            for word in in_title | in_body}  # fmt: skip


def rarity(having: int, articles: int) -> int:
    """Of a word that so many of the articles have; at least 1, so that levels count."""
    return max(1, round(RARITIES * log(1 + (articles - having + 0.5) / (having + 0.5))))


def _weights(words: Sequence[str], usual: int) -> dict[str, float]:
    saturation = K1 * (1 - B + B * len(words) / usual)
    return {word: (K1 + 1) * times / (times + saturation) for word, times in Counter(words).items()}


def _level(title: float, body: float) -> int:
    title *= TITLE_WEIGHT
    weight = max(title, body) + BOTH * min(title, body)
    return max(1, round(LEVELS * weight / _MOST))
