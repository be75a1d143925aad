"""Redis gone, hung or full: a clear 503 in time, and nothing half done."""

import time
from collections.abc import Iterator

import httpx
import pytest
import redis as sync_redis

from tests.integration.ingest.conftest import BROWSER
from tests.stack import Stack

ARTICLE = {"external_id": "1", "title": "Harbour opens"}
WITHIN_S = 1.5
REQUESTS: dict[str, tuple[str, object]] = {
    "article": ("/v1/articles?feed=wire", ARTICLE),
    "beacon": ("/v1/views", {"article": "abc"}),
    "comment": (f"/v1/articles/{'0' * 24}/comments", {"name": "Mi", "text": "Hello"}),
}


@pytest.fixture
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own: what is broken here stays here."""
    with Stack(tmp_path_factory.mktemp("fragile"), "ingest") as stack:
        yield stack


def ask(stack: Stack, name: str, other: object = None) -> httpx.Response:
    path, body = REQUESTS[name]
    headers = {"Authorization": f"Bearer {stack.token}", "User-Agent": BROWSER}
    began = time.monotonic()
    answer = httpx.post(stack.url("ingest") + path, json=other or body, headers=headers, timeout=10)
    assert time.monotonic() - began < WITHIN_S
    return answer


@pytest.mark.parametrize("fault", ["gone", "hung"])
def test_the_sender_hears_503_in_time_and_then_again_202(fragile: Stack, fault: str) -> None:
    assert ask(fragile, "article").status_code == 202
    if fault == "gone":
        fragile.redis.kill()
    else:
        fragile.redis.hang()
    for name in REQUESTS:
        answer = ask(fragile, name)
        assert answer.status_code == 503, (name, answer.text)
        assert answer.headers["retry-after"]
        assert answer.headers["content-type"] == "application/problem+json"
    assert httpx.get(f"{fragile.url('ingest')}/readyz", timeout=5).status_code == 503
    if fault == "gone":
        fragile.redis.start()
    else:
        fragile.redis.go_on()
    again = ask(fragile, "article")
    assert again.json()["results"][0]["outcome"] == "unchanged"


def test_a_full_redis_is_503_and_nothing_half_done(fragile: Stack) -> None:
    with sync_redis.Redis(port=fragile.redis.port) as client:
        client.config_set("maxmemory", "1mb")
        answer = ask(fragile, "article")
        assert answer.status_code == 503
        assert client.xlen("news.articles") == 0
        assert client.hlen("{news.articles}:records") == 0
        client.config_set("maxmemory", "0")
    assert ask(fragile, "article").json()["results"][0]["outcome"] == "published"


def test_before_redis_is_full_views_are_refused_first_and_articles_last(fragile: Stack) -> None:
    ask(fragile, "article")
    with sync_redis.Redis(port=fragile.redis.port) as client:
        for part, refused in ((0.7, set()), (0.82, {"beacon"}), (0.95, {"beacon", "article"})):
            used = client.info("memory")["used_memory"]
            client.config_set("maxmemory", int(used / part))
            deadline = time.monotonic() + 10
            while {name for name in ("beacon", "article") if full(fragile, name)} != refused:
                assert time.monotonic() < deadline, part
        client.config_set("maxmemory", 0)


def full(stack: Stack, name: str) -> bool:
    """An article that is unchanged writes nothing, so each is a new one."""
    new = {"title": f"Number {time.monotonic_ns()}"} if name == "article" else None
    answer = ask(stack, name, new)
    if answer.status_code == 202:
        return False
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:newsrail:problem:backlog-full"
    assert int(answer.headers["retry-after"]) > 0
    return True
