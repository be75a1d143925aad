"""RSS 0.9 to 2.0 and RDF (RSS 1.0), with the modules that news feeds use.

First wins; authors and categories are lists. `media:` and `itunes:` only fill gaps. The
items of RSS 1.0 stand beside the channel.
"""

from collections.abc import Iterator
from typing import Final

from services.ingest.domain import urls
from services.ingest.domain.items import Document, Item, Origin, Read, Reader

from .markup import (
    Element,
    Fields,
    attribute,
    body_and_lead,
    first_element,
    image,
    inner,
    language,
    link,
    read_entries,
)

_BODIES: Final = ("xhtml:body", "xhtml:div", "body", "content", "fullitem", "fulltext")
_ROOTS: Final = frozenset(("rss", "rdf", "channel", "item"))
_ABOUT: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}about"


def _read(document: Document) -> Iterator[Read]:
    channel: Fields | None = None

    def item(entry: Element, root: Element) -> Item:
        nonlocal channel
        if channel is None:
            channel = Fields(next(root.iter("{*}channel"), root))
        return _item(Fields(entry), channel, root, document.url)

    return read_entries(document, "item", item, _ROOTS)


def _item(fields: Fields, channel: Fields, root: Element, feed_url: str | None) -> Item:
    site = link(_link(channel), feed_url) or feed_url
    base = link(fields.element.base, site) or site
    html, summary = body_and_lead(
        fields.first("content:encoded", "atom:content", *_BODIES),
        fields.first("description", "dc:description", "atom:summary", "summary", "itunes:summary"),
    )
    categories = fields.texts("category", "dc:subject") or fields.texts("media:category")
    return Item(
        origin=Origin.FEED,
        original="",
        external_id=fields.first("guid", "atom:id", "id") or fields.element.get(_ABOUT),
        url=link(_link(fields), base),
        title=fields.plain("title", "dc:title", "atom:title", "media:title", "itunes:title"),
        summary=summary,
        body_html=html,
        authors=_authors(fields),
        section=next(iter(categories), None) or channel.plain("category"),
        tags=categories,
        language=fields.first("dc:language", "language")
        or language(fields.element)
        or channel.first("language", "dc:language")
        or language(root),
        published_at=fields.first("pubdate", "atom:published", "published", "issued")
        or fields.first("dcterms:issued", "dc:date", "dcterms:created"),
        updated_at=fields.first("atom:updated", "updated", "dcterms:modified", "modified"),
        image=image(fields, base),
        base_url=base,
    )


def _authors(fields: Fields) -> tuple[str, ...]:
    for names in (("author", "dc:creator"), ("atom:author",), ("itunes:author",)):
        if authors := tuple(filter(None, map(_name, fields.all(*names)))):
            return authors
    return ()


def _name(author: Element) -> str:
    if len(author):
        return Fields(author).plain("name", "atom:name", "atom:email") or ""
    return inner(author).strip()


def _link(fields: Fields) -> str | None:
    """The page of an item or channel; a guid is one unless it says that it is not."""
    for one in fields.all("link", "atom:link"):
        href = attribute(one, "href") or inner(one).strip()
        if href and attribute(one, "rel") in ("", "alternate"):
            return href
    for guid in fields.all("guid"):
        address = inner(guid)
        if attribute(guid, "isPermaLink").lower() != "false" and urls.web(address):
            return address
    return None


READER: Final = Reader(
    name="RSS",
    media_types=frozenset(
        {
            "application/rss+xml",
            "application/rdf+xml",
            "text/rss+xml",
            "application/xml",
            "text/xml",
        }
    ),
    recognises=lambda head: first_element(head) in _ROOTS,
    read=_read,
)
