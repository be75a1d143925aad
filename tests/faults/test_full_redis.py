"""A Redis that is full though senders are refused before it: consumers go on and empty it."""

import asyncio
from pathlib import Path

import httpx
import redis as sync_redis

from shared.clock import now, to_ms
from tests.eventually import until
from tests.stack import Stack

ARTICLES = 300


def test_consumers_started_on_a_full_redis_read_all_of_it(tmp_path: Path) -> None:
    with (
        Stack(tmp_path, "ingest", "index", "rails") as stack,
        sync_redis.Redis(port=stack.redis.port) as redis,
    ):
        for service in ("index", "rails"):
            stack.kill(service)
        headers = {"Authorization": f"Bearer {stack.token}"}
        posted = [{"external_id": f"{n}", "title": f"Number {n}"} for n in range(ARTICLES)]
        url = f"{stack.url('ingest')}/v1/articles?feed=wire"
        said = httpx.post(url, json=posted, headers=headers, timeout=30).json()
        ids = [result["id"] for result in said["results"]]
        views = {"article": ids, "visitor": ids, "at": [to_ms(now())] * len(ids)}
        url = f"{stack.url('ingest')}/v1/views"
        assert httpx.post(url, json=views, headers=headers, timeout=30).is_success
        redis.config_set("maxmemory", 1)
        for service in ("index", "rails"):
            stack.start(service)

        async def all_read() -> bool:
            groups = [g for s in ("news.articles", "news.views") for g in redis.xinfo_groups(s)]
            return not any(group["lag"] or group["pending"] for group in groups)

        asyncio.run(until(all_read, within_s=60))
        found = httpx.get(f"{stack.url('index')}/v1/search", params={"limit": "1"}).json()
        assert found["total"] == ARTICLES
        assert redis.xlen("news.indexed") == ARTICLES
        assert redis.hlen("{news.views}:rails:totals") == ARTICLES
