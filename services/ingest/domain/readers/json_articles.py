"""Our own JSON: one article, or an array of them.

An article taken out of newsrail may come back: what newsrail derived is ignored then.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from services.ingest.domain import text, times
from services.ingest.domain.items import (
    Document,
    Item,
    NotJson,
    NotUtf8,
    Origin,
    Read,
    Reader,
    Refusal,
    original,
)
from shared.errors import Unprocessable
from shared.events import Correction, Image

Text = Annotated[str, Field(max_length=1024 * 1024)]
Names = Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=100)]
Authors = Annotated[Names, BeforeValidator(lambda said: [said] if isinstance(said, str) else said)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PostedImage(_Strict):
    url: str
    width: Count | None = None
    height: Count | None = None
    alt: str | None = None
    credit: str | None = None


OneImage = Annotated[
    PostedImage, BeforeValidator(lambda said: {"url": said} if isinstance(said, str) else said)
]


class PostedCorrection(_Strict):
    at: str
    text: str


class PostedArticle(_Strict):
    """What a sender may say of an article, all of it optional but title or status."""

    external_id: Text | None = None
    id: Text | None = None
    """Another name of `external_id`."""
    url: Text | None = None
    title: Text | None = None
    summary: Text | None = None
    body_html: Text | None = None
    body_text: Text | None = None
    authors: Authors | None = None
    credit: Text | None = None
    section: Text | None = None
    sections: Names | None = None
    tags: Names | None = None
    language: Text | None = None
    published_at: Text | None = None
    updated_at: Text | None = None
    embargoed_until: Text | None = None
    image: OneImage | None = None
    contact: Text | None = None
    corrections: Annotated[list[PostedCorrection], Field(max_length=100)] | None = None
    version: Count | None = None
    """The sender's own: the higher is the newer."""
    status: Literal["usable", "canceled", "withheld"] = "usable"
    reinstated: bool = False

    feed: object = None
    story: object = None
    received_at: object = None
    word_count: object = None
    content_hash: object = None
    """Derived by newsrail, as `feed` to `word_count`: present in what comes back from it."""


_ARTICLE: Final = TypeAdapter(PostedArticle)
_REMEDIES: Final = {
    "extra_forbidden": "is no field of an article; remove it",
    "missing": "is missing; add it",
    "string_type": "must be a text",
    "list_type": "must be a list",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "model_type": "must be an object",
    "string_too_long": "is too long; shorten it",
    "too_long": "has too many entries; send at most 100",
}


def loads(raw: bytes, what: str = "the document") -> object:
    """JSON as RFC 8259 has it: no NaN, no infinite number, no lone surrogate, UTF-8 only."""
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        try:
            raw.decode()
        except UnicodeDecodeError as bad:
            raise NotUtf8(f"{what} has a wrong byte at {bad.start}; send UTF-8") from None
        raise NotJson(f"{what}: {error}; send RFC 8259 JSON") from None


def item(value: object, raw: bytes | None = None) -> Read:
    """One JSON value as an article."""
    if not isinstance(value, dict):
        return Refusal(
            "not-an-object",
            f'an article is a JSON object, this is {_kind(value)}; send {{"title": ...}}',
            original(raw or orjson.dumps(value)),
        )
    source = original(raw or orjson.dumps(value))
    try:
        posted = _ARTICLE.validate_python(value)
        corrections = tuple(_correction(one) for one in posted.corrections or ())
    except ValidationError as error:
        return Refusal(*_explain(error), source)
    except Unprocessable as error:
        return Refusal("wrong-time", error.detail, source)
    return _item(posted, corrections, source)


def _item(posted: PostedArticle, corrections: tuple[Correction, ...], source: str) -> Item:
    ours = posted.content_hash is not None
    decoded = _as_is if ours else text.unescape
    return Item(
        origin=Origin.NEWSRAIL if ours else Origin.OURS,
        original=source,
        external_id=posted.external_id or (None if ours else posted.id),
        url=posted.url,
        title=posted.title and decoded(posted.title),
        summary=posted.summary and decoded(posted.summary),
        body_html=posted.body_html,
        body_text=posted.body_text and decoded(posted.body_text),
        authors=tuple(posted.authors or ()),
        credit=posted.credit,
        section=posted.section,
        sections=tuple(posted.sections or ()),
        tags=tuple(posted.tags or ()),
        language=posted.language,
        published_at=posted.published_at,
        updated_at=posted.updated_at,
        embargoed_until=posted.embargoed_until,
        image=Image(**posted.image.model_dump()) if posted.image else None,
        contact=posted.contact,
        corrections=corrections,
        feed_version=None if ours else posted.version,
        status=posted.status,
        reinstated=posted.reinstated,
        base_url=posted.url,
    )


def _as_is(value: str) -> str:
    return value


def _correction(posted: PostedCorrection) -> Correction:
    at: datetime | None = times.parse(posted.at)
    if at is None:
        raise Unprocessable(f"corrections: {posted.at[:60]!r} is no date; send RFC 3339")
    return Correction(at=at, text=text.line(text.unescape(posted.text)))


def _explain(error: ValidationError) -> tuple[str, str]:
    """Slug and detail; the value in front of the remedy, as people look for it."""
    errors = error.errors(include_url=False, include_context=False)
    unknown = any(one["type"] == "extra_forbidden" for one in errors)
    details = [_one(one["loc"], one["type"], one["msg"], one["input"]) for one in errors[:5]]
    return "unknown-field" if unknown else "unknown-field-type", "; ".join(details)


def _one(place: tuple[str | int, ...], kind: str, message: str, value: Any) -> str:
    where = ".".join(str(part) for part in place)[:100]
    remedy = _REMEDIES.get(kind) or f"{value!r:.60} {message.replace('Input should', 'must')}"
    return f"{where}: {remedy}"


def _kind(value: object) -> str:
    names = {str: "a string", list: "an array", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _read(document: Document) -> Iterator[Read]:
    value = loads(document.body)
    match value:
        case dict():
            yield item(value, document.body)
        case []:
            raise Unprocessable("the array has no article in it; send at least one")
        case list():
            for one in value:
                yield item(one)
        case _:
            raise Unprocessable(
                f'an article is a JSON object, this is {_kind(value)}; send {{"title": ...}}'
            )


READER: Final = Reader(
    name="JSON",
    media_types=frozenset({"application/json", "text/json"}),
    recognises=lambda head: head.lstrip()[:1] in (b"{", b"["),
    read=_read,
)
