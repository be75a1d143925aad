"""What rails must say, from the whole log, in a few plain lines over sets and floats.

It shares no code with the service. A log is a list of (arrival in ms, data of a
`news.views.recorded.v1`); articles are dicts by id.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from math import log as ln
from typing import Any

Log = Iterable[tuple[int, Mapping[str, Any]]]
Cells = Counter[tuple[str, int]]

D = 300_000


def fold(log: Log) -> tuple[Cells, Counter[str]]:
    """Distinct readers by (article, bucket), and the totals by article."""
    seen: set[tuple[str, int, int]] = set()
    totals: Counter[str] = Counter()
    for arrival, data in log:
        for place, visitor, offset in zip(
            data["article"], data["visitor"], data["at"], strict=True
        ):
            article, at = data["articles"][place], data["since"] + offset
            bucket = at // D
            closed = (bucket + 1) * D + 660_000 < arrival
            if data["late"] or closed or at > arrival + 60_000:
                totals[article] += 1
            elif (article, bucket, visitor) not in seen:
                seen.add((article, bucket, visitor))
                totals[article] += 1
    return Counter((article, bucket) for article, bucket, _ in seen), totals


def rate(article: str, cells: Cells, published: int, now: int) -> float:
    n, t = {}, {}
    for h in (0.25, 1, 3):
        n[h] = 0.0
        for q in range(72):
            n[h] += cells[article, now // D - q] * 2 ** (-q * 300 / (h * 3600))
        age = max((now - published) // 1000, 300)
        t[h] = h / ln(2) * (1 - 2 ** (-age / 3600 / h))
    r3 = (n[3] + 0.5) / t[3]
    r1 = (n[1] + 5) / (t[1] + 5 / r3)
    return (n[0.25] + 3) / (t[0.25] + 3 / r1)


def popular(
    cells: Cells,
    articles: Mapping[str, Mapping[str, Any]],
    now: int,
    *,
    section: str | None = None,
    min_readers: int = 2,
) -> list[tuple[str, float]]:
    """The best twenty stories with their scores."""
    scored = [
        (-rate(id_, cells, article["published"], now), -article["published"], id_)
        for id_, article in articles.items()
        if not article["retracted"]
        and article["published"] <= now
        and section in (None, *article["sections"])
        and sum(cells[id_, now // D - q] for q in range(72)) >= min_readers
    ]
    ordered = [(id_, -minus) for minus, _, id_ in sorted(scored)]
    return _one_per_story(ordered, articles)


def latest(
    articles: Mapping[str, Mapping[str, Any]], now: int, *, section: str | None = None
) -> list[tuple[str, float]]:
    ordered = sorted(
        (-article["published"], id_)
        for id_, article in articles.items()
        if not article["retracted"]
        and article["published"] <= now
        and section in (None, *article["sections"])
    )
    return _one_per_story([(id_, -minus / 1000) for minus, id_ in ordered], articles)


def _one_per_story(
    ordered: list[tuple[str, float]], articles: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, float]]:
    told: set[str] = set()
    kept = []
    for id_, score in ordered:
        if articles[id_]["story"] not in told:
            told.add(articles[id_]["story"])
            kept.append((id_, score))
    return kept[:20]
