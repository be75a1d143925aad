"""Views/s through the fold, from JSON entries of 500 on a Redis that syncs to committed
totals and ranked lists, beside a FastStream batch subscriber that does a ZINCRBY each.

Ours is the worker that the service runs, with every article known and 30 sections. The
peer reads plain fields without FastStream's own envelope, decodes with orjson and
pipelines 1,000 increments; it tells no reader from another, ranks nothing and may count
twice after a crash. Runs take turns; ratios are of runs that stand beside each other.
"""

import asyncio
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import numpy as np
import orjson
import typer
import uvloop
from faststream import NoCast
from faststream.middlewares import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from pydantic import SecretStr
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from services.rails import keys
from services.rails.consumer import Articles
from services.rails.domain.catalogue import Facts
from services.rails.worker import Worker
from shared.clock import now, to_ms
from shared.events import ARTICLES, VIEWS, Event, ViewsRecorded
from shared.streams.clients import reader, writer
from shared.streams.groups import create_groups
from shared.streams.keys import belonging
from shared.streams.replay import Log
from tests.redis_server import RedisServer

VIEWS_AN_ENTRY: Final = 500
KNOWN: Final = 100_000
VISITORS: Final = 1_000_000
SECTIONS: Final = 30
HOPED_FOR: Final = 1_500_000
"""Views a second that a run must not run out of."""
PEER_GROUP: Final = "peer"
PIPELINED: Final = 1000


def main(*, seconds: float, rounds: int) -> dict[str, float]:
    with TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        return uvloop.run(_compare(server, seconds, rounds))


async def _compare(server: RedisServer, seconds: float, rounds: int) -> dict[str, float]:
    entries = max(1, int(seconds * HOPED_FOR / VIEWS_AN_ENTRY))
    ours, peers = [], []
    url = SecretStr(server.url)
    async with writer(url) as redis, reader(url) as reading:
        await _prepare(redis, entries)
        for _ in range(rounds):
            ours.append(await _ours(redis, reading, entries))
            peers.append(await _peer(server.url, redis, seconds))
    ratio = statistics.median(a / b for a, b in zip(ours, peers, strict=True))
    table = Table(title=f"views/s through the fold, {VIEWS_AN_ENTRY} an entry, medians of {rounds}")
    for column in ("", "views/s", "lowest", "highest", "newsrail is"):
        table.add_column(column, justify="right")
    for name, runs, compared in (
        ("newsrail", ours, ""),
        ("FastStream batch + ZINCRBY", peers, f"{ratio:.1f} x"),
    ):
        row = (statistics.median(runs), min(runs), max(runs))
        table.add_row(name, *(f"{rate:,.0f}" for rate in row), compared)
    Console().print(table)
    return {
        "views_per_s": statistics.median(ours),
        "peer_views_per_s": statistics.median(peers),
        "ratio": ratio,
    }


async def _prepare(redis: Redis, entries: int) -> None:
    rng = np.random.default_rng(1)
    ids = [f"{number:032x}" for number in rng.integers(2**62, size=KNOWN).tolist()]
    weights = 1 / np.arange(1, KNOWN + 1)
    weights /= weights.sum()
    pipe = redis.pipeline(transaction=False)
    for number, id_ in enumerate(ids):
        section = f"section {number % SECTIONS}"
        published_ms = to_ms(now()) - int(rng.integers(86_400_000))
        facts = Facts(id_, 1, story=id_, title="A title of ordinary length, as papers have it",
                      sections=(section,), published_ms=published_ms, from_ms=published_ms)  # fmt: skip
        pipe.hset(belonging(ARTICLES.name, keys.CATALOGUE), id_, b"1 " + facts.to_json())
        if number % 1000 == 999:
            await pipe.execute()
    for _ in range(entries):
        read = rng.choice(KNOWN, VIEWS_AN_ENTRY, p=weights).tolist()
        visitors = rng.integers(VISITORS, size=VIEWS_AN_ENTRY) * 4_294_967_291
        fields = _event(read, ids, visitors.tolist()).fields()
        pipe.xadd(VIEWS.name, dict(zip(fields[::2], fields[1::2], strict=True)))
        if len(pipe) == 50:
            await pipe.execute()
    await pipe.execute()


