"""Bytes to items: one file a format, tried in this order.

The content decides, because `Content-Type` often lies (RSS as `text/html`); the type
decides where the content says nothing.
"""

from itertools import islice
from typing import Final

from services.ingest.domain.items import Document, EmptyBody, Read, Reader, Refusal
from shared.errors import UnknownType

from . import atom, json_articles, ndjson, rss

READERS: Final = (ndjson.READER, json_articles.READER, rss.READER, atom.READER)

MAX_ITEMS: Final = 2000
_HEAD_BYTES: Final = 64 * 1024


def read(body: bytes, content_type: str | None, *, url: str | None = None) -> list[Read]:
    """What the document holds, in its order.

    Raises BadInput where the document as a whole cannot be read, UnknownType where nobody
    knows what it is. At most 2,000 items: the rest is one refusal.
    """
    if not body.strip():
        raise EmptyBody("the body is empty; send an article or a document of articles")
    media_type, charset = _parsed(content_type or "")
    reader = _reader(body, media_type)
    items = iter(reader.read(Document(body, charset, url)))
    read_items = list(islice(items, MAX_ITEMS))
    if next(items, None) is not None:
        remedy = f"only the first {MAX_ITEMS:,} articles were read; send the others by themselves"
        read_items.append(Refusal("too-many-items", remedy, ""))
    return read_items


def _reader(body: bytes, media_type: str) -> Reader:
    head = body.lstrip()[:_HEAD_BYTES].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xfe\xff")
    by_type = next((one for one in READERS if media_type in one.media_types), None)
    by_content = next((one for one in READERS if one.recognises(head)), None)
    if by_type is ndjson.READER and by_content is json_articles.READER:
        return by_type  # its lines look like one JSON document where the first is broken
    if reader := by_content or by_type:
        return reader
    known = ", ".join(sorted(media for one in READERS for media in one.media_types))
    raise UnknownType(
        f"content-type: {media_type[:100] or 'none'!r} and a content that says nothing; send one of {known}"
    )


def _parsed(content_type: str) -> tuple[str, str | None]:
    media_type, *parameters = content_type.split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return media_type.strip().lower(), value.strip(" \"'") or None
    return media_type.strip().lower(), None
