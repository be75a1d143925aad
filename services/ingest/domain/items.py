"""What a document said: items, and refusals of what could not become one.

A reader makes items, `normalise` makes articles of them. A refusal is a value, because
one bad item never stops the others of its document.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from shared.errors import BadInput
from shared.events import Correction, Image

ORIGINAL_MAX_BYTES: Final = 16 * 1024

Status = Literal["usable", "canceled", "withheld"]


class Origin(Enum):
    """How much of an item is somebody else's habit."""

    FEED = "feed"
    """A format of others: what is odd is repaired, with a warning."""
    OURS = "ours"
    """Our own JSON: what is wrong is refused."""
    NEWSRAIL = "newsrail"
    """An article taken out of newsrail: names and text are normalised already."""


@dataclass(frozen=True, slots=True)
class Item:
    """One article as its document has it: decoded, plain text but `body_html`, unchecked."""

    origin: Origin
    original: str
    """The item as text, for `news.rejected`."""
    external_id: str | None = None
    url: str | None = None
    title: str | None = None
    summary: str | None = None
    body_html: str | None = None
    body_text: str | None = None
    """Used only where there is no `body_html`."""
    authors: tuple[str, ...] = ()
    """Bylines as written."""
    credit: str | None = None
    section: str | None = None
    sections: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    language: str | None = None
    published_at: str | None = None
    updated_at: str | None = None
    embargoed_until: str | None = None
    image: Image | None = None
    contact: str | None = None
    corrections: tuple[Correction, ...] = ()
    feed_version: int | None = None
    """The feed's own count of versions, where it has one."""
    status: Status = "usable"
    reinstated: bool = False
    base_url: str | None = None
    """What the relative links of `body_html` are relative to."""


@dataclass(frozen=True, slots=True)
class Refusal:
    slug: str
    detail: str
    """Names the field and the remedy."""
    original: str


class EmptyBody(BadInput):
    slug, title = "empty-body", "The request has no body"


class NotUtf8(BadInput):
    slug, title = "not-utf8", "This is not UTF-8"


class NotJson(BadInput):
    slug, title = "not-json", "This is no JSON"


class NotXml(BadInput):
    slug, title = "not-xml", "This is no XML"


Read = Item | Refusal


@dataclass(frozen=True, slots=True)
class Document:
    body: bytes
    charset: str | None = None
    """As the transport declares it."""
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Reader:
    """One format. `recognises` gets the document's first bytes, without a BOM or NULs."""

    name: str
    media_types: frozenset[str]
    recognises: Callable[[bytes], bool]
    read: Callable[[Document], Iterable[Read]]


def original(text: str | bytes) -> str:
    """Cut for `news.rejected`; never fails on broken bytes."""
    raw = text[:ORIGINAL_MAX_BYTES]
    if isinstance(raw, str):
        raw = raw.encode("utf-8", "replace")[:ORIGINAL_MAX_BYTES]
    return raw.decode("utf-8", "ignore")
