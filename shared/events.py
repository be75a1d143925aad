"""The contract: every event newsrail writes, and the streams they are on.

An entry on a stream is one CloudEvent 1.0 as plain fields: the attributes by their
names, and `data`, one JSON document of the model that belongs to `type`. JSON Schemas
and the AsyncAPI document are generated from here (`shared/schemas.py`).

A reader must accept fields it does not know: a model may gain optional fields within
its major version (`.v1`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal, NewType, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

ArticleId = NewType("ArticleId", str)
CommentId = NewType("CommentId", str)

COMMENT_MAX_GRAPHEMES: Final = 300
VISITOR_BITS: Final = 52
"""A visitor is an integer that every JSON reader holds exactly."""

Id = Annotated[str, Field(min_length=1, max_length=64)]
Millis = Annotated[int, Field(ge=0, le=253_402_300_799_999)]
"""Milliseconds since 1970, up to the year 9999."""


class Contract(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True
    )


class Image(Contract):
    url: str
    width: int | None = None
    height: int | None = None
    alt: str | None = None
    credit: str | None = None


class Correction(Contract):
    at: AwareDatetime
    text: str


class Article(Contract):
    """A normalised article. Plain text everywhere but `body_html`."""

    id: Id
    feed: str
    """The sender, as its key names it."""
    external_id: str | None = None
    """The feed's own id, where it has one."""
    url: str | None = None
    """Canonical: no trackers, no fragment."""
    story: Id
    """Articles that tell the same story share it."""
    version: int = Field(ge=1)
    title: str
    summary: str | None = None
    body_html: str | None = None
    """Safe HTML, or null where the feed sent text only."""
    body_text: str = ""
    """Paragraphs divided by an empty line."""
    authors: tuple[str, ...] = ()
    credit: str | None = None
    section: str | None = None
    sections: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    language: str | None = None
    """BCP 47, as the feed or document declares it."""
    published_at: AwareDatetime
    updated_at: AwareDatetime | None = None
    received_at: AwareDatetime
    embargoed_until: AwareDatetime | None = None
    image: Image | None = None
    word_count: int = Field(default=0, ge=0)
    content_hash: str
    """Of what a reader would notice; equal hashes mean no material change."""
    corrections: tuple[Correction, ...] = ()
    contact: str | None = None


class ArticlePublished(Contract):
    article: Article
    changed: tuple[str, ...] = ()
    """Names of the fields that differ from the version before."""
    correction: bool = False


class ArticleUpdated(ArticlePublished):
    pass


class ArticleRetracted(Contract):
    id: Id
    feed: str
    version: int = Field(ge=1)
    url: str | None = None
    retracted_at: AwareDatetime
    reason: str | None = None


class ViewsRecorded(Contract):
    """Many views in columns: view `i` is of `articles[article[i]]`, by `visitor[i]`, at
    `since + at[i]`."""

    articles: tuple[Id, ...]
    """The distinct articles."""
    article: tuple[Annotated[int, Field(ge=0)], ...]
    visitor: tuple[Annotated[int, Field(ge=0, lt=2**VISITOR_BITS)], ...]
    since: Millis
    at: tuple[Annotated[int, Field(ge=0, le=2**40)], ...]
    """Milliseconds after `since`."""
    referrer: tuple[Annotated[int, Field(ge=-1)], ...]
    """A place in `articles`, or -1."""
    engaged: tuple[Annotated[int, Field(ge=0, le=86_400)], ...]
    """Seconds; 0 where unknown."""
    late: bool = False
    """Too late for the lists: these count in totals only, each as it came."""
    dropped: Mapping[str, int] = Field(default_factory=dict)
    """Views that did not count since the entry before, by reason."""

    @model_validator(mode="after")
    def columns_fit(self) -> Self:
        n, known = len(self.article), len(self.articles)
        for name in ("visitor", "at", "referrer", "engaged"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name}: {len(getattr(self, name))} values for {n} views")
        for name in ("article", "referrer"):
            column = getattr(self, name)
            if column and max(column) >= known:
                raise ValueError(f"{name}: {max(column)} is no place in {known} articles")
        return self


