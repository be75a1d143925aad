"""`newsrail dead` and `/v1/dead` against the services that own the groups."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from shared.events import Article, ArticlePublished, Event
from shared.web import keys
from shared.web.keys import Scope
from tests.integration.shared.conftest import NOON
from tests.redis_server import free_port
from tests.stack import ROOT, Stack

INDEX, RAILS, VIEWS = (
    "{news.articles}:dead:index",
    "{news.articles}:dead:rails",
    "{news.views}:dead:rails",
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), "ingest", "index", "rails") as running:
        yield running


@pytest.fixture
def redis(stack: Stack) -> Iterator[Any]:
    with Redis(
        port=stack.redis.port, decode_responses=True, encoding_errors="backslashreplace"
    ) as client:
        client.delete(INDEX, RAILS, VIEWS)
        yield client


@pytest.fixture
def web(stack: Stack) -> Iterator[httpx.Client]:
    """An operator at index."""
    headers = {"Authorization": f"Bearer {stack.token}"}
    with httpx.Client(base_url=stack.url("index"), headers=headers) as client:
        yield client


def newsrail(stack: Stack, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, what it printed, and what it complained of."""
    services = " ".join(stack.url(name) for name in ("ingest", "index", "rails"))
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "dead", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "NEWSRAIL_SERVICES": services, "NEWSRAIL_KEY": stack.token,
             **environment},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def a_letter(redis: Any, key: str, id_: str, *, stream: str = "news.articles") -> str:
    """Of an article that can be read."""
    article = Article(
        id=id_, feed="wire", version=1, story=id_, title=f"Harbour {id_}", published_at=NOON,
        received_at=NOON, content_hash="x",
    )  # fmt: skip
    event = Event(id_, "/test", id_, NOON, ArticlePublished(article=article)).fields()
    added: str = redis.xadd(key, {
        "dead-stream": stream, "dead-group": key.rpartition(":")[2], "dead-entry": "7-0",
        "dead-reason": "failed 5 times", "dead-attempts": "5",
        **dict(zip(event[::2], event[1::2], strict=True)),
    })  # fmt: skip
    return added


def garbage(redis: Any, key: str, *, stream: str = "news.articles") -> str:
    added: str = redis.xadd(key, {
        "dead-stream": stream, "dead-group": key.rpartition(":")[2], "dead-entry": "8-0",
        "dead-reason": "unreadable: [x]", "dead-attempts": "1", b"\xff": b"\xfe",
    })  # fmt: skip
    return added


def test_without_letters_it_says_so(stack: Stack, redis: Any) -> None:
    assert newsrail(stack, "list")[:2] == (0, "no dead letters\n")


def test_a_foreign_entry_is_listed_shown_and_dropped(stack: Stack, redis: Any) -> None:
    """From the stream to the command: nothing is put in by hand."""
    entry = redis.xadd("news.articles", {"hello": "[world]"})
    groups: dict[tuple[str, str], Any] = {}
    while not all(groups.get(("news.articles", name), {}).get("count") for name in OWNERS):
        code, out, _ = newsrail(stack, "list", "--json")
        assert code == 0
        groups = {(g["stream"], g["group"]): g for g in json.loads(out)["groups"]}
    assert set(groups) == {
        ("news.articles", "index"), ("news.rails", "index"),
        ("news.articles", "rails"), ("news.views", "rails"),
    }  # fmt: skip
    (letter,) = groups["news.articles", "index"]["letters"]
    assert (letter["entry"], letter["attempts"]) == (entry, 1)
    code, out, _ = newsrail(stack, "list")
    assert code == 0
    assert letter["id"] in out
    place = ("news.articles", "index", letter["id"])
    code, out, _ = newsrail(stack, "show", *place)
    assert code == 0
    assert "[world]" in out
    assert newsrail(stack, "drop", *place)[0] == 0
    code, out, _ = newsrail(stack, "drop", *place)
    assert code == 1
    assert "missing" in out
    assert newsrail(stack, "show", *place)[0] == 1
    assert redis.xlen(RAILS) == 1


OWNERS = ("index", "rails")


def test_a_redrive_applies_the_letter_in_the_group_that_failed_and_no_other(
    stack: Stack, redis: Any, web: httpx.Client
) -> None:
    mended, still_bad = a_letter(redis, INDEX, "redriven"), garbage(redis, INDEX)
    posted = redis.xlen("news.articles")
    code, out, _ = newsrail(stack, "redrive", "news.articles", "index", mended, still_bad)
    assert code == 1
    assert "1 of 2 redriven" in out
    assert "unreadable" in out
    assert [id_ for id_, _ in redis.xrange(INDEX)] == [still_bad]
    assert web.get("/v1/articles/redriven").json()["title"] == "Harbour redriven"
    assert redis.hget("{news.articles}:rails:catalogue", "redriven") is None
    assert redis.xlen("news.articles") == posted


