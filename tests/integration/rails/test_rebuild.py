"""A rebuild from the log says what the oracle says of it, and nobody sees it happen."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from services.rails.consumer import Articles
from services.rails.domain.candidates import Candidate, from_json, to_json
from services.rails.domain.counts import Counts
from services.rails.merger import Merger
from services.rails.snapshots import packed, unpacked
from services.rails.worker import Worker
from shared.clock import from_ms, now
from shared.events import (
    Article,
    ArticlePublished,
    ArticleRetracted,
    Contract,
    Event,
    ViewsRecorded,
)
from shared.streams.append import Appender
from shared.streams.archive import Archive, Damaged
from shared.streams.clients import reader, writer
from shared.streams.consume import Consumer, Delivered
from shared.streams.entries import FIRST, place, read_range
from shared.streams.groups import create_groups
from shared.streams.replay import Log
from shared.web.rebuild import Progress
from tests.eventually import running
from tests.integration.rails.conftest import Rails, rails_of, ranked_again, until
from tests.oracles import rails as oracle
from tests.redis_server import RedisServer
from tests.stack import Stack
from tests.unit.rails.logs import (
    BEGIN_MS,
    Entry,
    articles,
    as_counter,
    data,
    entries,
    in_ring,
)

VIEWS: Final = "news.views"
ARTICLES: Final = "news.articles"
OF_VIEWS: Final = "{news.views}:rails:"
CATALOGUE: Final = "{news.articles}:rails:catalogue"
LETTERS: Final = "{news.views}:dead:rails"
GARBAGE: Final[dict[Any, Any]] = {"hello": "world", b"\xff": b"\xfe"}


@dataclass(slots=True)
class System:
    """The log, and rails without its lists."""

    redis: Redis
    reading: Redis
    archive: Archive
    now_ms: int = BEGIN_MS

    @property
    def log(self) -> Log:
        """As each process has one of its own."""
        return Log(self.reading, self.archive)

    def worker(self, redis: Redis | None = None, of: Articles | None = None) -> Worker:
        redis = redis or self.redis
        of = of or Articles(redis, self.log, ARTICLES)
        return Worker(
            redis, self.log, VIEWS, of,
            committed=asyncio.Event(), min_readers=2, clock=lambda: from_ms(self.now_ms),
        )  # fmt: skip

    async def add(self, stream_key: str, about: Contract, id_: str = "*") -> str:
        fields = Event("e", "/test", "subject", now(), about).fields()
        pairs = dict(zip(fields[::2], fields[1::2], strict=True))
        return cast("bytes", await self.redis.xadd(stream_key, cast("Any", pairs), id_)).decode()

    async def add_views(self, log: list[Entry]) -> list[str]:
        """An entry that nobody can read before each."""
        ids = []
        for number, (at_ms, said) in enumerate(log):
            self.now_ms = max(self.now_ms, at_ms)
            await self.redis.xadd(VIEWS, GARBAGE, f"{at_ms}-{2 * number + 1}")
            ids.append(await self.add(VIEWS, ViewsRecorded(**said), f"{at_ms}-{2 * number + 2}"))
        return ids

    async def add_articles(self, known: Mapping[str, Mapping[str, Any]]) -> None:
        for id_, said in known.items():
            await self.add(ARTICLES, published(id_, said))
            await self.redis.xadd(ARTICLES, GARBAGE)
            if said["retracted"]:
                gone = ArticleRetracted(id=id_, feed="wire", version=2, retracted_at=now())
                await self.add(ARTICLES, gone)

    async def apply_articles(self, of: Articles, url: SecretStr) -> None:
        """Until all were."""
        consumer = Consumer(url, self.redis, ARTICLES, "rails", of.apply, name="rails", sole=True)
        async with running(consumer.run):
            await until(lambda: self.lag(ARTICLES), (0, 0))

    async def lag(self, stream_key: str) -> tuple[int, int]:
        group = (await self.redis.xinfo_groups(stream_key))[-1]
        assert group["name"] == b"rails"
        return group["lag"], group["pending"]

    async def archive_some(self, stream_key: str, rng: random.Random) -> None:
        """In two segments, and trims them."""
        for _ in range(2):
            found = await read_range(self.redis, stream_key, "-", "+", count=1_000)
            if taken := found[: rng.randint(0, len(found))]:
                await self.archive.add(stream_key, await self.archive.last(stream_key), taken)
                ms, number = place(taken[-1].id)
                await self.redis.xtrim(stream_key, minid=f"{ms}-{number + 1}", approximate=False)

    async def totals(self) -> Counter[str]:
        stored = cast("dict[bytes, bytes]", await self.redis.hgetall(OF_VIEWS + "totals"))
        return Counter({id_.decode(): int(total) for id_, total in stored.items()})

    async def cells(self) -> Counter[tuple[str, int]]:
        """Of the snapshot."""
        return as_counter(unpacked(cast("bytes", await self.redis.get(OF_VIEWS + "snapshot"))))

    async def tops(self) -> object:
        return await self.redis.hgetall(OF_VIEWS + "tops")

    async def listed(self, name: str) -> list[str]:
        text = cast("bytes | None", await self.redis.hget(OF_VIEWS + "tops", name))
        return [row.id for row in from_json(text or b"[]")]

    async def letters(self) -> list[bytes]:
        """The ids of the entries that are dead."""
        found = await read_range(self.redis, LETTERS, "-", "+", count=1_000)
        return [letter.fields[b"dead-entry"] for letter in found]

    async def left_over(self) -> object:
        return await self.redis.keys("*:rebuilt")

    async def wipe(self) -> None:
        await self.redis.delete(OF_VIEWS, *await self.redis.keys(OF_VIEWS + "*"))

    async def is_as_the_oracle_says(self, log: list[Entry]) -> None:
        cells, totals = oracle.fold(log)
        assert await self.totals() == totals
        kept = unpacked(cast("bytes", await self.redis.get(OF_VIEWS + "snapshot")))
        assert as_counter(kept) == in_ring(cells, kept.newest)

    @asynccontextmanager
    async def live(self, worker: Worker) -> AsyncIterator[Worker]:
        """All of the log is folded and committed; ends with a snapshot."""
        async with running(worker.run):
            await until(lambda: is_live(worker), True)
            await until(lambda: self.lag(VIEWS), (0, 0))
            yield worker


async def is_live(worker: Worker) -> bool:
    return worker.live


def published(id_: str, said: Mapping[str, Any], *, version: int = 1) -> ArticlePublished:
    sections = tuple(said["sections"])
    article = Article(
        id=id_, feed="wire", version=version, story=said["story"], title=f"About {id_}",
        section=sections[0] if sections else None, sections=sections,
        published_at=from_ms(said["published"]), received_at=now(), content_hash="x",
    )  # fmt: skip
    return ArticlePublished(article=article)


@asynccontextmanager
async def a_system(url: SecretStr, folder: Path) -> AsyncIterator[System]:
    async with writer(url) as redis, reader(url) as reading:
        await redis.flushall()
        await create_groups(redis)
        yield System(redis, reading, Archive(str(folder)))


@pytest.fixture
async def system(redis_url: SecretStr, tmp_path: Path) -> AsyncIterator[System]:
    async with a_system(redis_url, tmp_path / "archive") as of:
        yield of


SOME: Final[list[Entry]] = [
    (BEGIN_MS + n, data([("a", n, BEGIN_MS), ("b", n // 2, BEGIN_MS)])) for n in range(4)
]
KNOWN: Final = {
    id_: {"published": BEGIN_MS - 9, "sections": ["world"], "story": id_, "retracted": False}
    for id_ in "ab"
}

Damage = Callable[[System], Awaitable[object]]


async def wrong_totals(system: System) -> None:
    await system.redis.hset(OF_VIEWS + "totals", mapping={"a": 10**6, "nobody": 1})


async def no_totals(system: System) -> None:
    await system.redis.delete(OF_VIEWS + "totals")


async def wrong_cells(system: System) -> None:
    await system.redis.set(OF_VIEWS + "snapshot", packed(Counts().cells()))


async def wrong_catalogue(system: System) -> None:
    await system.redis.hset(CATALOGUE, mapping={"a": '99 {"id":"a","version":99,"sections":[]}'})
    await system.redis.hset(CATALOGUE, mapping={"x": '1 {"id":"x","version":1,"sections":[]}'})


async def no_catalogue(system: System) -> None:
    await system.redis.delete(CATALOGUE)


DAMAGES: Final = (wrong_totals, no_totals, wrong_cells, wrong_catalogue, no_catalogue)


@settings(max_examples=15)
@given(entries(), st.sets(st.sampled_from(DAMAGES)), st.randoms(use_true_random=False))
@pytest.mark.logs_errors("entry.dead")
def test_whatever_was_wrong_before_totals_cells_and_lists_are_right_after_it(
    redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
    log: list[Entry],
    damages: set[Damage],
    rng: random.Random,
) -> None:
    async def rebuilt_is_right() -> None:
        url = SecretStr(redis_server.url)
        async with a_system(url, tmp_path_factory.mktemp("archive")) as system:
            tops, catalogue = await fold(system, url, log, rng)
            for damage in damages:
                await damage(system)
            async with system.live(system.worker()) as worker:
                await worker.rebuild(Progress())
                await until(system.tops, tops)
            await system.is_as_the_oracle_says(log)
            assert await system.redis.hgetall(CATALOGUE) == catalogue
            assert len(await system.letters()) == len(log)
            assert await system.left_over() == []

    asyncio.run(rebuilt_is_right())


async def fold(
    system: System, url: SecretStr, log: list[Entry], rng: random.Random
) -> tuple[object, object]:
    """A first life of rails; what it leaves: candidates and catalogue."""
    await system.add_views(log)
    known = articles(rng, system.now_ms)
    await system.add_articles(known)
    of = Articles(system.redis, system.log, ARTICLES)
    await of.known()
    await system.apply_articles(of, url)
    async with system.live(system.worker()):
        pass
    for stream_key in (VIEWS, ARTICLES):
        await system.archive_some(stream_key, rng)
    return await system.tops(), await system.redis.hgetall(CATALOGUE)


@settings(max_examples=15)
@given(entries(), st.randoms(use_true_random=False))
@pytest.mark.logs_errors("entry.dead")
def test_a_state_that_is_gone_is_made_from_the_log_at_the_next_start(
    redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
    log: list[Entry],
    rng: random.Random,
) -> None:
    async def is_right() -> None:
        url = SecretStr(redis_server.url)
        async with a_system(url, tmp_path_factory.mktemp("archive")) as system:
            tops, catalogue = await fold(system, url, log, rng)
            await system.wipe()
            await system.redis.delete(CATALOGUE)
            async with system.live(system.worker()):
                # As one whole, before anything else was committed.
                assert await system.tops() == tops
            await system.is_as_the_oracle_says(log)
            assert await system.redis.hgetall(CATALOGUE) == catalogue
            assert len(await system.letters()) == len(log)

    asyncio.run(is_right())


@pytest.mark.logs_errors("entry.dead")
async def test_a_start_reads_what_was_trimmed_since_the_snapshot_from_the_archive(
    system: System,
) -> None:
    await system.add_views(SOME[:2])
    async with system.live(system.worker()):
        pass
    kept = await system.redis.get(OF_VIEWS + "snapshot")
    at = await system.redis.hget(OF_VIEWS + "offset", "snapshot")
    await system.add_views(more := [(at + 9, said) for at, said in SOME])
    async with system.live(system.worker()):
        pass
    # As after a kill before the second snapshot.
    await system.redis.set(OF_VIEWS + "snapshot", cast("bytes", kept))
    await system.redis.hset(OF_VIEWS + "offset", "snapshot", cast("bytes", at))
    await system.archive_some(VIEWS, random.Random(1))
    async with system.live(system.worker()):
        pass
    await system.is_as_the_oracle_says([*SOME[:2], *more])


class Killed(Exception):
    """Of the process that had this client."""


class Killable:
    """Ends the client's work at its n-th command: before it is sent, or once it is done."""

    def __init__(self, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        self._execute: Any = redis.execute_command
        self.left: float = float("inf")
        self.answers = False
        monkeypatch.setattr(redis, "execute_command", self._command)

    async def _command(self, *args: Any, **options: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise Killed
        reply = await self._execute(*args, **options)
        if self.left < 1 and not self.answers:
            raise Killed
        return reply


@pytest.mark.parametrize("is_sent", [False, True])
async def test_killed_anywhere_it_leaves_the_old_or_the_new_and_never_a_mix(
    system: System, redis_url: SecretStr, monkeypatch: pytest.MonkeyPatch, *, is_sent: bool
) -> None:
    log = SOME
    for at_ms, said in log:
        await system.add(VIEWS, ViewsRecorded(**said), f"{at_ms}-1")
    cells, totals = oracle.fold(log)
    seen = set()
    for number in count():
        await system.wipe()
        async with system.live(system.worker()):
            pass
        await wrong_totals(system)
        await wrong_cells(system)
        async with writer(redis_url) as redis:
            killable = Killable(redis, monkeypatch)
            whole = await killed_while_rebuilding(system, redis, killable, number, is_sent=is_sent)
        old = (await system.totals())["nobody"] == 1
        assert await system.cells() == (Counter() if old else cells)
        assert old or await system.totals() == totals
        seen.add(old)
        async with system.live(system.worker()):
            assert await system.left_over() == []
        if whole:
            break
    assert seen == {True, False}


async def killed_while_rebuilding(
    system: System, redis: Redis, killable: Killable, number: int, *, is_sent: bool
) -> bool:
    """Whether the rebuild had come to its end by then."""
    worker = system.worker(redis)
    await worker._recover()
    worker.live = True
    await worker._commit()
    killable.left, killable.answers = number + is_sent, not is_sent
    with suppress(Killed):
        await worker.rebuild(Progress())
    return killable.left > 0


async def test_a_switch_whose_answer_was_lost_is_made_once(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at_ms, said in SOME:
        await system.add(VIEWS, ViewsRecorded(**said), f"{at_ms}-1")
    worker = system.worker()
    script = worker._commit_script
    lost: list[Any] = []

    async def losing(**given: Any) -> Any:
        reply = await script(**given)
        if given["args"][8] and SOME[-1][0] == place(given["args"][3])[0] and not lost:
            lost.append(reply)
            raise RedisConnectionError("the answer is lost")
        return reply

    monkeypatch.setattr(worker, "_commit_script", losing)
    async with system.live(worker):
        await worker.rebuild(Progress())
    assert lost
    await system.is_as_the_oracle_says(SOME)


async def test_what_comes_while_it_reads_counts_once(system: System) -> None:
    log = list(SOME)
    for at_ms, said in log:
        await system.add(VIEWS, ViewsRecorded(**said), f"{at_ms}-1")
    async with system.live(system.worker()) as worker, asyncio.TaskGroup() as group:
        rebuilding = group.create_task(again_and_again(worker))
        for number in range(300):
            at_ms = BEGIN_MS + 10 * number + 10
            log.append((at_ms, data([("a", number, at_ms), ("c", number % 7, at_ms)])))
            await system.add(VIEWS, ViewsRecorded(**log[-1][1]), f"{at_ms}-1")
        await until(lambda: system.lag(VIEWS), (0, 0))
        rebuilding.cancel()
    await system.is_as_the_oracle_says(log)


async def again_and_again(worker: Worker) -> None:
    while True:
        await worker.rebuild(Progress())


@pytest.mark.logs_errors("entry.dead")
async def test_a_letter_that_can_be_read_now_is_counted_in_its_place_and_gone(
    system: System,
) -> None:
    *_, last = await system.add_views(SOME)
    async with system.live(system.worker()):
        pass
    # As if the version before could not read the last entry.
    _, before = oracle.fold(SOME[:-1])
    await system.redis.delete(OF_VIEWS + "totals")
    await system.redis.hset(OF_VIEWS + "totals", mapping=cast("Any", before))
    letter = {"dead-entry": last, "dead-reason": "unreadable", "dead-attempts": "1"}
    await system.redis.xadd(LETTERS, cast("Any", letter))
    deleted = {**letter, "dead-entry": f"{BEGIN_MS - 1}-1"}
    await system.redis.xadd(LETTERS, cast("Any", deleted))
    async with system.live(system.worker()) as worker:
        await worker.rebuild(Progress())
    await system.is_as_the_oracle_says(SOME)
    assert len(found := await system.letters()) == len(SOME) + 1
    assert last.encode() not in found


async def test_a_damaged_segment_is_named_and_the_old_state_stays(
    system: System, tmp_path: Path
) -> None:
    for at_ms, said in SOME:
        await system.add(VIEWS, ViewsRecorded(**said), f"{at_ms}-1")
    async with system.live(system.worker()):
        pass
    found = await read_range(system.redis, VIEWS, "-", "+", count=2)
    await system.archive.add(VIEWS, FIRST, found)
    await system.redis.xtrim(VIEWS, maxlen=2, approximate=False)
    async with system.live(system.worker()) as worker:
        (segment,) = (tmp_path / "archive" / VIEWS).iterdir()
        segment.write_bytes(segment.read_bytes()[:-9])
        with pytest.raises(Damaged, match=segment.name):
            await worker.rebuild(Progress())
    await system.is_as_the_oracle_says(SOME)


async def comes(system: System, of: Articles, id_: str) -> None:
    """An article: it is given to the group and applied."""
    about = published(id_, {**KNOWN["a"], "story": id_})
    await system.add(ARTICLES, about)
    await system.redis.xreadgroup("rails", "rails", {ARTICLES: ">"}, count=1)
    await of.apply([Delivered("0-0", Event("e", "/test", id_, now(), about))])


def meanwhile(
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    *,
    before: Callable[[], Awaitable[None]] | None = None,
    after: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Something happens right before, or right after, the first call of `owner.name`."""
    call: Any = getattr(owner, name)
    called: list[str] = []

    async def calling(**given: Any) -> Any:
        called.append(name)
        if before and len(called) == 1:
            await before()
        answer = await call(**given)
        if after and len(called) == 1:
            await after()
        return answer

    monkeypatch.setattr(owner, name, calling)


async def test_an_article_that_comes_before_the_catalogues_are_switched_is_in_the_new_one(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = Articles(system.redis, system.log, ARTICLES)
    await of.known()
    await comes(system, of, "a")
    meanwhile(monkeypatch, of, "_switch_script", before=lambda: comes(system, of, "b"))
    await of.rebuild(Progress())
    assert {each.id for each in await of.known()} == {"a", "b"}


async def test_an_article_that_comes_after_the_new_catalogue_was_loaded_is_listed(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = Articles(system.redis, system.log, ARTICLES)
    async with system.live(worker := system.worker(of=of)):

        async def comes_and_is_listed() -> None:
            await comes(system, of, "b")
            await worker._commit()

        await comes(system, of, "a")
        meanwhile(monkeypatch, of, "known", after=comes_and_is_listed)
        await worker._rebuild_catalogue(Progress())
        await worker._commit()
        assert await system.listed("latest") == ["a", "b"]


async def test_a_new_catalogue_empties_no_list_for_a_moment(system: System) -> None:
    of = Articles(system.redis, system.log, ARTICLES)
    for at_ms, said in SOME:
        await system.add(VIEWS, ViewsRecorded(**said), f"{at_ms}-1")
    async with system.live(worker := system.worker(of=of)):
        await comes(system, of, "a")
        await worker._commit()
        tops = await system.tops()
        assert await system.listed("popular") == ["a"]
        await worker._rebuild_catalogue(Progress())
        await worker._commit()
        assert await system.tops() == tops


@pytest.mark.logs_errors("entry.dead")
async def test_articles_of_a_catalogue_that_is_gone_wait_until_it_is_there_again(
    system: System, redis_url: SecretStr
) -> None:
    """Else the few that are new would pass for all there are."""
    first = Articles(system.redis, system.log, ARTICLES)
    await first.known()
    await system.add_articles(KNOWN)
    await system.apply_articles(first, redis_url)
    await no_catalogue(system)
    await system.add(ARTICLES, published("c", KNOWN["a"]))
    second = Articles(system.redis, system.log, ARTICLES)
    async with asyncio.TaskGroup() as group:
        applying = group.create_task(system.apply_articles(second, redis_url))
        await until(lambda: system.lag(ARTICLES), (0, 1))
        assert {each.id for each in await second.known()} == {"a", "b", "c"}
        await applying
    assert {each.id for each in await second.known()} == {"a", "b", "c"}


async def test_no_list_is_made_while_a_partition_has_yet_to_rank(redis: Redis) -> None:
    """Its state is gone: without its articles all lists would change, and change back."""
    appender = Appender(redis, "news.rails")
    keys = ["news.views.00", "news.views.01"]
    merger = Merger(redis, appender, keys, committed=asyncio.Event())
    row = Candidate("a", "a", published_ms=1, score=1.0, title="A", section=None, url=None)
    await redis.hset("{news.views.00}:rails:tops", "latest", to_json([row]))
    await redis.zadd("{news.views.00}:rails:changed", {"latest": 1})
    await redis.hset("{news.views.00}:rails:offset", mapping={"commits": 1, "ranked": 1_000})
    async with running(appender.run):
        await merger.step()
        assert await redis.xlen("news.rails") == 0
        await redis.hset("{news.views.01}:rails:offset", "ranked", 1_000)
        await merger.step()
        assert await redis.xlen("news.rails") == 1


def in_order(listed: dict[str, Any]) -> list[str]:
    return [entry["article"]["id"] for entry in listed["entries"]]


async def test_an_operator_s_rebuild_publishes_nothing_and_rights_the_totals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEWSRAIL_ARCHIVE", str(tmp_path / "archive"))
    with Stack(tmp_path, "rails") as stack:
        async with rails_of(stack) as rails:
            await fill(rails)
            before = [await rails.get(rail) for rail in ("popular", "latest")]
            published_then = await rails.redis.xlen("news.rails")
            await rails.redis.hset(OF_VIEWS + "totals", mapping={rails.id("a"): 7})
            headers = {"Authorization": f"Bearer {stack.token}"}
            assert (await rails.client.post("/v1/rebuild")).status_code == 401
            asked = await rails.client.post("/v1/rebuild", headers=headers)
            assert asked.status_code == 202

            async def state() -> object:
                return (await rails.client.get("/v1/rebuild", headers=headers)).json()["state"]

            await until(state, "done")
            counted = await rails.client.get("/v1/views", params={"article": rails.id("a")})
            assert counted.json() == {"counts": {rails.id("a"): {"views": 4}}}
            await is_the_same(rails, before, published_then)
            assert await asyncio.to_thread(stack.stop, "rails") == 0
            # The state is gone while nobody runs, and all comes from the log.
            await rails.redis.delete(*await rails.redis.keys(OF_VIEWS + "*"), CATALOGUE)
            await asyncio.to_thread(stack.start, "rails")
            await is_the_same(rails, before, published_then)


async def fill(rails: Rails) -> None:
    for number, name in enumerate("abc"):
        await rails.publish(name, ago=timedelta(hours=1 + number))
        await rails.view(name, *range(4 - number))
    await rails.view("unknown", *range(9))
    await until(lambda: rails.listed("popular"), "abc")
    await until(lambda: rails.listed("latest"), "abc")


async def is_the_same(rails: Rails, lists: list[dict[str, Any]], events: int) -> None:
    await ranked_again(rails.redis)
    for before in lists:
        assert in_order(await rails.get(before["rail"])) == in_order(before)
    assert await rails.redis.xlen("news.rails") == events
