"""What a feed that posts articles is promised."""

import asyncio
import gzip
import zlib
from datetime import timedelta

import httpx
import pytest

from shared.clock import now
from shared.web.keys import Scope
from tests.integration.ingest.conftest import Door

ARTICLE = {"external_id": "1", "title": "Harbour opens", "body_text": "It did."}

RSS = b"""<?xml version="1.0"?><rss version="2.0"><channel><title>Paper</title>
<item><guid>a</guid><title>First</title><link>https://paper.example/a</link></item>
<item><guid>b</guid><title>Second</title><link>https://paper.example/b</link></item>
</channel></rss>"""


async def test_a_new_article_is_published_once_and_told(door: Door) -> None:
    answer = await door.post(ARTICLE)
    assert answer.status_code == 202
    (result,) = answer.json()["results"]
    assert (result["outcome"], result["version"]) == ("published", 1)
    (event,) = await door.events("news.articles", result["id"])
    assert event["type"] == "news.article.published.v1"
    assert event["data"]["article"]["title"] == "Harbour opens"
    assert event["data"]["article"]["feed"] == door.feed


async def test_the_same_bytes_again_are_unchanged(door: Door) -> None:
    first = (await door.post(ARTICLE)).json()["results"][0]
    again = (await door.post(ARTICLE)).json()["results"][0]
    assert (again["outcome"], again["version"]) == ("unchanged", 1)
    assert len(await door.events("news.articles", first["id"])) == 1


async def test_fifty_at_once_publish_one(door: Door) -> None:
    async with asyncio.TaskGroup() as group:
        posts = [group.create_task(door.post(ARTICLE)) for _ in range(50)]
    outcomes = sorted(post.result().json()["results"][0]["outcome"] for post in posts)
    assert outcomes == ["published"] + ["unchanged"] * 49


async def test_a_change_is_an_update_that_names_its_fields(door: Door) -> None:
    id_ = (await door.post(ARTICLE)).json()["results"][0]["id"]
    result = (await door.post({**ARTICLE, "title": "Closes"})).json()["results"][0]
    assert (result["outcome"], result["version"]) == ("updated", 2)
    event = (await door.events("news.articles", id_))[-1]
    assert event["type"] == "news.article.updated.v1"
    assert event["data"]["changed"] == ["title"]


async def test_a_repeat_with_its_key_has_its_answer_though_the_article_moved_on(
    door: Door,
) -> None:
    """Without the key's memory the old text would come back as version 3."""
    first = await door.post(ARTICLE, Idempotency_Key="k1")
    await door.post({**ARTICLE, "title": "Closes"}, Idempotency_Key="k2")
    repeat = await door.post(ARTICLE, Idempotency_Key="k1")
    assert repeat.json() == first.json()
    assert len(await door.events("news.articles", first.json()["results"][0]["id"])) == 2


async def test_a_key_used_for_another_body_is_refused_and_nothing_stored(door: Door) -> None:
    await door.post(ARTICLE, Idempotency_Key="k1")
    answer = await door.post({**ARTICLE, "external_id": "2"}, Idempotency_Key="k1")
    assert (answer.status_code, answer.json()["type"]) == (
        422, "urn:newsrail:problem:idempotency-key-reused",
    )  # fmt: skip


async def test_a_feed_is_read_whatever_its_content_type_says(door: Door) -> None:
    for content_type in ("application/rss+xml", "text/html", "application/json", "text/plain"):
        answer = await door.post(
            RSS, feed=f"{door.feed}-{len(content_type)}", Content_Type=content_type
        )
        assert [r["outcome"] for r in answer.json()["results"]] == ["published", "published"]


async def test_ndjson_and_arrays_answer_each_for_itself(door: Door) -> None:
    lines = b'{"external_id":"1","title":"One"}\n{"external_id":"2"}\n{"external_id":"3","title":"Three"}\n'
    answer = await door.post(lines, Content_Type="application/x-ndjson")
    assert answer.status_code == 207
    assert [r["status"] for r in answer.json()["results"]] == [202, 422, 202]
    assert "title" in answer.json()["results"][1]["problem"]["detail"]
    array = await door.post([{"external_id": "4", "title": "Four"}, {"title": ""}])
    assert [r["status"] for r in array.json()["results"]] == [202, 422]


