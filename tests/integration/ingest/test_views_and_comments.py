"""What pages, trusted senders and readers are promised of views and comments."""

import asyncio
from datetime import timedelta

import httpx

from shared.clock import now, to_ms
from shared.web.keys import Scope
from tests.integration.ingest.conftest import Door

ARTICLE = {"external_id": "1", "title": "Harbour opens", "url": "https://paper.example/harbour"}


async def an_article(door: Door, **said: str) -> str:
    answer = await door.post({**ARTICLE, **said})
    id_: str = answer.json()["results"][0]["id"]
    return id_


async def views_of(door: Door, article: str) -> list[tuple[int, int, bool]]:
    """(visitor, at, late) of each view of an article on the log."""
    found = []
    for event in await door.events("news.views"):
        data = event["data"]
        for place, visitor, at in zip(data["article"], data["visitor"], data["at"], strict=True):
            if data["articles"][place] == article:
                found.append((visitor, data["since"] + at, data["late"]))
    return found


async def anonymous(door: Door, body: object, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=door.stack.url("ingest")) as client:
        agent = headers.pop("agent", door.client.headers["User-Agent"])
        return await client.post("/v1/views", json=body, headers={"User-Agent": agent})


async def test_a_beacon_needs_no_key_and_is_on_the_log_when_it_is_answered(door: Door) -> None:
    id_ = await an_article(door)
    answer = await anonymous(door, {"article": id_, "at": to_ms(now()), "engaged": 12.5})
    assert answer.status_code == 202
    assert len(await views_of(door, id_)) == 1


async def test_a_beacon_may_name_the_article_by_its_address(door: Door) -> None:
    url = f"https://paper.example/{door.feed}"
    id_ = await an_article(door, url=url)
    assert (await anonymous(door, {"article": url + "?utm_source=mail#top"})).status_code == 202
    assert len(await views_of(door, id_)) == 1
    unknown = await anonymous(door, {"article": "https://elsewhere.example/"})
    assert unknown.json() == {"counted": 0, "late": 0, "dropped": {"unknown-address": 1}}


async def test_two_hundred_beacons_at_once_are_each_there_and_in_few_entries(door: Door) -> None:
    id_ = f"{door.feed}-many"
    before = await door.redis.xlen("news.views")
    async with asyncio.TaskGroup() as group:
        sent = [group.create_task(anonymous(door, {"article": id_})) for _ in range(200)]
    assert {s.result().status_code for s in sent} == {202}
    assert len(await views_of(door, id_)) == 200
    assert await door.redis.xlen("news.views") - before < 200


async def test_a_bot_is_answered_but_does_not_count(door: Door) -> None:
    agent = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
    answer = await anonymous(door, {"article": "x-bot"}, agent=agent)
    assert answer.json()["dropped"] == {"bot": 1}
    assert await views_of(door, "x-bot") == []


async def test_a_beacon_ten_minutes_late_is_refused_and_one_ahead_counts_now(door: Door) -> None:
    late = to_ms(now() - timedelta(minutes=11))
    assert (await anonymous(door, {"article": "x-late", "at": late})).status_code == 422
    ahead = to_ms(now() + timedelta(hours=3))
    await anonymous(door, {"article": f"{door.feed}-ahead", "at": ahead})
    ((_, at, _),) = await views_of(door, f"{door.feed}-ahead")
    assert at <= to_ms(now())


async def test_one_reader_is_the_same_visitor_and_another_browser_is_another(door: Door) -> None:
    id_ = f"{door.feed}-who"
    await anonymous(door, {"article": id_})
    await anonymous(door, {"article": id_})
    await anonymous(door, {"article": id_}, agent="Mozilla/5.0 (Macintosh) Safari/605.1.15")
    visitors = [visitor for visitor, _, _ in await views_of(door, id_)]
    assert len(visitors) == 3
    assert len(set(visitors)) == 2
    assert max(visitors) < 2**52


