"""Reads the log and every read model back, and compares them with the history.

What was given up with an unknown outcome counts if the log has it: then all must have it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import httpx
import orjson

from shared.clock import to_ms
from shared.events import (
    ARTICLES,
    COMMENTS,
    INDEXED,
    STREAMS,
    VIEWS,
    ArticleIndexed,
    ArticlePublished,
    ArticleRetracted,
    CommentPosted,
    CommentRemoved,
    Stream,
    Unreadable,
    ViewsRecorded,
    decode,
)
from shared.streams.entries import FIRST, Entry, entry_ms, place
from tests.faults.history import Fate, History, Life, Row, Said
from tests.faults.model import Bag, Differences, Fact, compare
from tests.faults.senders import SECTIONS
from tests.faults.system import INGESTS, System
from tests.oracles import rails as oracle

BUCKET_MS: Final = 300_000
LATEST_SLOTS: Final = 6
POPULAR_SLOTS: Final = 5
MARGIN: Final = 1.06
"""A list keeps a member until an outsider beats it by 5 %, and is a second old."""
DRAINED_WITHIN_S: Final = 120.0
SETTLED_WITHIN_S: Final = 30.0
AT_ONCE: Final = 16
CATALOGUE: Final = "{news.articles}:rails:catalogue"
OFFSET: Final = "{news.views}:rails:offset"

Logs = Mapping[Stream, Sequence[Entry]]


async def drained(system: System) -> None:
    """Until all groups have all, and acknowledged it."""
    for name in (*INGESTS, "index", "rails"):
        await system.ready(name)
    async with asyncio.timeout(DRAINED_WITHIN_S):
        for stream in STREAMS:
            while not await _is_drained(system, stream):
                await asyncio.sleep(0.1)


async def _is_drained(system: System, stream: Stream) -> bool:
    if not await system.redis.exists(stream.name):
        return True
    last = (await system.redis.xinfo_stream(stream.name))["last-generated-id"].decode()
    return all(
        not group["pending"] and place(group["last-delivered-id"].decode()) >= place(last)
        for group in await system.redis.xinfo_groups(stream.name)
    )


async def differences(system: System, history: History) -> dict[str, Differences]:
    """By read model."""
    logs = {stream: await _log(system, stream) for stream in STREAMS}
    log = _Log(history)
    found = {
        "log of articles": log.articles(logs[ARTICLES]),
        "log of views": log.views(logs[VIEWS]),
        "log of comments": log.comments(logs[COMMENTS]),
        "event ids": _event_ids(logs),
        "news.indexed": _indexed(log, logs[INDEXED]),
    }
    async with httpx.AsyncClient(timeout=10) as client:
        served = _Served(system, client, log)
        found |= {
            "articles by id": await served.articles(),
            "search": await served.search(),
            "catalogue of rails": await served.catalogue(),
            "views by article": await served.counts(),
            "lists": await _settled(lambda: served.lists(logs[VIEWS])),
        }
    return {**found, "dead letters": await _dead_letters(system)}


async def _log(system: System, stream: Stream) -> list[Entry]:
    """Archive and stream."""
    if not await system.redis.exists(stream.name):
        return []
    end = (await system.redis.xinfo_stream(stream.name))["last-generated-id"].decode()
    chunks = system.log.until(stream.name, FIRST, end, count=1000)
    return [entry async for chunk in chunks for entry in chunk]


def _data(entries: Iterable[Entry]) -> Iterable[Any]:
    for entry in entries:
        match decode(entry.fields):
            case Unreadable(reason):
                raise AssertionError(f"{entry.id} on the log: {reason}")
            case event:
                yield event.data


def _event_ids(logs: Logs) -> Differences:
    bag, found = Bag(), Counter[Fact]()
    for stream, entries in logs.items():
        found.update((stream.name, entry.fields[b"id"].decode()) for entry in entries)
    for fact in found:
        bag.may(fact)
    return compare(bag, found)


@dataclass(slots=True)
class _Log:
    """What the log says, against the history; then what all others must say."""

    history: History
    lives: dict[str, Life] = field(default_factory=dict)
    """By the article's id, each with all versions that the log has of it."""
    counted: list[Row] = field(default_factory=list)
    late: list[Row] = field(default_factory=list)

    def articles(self, entries: Sequence[Entry]) -> Differences:
        by_external_id = {life.external_id: life for life in self.history.lives}
        names: dict[str, str] = {}
        found, bag = Counter[Fact](), Bag()
        last: Counter[str] = Counter()
        for data in _data(entries):
            if isinstance(data, ArticlePublished):
                article = data.article
                names[article.id] = article.external_id or ""
                id_, version = article.id, article.version
                said: Said | None = Said(article.title, article.body_text)
            else:
                assert isinstance(data, ArticleRetracted)
                id_, version, said = data.id, data.version, None
            found[names.get(id_, id_), version, said] += 1
            if version != last[id_] + 1:
                found[f"{id_}: version {version} after {last[id_]}"] += 1
            last[id_] = version
        for life in self.history.lives:
            for version, said in enumerate(life.versions, 1):
                bag.must((life.external_id, version, said))
            for version, said in enumerate(life.maybe, len(life.versions) + 1):
                bag.may((life.external_id, version, said))
                if found[life.external_id, version, said]:
                    life.versions.append(said)
        self.lives = {
            id_: by_external_id[name] for id_, name in names.items() if name in by_external_id
        }
        return compare(bag, found)

    def views(self, entries: Sequence[Entry]) -> Differences:
        """A keyed request is an entry of its own, beacons share theirs."""
        bag, found = Bag(), Counter[Fact]()
        beacons = {sent.on_time[0]: sent for sent in self.history.views if sent.beacon}
        by_view = {(row.article, row.at_ms, row.engaged): row for row in beacons}
        parts = [(part, sent) for sent in self.history.views if not sent.beacon
                 for part in (sent.on_time, sent.late) if part]  # fmt: skip
        by_part = {_seen(part): (part, sent) for part, sent in parts}
        for data in _data(entries):
            assert isinstance(data, ViewsRecorded)
            seen = tuple(
                (data.articles[which], data.since + at, engaged)
                for which, at, engaged in zip(data.article, data.at, data.engaged, strict=True)
            )
            if seen in by_part:
                found[seen, data.late] += 1
            else:
                # A beacon that was sent again is the same view.
                found.update((view, data.late) for view in seen if not found[view, data.late])
        for part, sent in by_part.values():
            fact = (_seen(part), part == sent.late)
            _expect(bag, fact, sent.fate)
            if found[fact]:
                (self.late if part == sent.late else self.counted).extend(part)
        for view, row in by_view.items():
            _expect(bag, (view, False), beacons[row].fate)
            if found[view, False]:
                self.counted.append(row)
        return compare(bag, found)

    def comments(self, entries: Sequence[Entry]) -> Differences:
        bag, found = Bag(), Counter[Fact]()
        texts: dict[str, str] = {}
        for data in _data(entries):
            if isinstance(data, CommentPosted):
                texts[data.id] = data.text
                found[data.article, data.text, 1] += 1
            else:
                assert isinstance(data, CommentRemoved)
                found[data.article, texts.get(data.id, data.id), data.version] += 1
        for comment in self.history.comments:
            _expect(bag, (comment.article, comment.text, 1), comment.fate)
            _expect(bag, (comment.article, comment.text, 2), comment.removed)
        return compare(bag, found)

    def totals(self) -> Counter[Fact]:
        distinct = {(row.article, row.visitor, row.at_ms // BUCKET_MS) for row in self.counted}
        return Counter(article for article, _, _ in distinct) + Counter(
            row.article for row in self.late
        )

    def of_lists(self) -> dict[str, dict[str, Any]]:
        return {
            id_: {
                "published": life.published_ms, "sections": [life.section], "story": id_,
                "retracted": life.retracted,
            }
            for id_, life in self.lives.items()
        }  # fmt: skip


def _seen(part: Sequence[Row]) -> Fact:
    """Of a request's views, what the log tells them by: it hashes visitors."""
    return tuple((row.article, row.at_ms, row.engaged) for row in part)


def _expect(bag: Bag, fact: Fact, fate: Fate) -> None:
    if fate is Fate.ACKED:
        bag.must(fact)
    elif fate is Fate.MAYBE:
        bag.may(fact)


def _indexed(log: _Log, entries: Sequence[Entry]) -> Differences:
    """The newest version is announced once; one that was replaced within a batch is not."""
    bag, found = Bag(), Counter[Fact]()
    for data in _data(entries):
        assert isinstance(data, ArticleIndexed)
        found[data.id, data.version] += 1
    for id_, life in log.lives.items():
        for version, said in enumerate(life.versions, 1):
            if said and version == len(life.versions):
                bag.must((id_, version))
            elif said:
                bag.may((id_, version))
    return compare(bag, found)


@dataclass(frozen=True, slots=True)
class _Served:
    """What the services answer."""

    system: System
    client: httpx.AsyncClient
    log: _Log

    async def articles(self) -> Differences:
        bag, found = Bag(), Counter[Fact]()
        for id_, life in self.log.lives.items():
            bag.must((id_, len(life.versions), life.versions[-1]) if not life.retracted else (id_,))
        await _each(list(self.log.lives), lambda id_: self._article(id_, found))
        return compare(bag, found)

    async def _article(self, id_: str, found: Counter[Fact]) -> None:
        answer = await self.client.get(f"{self.system.url('index')}/v1/articles/{id_}")
        if answer.status_code == 200:
            article = answer.json()
            said = Said(article["title"], article["body_text"])
            found[id_, article["version"], said] += 1
        elif answer.status_code == 410:
            found[id_,] += 1

    async def search(self) -> Differences:
        bag, found = Bag(), Counter[Fact]()
        for id_, life in self.log.lives.items():
            if newest := life.versions[-1]:
                bag.must((id_, newest.title))
        cursor: str | None = ""
        while cursor is not None:
            params = {"sort": "newest", "limit": "100", **({"cursor": cursor} if cursor else {})}
            answer = await self.client.get(f"{self.system.url('index')}/v1/search", params=params)
            page = answer.raise_for_status().json()
            found.update((hit["id"], hit["title"]) for hit in page["hits"])
            cursor = page["next"]
        return compare(bag, found)

    async def catalogue(self) -> Differences:
        bag, found = Bag(), Counter[Fact]()
        for id_, life in self.log.lives.items():
            bag.must((id_, len(life.versions)))
        async for id_, kept in self.system.redis.hscan_iter(CATALOGUE, count=1000):
            found[id_.decode(), int(kept.partition(b" ")[0])] += 1
        return compare(bag, found)

    async def counts(self) -> Differences:
        bag, found = Bag(), Counter[Fact]()
        for article, views in self.log.totals().items():
            bag.must(article, views)
        ids = list(self.log.lives)
        for start in range(0, len(ids), 100):
            params = {"article": ",".join(ids[start : start + 100])}
            answer = await self.client.get(f"{self.system.url('rails')}/v1/views", params=params)
            counts = answer.raise_for_status().json()["counts"]
            found.update({id_: row["views"] for id_, row in counts.items()})
        return compare(bag, found)

    async def lists(self, views: Sequence[Entry]) -> Differences:
        bag, found = Bag(), Counter[Fact]()
        articles = self.log.of_lists()
        cells, _ = oracle.fold((entry_ms(e.id), orjson.loads(e.fields[b"data"])) for e in views)
        for section in (None, *SECTIONS):
            listed, now_ms = await self._list("latest", section)
            right = oracle.latest(articles, now_ms, section=section)[:LATEST_SLOTS]
            for rank, (id_, _) in enumerate(right):
                bag.must(("latest", section, rank, id_))
            found.update(("latest", section, rank, id_) for rank, id_ in enumerate(listed))

            listed, now_ms = await self._list("popular", section)
            best = dict(oracle.popular(cells, articles, now_ms, section=section))
            bag.must(("popular", section, "slots"), min(POPULAR_SLOTS, len(best)))
            found["popular", section, "slots"] += len(listed)
            weakest = min((best.get(id_, 0.0) for id_ in listed), default=0.0)
            found.update(
                ("popular", section, f"{id_} beats a member")
                for id_, score in best.items()
                if id_ not in listed and score > MARGIN * weakest
            )
        return compare(bag, +found)

    async def _list(self, rail: str, section: str | None) -> tuple[list[str], int]:
        """The articles, and when that was so."""
        params = {"section": section} if section else {}
        url = f"{self.system.url('rails')}/v1/rails/{rail}"
        answer = (await self.client.get(url, params=params)).raise_for_status().json()
        ids = [entry["article"]["id"] for entry in answer["entries"]]
        return ids, to_ms(datetime.fromisoformat(answer["computed_at"]))


async def _settled(read: Callable[[], Awaitable[Differences]]) -> Differences:
    """Lists follow the log by a second or two."""
    clock = asyncio.get_running_loop().time
    until = clock() + SETTLED_WITHIN_S
    while True:
        found = await read()
        if not any(counter for _, counter in found) or clock() > until:
            return found
        await asyncio.sleep(1)


async def _dead_letters(system: System) -> Differences:
    """Nothing that is sent deserves one."""
    found = Counter[Fact]()
    async for key in system.redis.scan_iter("{*}:dead:*"):
        found[key.decode()] += await system.redis.xlen(key)
    return compare(Bag(most=Counter(), least=Counter()), found)


async def _each(ids: Sequence[str], do: Callable[[str], Awaitable[None]]) -> None:
    waiting = iter(ids)

    async def work() -> None:
        for id_ in waiting:
            await do(id_)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
