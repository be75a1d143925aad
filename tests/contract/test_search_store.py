"""What every SearchStore promises. Run as a program, it writes or
rebuilds until it is killed."""

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.index.domain.query import parse
from services.index.store import (
    Filters,
    Op,
    Outcome,
    Place,
    Remove,
    Removed,
    SchemaMismatch,
    SearchPage,
    SearchRequest,
    SearchStore,
    Sort,
    StoreUnavailable,
    Upsert,
)
from services.index.stores.tantivy_store import LAYOUT, TantivyStore
from shared.events import Article

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
STREAM = "news.articles"
ENGINES: dict[str, Callable[[Path], SearchStore]] = {"tantivy": TantivyStore}


def an_article(id_: str = "a", version: int = 1, **said: Any) -> Article:
    usual = {"title": "Harbour opens", "published_at": NOON}
    fixed = {"id": id_, "version": version, "story": id_, "feed": "wire", "received_at": NOON}
    return Article(**{**fixed, "content_hash": "0", **usual, **said})


@asynccontextmanager
async def opened(engine: str, folder: Path) -> AsyncIterator[SearchStore]:
    store = ENGINES[engine](folder)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def store(engine: str, tmp_path: Path) -> AsyncIterator[SearchStore]:
    async with opened(engine, tmp_path) as one:
        yield one


async def fill(store: SearchStore, *articles: Article) -> None:
    await store.apply([Upsert(article) for article in articles])


async def find(store: SearchStore, text: str, **more: Any) -> list[str]:
    page = await store.search(SearchRequest(parse(text), sort=Sort.RELEVANCE, **more))
    return ids(page)


def ids(page: SearchPage) -> list[str]:
    return [hit.article.id for hit in page.hits]