async def test_columns_are_counted_once_though_the_request_is_repeated(door: Door) -> None:
    id_ = f"{door.feed}-columns"
    at = to_ms(now())
    body = {"article": [id_, id_], "visitor": ["a", "b"], "at": [at, now().isoformat()]}
    first = await door.client.post("/v1/views", json=body)
    again = await door.client.post("/v1/views", json=body)
    assert first.json() == again.json() == {"counted": 2, "late": 0, "dropped": {}}
    assert len(await views_of(door, id_)) == 2


async def test_late_views_in_columns_go_into_an_entry_of_their_own(door: Door) -> None:
    id_ = f"{door.feed}-mixed"
    times = [to_ms(now()), to_ms(now() - timedelta(hours=2))]
    body = {"article": [id_, id_], "visitor": ["a", "b"], "at": times}
    assert (await door.client.post("/v1/views", json=body)).json()["late"] == 1
    assert sorted(late for _, _, late in await views_of(door, id_)) == [False, True]


async def test_columns_need_a_key_that_may_publish_and_equal_lengths(door: Door) -> None:
    body = {"article": ["a"], "visitor": ["v"], "at": [to_ms(now())]}
    assert (await anonymous(door, body)).status_code == 401
    reader = await door.key(Scope.READ)
    assert (await door.client.post("/v1/views", json=body, headers=reader)).status_code == 403
    uneven = await door.client.post("/v1/views", json={**body, "visitor": []})
    assert uneven.status_code == 422
    assert "visitor" in uneven.json()["detail"]
    no_time = await door.client.post("/v1/views", json={**body, "at": ["yesterday"]})
    assert no_time.status_code == 422
    assert "at" in no_time.json()["detail"]


async def test_a_beacon_of_20_kib_is_too_large(door: Door) -> None:
    assert (await anonymous(door, {"article": "x" * 20_480})).status_code == 413


async def comment(door: Door, article: str, text: str, name: str = "Mi") -> httpx.Response:
    return await door.client.post(
        f"/v1/articles/{article}/comments", json={"name": name, "text": text}
    )


async def test_a_comment_is_told_once_though_it_is_sent_twice(door: Door) -> None:
    id_ = await an_article(door)
    first = await comment(door, id_, "Well written.")
    again = await comment(door, id_, "Well written.")
    assert first.status_code == again.status_code == 202
    assert first.json() == again.json()
    (event,) = await door.events("news.comments", id_)
    assert event["data"]["text"] == "Well written."


async def test_a_comment_is_answered_as_it_was_though_its_article_was_retracted_since(
    door: Door,
) -> None:
    id_ = await an_article(door)
    first = await comment(door, id_, "Well written.")
    await door.client.delete(f"/v1/articles/{id_}")
    assert (await comment(door, id_, "Well written.")).json() == first.json()
    assert len(await door.events("news.comments", id_)) == 1


async def test_a_comment_counts_as_a_reader_counts(door: Door) -> None:
    """A family is one character though it is seven code points."""
    id_ = await an_article(door)
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
    assert (await comment(door, id_, family * 300)).status_code == 202
    too_long = await comment(door, id_, family * 301)
    assert too_long.status_code == 422
    assert "300" in too_long.json()["detail"]
    assert (await comment(door, id_, "   ")).status_code == 422


async def test_a_removed_comment_is_the_next_version_and_removed_once(door: Door) -> None:
    id_ = await an_article(door)
    posted = (await comment(door, id_, "Gone soon.")).json()["id"]
    assert (await door.client.delete(f"/v1/comments/{posted}")).json()["version"] == 2
    assert (await door.client.delete(f"/v1/comments/{posted}")).json()["version"] == 2
    types = [event["type"] for event in await door.events("news.comments", id_)]
    assert types == ["news.comment.posted.v1", "news.comment.removed.v1"]
    no_moderator = await door.key(Scope.PUBLISH)
    refused = await door.client.delete(f"/v1/comments/{posted}", headers=no_moderator)
    assert refused.status_code == 403


async def test_there_is_no_comment_without_an_article(door: Door) -> None:
    assert (await comment(door, "0" * 24, "Hello?")).status_code == 404
    id_ = await an_article(door)
    await door.client.delete(f"/v1/articles/{id_}")
    assert (await comment(door, id_, "Hello?")).status_code == 410