async def test_what_a_known_sender_had_refused_stays_where_an_operator_sees_it(door: Door) -> None:
    await door.post({"external_id": "no-title"})
    (event,) = await door.events("news.rejected", door.feed)
    assert event["data"]["feed"] == door.feed
    assert "title" in event["data"]["detail"]
    assert "no-title" in event["data"]["original"]


async def test_of_two_with_one_id_in_one_document_the_older_is_late(door: Door) -> None:
    newer = {**ARTICLE, "title": "Newer", "updated_at": "2026-05-04T10:00:00Z"}
    older = {**ARTICLE, "title": "Older", "updated_at": "2026-05-04T09:00:00Z"}
    answer = await door.post([newer, older])
    assert [r["outcome"] for r in answer.json()["results"]] == ["published", "late"]
    again = await door.post([newer, older])
    assert [r["outcome"] for r in again.json()["results"]] == ["unchanged", "late"]


async def test_a_late_copy_of_a_retraction_with_its_key_leaves_the_reinstated_article(
    door: Door,
) -> None:
    id_ = (await door.post(ARTICLE)).json()["results"][0]["id"]
    key = {"Idempotency-Key": "r1"}
    first = await door.client.delete(f"/v1/articles/{id_}", headers=key)
    await door.post({**ARTICLE, "reinstated": True})
    late = await door.client.delete(f"/v1/articles/{id_}", headers=key)
    assert late.json() == first.json()
    assert len(await door.events("news.articles", id_)) == 3
    other = (await door.post({**ARTICLE, "external_id": "2"})).json()["results"][0]["id"]
    assert (await door.client.delete(f"/v1/articles/{other}", headers=key)).status_code == 422


async def test_a_retracted_article_is_told_and_does_not_come_back_by_a_re_poll(door: Door) -> None:
    id_ = (await door.post(ARTICLE)).json()["results"][0]["id"]
    answer = await door.client.delete(f"/v1/articles/{id_}")
    assert (answer.status_code, answer.json()["results"][0]["outcome"]) == (202, "retracted")
    again = await door.client.delete(f"/v1/articles/{id_}")
    assert again.json()["results"][0]["version"] == answer.json()["results"][0]["version"] == 2
    re_poll = (await door.post(ARTICLE)).json()["results"][0]
    assert re_poll["outcome"] == "retracted"
    types = [event["type"] for event in await door.events("news.articles", id_)]
    assert types == ["news.article.published.v1", "news.article.retracted.v1"]
    back = (await door.post({**ARTICLE, "reinstated": True})).json()["results"][0]
    assert (back["outcome"], back["version"]) == ("published", 3)


async def test_an_embargoed_article_is_held_and_published_when_its_time_comes(door: Door) -> None:
    until = now() + timedelta(seconds=1.5)
    held = (await door.post({**ARTICLE, "embargoed_until": until.isoformat()})).json()["results"][0]
    assert held["outcome"] == "held"
    assert await door.events("news.articles", held["id"]) == []
    async with asyncio.timeout(10):
        while not (events := await door.events("news.articles", held["id"])):
            await asyncio.sleep(0.05)
    assert now() >= until
    assert events[0]["data"]["article"]["version"] == 1
    (again,) = (await door.post(ARTICLE)).json()["results"]
    assert again["outcome"] in {"unchanged", "updated"}


async def test_a_held_article_that_is_deleted_goes_without_an_event(door: Door) -> None:
    until = (now() + timedelta(hours=1)).isoformat()
    held = (await door.post({**ARTICLE, "embargoed_until": until})).json()["results"][0]
    await door.client.delete(f"/v1/articles/{held['id']}")
    assert await door.events("news.articles", held["id"]) == []
    assert not await door.redis.zscore("{news.articles}:held", held["id"])


async def test_a_dry_run_only_answers(door: Door) -> None:
    answer = await door.client.post(
        "/v1/articles", params={"feed": door.feed, "dry_run": "1"}, json=ARTICLE
    )
    result = answer.json()["results"][0]
    assert result["outcome"] == "published"
    assert await door.events("news.articles", result["id"]) == []


