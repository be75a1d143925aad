"""A read model is a bag of facts. The history says how often each must be in it at least,
and may be at most; what is wrong is then one of three things.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

Fact = Hashable


@dataclass(slots=True)
class Bag:
    """What must and may be in one read model."""

    least: Counter[Fact] = field(default_factory=Counter)
    most: Counter[Fact] = field(default_factory=Counter)

    def must(self, fact: Fact, times: int = 1) -> None:
        self.least[fact] += times
        self.most[fact] += times

    def may(self, fact: Fact, times: int = 1) -> None:
        self.most[fact] += times


@dataclass(frozen=True, slots=True)
class Differences:
    lost: Counter[Fact]
    twice: Counter[Fact]
    invented: Counter[Fact]

    def __iter__(self) -> Iterator[tuple[str, Counter[Fact]]]:
        return iter((("lost", self.lost), ("twice", self.twice), ("invented", self.invented)))


def compare(bag: Bag, found: Counter[Fact]) -> Differences:
    above = found - bag.most
    return Differences(
        lost=bag.least - found,
        twice=Counter({fact: times for fact, times in above.items() if bag.most[fact]}),
        invented=Counter({fact: times for fact, times in above.items() if not bag.most[fact]}),
    )
