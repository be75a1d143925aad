"""Rows of a list before it is cut to its slots: what partitions hand to the merger.

An article is in one partition, so the best of all partitions are among the best of each.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import orjson

from services.rails.domain.catalogue import Facts, Section

KEPT: Final = 20
"""Stories a partition hands over for each list."""
MARGIN: Final = 1.05
"""Who takes a place from another must beat it by more than this factor."""
NOTICED: Final = 1.001
"""A score that moved by less does not make a list worth writing again."""


@dataclass(frozen=True, slots=True)
class Candidate:
    id: str
    story: str
    published_ms: int
    score: float
    title: str
    section: str | None
    url: str | None
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def place(self) -> tuple[float, int, str]:
        """Sorts: the best first, of equal ones the newer, then by id."""
        return -self.score, -self.published_ms, self.id

    def beats(self, other: "Candidate") -> bool:
        return self.score > MARGIN * other.score

    def differs(self, other: "Candidate") -> bool:
        """Whether a reader of the list would notice."""
        low, high = sorted((self.score, other.score))
        return high > NOTICED * low or self.facts != other.facts

    @property
    def facts(self) -> tuple[str | None, ...]:
        return self.id, self.story, self.title, self.section, self.url


def candidate(facts: Facts, score: float, parts: Mapping[str, float] | None = None) -> Candidate:
    return Candidate(
        id=facts.id,
        story=facts.story,
        published_ms=facts.published_ms,
        score=score,
        title=facts.title,
        section=facts.section,
        url=facts.url,
        parts=parts or {},
    )


def of_stories(ordered: Iterable[Candidate], most: int = KEPT) -> list[Candidate]:
    """The best of each of the first `most` stories, and of each story those that its
    best does not beat: one of them may be in the list, and then stays."""
    best: dict[str, Candidate] = {}
    kept = []
    for each in ordered:
        first = best.get(each.story)
        if first is None and len(best) < most:
            best[each.story] = first = each
        if first is not None and not first.beats(each):
            kept.append(each)
    return kept


def one_per_story(ordered: Iterable[Candidate], most: int) -> list[Candidate]:
    best: dict[str, Candidate] = {}
    for each in ordered:
        if len(best) == most:
            break
        best.setdefault(each.story, each)
    return list(best.values())


def merged(tops: Iterable[Sequence[Candidate]]) -> list[Candidate]:
    return sorted(chain.from_iterable(tops), key=lambda each: each.place)


def changed(old: Sequence[Candidate] | None, new: Sequence[Candidate]) -> bool:
    if old is None or len(old) != len(new):
        return old is None or bool(old or new)
    return any(a.differs(b) for a, b in zip(old, new, strict=True))


def to_json(candidates: Sequence[Candidate]) -> bytes:
    return orjson.dumps(candidates)


def from_json(text: bytes) -> list[Candidate]:
    return [Candidate(**row) for row in orjson.loads(text)]


def list_name(rail: str, section: Section) -> str:
    return rail if section is None else f"{rail}:{section}"