async def test_the_same_id_of_another_feed_is_another_article(door: Door) -> None:
    mine = (await door.post(ARTICLE)).json()["results"][0]
    theirs = (await door.post(ARTICLE, feed=f"{door.feed}-b")).json()["results"][0]
    assert mine["id"] != theirs["id"]
    assert theirs["outcome"] == "published"


async def test_a_key_posts_for_its_own_feeds_only(door: Door) -> None:
    mine = await door.key(Scope.PUBLISH, feeds=["mine"])
    id_ = (await door.post(ARTICLE)).json()["results"][0]["id"]
    refused = await door.post(ARTICLE, **mine)
    assert refused.status_code == 403
    assert door.feed in refused.json()["detail"]
    assert (await door.client.delete(f"/v1/articles/{id_}", headers=mine)).status_code == 403
    implied = await door.client.post("/v1/articles", json=ARTICLE, headers=mine)
    assert implied.status_code == 202


BAD_BODIES = {
    "empty": (b"", "application/json", 400),
    "white space": (b"  \n ", "application/json", 400),
    "not UTF-8": (b'{"title": "caf\xe9"}', "application/json", 400),
    "not JSON": (b'{"title": ', "application/json", 400),
    "not XML": (b"<rss><channel><item", "application/rss+xml", 400),
    "unknown type": (b"\x89PNG\r\n\x1a\n", "image/png", 415),
    "1.1 MiB": (b'{"title": "' + b"x" * 1_150_000 + b'"}', "application/json", 413),
    "no title": (b'{"external_id": "1"}', "application/json", 422),
    "unknown field": (b'{"title": "A", "headline": "B"}', "application/json", 422),
    "no date": (b'{"title": "A", "published_at": "31/02/2025"}', "application/json", 422),
    "not an article": (b"42", "application/json", 400),
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_bad_input_gets_a_problem_that_names_it_and_is_kept(door: Door, name: str) -> None:
    body, content_type, status = BAD_BODIES[name]
    answer = await door.post(body, Content_Type=content_type)
    assert answer.status_code in {status, 422 if status == 400 else status}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["detail"]
    assert said["status"] == answer.status_code
    assert len(await door.events("news.rejected", door.feed)) == 1


async def test_a_truncated_feed_is_read_as_far_as_it_goes(door: Door) -> None:
    answer = await door.post(RSS[:-60])
    results = answer.json()["results"]
    assert results[0]["outcome"] == "published"


async def test_a_gzipped_body_is_read_and_a_bomb_is_not(door: Door) -> None:
    packed = await door.post(gzip.compress(RSS), Content_Encoding="gzip")
    assert packed.status_code == 202
    unsaid = await door.post(gzip.compress(RSS))
    assert {result["outcome"] for result in unsaid.json()["results"]} == {"unchanged"}
    bomb = zlib.compressobj(wbits=31)
    body = bomb.compress(b"0" * 50_000_000) + bomb.flush()
    assert (await door.post(body, Content_Encoding="gzip")).status_code == 413
    assert (await door.post(body[:100], Content_Encoding="gzip")).status_code == 400
    assert (await door.post(b"x", Content_Encoding="br")).status_code == 415


@pytest.mark.parametrize("token", ["nr_abc_def", "nr_", "nonsense"])
async def test_a_wrong_key_is_refused_with_what_would_help(door: Door, token: str) -> None:
    answer = await door.post(ARTICLE, Authorization=f"Bearer {token}")
    assert answer.status_code == 401
    assert "key" in answer.json()["detail"]
    async with httpx.AsyncClient(base_url=door.stack.url("ingest")) as stranger:
        assert (await stranger.post("/v1/articles", json=ARTICLE)).status_code == 401


async def test_a_feed_must_be_named_where_a_key_has_several(door: Door) -> None:
    answer = await door.client.post("/v1/articles", json=ARTICLE)
    assert answer.status_code == 400
    assert "?feed=" in answer.json()["detail"]
    assert (await door.post(ARTICLE, feed="no such/name")).status_code == 400