def _event(read: list[int], ids: list[str], visitors: list[int]) -> Event:
    places: dict[str, int] = {}
    count = len(read)
    data = ViewsRecorded.model_construct(
        article=tuple([places.setdefault(ids[number], len(places)) for number in read]),
        articles=tuple(places),
        visitor=tuple(visitors),
        since=to_ms(now()) - 50,
        at=tuple(n * 50 // count for n in range(count)),
        referrer=(-1,) * count,
        engaged=(0,) * count,
    )
    return Event("e", "/bench", "views", now(), data)


async def _ours(redis: Redis, reading: Redis, entries: int) -> float:
    """To the commit of the last entry, after a warm-up of a fifth of them."""
    state = [keys.OFFSET, keys.TOTALS, keys.TOPS, keys.CHANGED, keys.SNAPSHOT]
    await redis.delete(*(belonging(VIEWS.name, suffix) for suffix in state))
    await redis.xgroup_destroy(VIEWS.name, keys.GROUP)
    await create_groups(redis)
    committed = asyncio.Event()
    history = Log(reading)
    articles = Articles(redis, history, ARTICLES.name)
    worker = Worker(redis, history, VIEWS.name, articles, committed=committed, min_readers=2)

    async def reached(least: int) -> tuple[int, float]:
        while worker.entries < least:
            committed.clear()
            await committed.wait()
        return worker.entries, time.perf_counter()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(worker.run())
        first, began = await reached(entries // 5)
        last, ended = await reached(entries)
        running.cancel()
    return (last - first) * VIEWS_AN_ENTRY / (ended - began)


async def _peer(url: str, redis: Redis, seconds: float) -> float:
    await redis.delete("peer")
    if any(group["name"] == PEER_GROUP.encode() for group in await redis.xinfo_groups(VIEWS.name)):
        await redis.xgroup_destroy(VIEWS.name, PEER_GROUP)
    await redis.xgroup_create(VIEWS.name, PEER_GROUP, id="0")
    counted = 0
    broker = RedisBroker(url, logger=None, apply_types=False)  # type: ignore[arg-type]  # Its way to say "none".

    @broker.subscriber(
        stream=StreamSub(
            VIEWS.name, group=PEER_GROUP, consumer="one", batch=True, max_records=1000
        ),
        parser=_plain,
        decoder=_as_it_is,
        ack_policy=AckPolicy.ACK,
    )
    async def count(batch: "NoCast[list[dict[bytes, bytes]]]") -> None:
        nonlocal counted
        pipe = redis.pipeline(transaction=False)
        for fields in batch:
            data = orjson.loads(fields[b"data"])
            articles = data["articles"]
            for place in data["article"]:
                pipe.zincrby("peer", 1, articles[place])
                if len(pipe) == PIPELINED:
                    await pipe.execute()
                    counted += PIPELINED

    await broker.start()
    await asyncio.sleep(seconds / 5)
    first, began = counted, time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (counted - first) / (time.perf_counter() - began)
    await broker.stop()
    return rate


async def _plain(raw: Any, original: Any) -> Any:
    message = await original({**raw, "data": []})
    message.body = raw["data"]
    return message


async def _as_it_is(message: Any) -> Any:
    return message.body


def _run(
    seconds: Annotated[float, typer.Option(help="How long each run takes")] = 5,
    rounds: Annotated[int, typer.Option(help="How many runs of each; medians are shown")] = 3,
    json: Annotated[bool, typer.Option(help="Print the figures as JSON, too")] = False,
) -> None:
    figures = main(seconds=seconds, rounds=rounds)
    if json:
        typer.echo(orjson.dumps(figures, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    typer.run(_run)
