"""Builders that show only what matters to a test."""

from datetime import UTC, datetime
from typing import Any

from services.ingest.domain.items import Item, Origin, Refusal
from services.ingest.domain.normalise import Normalised, article

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def an_article(*, feed: str = "wire", now: datetime = NOON, **said: Any) -> Normalised:
    """As ingest has it once it is normalised."""
    usual = {"external_id": "1", "title": "Harbour opens", "body_text": "It did."}
    item = Item(origin=Origin.OURS, original="", **{**usual, **said})
    normalised = article(item, feed=feed, now=now)
    assert not isinstance(normalised, Refusal), normalised
    return normalised
