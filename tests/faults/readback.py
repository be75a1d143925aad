"""Waits until everything has come to rest, and reads the log and every read model back."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import httpx
import orjson

from shared.clock import to_ms
from shared.events import (
    ARTICLES,
    COMMENTS,
    INDEXED,
    STREAMS,
    VIEWS,
    Stream,
)
from shared.streams.entries import FIRST, Entry, entry_ms, place
from tests.faults.history import History, Said
from tests.faults.model import Bag, Differences, Fact, compare
from tests.faults.senders import SECTIONS
from tests.faults.system import INGESTS, System
from tests.faults.truth import Truth, event_ids
from tests.oracles import rails as oracle

LATEST_SLOTS: Final = 6
POPULAR_SLOTS: Final = 5
MARGIN: Final = 1.06
"""A list keeps a member until an outsider beats it by 5 %, and is a second old."""
DRAINED_WITHIN_S: Final = 120.0
SETTLED_WITHIN_S: Final = 30.0
AT_ONCE: Final = 16
CATALOGUE: Final = "{news.articles}:rails:catalogue"


async def drained(system: System) -> None:
    """Until all groups have all, and acknowledged it."""
    # Some connections are still to a Redis that was killed.
    await system.redis.connection_pool.disconnect()
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
    truth = Truth(history)
    found = {
        "log of articles": truth.articles(logs[ARTICLES]),
        "log of views": truth.views(logs[VIEWS]),
        "log of comments": truth.comments(logs[COMMENTS]),
        "event ids": event_ids(logs),
        "news.indexed": truth.indexed(logs[INDEXED]),
    }
    async with httpx.AsyncClient(timeout=10) as client:
        served = _Served(system, client, truth)
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


@dataclass(frozen=True, slots=True)
class _Served:
    """What the services answer."""

    system: System
    client: httpx.AsyncClient
    truth: Truth

    async def articles(self) -> Differences:
        bag, found = Bag(), Counter[Fact]()
        for id_, life in self.truth.lives.items():
            bag.must((id_, len(life.versions), life.versions[-1]) if not life.retracted else (id_,))
        await _each(list(self.truth.lives), lambda id_: self._article(id_, found))
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
        for id_, life in self.truth.lives.items():
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
        for id_, life in self.truth.lives.items():
            bag.must((id_, len(life.versions)))
        async for id_, kept in self.system.redis.hscan_iter(CATALOGUE, count=1000):
            found[id_.decode(), int(kept.partition(b" ")[0])] += 1
        return compare(bag, found)

    async def counts(self) -> Differences:
        bag, found = Bag(), Counter[Fact]()
        for article, views in self.truth.totals().items():
            bag.must(article, views)
        ids = list(self.truth.lives)
        for start in range(0, len(ids), 100):
            params = {"article": ",".join(ids[start : start + 100])}
            answer = await self.client.get(f"{self.system.url('rails')}/v1/views", params=params)
            counts = answer.raise_for_status().json()["counts"]
            found.update({id_: row["views"] for id_, row in counts.items()})
        return compare(bag, found)

    async def lists(self, views: Sequence[Entry]) -> Differences:
        bag, found = Bag(), Counter[Fact]()
        articles = self.truth.of_lists()
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
    return compare(Bag(), found)


async def _each(ids: Sequence[str], do: Callable[[str], Awaitable[None]]) -> None:
    waiting = iter(ids)

    async def work() -> None:
        for id_ in waiting:
            await do(id_)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
