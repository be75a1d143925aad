"""An item becomes an article: what it is, whether it may be one, and what is material.

In our own format what is wrong is refused; in the formats of others it is repaired, with a
warning. Two things are refused from everybody: an item that nothing identifies, and an
embargo that cannot be read (publishing what asked for an embargo is worse than refusing).

**Material** is what a reader or a search would notice: `MATERIAL`, in which the order of
tags and sections and the markup of the body do not count. Not material is `published_at`
alone: many feeds move it at each poll.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final
from zlib import crc32

import orjson

from shared.clock import to_ms
from shared.errors import BadInput
from shared.events import Article, ArticleId, Image

from . import body, byline, text, times, urls
from .items import Item, Origin, Refusal, Status

TITLE_MAX: Final = 1000
DERIVED_TITLE_MAX: Final = 120
SUMMARY_MAX: Final = 5000
NAME_MAX: Final = 300
"""Of a name, section, tag, credit or contact."""
LIST_MAX: Final = 100
EXTERNAL_ID_MAX: Final = 2048
EARLIEST_YEAR: Final = 1900
MAX_AHEAD: Final = timedelta(days=1)

FIELDS: Final = (
    "title", "summary", "body", "authors", "credit", "section", "sections", "tags", "language",
    "url", "image", "contact", "corrections", "embargoed_until", "published_at",
)  # fmt: skip
"""What a change can be of, as `changed` names it."""
MATERIAL: Final = tuple(name for name in FIELDS if name != "published_at")

_LANGUAGE: Final = re.compile(r"([A-Za-z]{2,3})((?:[-_][A-Za-z0-9]{2,8})*)(?:\.[\w-]+)?")
_SENTENCE: Final = re.compile(r".+?(?:[.!?](?=\s|\Z)|[。！？]|(?=\n)|\Z)")  # noqa: RUF001 - Chinese, Japanese


@dataclass(frozen=True, slots=True)
class Normalised:
    article: Article
    """`version` and `story` are placeholders until its record is known."""
    hashes: dict[str, str]
    """`field_hashes(article)`."""
    feed_version: int | None
    order_ms: int | None
    """`updated_at`, where the feed gave one: which of two is the newer."""
    status: Status
    reinstated: bool
    warnings: tuple[str, ...]


class _Refused(Exception):
    """Ends one item, within this module."""

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.slug, self.detail = slug, detail


def article(item: Item, *, feed: str, now: datetime) -> Normalised | Refusal:
    warnings: list[str] = []
    try:
        external_id = _external_id(item)
        url = _url(item, warnings)
        body_html, body_text = _body(item, warnings)
        title = _title(item, body_text, warnings)
        id_ = article_id(feed, external_id=external_id, url=url, title=title)
        authors, credit = _authors(item)
        section, sections = _sections(item)
        updated_at = _updated_at(item, now, warnings)
        made = Article(
            id=id_,
            feed=feed,
            external_id=external_id,
            url=url,
            story=id_,
            version=1,
            title=title,
            summary=_summary(item, body_text, warnings),
            body_html=body_html,
            body_text=body_text,
            authors=authors,
            credit=credit,
            section=section,
            sections=sections,
            tags=_names(item.tags),
            language=_language(item, warnings),
            published_at=_published_at(item, updated_at, now, warnings),
            updated_at=updated_at,
            received_at=now,
            embargoed_until=_embargo(item),
            image=_image(item, warnings),
            word_count=text.word_count(body_text),
            content_hash="",
            corrections=item.corrections,
            contact=_name(item.contact or "") or None,
        )
    except _Refused as refused:
        return Refusal(refused.slug, refused.detail, item.original)
    hashes = field_hashes(made)
    return Normalised(
        article=made.model_copy(update={"content_hash": _content_hash(hashes)}),
        hashes=hashes,
        feed_version=item.feed_version,
        order_ms=to_ms(updated_at) if updated_at else None,
        status=item.status,
        reinstated=item.reinstated,
        warnings=tuple(warnings),
    )


def article_id(
    feed: str,
    *,
    external_id: str | None = None,
    url: str | None = None,
    title: str | None = None,
) -> ArticleId:
    """The first that is there decides; `url` must be canonical. The feed is in it, so that
    no feed can change another's article."""
    if external_id:
        key = f"id\0{external_id}"
    elif url:
        key = f"url\0{url}"
    elif title:
        key = f"title\0{' '.join(title.casefold().split())}"
    else:
        raise _Refused("no-identity", "external_id, url and title are missing; send one of them")
    return ArticleId(_digest(f"{feed}\0{key}".encode(), 12))


