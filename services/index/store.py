"""SearchStore: what index asks of an engine, and the plain types they speak.

An engine keeps the newest version of each article, and of a removed one its version, so
that a late older event cannot bring it back. Tested by one suite for all engines
(tests/contract/test_search_store.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol, Self

from services.index.domain.query import Query
from shared.errors import Unavailable
from shared.events import Article

MAX_SKIP: Final = 1000
"""How deep a search by relevance can be paged: every page ranks all before it again."""


@dataclass(frozen=True, slots=True)
class Upsert:
    article: Article

    @property
    def id(self) -> str:
        return self.article.id

    @property
    def version(self) -> int:
        return self.article.version


@dataclass(frozen=True, slots=True)
class Remove:
    id: str
    version: int


Op = Upsert | Remove


class Outcome(StrEnum):
    APPLIED = "applied"
    STALE = "stale"
    """As new or newer is there, or comes later in the same batch."""


@dataclass(frozen=True, slots=True)
class Removed:
    version: int


class Sort(StrEnum):
    RELEVANCE = "relevance"
    NEWEST = "newest"


@dataclass(frozen=True, slots=True)
class Filters:
    """Of each that is given, one value must fit."""

    sections: tuple[str, ...] = ()
    """However capitalised; an article's other sections count too."""
    feeds: tuple[str, ...] = ()
    published_from: datetime | None = None
    published_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: after `skip` articles; by newest, after `skip` of those whose
    sort key is `key`."""

    skip: int
    key: int | None = None


@dataclass(frozen=True, slots=True)
class SearchRequest:
    query: Query | None = None
    filters: Filters = field(default_factory=Filters)
    sort: Sort = Sort.NEWEST
    limit: int = 20
    after: Place | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    article: Article
    score: float | None
    """None when sorted by time."""


@dataclass(frozen=True, slots=True)
class SearchPage:
    hits: tuple[Hit, ...]
    total: int
    next: Place | None


@dataclass(frozen=True, slots=True)
class StoreStats:
    articles: int
    removed: int
    segments: int


class StoreUnavailable(Unavailable):
    """The engine failed. Of a batch nothing was applied; apply it again as it was."""


class SchemaMismatch(Exception):
    """What is on disk was written by another version. The message names the remedy."""


class SearchStore(Protocol):
    async def open(self) -> None:
        """Raises SchemaMismatch."""

    async def close(self) -> None: ...

    async def apply(
        self, ops: Sequence[Op], checkpoint: Mapping[str, str] | None = None
    ) -> list[Outcome]:
        """One outcome an op. Durable and visible on return.

        `checkpoint`: for each stream key the entry up to which all is applied; it becomes
        true in the same moment as the ops. Raises StoreUnavailable.
        """

    async def checkpoint(self) -> Mapping[str, str]:
        """As last applied; empty when the store is new."""

    async def get(self, id_: str) -> Article | Removed | None: ...

    async def versions(self, ids: Sequence[str]) -> dict[str, int]:
        """Of those that are known, removed ones too."""

    async def search(self, request: SearchRequest) -> SearchPage: ...

    async def sections(self, limit: int) -> list[str]:
        """Those with the most articles."""

    async def stats(self) -> StoreStats: ...

    def tokens(self, text: str) -> Sequence[str]:
        """How the engine reads a word; equal tokens match."""

    async def beside(self) -> Self:
        """An empty store of the same engine next to this one, open. One that was begun
        earlier and never became this one is removed."""

    async def become(self, other: Self) -> None:
        """From now on, and at each later start, this store is what `other`, made by
        `beside`, was; that one can then only be closed. What this one held is removed. A
        crash leaves the one or the other."""