class CommentPosted(Contract):
    id: Id
    article: Id
    version: int = Field(default=1, ge=1)
    name: str
    """As the reader gave it."""
    text: str
    """1 to 300 graphemes of plain text."""
    posted_at: AwareDatetime


class CommentRemoved(Contract):
    id: Id
    article: Id
    version: int = Field(ge=2)
    removed_at: AwareDatetime
    reason: str | None = None


class FeedState(StrEnum):
    WELL = "well"
    SILENT = "silent"
    FLOODING = "flooding"
    FAILING = "failing"


class FeedChanged(Contract):
    feed: str
    state: FeedState
    since: AwareDatetime
    reason: str | None = None


class InputRejected(Contract):
    """What a known sender posted and why it was refused."""

    feed: str
    sender: str
    """The id of the key that posted it."""
    route: str
    problem: str
    """The slug of the problem document that the sender got."""
    detail: str
    item: int | None = None
    """Its place in the document, from 0; null: the document as a whole."""
    original: str
    """The refused thing as text, cut at 16 KiB."""


class ArticleIndexed(Contract):
    id: Id
    version: int = Field(ge=1)
    similar: tuple[Id, ...] = ()


class SearchMatched(Contract):
    search: str
    id: Id
    version: int = Field(ge=1)


class RailArticle(Contract):
    id: Id
    title: str
    section: str | None = None
    url: str | None = None


class RailEntry(Contract):
    rank: int = Field(ge=1)
    article: RailArticle
    score: float
    parts: Mapping[str, float] = Field(default_factory=dict)
    """What the score is made of: readers and rates, by name."""


class RailMove(Contract):
    id: Id
    was: int = Field(ge=1)
    now: int = Field(ge=1)


class RailChanged(Contract):
    rail: str
    section: str | None = None
    """null: over all sections."""
    version: int = Field(ge=1)
    computed_at: AwareDatetime
    entries: tuple[RailEntry, ...]
    entered: tuple[Id, ...] = ()
    left: tuple[Id, ...] = ()
    moved: tuple[RailMove, ...] = ()


class ViewsCounted(Contract):
    """Totals of the articles whose count changed, in columns."""

    articles: tuple[Id, ...]
    views: tuple[Annotated[int, Field(ge=0)], ...]


class EditMade(Contract):
    """What an editor or operator set or took back."""

    subject: str
    """What it is about, as the path of the route: `rails/must-reads/pins/ID`."""
    by: str
    action: Literal["set", "removed"]
    until: AwareDatetime | None = None
    reason: str | None = None
    value: Mapping[str, str | int | float | bool | None] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stream:
    name: str
    writers: tuple[str, ...]
    by_article: bool = False
    """Split into P partitions: what is about an article is on the one its id hashes to."""


ARTICLES: Final = Stream("news.articles", ("ingest",), by_article=True)
VIEWS: Final = Stream("news.views", ("ingest",), by_article=True)
COMMENTS: Final = Stream("news.comments", ("ingest",), by_article=True)
FEEDS: Final = Stream("news.feeds", ("ingest",))
REJECTED: Final = Stream("news.rejected", ("ingest",))
INDEXED: Final = Stream("news.indexed", ("index",))
MATCHES: Final = Stream("news.matches", ("index",))
RAILS: Final = Stream("news.rails", ("rails",))
COUNTS: Final = Stream("news.counts", ("rails",))
EDITS: Final = Stream("news.edits", ("index", "rails", "ingest"))

