"""What readers see of the lists."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.integration.rails.conftest import Rails, rails_of, ranked_again, until
from tests.stack import Stack

AT_ONCE_S: Final = 1.0


async def test_views_move_popular_and_those_of_unknown_articles_do_not(rails: Rails) -> None:
    await rails.publish("a")
    await rails.publish("b")
    await rails.view("a", *range(4))
    await rails.view("b", *range(2))
    await rails.view("?", *range(9))
    await until(lambda: rails.listed("popular"), "ab")
    await rails.view("b", *range(30))
    await until(lambda: rails.listed("popular"), "ba")
    said = await rails.get("popular")
    assert said["rail"] == "popular"
    assert said["section"] == rails.section
    assert said["fallback"] is None
    assert not said["stale"]
    first = said["entries"][0]
    assert first["article"] == {
        "id": rails.id("b"), "title": "Harbour opens", "section": rails.section, "url": None,
    }  # fmt: skip
    assert first["parts"]["readers"] == 30
    assert (await rails.get("popular", "no such section"))["entries"] == []


async def test_one_reader_alone_makes_nothing_popular(rails: Rails) -> None:
    await rails.publish("a")
    for _ in range(5):
        await rails.view("a", 1)
    await ranked_again(rails.redis)
    assert await rails.listed("popular") == ""


async def test_latest_has_the_newest_of_each_story(rails: Rails) -> None:
    await rails.publish("o", ago=timedelta(days=3))
    await rails.publish("c", story="s", ago=timedelta(hours=2))
    await rails.publish("f", story="s", ago=timedelta(hours=1))
    await rails.publish("n", ago=timedelta(minutes=90))
    await until(lambda: rails.listed("latest"), "fno")


async def test_a_retracted_article_leaves_all_lists_within_a_second_though_no_view_comes(
    rails: Rails,
) -> None:
    for name in "ab":
        await rails.publish(name)
        await rails.view(name, *range(3))
    for rail in ("popular", "latest"):
        await until(lambda rail=rail: sorted_names(rails, rail), "ab")  # type: ignore[misc]  # Bound in each turn.
    await rails.retract("a")
    await until(lambda: rails.listed("popular"), "b", AT_ONCE_S)
    await until(lambda: rails.listed("latest"), "b", AT_ONCE_S)
    everywhere = [await rails.get(rail, "any") for rail in ("popular", "latest")]
    listed = {entry["article"]["id"] for said in everywhere for entry in said["entries"]}
    assert rails.id("a") not in listed
    await rails.publish("a", version=1)
    await ranked_again(rails.redis)
    assert await rails.listed("latest") == "b"


async def sorted_names(rails: Rails, rail: str) -> str:
    return "".join(sorted(await rails.listed(rail)))


async def test_an_equal_list_makes_no_event_but_shows_that_it_is_fresh(rails: Rails) -> None:
    await rails.publish("a")
    await rails.view("a", *range(3))
    await until(lambda: rails.listed("popular"), "a")
    said = await rails.get("popular")
    assert len(await rails.events("popular")) == 1
    await rails.view("a", *range(20))
    await ranked_again(rails.redis)
    after = await rails.get("popular")
    assert len(await rails.events("popular")) == 1
    assert after["entries"][0]["score"] > said["entries"][0]["score"]
    assert time_of(after) > time_of(said)
    await ranked_again(rails.redis)
    assert time_of(await rails.get("popular")) > time_of(after)


def time_of(said: dict[str, str]) -> datetime:
    return datetime.fromisoformat(said["computed_at"])


async def test_a_list_within_the_margin_stays_as_it_is(rails: Rails) -> None:
    await rails.publish("a")
    await rails.publish("b")
    await rails.view("a", *range(100))
    await until(lambda: rails.listed("popular"), "a")
    await rails.view("b", *range(102))
    await until(lambda: rails.listed("popular"), "ab")
    await rails.view("b", *range(130))
    await until(lambda: rails.listed("popular"), "ba")


async def test_a_correction_of_a_title_shows_without_an_event(rails: Rails) -> None:
    await rails.publish("a", title="Habour opens")
    await until(lambda: rails.listed("latest"), "a")
    await rails.publish("a", version=2, title="Harbour opens")

    async def title() -> str:
        return str((await rails.get("latest"))["entries"][0]["article"]["title"])

    await until(title, "Harbour opens")
    assert len(await rails.events("latest")) == 1


async def test_each_version_of_a_list_is_exactly_one_event_that_says_what_changed(
    rails: Rails,
) -> None:
    for hours, listed in ((3, "a"), (2, "ba"), (1, "cba")):
        await rails.publish(listed[0], ago=timedelta(hours=hours))
        await until(lambda: rails.listed("latest"), listed)
    said = await rails.events("latest")
    assert [each.version for each in said] == [1, 2, 3]
    assert [each.entered for each in said] == [(rails.id(name),) for name in "abc"]
    assert [each.left for each in said] == [(), (), ()]
    assert [(move.was, move.now) for move in said[2].moved] == [(1, 2), (2, 3)]
    assert [each.article.id for each in said[2].entries] == [rails.id(name) for name in "cba"]


async def test_a_list_that_is_known_is_answered_with_304(rails: Rails) -> None:
    rails.section = "정치"
    await rails.publish("a", ago=timedelta(hours=2))
    await until(lambda: rails.listed("latest"), "a")
    url, params = "/v1/rails/latest", {"section": rails.section}
    first = await rails.client.get(url, params=params)
    tag = first.headers["etag"]
    assert tag == '"latest:%EC%A0%95%EC%B9%98:1"'
    again = await rails.client.get(url, params=params, headers={"If-None-Match": f'"x", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    await rails.publish("b")
    await until(lambda: rails.listed("latest"), "ba")
    changed = await rails.client.get(url, params=params, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    cut = await rails.client.get(url, params={**params, "limit": 1})
    assert [entry["rank"] for entry in cut.json()["entries"]] == [1]


async def test_what_is_asked_wrongly_is_told_so(rails: Rails) -> None:
    for path, status, word in (
        ("/v1/rails/hottest", 404, "popular"),
        ("/v1/rails/latest?limit=0", 422, "limit"),
        ("/v1/rails/latest?limit=21", 422, "limit"),
        ("/v1/rails/latest?limit=many", 422, "limit"),
        ("/v1/views", 422, "article"),
        ("/v1/views?article=" + ",".join(map(str, range(101))), 422, "article"),
    ):
        answer = await rails.client.get(path)
        assert answer.status_code == status, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert word in answer.json()["detail"]


async def test_totals_count_distinct_readers_and_late_views_as_they_came(rails: Rails) -> None:
    await rails.view("a", 0, 1, 2)
    await rails.view("a", 1)
    await rails.record([(rails.id("a"), 1, rails.log[-1][0])] * 2, late=True)
    a, b = rails.id("a"), rails.id("b")

    async def counts() -> object:
        return (await rails.client.get(f"/v1/views?article={a},{b},{a}")).json()

    await until(counts, {"counts": {a: {"views": 5}, b: {"views": 0}}})


async def test_an_entry_that_is_none_of_ours_stops_nothing(rails: Rails) -> None:
    await rails.redis.xadd("news.views", {"data": "what?"})
    await rails.view("a", 1, 2)

    async def views() -> object:
        answer = await rails.client.get("/v1/views", params={"article": rails.id("a")})
        return answer.json()["counts"][rails.id("a")]["views"]

    await until(views, 2)


async def test_the_lists_over_all_sections_are_those_of_all(tmp_path: Path) -> None:
    with Stack(tmp_path, "rails") as stack:
        async with rails_of(stack) as world, rails_of(stack) as sport:
            await world.publish("a", ago=timedelta(hours=2))
            await sport.publish("b", ago=timedelta(hours=1))
            await world.view("a", 1, 2, 3)
            await until(lambda: world.listed("popular"), "a")
            await until(lambda: sport.listed("latest"), "b")
            listed = []
            for rail in ("latest", "popular"):
                said = (await world.client.get(f"/v1/rails/{rail}")).json()
                assert said["section"] is None
                listed.append([entry["article"]["id"] for entry in said["entries"]])
            assert listed == [[sport.id("b"), world.id("a")], [world.id("a")]]


def test_where_reading_is_not_public_a_key_is_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NEWSRAIL_PUBLIC_READ", "0")
    with Stack(tmp_path, "rails") as stack:
        key = {"Authorization": f"Bearer {stack.token}"}
        for path in ("/v1/rails/latest", "/v1/views?article=a"):
            assert httpx.get(stack.url("rails") + path).status_code == 401
            assert httpx.get(stack.url("rails") + path, headers=key).status_code == 200