def field_hashes(made: Article) -> dict[str, str]:
    """What each of `FIELDS` says, short enough to keep: a record tells changes by them."""
    image = made.image
    values = (
        made.title,
        made.summary,
        made.body_text.replace("\n\n", " ").replace("\n", " "),
        made.authors,
        made.credit,
        made.section,
        sorted(made.sections),
        sorted(tag.casefold() for tag in made.tags),
        made.language,
        made.url,
        image and (image.url, image.alt, image.credit),
        made.contact,
        [(to_ms(one.at), one.text) for one in made.corrections],
        made.embargoed_until and to_ms(made.embargoed_until),
        to_ms(made.published_at),
    )
    # Nobody gains by forging these: a checksum takes a tenth of a hash's time.
    sums = [f"{crc32(orjson.dumps(value)):08x}" for value in values]
    return dict(zip(FIELDS, sums, strict=True))


def _content_hash(hashes: dict[str, str]) -> str:
    return _digest("".join([hashes[name] for name in MATERIAL]).encode(), 12)


def _digest(data: bytes, size: int) -> str:
    return blake2b(data, digest_size=size).hexdigest()


def _external_id(item: Item) -> str | None:
    external_id = text.line(item.external_id or "")
    if len(external_id) > EXTERNAL_ID_MAX:
        raise _Refused(
            "id-too-long", f"external_id: longer than {EXTERNAL_ID_MAX:,} characters; shorten it"
        )
    return external_id or None


def _url(item: Item, warnings: list[str]) -> str | None:
    if not item.url or not item.url.strip():
        return None
    try:
        return urls.canonical(item.url)
    except BadInput as error:
        if item.origin is not Origin.FEED:
            raise _Refused("bad-url", error.detail) from None
        warnings.append(f"{error.detail}; left out")
        return None


def _body(item: Item, warnings: list[str]) -> tuple[str | None, str]:
    """HTML where there is markup, and its text."""
    if item.body_html and body.has_markup(item.body_html):
        try:
            cleaned = body.clean(item.body_html, item.base_url)
        except BadInput as error:
            raise _Refused("bad-body", error.detail) from None
        return (cleaned if "<" in cleaned else None), body.to_text(cleaned)
    source = text.unescape(item.body_html) if item.body_html else item.body_text or ""
    if len(source) > body.MAX_CHARS:
        raise _Refused("bad-body", f"body: longer than {body.MAX_CHARS:,} characters; send less")
    return None, text.paragraphs(source)


def _title(item: Item, body_text: str, warnings: list[str]) -> str:
    title = text.line(item.title or "")
    if not title and item.origin is Origin.FEED:
        title = _first_sentence(body_text or text.paragraphs(item.summary or ""))
        if title:
            warnings.append("title: missing; taken from the text")
    if not title and item.status == "usable":
        raise _Refused(
            "missing-title",
            f"title: missing; give each article a title of 1 to {TITLE_MAX:,} characters",
        )
    if len(title) > TITLE_MAX and item.origin is not Origin.FEED:
        raise _Refused("title-too-long", f"title: longer than {TITLE_MAX:,} characters; shorten it")
    return _at_most(title, TITLE_MAX, "title", warnings)


def _first_sentence(source: str) -> str:
    found = _SENTENCE.match(source, 0, TITLE_MAX)
    return text.cut(found[0], DERIVED_TITLE_MAX) if found else ""


def _summary(item: Item, body_text: str, warnings: list[str]) -> str | None:
    """None where it only repeats the text."""
    summary = text.paragraphs(item.summary or "")
    if summary == body_text:
        return None
    return _at_most(summary, SUMMARY_MAX, "summary", warnings) or None


