"""Which views count, and what the log keeps of them.

In this order: a bot does not count; a time that lies ahead becomes that of arrival; a
view that is over 10 minutes late counts in totals only (columns) or not at all (a
beacon). What is accepted here counts: nobody decides it again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Literal

import crawleruseragents

from shared.clock import from_ms
from shared.events import VISITOR_BITS, ViewsRecorded

AHEAD_MS: Final = 5_000
LATE_MS: Final = 600_000
ENGAGED_MOST_S: Final = 86_400

Drop = Literal["bot", "late", "unknown-address"]


@dataclass(frozen=True, slots=True)
class View:
    article: str
    visitor: int
    at_ms: int
    referrer: str | None = None
    engaged_s: int = 0


@lru_cache(maxsize=10_000)
def is_bot(user_agent: str) -> bool:
    """By the list that monperrus/crawler-user-agents keeps; a browser always says who it is."""
    return not user_agent.strip() or bool(crawleruseragents.is_crawler(user_agent))


def arrival_time(at_ms: int | None, now_ms: int) -> int:
    return now_ms if at_ms is None or at_ms > now_ms + AHEAD_MS else at_ms


def is_late(at_ms: int, now_ms: int) -> bool:
    return at_ms < now_ms - LATE_MS


def day_of(at_ms: int) -> date:
    return from_ms(at_ms).date()


def visitor(salt: bytes, *said: str) -> int:
    """A keyed hash of 52 bits. Whoever has not the salt cannot tell whose it is."""
    digest = blake2b("\0".join(said).encode(), key=salt, digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - VISITOR_BITS)


def recorded(
    views: Sequence[View], *, late: bool = False, dropped: Mapping[str, int] | None = None
) -> ViewsRecorded:
    """The views as columns."""
    places: dict[str, int] = {}
    article = [places.setdefault(view.article, len(places)) for view in views]
    referrer = [
        -1 if view.referrer is None else places.setdefault(view.referrer, len(places))
        for view in views
    ]
    since = min((view.at_ms for view in views), default=0)
    return ViewsRecorded.model_construct(
        articles=tuple(places),
        article=tuple(article),
        visitor=tuple(view.visitor for view in views),
        since=since,
        at=tuple(view.at_ms - since for view in views),
        referrer=tuple(referrer),
        engaged=tuple(min(view.engaged_s, ENGAGED_MOST_S) for view in views),
        late=late,
        dropped=dict(dropped or {}),
    )