def test_all_is_all_of_one_group_page_by_page(stack: Stack, redis: Any, web: httpx.Client) -> None:
    for number in range(250):
        garbage(redis, INDEX)
        if number % 100 == 0:
            a_letter(redis, INDEX, f"all-{number}")
    garbage(redis, RAILS)
    code, out, _ = newsrail(stack, "redrive", "news.articles", "index", "--all", "--json")
    outcomes = [result["outcome"] for result in json.loads(out)["results"]]
    assert code == 1
    assert (outcomes.count("redriven"), outcomes.count("failed")) == (3, 250)
    assert redis.xlen(INDEX) == 250
    code, out, _ = newsrail(stack, "drop", "news.articles", "index", "--all")
    assert (code, out) == (0, "250 of 250 dropped\n")
    assert (redis.xlen(INDEX), redis.xlen(RAILS)) == (0, 1)


def test_views_are_not_redriven_and_the_remedy_is_named(stack: Stack, redis: Any) -> None:
    letter = garbage(redis, VIEWS, stream="news.views")
    code, _, complaint = newsrail(stack, "redrive", "news.views", "rails", letter)
    assert code == 1
    assert "newsrail rebuild rails" in complaint
    assert redis.xlen(VIEWS) == 1


def test_whoever_may_not_operate_is_told_so(stack: Stack, redis: Any) -> None:
    key, token = keys.new(name="x", scopes=[Scope.READ, Scope.PUBLISH], feeds=["*"], now=NOON)
    redis.hset(keys.KEYS, key.id, key.model_dump_json())
    letter = garbage(redis, INDEX)
    for arguments in (
        ("list",), ("show", "news.articles", "index", letter),
        ("redrive", "news.articles", "index", "--all"), ("drop", "news.articles", "index", letter),
    ):  # fmt: skip
        code, _, complaint = newsrail(stack, *arguments, NEWSRAIL_KEY=token)
        assert code == 2
        assert "operate" in complaint
    assert redis.xlen(INDEX) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("redrive", "news.articles", "nobody", "1-0"), 1, "no service has a group nobody"),
        (("show", "news.articles", "index", "x"), 1, "no letter"),
        (("redrive", "news.articles", "index"), 2, "--all"),
        (("redrive", "news.articles", "index", "--all", "1-0"), 2, "--all"),
        (("redrive", "news.articles", "index", "x"), 1, "ids.0"),
        (("list", "--url", f"http://127.0.0.1:{free_port()}"), 2, "does not answer"),
    ],
)
def test_what_cannot_be_done_is_said(
    stack: Stack, redis: Any, arguments: tuple[str, ...], code: int, said: str
) -> None:
    exit_code, _, complaint = newsrail(stack, *arguments)
    assert exit_code == code
    assert said in complaint


def test_without_a_running_newsrail_it_names_the_remedy(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NEWSRAIL_")}
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "dead", "list", "--data", tmp_path],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--url" in done.stderr


def test_a_list_goes_page_by_page(redis: Any, web: httpx.Client) -> None:
    ids = [garbage(redis, INDEX) for _ in range(5)]
    seen: list[str] = []
    asked: dict[str, str] = {"stream": "news.articles", "group": "index", "limit": "2"}
    while True:
        (group,) = web.get("/v1/dead", params=asked).json()["groups"]
        assert group["count"] == 5
        seen += [letter["id"] for letter in group["letters"]]
        if group["next"] is None:
            break
        asked["after"] = group["next"]
    assert seen == ids


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/dead?limit=0", None, 422),
        ("GET", "/v1/dead?after=x", None, 422),
        ("GET", "/v1/dead/news.articles/index/1-99999999999999999999", None, 404),
        ("GET", "/v1/dead/news.articles/rails/1-0", None, 404),
        ("DELETE", "/v1/dead/news.articles/index/1-0", None, 404),
        ("POST", "/v1/dead/news.articles/index/redrive", "x", 422),
        ("POST", "/v1/dead/news.articles/index/redrive", "{}", 422),
        ("POST", "/v1/dead/news.articles/index/redrive", '{"ids": ["1-0"], "all": true}', 422),
    ],
)
def test_what_cannot_be_answered_is_a_problem_document(
    web: httpx.Client, method: str, path: str, body: str | None, status: int
) -> None:
    answer = web.request(method, path, content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_letter_that_is_not_there_is_missing_and_the_others_are_redriven(
    redis: Any, web: httpx.Client
) -> None:
    letter = a_letter(redis, INDEX, "there")
    answer = web.post("/v1/dead/news.articles/index/redrive", json={"ids": ["1-0", letter]})
    assert answer.status_code == 207
    assert [result["outcome"] for result in answer.json()["results"]] == ["missing", "redriven"]
    answer = web.post("/v1/dead/news.articles/index/redrive", json={"all": True})
    assert (answer.status_code, answer.json()) == (200, {"results": []})


def test_every_service_has_the_routes(stack: Stack) -> None:
    headers = {"Authorization": f"Bearer {stack.token}"}
    for service, groups in (("ingest", 0), ("index", 2), ("rails", 2)):
        answer = httpx.get(f"{stack.url(service)}/v1/dead", headers=headers)
        assert len(answer.json()["groups"]) == groups
        paths = httpx.get(f"{stack.url(service)}/openapi.json").json()["paths"]
        assert set(paths["/v1/dead/{stream}/{group}/{id}"]) == {"get", "delete"}
