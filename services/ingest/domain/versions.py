"""What a posted article is, given what is known of it.

The order of the rules in `decide`: retracted ones stay so; a cancellation retracts; an
older one is late; an embargo or a withheld one waits; what is as before is unchanged;
the rest is a new version.

Which of two is older is told by the feed's own version, else its `updated_at`, else
arrival.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, Self

import orjson

from services.ingest.domain.normalise import Normalised
from shared.clock import from_ms, to_ms
from shared.events import Article


@dataclass(frozen=True, slots=True)
class Order:
    """A place among the versions that a feed has sent of one article."""

    feed_version: int | None = None
    updated_ms: int | None = None

    def is_before(self, other: Self) -> bool:
        for mine, theirs in (
            (self.feed_version, other.feed_version),
            (self.updated_ms, other.updated_ms),
        ):
            if mine is not None and theirs is not None and mine != theirs:
                return mine < theirs
        return False


@dataclass(frozen=True, slots=True)
class Record:
    """What ingest remembers of an article. Version 0: never published."""

    feed: str
    version: int = 0
    content_hash: str = ""
    hashes: Mapping[str, str] = field(default_factory=dict)
    order: Order = Order()
    retracted: bool = False
    url: str | None = None
    published_ms: int | None = None
    held_hash: str | None = None
    """Of the version that waits for its embargo to end."""
    held_order: Order = Order()

    def to_json(self) -> str:
        return orjson.dumps(
            [
                self.feed, self.version, self.content_hash, self.hashes,
                self.order.feed_version, self.order.updated_ms, self.retracted, self.url,
                self.published_ms,
                self.held_hash, self.held_order.feed_version, self.held_order.updated_ms,
            ]
        ).decode()  # fmt: skip

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        (
            feed,
            version,
            content_hash,
            hashes,
            feed_version,
            updated_ms,
            retracted,
            url,
            published_ms,
            held_hash,
            held_version,
            held_ms,
        ) = orjson.loads(text)
        return cls(
            feed, version, content_hash, hashes, Order(feed_version, updated_ms), retracted, url,
            published_ms, held_hash, Order(held_version, held_ms),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Publish:
    article: Article
    changed: tuple[str, ...]
    correction: bool
    record: Record
    first: bool
    """Readers do not have it: the first version, or one that comes back."""
    ends_hold: bool


@dataclass(frozen=True, slots=True)
class Hold:
    article: Article
    until: datetime | None
    """None: until the feed says so."""
    record: Record


@dataclass(frozen=True, slots=True)
class Retract:
    record: Record
    published: bool
    """Whether readers have it, so that an event is due."""
    ends_hold: bool


@dataclass(frozen=True, slots=True)
class Keep:
    """No event. `record`: what to remember instead, if anything."""

    outcome: Literal["unchanged", "late", "held", "retracted"]
    version: int
    record: Record | None = None


Decision = Publish | Hold | Retract | Keep


def decide(known: Record | None, posted: Normalised, now: datetime) -> Decision:
    article = posted.article
    order = Order(posted.feed_version, posted.order_ms)
    record = known or Record(feed=article.feed)
    if record.retracted and not posted.reinstated:
        return Keep("retracted", record.version)
    if posted.status == "canceled":
        return retract(record)
    if record.version and order.is_before(record.order):
        return Keep("late", record.version)
    if _must_wait(posted, now):
        return _hold(record, article, order)
    if article.content_hash == record.content_hash and not record.retracted:
        moved = record.order.is_before(order)
        return Keep("unchanged", record.version, replace(record, order=order) if moved else None)
    return publish(record, article, posted.hashes, order)


def publish(record: Record, article: Article, hashes: Mapping[str, str], order: Order) -> Publish:
    """The next version of `article`. `hashes`: its `field_hashes`."""
    published_at = article.published_at
    if record.published_ms is not None and published_at == article.received_at:
        # The feed gives no time, and a new version is no new article.
        published_at = from_ms(record.published_ms)
        hashes = {**hashes, "published_at": record.hashes["published_at"]}
    changed = _changed(record.hashes, hashes) if record.version else ()
    version = record.version + 1
    ends_hold = record.held_hash is not None and not order.is_before(record.held_order)
    if (article.version, article.published_at) != (version, published_at):
        article = article.model_copy(update={"version": version, "published_at": published_at})
    return Publish(
        article=article,
        changed=changed,
        correction="corrections" in changed,
        record=Record(
            feed=record.feed,
            version=version,
            content_hash=article.content_hash,
            hashes=hashes,
            order=order,
            url=article.url,
            published_ms=to_ms(published_at),
            held_hash=None if ends_hold else record.held_hash,
            held_order=Order() if ends_hold else record.held_order,
        ),
        first=record.version == 0 or record.retracted,
        ends_hold=ends_hold,
    )


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name for name in sorted({*before, *now}) if before.get(name) != now.get(name))


def retract(record: Record) -> Decision:
    if record.retracted:
        return Keep("retracted", record.version)
    published = record.version > 0
    return Retract(
        replace(
            record,
            version=record.version + 1 if published else 0,
            retracted=True,
            held_hash=None,
            held_order=Order(),
        ),
        published,
        ends_hold=record.held_hash is not None,
    )


def newest_places(posted: Sequence[Normalised]) -> set[int]:
    """Which of one document's articles count: of those with one id the newest, or the
    last where nothing tells their order."""
    best: dict[str, int] = {}
    orders = [Order(article.feed_version, article.order_ms) for article in posted]
    for place, article in enumerate(posted):
        rival = best.get(article.article.id)
        if rival is None or not orders[place].is_before(orders[rival]):
            best[article.article.id] = place
    return set(best.values())


def _must_wait(posted: Normalised, now: datetime) -> bool:
    until = posted.article.embargoed_until
    return posted.status == "withheld" or (until is not None and until > now)


def _hold(record: Record, article: Article, order: Order) -> Hold | Keep:
    if record.held_hash == _held_hash(article):
        return Keep("held", record.version)
    if record.held_hash is not None and order.is_before(record.held_order):
        return Keep("late", record.version)
    waiting = replace(
        record, held_hash=_held_hash(article), held_order=order, url=record.url or article.url
    )
    return Hold(article, article.embargoed_until, waiting)


def _held_hash(article: Article) -> str:
    """An embargo that moves is news to the one who waits for it."""
    until = article.embargoed_until
    return f"{article.content_hash}@{to_ms(until) if until else ''}"
