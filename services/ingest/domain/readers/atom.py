"""Atom 1.0 and 0.3: a feed, or one entry alone."""

import base64
import binascii
from collections.abc import Iterator
from typing import Final

from services.ingest.domain import body
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

_ROOTS: Final = frozenset(("feed", "entry"))


def _read(document: Document) -> Iterator[Read]:
    return read_entries(
        document, "entry", lambda entry, root: _item(entry, root, document.url), _ROOTS
    )


def _item(entry: Element, root: Element, feed_url: str | None) -> Item:
    fields, feed = Fields(entry, "atom:"), Fields(root, "atom:")
    site = link(_link(feed), root.base or feed_url) or feed_url
    base = link(entry.base, site) or site
    html, summary = body_and_lead(
        _html(fields, "content", "content:encoded"), _html(fields, "summary", "media:description")
    )
    categories = tuple(
        name
        for one in fields.all("category", "dc:subject")
        if (name := attribute(one, "label") or attribute(one, "term") or inner(one).strip())
    )
    return Item(
        origin=Origin.FEED,
        original="",
        external_id=fields.first("id"),
        url=link(_link(fields), base),
        title=body.plain(_html(fields, "title", "dc:title", "media:title") or ""),
        summary=summary,
        body_html=html,
        authors=_authors(fields) or _authors(Fields(_source(fields), "atom:")) or _authors(feed),
        section=next(iter(categories), None),
        tags=categories,
        language=language(entry) or fields.first("dc:language") or language(root),
        published_at=fields.first("published", "issued", "created", "dc:date"),
        updated_at=fields.first("updated", "modified"),
        image=image(fields, base),
        base_url=base,
    )


def _source(fields: Fields) -> Element:
    return next(fields.all("source"), fields.element)


def _authors(fields: Fields) -> tuple[str, ...]:
    people = (Fields(one, "atom:").plain("name") or inner(one) for one in fields.all("author"))
    named = tuple(name.strip() for name in people if name.strip())
    return named or fields.texts("dc:creator")


def _link(fields: Fields) -> str | None:
    links = [one for one in fields.all("link") if attribute(one, "rel") in ("", "alternate")]
    # Of several copies of a page the one in HTML.
    links.sort(key=lambda one: attribute(one, "type") not in ("", "text/html"))
    for one in links:
        if href := attribute(one, "href") or inner(one).strip():
            return href
    return None


def _html(fields: Fields, *names: str) -> str | None:
    """A text construct as HTML, whatever its type."""
    return next((found for one in fields.all(*names) if (found := _construct(one))), None)


def _construct(element: Element) -> str:
    kind, mode = attribute(element, "type").lower(), attribute(element, "mode").lower()
    content = inner(element)
    if mode == "base64" or ("/" in kind and not kind.startswith("text/") and "xml" not in kind):
        return _base64(content)
    if len(element):
        return content
    plain = kind == "text" or (kind in ("", "text/plain") and mode != "escaped")
    return body.escape(content) if plain else content


def _base64(content: str) -> str:
    try:
        return base64.b64decode(content).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


READER: Final = Reader(
    name="Atom",
    media_types=frozenset({"application/atom+xml", "text/atom+xml"}),
    recognises=lambda head: first_element(head) in _ROOTS,
    read=_read,
)
