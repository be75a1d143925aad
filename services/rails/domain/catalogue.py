"""What rails knows of articles, and the newest of each section.

The newest version wins; a retraction is a version like any other, and kept, so that an
older version that comes late does not bring the article back.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush

import orjson

from shared.clock import to_ms
from shared.events import Article, ArticlePublished, ArticleRetracted, Contract

Section = str | None
"""None: over all sections."""
Place = tuple[int, str]
"""(-published_ms, id): sorted, the newest is the first."""


@dataclass(frozen=True, slots=True)
class Facts:
    id: str
    version: int
    retracted: bool = False
    feed: str = ""
    story: str = ""
    title: str = ""
    sections: tuple[str, ...] = ()
    """The article's own first."""
    url: str | None = None
    published_ms: int = 0
    from_ms: int = 0
    """No list shows it before."""

    @property
    def section(self) -> Section:
        return self.sections[0] if self.sections else None

    def to_json(self) -> bytes:
        return orjson.dumps(self)

    @classmethod
    def from_json(cls, text: bytes) -> "Facts":
        said = orjson.loads(text)
        return cls(**{**said, "sections": tuple(said["sections"])})


def of_event(data: Contract) -> Facts | None:
    """None for an event that says nothing of an article."""
    match data:
        case ArticlePublished(article=article):
            return of_article(article)
        case ArticleRetracted(id=id_, version=version, feed=feed):
            return Facts(id_, version, retracted=True, feed=feed)
    return None


def of_article(article: Article) -> Facts:
    published_ms = to_ms(article.published_at)
    embargoed_ms = to_ms(article.embargoed_until) if article.embargoed_until else 0
    own = (article.section,) if article.section else ()
    return Facts(
        id=article.id,
        version=article.version,
        feed=article.feed,
        story=article.story,
        title=article.title,
        sections=tuple(dict.fromkeys((*own, *article.sections))),
        url=article.url,
        published_ms=published_ms,
        from_ms=max(published_ms, embargoed_ms),
    )


class Catalogue:
    def __init__(self, facts: Iterable[Facts] = (), *, now_ms: int = 0) -> None:
        self.newest: dict[Section, list[Place]] = {None: []}
        """The sorted places of what is not retracted."""
        self.dirty: set[Section] = set()
        """Sections whose newest may have changed; whoever lists them clears it."""
        self._facts: dict[str, Facts] = {}
        self._coming: list[tuple[int, str]] = []
        self._now_ms = now_ms
        for each in facts:
            self._facts[each.id] = each
            self._enter(each, list.append)
        for places in self.newest.values():
            places.sort()

    def get(self, id_: str) -> Facts | None:
        return self._facts.get(id_)

    def shown(self, id_: str) -> Facts | None:
        """None also for a retracted one."""
        facts = self._facts.get(id_)
        return None if facts is None or facts.retracted else facts

    def put(self, facts: Facts) -> bool:
        """False, and nothing changes, when this version or a newer one is known."""
        known = self._facts.get(facts.id)
        if known and known.version >= facts.version:
            return False
        if known:
            self._leave(known)
        self._facts[facts.id] = facts
        self._enter(facts, insort)
        return True

    def advance(self, now_ms: int) -> None:
        """Articles whose time has come make their sections dirty."""
        self._now_ms = now_ms
        while self._coming and self._coming[0][0] <= now_ms:
            _, id_ = heappop(self._coming)
            if facts := self.shown(id_):
                self.dirty.update((None, *facts.sections))

    def _enter(self, facts: Facts, place_in: Callable[[list[Place], Place], None]) -> None:
        if facts.retracted:
            return
        for section in (None, *facts.sections):
            place_in(self.newest.setdefault(section, []), (-facts.published_ms, facts.id))
            self.dirty.add(section)
        if facts.from_ms > self._now_ms:
            heappush(self._coming, (facts.from_ms, facts.id))

    def _leave(self, facts: Facts) -> None:
        if facts.retracted:
            return
        for section in (None, *facts.sections):
            places = self.newest[section]
            del places[bisect_left(places, (-facts.published_ms, facts.id))]
            self.dirty.add(section)
