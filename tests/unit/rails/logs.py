"""Logs of views for the tests of rails, as the oracle and as the fold take them."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson
from hypothesis import strategies as st

from services.rails.domain.catalogue import Catalogue, Facts
from services.rails.domain.columns import Columns, decode
from services.rails.domain.counts import Arrived, Cells, Counts

BUCKET_MS = 300_000
BEGIN_MS = 1_780_000_200_000
"""The begin of a bucket."""
IDS = tuple("abcdefghij")
SECTIONS = ("world", "sport", "culture")

Entry = tuple[int, dict[str, Any]]


@st.composite
def entries(draw: st.DrawFn, *, most: int = 12) -> list[Entry]:
    """In order of arrival: views on time, late, ahead, repeated, at the edges of buckets,
    and with silences of up to a day between them."""
    arrival = BEGIN_MS
    log = []
    for _ in range(draw(st.integers(0, most))):
        arrival += draw(
            st.sampled_from(
                [0, 1, 400, 60_000, 299_999, 300_000, 660_001, 7 * 3_600_000, 86_400_000]
            )
        )
        rows = draw(
            st.lists(
                st.tuples(
                    st.sampled_from(IDS),
                    st.integers(0, 3),
                    st.sampled_from([0, -1, -1_000, -299_999, -300_000, -600_000, -959_999, -960_000,
                                     -960_001, -1_300_000, 5_000, 60_000, 60_001]),
                ),
                max_size=8,
            )
        )  # fmt: skip
        late = draw(st.integers(0, 9)) == 0
        log.append((arrival, data([(a, v, arrival + t) for a, v, t in rows], late=late)))
        if draw(st.integers(0, 3)) == 0:
            log.append((arrival + draw(st.integers(0, 1_000)), log[-1][1]))
            arrival = log[-1][0]
    return log


def data(views: Sequence[tuple[str, int, int]], *, late: bool = False) -> dict[str, Any]:
    """Of (article, visitor, at)."""
    articles = list(dict.fromkeys(article for article, _, _ in views))
    since = min((at for _, _, at in views), default=0)
    return {
        "articles": articles,
        "article": [articles.index(article) for article, _, _ in views],
        "visitor": [visitor for _, visitor, _ in views],
        "since": since,
        "at": [at - since for _, _, at in views],
        "referrer": [-1] * len(views),
        "engaged": [0] * len(views),
        "late": late,
    }


def arrived(log: Sequence[Entry]) -> list[Arrived]:
    entries = []
    for at_ms, said in log:
        columns = decode(orjson.dumps(said))
        assert isinstance(columns, Columns)
        entries.append(Arrived(at_ms, columns))
    return entries


def batches(log: Sequence[Entry], rng: random.Random) -> list[list[Entry]]:
    """The log cut at random, each piece shuffled: within one batch order says nothing."""
    cut = []
    rest = list(log)
    while rest:
        size = rng.randint(1, 5)
        batch, rest = rest[:size], rest[size:]
        cut.append(rng.sample(batch, len(batch)))
    return cut


def cells_of(counts: Counts) -> Counter[tuple[str, int]]:
    return as_counter(counts.cells())


def as_counter(cells: Cells) -> Counter[tuple[str, int]]:
    return Counter(
        {
            (cells.articles[article], bucket): readers
            for article, bucket, readers in zip(
                cells.article.tolist(), cells.bucket.tolist(), cells.readers.tolist(), strict=True
            )
        }
    )


def in_ring(cells: Counter[tuple[str, int]], newest: int) -> Counter[tuple[str, int]]:
    """What a ring whose newest bucket is `newest` still holds of them."""
    return Counter({cell: n for cell, n in cells.items() if newest - 73 < cell[1] <= newest})


def articles(rng: random.Random, now_ms: int) -> dict[str, dict[str, Any]]:
    """As the oracle takes them; some retracted, some to come, some of one story, and some
    of IDS unknown."""
    return {
        id_: {
            "published": now_ms - rng.choice([-1, 0, 1_000, 299_000, 5_000_000, 10**9]),
            "sections": rng.sample(SECTIONS, rng.randint(0, 2)),
            "story": rng.choice(["s1", "s2", id_, id_, id_]),
            "retracted": rng.random() < 0.1,
        }
        for id_ in IDS
        if rng.random() < 0.9
    }


def catalogue(known: dict[str, dict[str, Any]]) -> Catalogue:
    return Catalogue(facts(id_, article) for id_, article in known.items())


def facts(id_: str, article: dict[str, Any], version: int = 1) -> Facts:
    return Facts(
        id=id_,
        version=version,
        retracted=article["retracted"],
        story=article["story"],
        title=f"About {id_}",
        sections=tuple(article["sections"]),
        published_ms=article["published"],
        from_ms=article["published"],
    )
