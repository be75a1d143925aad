"""Killed anywhere, nothing answered is lost, and nothing is there twice."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from shared.clock import now, to_ms
from shared.streams.clients import reader
from shared.streams.entries import FIRST, read_after
from tests.redis_server import free_port
from tests.stack import ROOT

ARTICLES: Final = 5_000
VIEWS: Final = 20_000
VIEWS_A_REQUEST: Final = 50
ARTICLES_A_VIEW_REQUEST: Final = ARTICLES * VIEWS_A_REQUEST // VIEWS
SENDERS: Final = 8
ROUNDS: Final = 2
BUCKET_MS: Final = 300_000
SEED: Final = int(os.environ.get("NEWSRAIL_TEST_SEED", "1"))


@dataclass(slots=True)
class Up:
    """`newsrail up`, as an operator runs it."""

    folder: Path
    process: subprocess.Popen[bytes]

    def said(self) -> dict[str, Any]:
        run: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return run

    async def ready(self, *, apart_from: int | None = None) -> dict[str, Any]:
        """What run.json says, once it says it and no more of the killed process."""
        async with asyncio.timeout(60):
            while True:
                if self.process.poll() is not None:
                    raise AssertionError("newsrail up has ended")
                if (self.folder / "run.json").exists():
                    said = self.said()
                    if apart_from not in said["pids"].values():
                        return said
                await asyncio.sleep(0.05)


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Up]:
    command = [sys.executable, "-m", "cli.main", "up", "--empty"]
    port = free_port()
    process = subprocess.Popen([*command, "--data", str(tmp_path), "--port", str(port)], cwd=ROOT)
    try:
        yield Up(tmp_path, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


@dataclass(slots=True)
class History:
    """What was answered 2xx."""

    articles: dict[str, str] = field(default_factory=dict)
    views: set[tuple[str, int, str]] = field(default_factory=set)
    """(article, bucket, visitor)."""
    view_requests: int = 0


class Sender:
    """Sends each request as it was until it is answered 2xx, as the promise allows."""

    def __init__(self, up: Up, history: History) -> None:
        self.up = up
        self.history = history
        said = up.said()
        self.ingest = said["ingest"]
        self.client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {said['key']}"}, timeout=5
        )

    async def send(self, path: str, key: str, body: object) -> dict[str, Any]:
        while True:
            try:
                answer = await self.client.post(
                    self.ingest + path, json=body, headers={"Idempotency-Key": key}
                )
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            if answer.status_code == 503:
                await asyncio.sleep(0.05)
                continue
            assert answer.status_code == 202, answer.text
            said: dict[str, Any] = answer.json()
            return said

    async def article(self, number: int) -> None:
        body = {
            "external_id": str(number),
            "title": f"Take number {number} of the day",
            "body_text": "Rain.",
            "section": ("world", "sport", "culture")[number % 3],
        }
        said = await self.send("/v1/articles?feed=faults", f"a{number}", body)
        result = said["results"][0]
        assert result["outcome"] == "published", result
        self.history.articles[result["id"]] = body["title"]

    async def views(self, number: int, rng: random.Random, now_ms: int) -> None:
        known = list(self.history.articles)[:500]
        rows = [
            (rng.choice(known), f"v{rng.randrange(400)}", now_ms + rng.randrange(60_000) - 60_000)
            for _ in range(VIEWS_A_REQUEST)
        ]
        body = {
            "article": [row[0] for row in rows],
            "visitor": [row[1] for row in rows],
            "at": [row[2] for row in rows],
        }
        said = await self.send("/v1/views", f"v{number}", body)
        assert said["counted"] == VIEWS_A_REQUEST
        self.history.view_requests += 1
        self.history.views |= {(a, at // BUCKET_MS, who) for a, who, at in rows}


@pytest.mark.timeout(300)
async def test_each_process_killed_twice_loses_nothing_and_repeats_nothing(up: Up) -> None:
    print(f"seed {SEED}")
    said = await up.ready()
    history = History()
    sender = Sender(up, history)
    numbers = count()
    async with asyncio.TaskGroup() as group:
        killer = group.create_task(kill_in_turn(up))
        for worker in range(SENDERS):
            group.create_task(drive(sender, numbers, killer, random.Random(SEED * 100 + worker)))
    assert len(history.articles) >= ARTICLES
    assert history.view_requests * VIEWS_A_REQUEST >= VIEWS

    async with reader(SecretStr(said["redis"])) as redis:
        await nothing_twice_on_the_streams(redis, history)
        await everything_consumed(redis)
    await all_found_once(sender.client, said["index"], history)
    await counts_as_the_oracle(sender.client, said["rails"], history)
    await sender.client.aclose()


async def drive(
    sender: Sender, numbers: "count[int]", killer: "asyncio.Task[None]", rng: random.Random
) -> None:
    """Until enough is sent and everything was killed."""
    for number in numbers:
        if number >= ARTICLES and killer.done():
            return
        await sender.article(number)
        if number % ARTICLES_A_VIEW_REQUEST == 0:
            await sender.views(number, rng, to_ms(now()))


async def kill_in_turn(up: Up) -> None:
    for _ in range(ROUNDS):
        for victim in ("ingest", "index", "rails", "redis"):
            said = await up.ready()
            pid = said["pids"][victim]
            os.kill(pid, signal.SIGKILL)
            print(f"killed {victim}")
            await up.ready(apart_from=pid)
            # A little of ordinary life between two faults.
            await asyncio.sleep(1)


async def nothing_twice_on_the_streams(redis: Redis, history: History) -> None:
    articles = await read_after(redis, "news.articles", FIRST, count=10 * ARTICLES, block_ms=None)
    events = Counter(entry.fields[b"id"] for entry in articles)
    assert [id_ for id_, times in events.items() if times > 1] == []
    assert len(events) == len(history.articles)
    views = await read_after(redis, "news.views", FIRST, count=VIEWS, block_ms=None)
    assert len(views) == history.view_requests


async def everything_consumed(redis: Redis) -> None:
    async with asyncio.timeout(60):
        for stream in ("news.articles", "news.views", "news.rails"):
            while any(g["pending"] or g["lag"] for g in await redis.xinfo_groups(stream)):
                await asyncio.sleep(0.1)


async def all_found_once(client: httpx.AsyncClient, index: str, history: History) -> None:
    found: Counter[str] = Counter()
    cursor: str | None = None
    while True:
        params = {"sort": "newest", "limit": "100", **({"cursor": cursor} if cursor else {})}
        answer = await client.get(f"{index}/v1/search", params=params)
        page = answer.json()
        found.update(hit["id"] for hit in page["hits"])
        cursor = page["next"]
        if cursor is None:
            break
    assert set(found) == set(history.articles)
    assert max(found.values()) == 1
    for id_, title in random.Random(SEED).sample(sorted(history.articles.items()), 50):
        answer = await client.get(f"{index}/v1/search", params={"q": title})
        assert answer.json()["hits"][0]["id"] == id_


async def counts_as_the_oracle(client: httpx.AsyncClient, rails: str, history: History) -> None:
    expected = Counter(article for article, _, _ in history.views)
    ids = sorted(expected)
    counted: dict[str, int] = {}
    for start in range(0, len(ids), 100):
        answer = await client.get(
            f"{rails}/v1/views", params={"article": ",".join(ids[start : start + 100])}
        )
        counted |= {id_: row["views"] for id_, row in answer.json()["counts"].items()}
    assert counted == expected