def _authors(item: Item) -> tuple[tuple[str, ...], str | None]:
    credit = _name(item.credit or "")
    if item.origin is Origin.NEWSRAIL:
        return _names(item.authors), credit or None
    authors: list[str] = []
    for line in item.authors:
        found, house = byline.names(line)
        authors += found
        credit = credit or _name(house or "")
    return _names(authors), credit or None


def _sections(item: Item) -> tuple[str | None, tuple[str, ...]]:
    """The section stands in front of the others."""
    sections = _names((item.section or "", *item.sections))
    return (sections[0] if sections else None), sections


def _names(values: Iterable[str]) -> tuple[str, ...]:
    """Each once, however it is capitalised."""
    names: dict[str, str] = {}
    for value in values:
        if name := _name(value):
            names.setdefault(name.casefold(), name)
    return tuple(names.values())[:LIST_MAX]


def _name(value: str) -> str:
    return text.cut(text.line(value), NAME_MAX)


def _at_most(value: str, at_most: int, field: str, warnings: list[str]) -> str:
    if len(value) > at_most:
        warnings.append(f"{field}: cut at {at_most:,} characters")
    return text.cut(value, at_most)


def _language(item: Item, warnings: list[str]) -> str | None:
    """BCP 47 as it is mostly written: `en-US`, `zh-Hant`; `ko_KR.UTF-8` is understood."""
    declared = (item.language or "").strip()
    if not declared:
        return None
    found = _LANGUAGE.fullmatch(declared)
    if not found:
        warnings.append(f"language: {declared[:40]!r} is no BCP 47 tag; left out")
        return None
    parts = [part for part in re.split("[-_]", found[2]) if part]
    cased = {2: str.upper, 4: str.title}
    return "-".join([found[1].lower(), *(cased.get(len(part), str.lower)(part) for part in parts)])


def _updated_at(item: Item, now: datetime, warnings: list[str]) -> datetime | None:
    """None where absurd: an update from the future would make all later ones late."""
    at = _time(item, "updated_at", warnings)
    if at and not _credible(at, now):
        warnings.append(f"updated_at: {at:%Y-%m-%d} is absurd; left out")
        return None
    return at


def _published_at(
    item: Item, updated_at: datetime | None, now: datetime, warnings: list[str]
) -> datetime:
    at = _time(item, "published_at", warnings)
    if at is None:
        source = "updated_at" if updated_at else "the time of arrival"
        warnings.append(f"published_at: missing; taken from {source}")
        return updated_at or now
    if not _credible(at, now):
        warnings.append(f"published_at: {at:%Y-%m-%d} is absurd; taken from the time of arrival")
        return now
    return at


def _time(item: Item, field: str, warnings: list[str]) -> datetime | None:
    value: str | None = getattr(item, field)
    if not value or not value.strip():
        return None
    at = times.parse(value)
    if at is None:
        detail = f"{field}: {value[:60]!r} is no date; send RFC 3339"
        if item.origin is not Origin.FEED:
            raise _Refused("wrong-time", detail)
        warnings.append(detail)
    return at


def _credible(at: datetime, now: datetime) -> bool:
    return at.year >= EARLIEST_YEAR and at <= now + MAX_AHEAD


def _embargo(item: Item) -> datetime | None:
    if not item.embargoed_until:
        return None
    at = times.parse(item.embargoed_until)
    if at is None:
        raise _Refused(
            "wrong-time",
            f"embargoed_until: {item.embargoed_until[:60]!r} is no date; send RFC 3339",
        )
    return at


def _image(item: Item, warnings: list[str]) -> Image | None:
    if item.image is None:
        return None
    url = urls.web(item.image.url)
    if url is None:
        warnings.append(f"image: {item.image.url[:100]!r} is no http(s) address; left out")
        return None
    return item.image.model_copy(
        update={
            "url": url,
            "alt": text.line(item.image.alt or "") or None,
            "credit": _name(item.image.credit or "") or None,
        }
    )