OPS = st.lists(
    st.builds(
        lambda id_, version, removed: (
            Remove(id_, version) if removed else Upsert(an_article(id_, version))
        ),
        st.sampled_from("abc"),
        st.integers(1, 6),
        st.booleans(),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(batches=st.lists(OPS, max_size=4))
def test_the_newest_version_wins_in_whatever_order_and_batches_they_come(
    batches: list[list[Op]],
) -> None:
    async def check(engine: str) -> None:
        with TemporaryDirectory() as folder:
            async with opened(engine, Path(folder)) as store:
                newest: dict[str, Op] = {}
                for batch in batches:
                    outcomes = await store.apply(batch)
                    before = dict(newest)
                    for op in batch:
                        if op.id not in newest or op.version > newest[op.id].version:
                            newest[op.id] = op
                    applied = [
                        op for op, o in zip(batch, outcomes, strict=True) if o is Outcome.APPLIED
                    ]
                    assert {op.id: op for op in applied} == {
                        id_: op for id_, op in newest.items() if before.get(id_) is not op
                    }
                    assert len(applied) == len({op.id for op in applied})
                for id_ in "abc":
                    assert await store.get(id_) == as_stored(newest.get(id_))
                assert await store.versions("abc") == {i: op.version for i, op in newest.items()}
                there = {id_ for id_, op in newest.items() if isinstance(op, Upsert)}
                page = await store.search(SearchRequest())
                assert sorted(ids(page)) == sorted(there)
                stats = await store.stats()
                assert (stats.articles, stats.removed) == (len(there), len(newest) - len(there))

    for engine in ENGINES:
        asyncio.run(check(engine))


def as_stored(op: Op | None) -> Article | Removed | None:
    match op:
        case Upsert(article):
            return article
        case Remove(_, version):
            return Removed(version)
        case None:
            return None


async def test_an_older_version_never_brings_a_removed_article_back(store: SearchStore) -> None:
    await store.apply([Remove("a", 3)])
    assert await store.apply([Upsert(an_article("a", 2))]) == [Outcome.STALE]
    assert await store.get("a") == Removed(3)
    assert await find(store, "harbour") == []
    assert await store.apply([Upsert(an_article("a", 4))]) == [Outcome.APPLIED]
    assert await find(store, "harbour") == ["a"]


async def test_what_comes_again_is_stale_and_there_once(store: SearchStore) -> None:
    once = [Upsert(an_article("a")), Upsert(an_article("b"))]
    assert await store.apply([*once, once[0]]) == [*2 * [Outcome.APPLIED], Outcome.STALE]
    assert await store.apply(once) == 2 * [Outcome.STALE]
    assert sorted(await find(store, "harbour")) == ["a", "b"]


async def test_a_batch_is_visible_when_it_is_answered(store: SearchStore) -> None:
    for number in range(20):
        await fill(store, an_article(str(number), title=f"Take {number}"))
        assert await find(store, f"take {number}") == [str(number)]


async def test_all_of_an_article_comes_back(store: SearchStore) -> None:
    article = an_article(summary="S", body_text="B", authors=("Mara Lind",), language="en")
    await fill(store, article)
    assert await store.get("a") == article
    assert await store.get("b") is None


async def test_the_checkpoint_becomes_true_with_the_batch(engine: str, tmp_path: Path) -> None:
    async with opened(engine, tmp_path) as store:
        assert await store.checkpoint() == {}
        await store.apply([Upsert(an_article())], {STREAM: "1-0", "other": "7-0"})
        await store.apply([], {STREAM: "2-0"})
        assert await store.checkpoint() == {STREAM: "2-0", "other": "7-0"}
    async with opened(engine, tmp_path) as store:
        assert await store.checkpoint() == {STREAM: "2-0", "other": "7-0"}
        assert await find(store, "harbour") == ["a"]


@contextmanager
def no_room_on_disk() -> Iterator[None]:
    """Every write of a file fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_batch_that_cannot_be_written_is_as_if_it_never_came(store: SearchStore) -> None:
    """A failed commit followed by another one applies the deletes and loses the adds."""
    await store.apply([Upsert(an_article("a"))], {STREAM: "1-0"})
    failing = [Upsert(an_article("a", 2, title="Harbour shuts")), Upsert(an_article("b"))]
    with no_room_on_disk():
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await store.apply(failing, {STREAM: "2-0"})
    assert await find(store, "harbour") == ["a"]
    await store.apply([Upsert(an_article("c"))])
    assert await store.versions(["a", "b", "c"]) == {"a": 1, "c": 1}
    assert await store.checkpoint() == {STREAM: "1-0"}
    assert await store.apply(failing, {STREAM: "2-0"}) == 2 * [Outcome.APPLIED]
    assert sorted(await find(store, "harbour")) == ["a", "b", "c"]
    assert await store.checkpoint() == {STREAM: "2-0"}


@pytest.mark.parametrize("answers", [1, 4, 9])
async def test_a_killed_writer_loses_nothing_it_answered(
    engine: str, tmp_path: Path, answers: int
) -> None:
    answered = await killed("apply", engine, tmp_path, answers)
    async with opened(engine, tmp_path) as store:
        reached = int((await store.checkpoint())[STREAM])
        assert reached >= answered
        assert await store.versions(IDS) == dict.fromkeys(IDS, reached)
        assert sorted(ids(await store.search(SearchRequest(limit=100)))) == sorted(IDS)
        batch = batch_of(reached + 1)
        assert await store.apply(batch) == [Outcome.APPLIED] * len(IDS)


async def killed(doing: str, engine: str, folder: Path, answers: int) -> int:
    """A process that does it again and again, killed after so many; the last it answered."""
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen(
        [sys.executable, __file__, doing, engine, str(folder)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as writer:
        assert writer.stdout
        for _ in range(answers):
            answered = int(writer.stdout.readline())
        writer.kill()
        return max([answered, *map(int, writer.stdout.read().split())])


IDS = [f"id-{number}" for number in range(30)]


def batch_of(version: int) -> Sequence[Op]:
    return [Upsert(an_article(id_, version)) for id_ in IDS]


async def write_until_killed(doing: str, engine: str, folder: Path) -> None:
    async with opened(engine, folder) as store:
        for version in range(1, 10_000):
            written = store if doing == "apply" else await store.beside()
            await written.apply(batch_of(version), {STREAM: str(version)})
            if written is not store:
                await store.become(written)
                await written.close()
            print(version, flush=True)


async def test_a_folder_of_another_schema_is_refused_with_the_remedy(
    engine: str, tmp_path: Path
) -> None:
    tantivy = pytest.importorskip("tantivy")
    (tmp_path / LAYOUT).mkdir()
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("other")
    tantivy.Index(builder.build(), str(tmp_path / LAYOUT))
    store = ENGINES[engine](tmp_path)
    with pytest.raises(SchemaMismatch, match=rf"{LAYOUT}: move this folder away"):
        await store.open()
    await store.close()


async def test_a_store_beside_is_empty_and_changes_nothing_of_this_one(
    engine: str, tmp_path: Path
) -> None:
    async with opened(engine, tmp_path) as store:
        await store.apply([Upsert(an_article("a"))], {STREAM: "1-0"})
        other = await store.beside()
        assert (await other.stats()).articles == 0
        assert await other.checkpoint() == {}
        await other.apply([Upsert(an_article("b"))], {STREAM: "9-0"})
        assert await find(store, "harbour") == ["a"]
        await other.close()
    async with opened(engine, tmp_path) as store:
        assert await find(store, "harbour") == ["a"]
        assert await store.checkpoint() == {STREAM: "1-0"}
        again = await store.beside()
        assert (await again.stats()).articles == 0
        await again.close()


async def test_a_store_becomes_the_one_beside_and_stays_it(engine: str, tmp_path: Path) -> None:
    async with opened(engine, tmp_path) as store:
        for turn in range(1, 4):
            await store.apply([Upsert(an_article(f"old-{turn}"))], {STREAM: "1-0"})
            other = await store.beside()
            await other.apply([Upsert(an_article(f"new-{turn}"))], {STREAM: f"{turn}-0"})
            await store.become(other)
            await other.close()
            assert await find(store, "harbour") == [f"new-{turn}"]
            assert await store.checkpoint() == {STREAM: f"{turn}-0"}
            assert await store.get(f"old-{turn}") is None
        await fill(store, an_article("after"))
    async with opened(engine, tmp_path) as store:
        assert sorted(await find(store, "harbour")) == ["after", "new-3"]
        assert await store.checkpoint() == {STREAM: "3-0"}


async def test_a_search_under_way_ends_in_the_store_that_it_began_in(store: SearchStore) -> None:
    await fill(store, *(an_article(f"id-{n}") for n in range(300)))
    request = SearchRequest(parse("harbour"), sort=Sort.RELEVANCE, limit=100)
    async with asyncio.TaskGroup() as searches:
        found = [searches.create_task(store.search(request)) for _ in range(40)]
        other = await store.beside()
        await store.become(other)
        await other.close()
    assert {len(one.result().hits) for one in found} <= {0, 100}
    assert ids(await store.search(request)) == []


@pytest.mark.parametrize("answers", [1, 4, 9])
async def test_a_rebuild_that_is_killed_leaves_one_store_or_the_other(
    engine: str, tmp_path: Path, answers: int
) -> None:
    answered = await killed("become", engine, tmp_path, answers)
    async with opened(engine, tmp_path) as store:
        turn = int((await store.checkpoint())[STREAM])
        assert turn >= answered
        assert await store.versions(IDS) == dict.fromkeys(IDS, turn)
        assert (await store.stats()).articles == len(IDS)
        assert len([path for path in tmp_path.iterdir() if path.is_dir()]) <= 1


LANGUAGES = {
    "English": ("Ministers agree on fishing quotas", "quota", "The ministers' talks ended late."),
    "Korean": ("새 시장이 부산에서 문을 연다", "시장", "3월에 첫 손님이 온다."),
    "Japanese": ("東京湾で新しい橋が開通した", "新しい橋", "開通式には多くの人が集まった。"),
    "Chinese": ("市长宣布新的图书馆计划", "图书馆", "计划将于明年开始。"),
    "German": ("Größte Brücke des Landes gesperrt", "brucke", "Die Sperrung dauert drei Wochen."),
    "Arabic": ("افتتاح مكتبة جديدة في المدينة", "مكتبة", "حضر الافتتاح عدد كبير من السكان."),
    "Hindi": ("नई पुस्तकालय का उद्घाटन", "पुस्तकालय", "लोग बड़ी संख्या में आए।"),
    "Thai": ("เปิดห้องสมุดแห่งใหม่", "ห้องสมุด", "มีผู้คนมาร่วมงานมากมาย"),
}


async def fill_languages(store: SearchStore) -> None:
    await fill(
        store,
        *(
            an_article(name, title=title, body_text=body)
            for name, (title, _, body) in LANGUAGES.items()
        ),
    )


@pytest.mark.parametrize("language", LANGUAGES)
async def test_an_article_of_any_language_is_found_by_word_and_title(
    store: SearchStore, language: str
) -> None:
    await fill_languages(store)
    title, word, body = LANGUAGES[language]
    assert await find(store, word) == [language]
    assert await find(store, title) == [language]
    assert await find(store, f'"{" ".join(title.split()[1:]) or title[2:]}"') == [language]
    assert (await find(store, body))[0] == language


async def test_a_lone_character_is_found_within_a_run(store: SearchStore) -> None:
    await fill_languages(store)
    for text in ("3월", "橋", "月", "부"):
        assert await find(store, text) == {
            "3월": ["Korean"], "橋": ["Japanese"], "月": [], "부": ["Korean"],
        }[text]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(titles=st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=5, unique=True))
@example(titles=["???", "👍", "!!!", '"', "a" * 300, "字", "\x00", "the"])
def test_every_title_finds_its_article(titles: list[str]) -> None:
    async def check(engine: str) -> None:
        with TemporaryDirectory() as folder:
            async with opened(engine, Path(folder)) as store:
                await fill(store, *(an_article(str(n), title=t) for n, t in enumerate(titles)))
                for number, title in enumerate(titles):
                    assert str(number) in await find(store, title)

    for engine in ENGINES:
        asyncio.run(check(engine))


async def test_the_article_with_just_this_title_comes_first(store: SearchStore) -> None:
    await fill(
        store,
        *(
            an_article(str(n), title="The rain the rain the rain", body_text="The rain. " * n)
            for n in range(9)
        ),
        an_article("exact", title="The Rain", body_text="Long. " * 500),
    )
    assert (await find(store, "the rain"))[0] == "exact"


async def test_all_words_must_be_there_and_phrases_together(store: SearchStore) -> None:
    await fill(
        store,
        an_article("a", title="Old harbour", body_text="The bridge is shut."),
        an_article("b", title="Old bridge", body_text="The harbour is old."),
        an_article("c", title="Nothing", summary="A bridge", authors=("Mara Lind",)),
    )
    assert sorted(await find(store, "bridges harbour")) == ["a", "b"]
    assert await find(store, '"old harbour"') == ["a"]
    assert await find(store, '"harbour the"') == []
    assert await find(store, "mara lind") == ["c"]
    assert await find(store, "bridge tunnel") == []


async def test_words_in_the_title_count_more(store: SearchStore) -> None:
    await fill(
        store,
        an_article("body", title="Weather", body_text="A storm is near."),
        an_article("title", title="Storm warning", body_text="It is near."),
    )
    assert await find(store, "storm") == ["title", "body"]


async def test_filters_narrow_and_do_not_score(store: SearchStore) -> None:
    old = datetime(1955, 3, 1, tzinfo=UTC)
    await fill(
        store,
        an_article("a", section="World", sections=("World", "Politics")),
        an_article("b", feed="agency", section="Sport"),
        an_article("c", published_at=old),
    )

    async def narrowed(**filters: Any) -> list[str]:
        page = await store.search(SearchRequest(filters=Filters(**filters)))
        return ids(page)

    assert await narrowed(sections=("politics",)) == ["a"]
    assert await narrowed(sections=("WORLD", "sport"), feeds=("agency",)) == ["b"]
    assert await narrowed(published_before=NOON) == ["c"]
    assert await narrowed(published_from=old, published_before=old + timedelta(seconds=1)) == ["c"]
    assert sorted(await narrowed(published_from=NOON)) == ["a", "b"]
    assert await narrowed(published_before=datetime(1800, 1, 1, tzinfo=UTC)) == []
    plain = await store.search(SearchRequest(parse("harbour"), sort=Sort.RELEVANCE))
    feed = SearchRequest(parse("harbour"), Filters(feeds=("agency",)), Sort.RELEVANCE)
    (hit,) = (await store.search(feed)).hits
    assert hit.score in [one.score for one in plain.hits]
    assert await store.sections(5) == ["Sport", "World"]


@pytest.mark.parametrize(("count", "limit"), [(40, 1), (120, 7), (3000, 100)])
async def test_pages_by_time_hold_each_article_once(
    store: SearchStore, count: int, limit: int
) -> None:
    """Also where many are of one moment, as a back catalogue is, and newer ones come in."""
    await fill(
        store,
        *(
            an_article(f"id-{n}", published_at=NOON + timedelta(milliseconds=n * 3 // count))
            for n in range(count)
        ),
    )
    seen: list[Article] = []
    after: Place | None = None
    while True:
        page = await store.search(SearchRequest(parse("harbour"), limit=limit, after=after))
        seen += [hit.article for hit in page.hits]
        after = page.next
        if after is None:
            break
        if len(seen) < 10 * limit:
            newer = an_article(f"newer-{len(seen)}", published_at=NOON + timedelta(hours=1))
            await fill(store, newer)
            assert page.total < (await store.search(SearchRequest())).total
    assert len(seen) == len({article.id for article in seen}) == count
    times = [article.published_at for article in seen]
    assert times == sorted(times, reverse=True)


async def test_the_same_articles_are_ranked_the_same_however_they_came(
    engine: str, tmp_path: Path
) -> None:
    """To the last digit of the score, whatever was updated and retracted on the way; of
    equally relevant ones the newest come first."""
    held = [
        an_article(
            str(n),
            title="Harbour opens" if n % 2 else f"Harbour {n} opens",
            body_text=f"Ships enter the harbour, {n % 3 * 'ships '} harbour by harbour.",
            published_at=NOON + timedelta(seconds=n * 7 % 40),
        )
        for n in range(60)
    ]
    query = parse("ships enter harbour opens")
    async with opened(engine, tmp_path / "1") as one, opened(engine, tmp_path / "2") as other:
        for number, article in enumerate(reversed(held)):
            older = an_article(article.id, title="Ships", body_text="Harbour ships. " * number)
            await one.apply([Upsert(older), Upsert(an_article(f"gone-{number}"))])
            newer = article.model_copy(update={"version": 2})
            await one.apply([Upsert(newer), Remove(f"gone-{number}", 2)], {STREAM: f"{number}-0"})
        await other.apply([Upsert(each.model_copy(update={"version": 2})) for each in held])
        for skip in range(0, 60, 7):
            request = SearchRequest(query, sort=Sort.RELEVANCE, limit=7, after=Place(skip))
            page = await one.search(request)
            assert page == await other.search(request)
            ranks = [(hit.score, hit.article.published_at) for hit in page.hits]
            assert ranks == sorted(ranks, reverse=True)


async def test_pages_by_relevance_end_where_ranking_gets_too_deep(store: SearchStore) -> None:
    await fill(store, *(an_article(f"id-{n}") for n in range(1010)))
    request = SearchRequest(parse("harbour"), sort=Sort.RELEVANCE, limit=100)
    seen: set[str] = set()
    after: Place | None = None
    while True:
        page = await store.search(
            SearchRequest(request.query, sort=request.sort, limit=100, after=after)
        )
        assert page.total == 1010
        seen.update(ids(page))
        after = page.next
        if after is None:
            break
    assert len(seen) == 1000


if __name__ == "__main__":
    asyncio.run(write_until_killed(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