STREAMS: Final = (
    ARTICLES, VIEWS, COMMENTS, FEEDS, REJECTED, INDEXED, MATCHES, RAILS, COUNTS, EDITS,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EventType:
    name: str
    stream: Stream
    model: type[Contract]


EVENT_TYPES: Final[Mapping[str, EventType]] = {
    event.name: event
    for event in (
        EventType("news.article.published.v1", ARTICLES, ArticlePublished),
        EventType("news.article.updated.v1", ARTICLES, ArticleUpdated),
        EventType("news.article.retracted.v1", ARTICLES, ArticleRetracted),
        EventType("news.views.recorded.v1", VIEWS, ViewsRecorded),
        EventType("news.comment.posted.v1", COMMENTS, CommentPosted),
        EventType("news.comment.removed.v1", COMMENTS, CommentRemoved),
        EventType("news.feed.changed.v1", FEEDS, FeedChanged),
        EventType("news.input.rejected.v1", REJECTED, InputRejected),
        EventType("news.article.indexed.v1", INDEXED, ArticleIndexed),
        EventType("news.search.matched.v1", MATCHES, SearchMatched),
        EventType("news.rail.changed.v1", RAILS, RailChanged),
        EventType("news.views.counted.v1", COUNTS, ViewsCounted),
        EventType("news.edit.made.v1", EDITS, EditMade),
    )
}
TYPE_OF_MODEL: Final[Mapping[type[Contract], EventType]] = {
    event.model: event for event in EVENT_TYPES.values()
}


@dataclass(frozen=True, slots=True)
class Event:
    """One CloudEvent. `data` decides the type and the stream."""

    id: str
    source: str
    subject: str
    time: datetime
    data: Contract

    @property
    def type(self) -> EventType:
        return TYPE_OF_MODEL[type(self.data)]

    def fields(self) -> list[str | bytes]:
        """Names and values in turn, as XADD takes them."""
        kind = self.type
        return [
            "specversion", "1.0",
            "id", self.id,
            "source", self.source,
            "type", kind.name,
            "subject", self.subject,
            "time", self.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "datacontenttype", "application/json",
            "dataschema", schema_id(kind.name),
            "data", to_json(self.data),
        ]  # fmt: skip


def to_json(data: Contract) -> bytes:
    """As `model_dump_json`, without what it does for its many options."""
    return data.__pydantic_serializer__.to_json(data)


def schema_id(type_name: str) -> str:
    """The stable `$id` of an event's JSON Schema, and its `dataschema`."""
    return f"urn:newsrail:schema:{type_name}"


ATTRIBUTES: Final = ("specversion", "id", "source", "type", "subject", "time")
"""What decides which event an entry is, before its data."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An entry that newsrail did not write, or a newer newsrail wrote."""

    reason: str
    foreign: bool = False
    """It does not even claim to be one of newsrail's events."""


def decode(fields: Mapping[bytes, bytes]) -> Event | Unreadable:
    """The event in an entry's fields; never raises on foreign input."""
    try:
        return _event(fields)
    except KeyError as missing:
        reason = f"no such attribute or type: {missing.args[0]!r:.80}"
    except ValidationError as error:
        reason = f"data: {error.errors(include_url=False)[0]['msg']:.200}"
    except ValueError as error:
        reason = f"{error!s:.200}"
    ours = all(name.encode() in fields for name in ATTRIBUTES)
    return Unreadable(reason, foreign=not (ours and fields[b"type"].startswith(b"news.")))


def _event(fields: Mapping[bytes, bytes]) -> Event:
    text = {name: fields[name.encode()].decode() for name in ATTRIBUTES}
    kind = EVENT_TYPES[text["type"]]
    if text["specversion"] != "1.0":
        raise ValueError(f"specversion: {text['specversion'][:20]!r} is not 1.0")
    time = datetime.fromisoformat(text["time"])
    if time.tzinfo is None:
        raise ValueError(f"time: {text['time'][:40]!r} has no offset from UTC")
    return Event(
        id=text["id"],
        source=text["source"],
        subject=text["subject"],
        time=time,
        data=kind.model.model_validate_json(fields[b"data"]),
    )
