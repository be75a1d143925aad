"""Latest stories: the newest `published_at` first, one of each story.

An old article that comes late keeps its old date, so a back catalogue does not push
itself to the top.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from services.rails.domain.candidates import KEPT, Candidate, candidate, one_per_story
from services.rails.domain.catalogue import Catalogue, Section

SLOTS: Final = 6


def rank(catalogue: Catalogue, section: Section, now_ms: int) -> list[Candidate]:
    """The score is the time of publication, in seconds since 1970."""
    return one_per_story(_newest(catalogue, section, now_ms), KEPT)


def _newest(catalogue: Catalogue, section: Section, now_ms: int) -> Iterator[Candidate]:
    places = catalogue.newest.get(section, [])
    for index in range(bisect_left(places, (-now_ms, "")), len(places)):
        facts = catalogue.shown(places[index][1])
        if facts and facts.from_ms <= now_ms:
            yield candidate(facts, facts.published_ms / 1000)


def cut(_: Sequence[str], candidates: Sequence[Candidate]) -> list[Candidate]:
    return one_per_story(candidates, SLOTS)
