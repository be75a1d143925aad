"""All of newsrail in containers, as an operator starts it. `make compose-test` runs this; it
needs a Docker engine with Compose. The tests follow each other on one stack."""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, cast

import httpx
import pytest
import redis as sync_redis

from cli import sample
from shared.clock import now, to_ms
from tests.redis_server import free_port
from tests.stack import ROOT

if "NEWSRAIL_TEST_COMPOSE" not in os.environ:
    pytest.skip("needs a Docker engine; make compose-test runs it", allow_module_level=True)

SERVICES: Final = ("ingest", "index", "rails")
BACKLOG: Final = 10_000
A_REQUEST: Final = 500
UP_WITHIN_S: Final = "60"
BROWSER: Final = "Mozilla/5.0 (X11; Linux x86_64)"


def until(holds: Callable[[], bool], within_s: float = 30) -> None:
    """Returns when it holds."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Compose:
    """A project of its own, beside any that runs on this machine."""

    def __init__(self) -> None:
        self.port, self.redis_port = free_port(), free_port()
        self.environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": "newsrail-test",
            "NEWSRAIL_VERSION": "test",
            "NEWSRAIL_LISTEN": f"127.0.0.1:{self.port}",
            "NEWSRAIL_REDIS_PORT": str(self.redis_port),
            "NEWSRAIL_SUBNET": "10.203.78.0/24",
            "NEWSRAIL_GATEWAY": "10.203.78.10",
        }

    def run(self, *command: str, given: bytes = b"") -> bytes:
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, input=given, capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        return done.stdout

    def __call__(self, *arguments: str) -> str:
        return self.run("docker", "compose", *arguments).decode()

    def up(self, *arguments: str) -> None:
        self("up", "-d", "--wait", "--wait-timeout", UP_WITHIN_S, *arguments)

    def redis(self, user: str = "admin") -> sync_redis.Redis:
        """As one who is given an address of this machine."""
        url = (ROOT / f"deploy/secrets/{user}_redis_url.txt").read_text().strip()
        return sync_redis.Redis.from_url(url.replace(":6379", f":{self.redis_port}"))


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    compose = Compose()
    compose.run("deploy/make-secrets")
    compose("build", "--quiet")
    try:
        compose.up()
        yield compose
    finally:
        print(compose("logs", "--no-color", "--tail", "100"))
        compose("down", "--volumes", "--timeout", "5")


@pytest.fixture(scope="module")
def token(compose: Compose) -> str:
    """The first key, as the guide says to make it."""
    command = ("newsrail", "keys", "create", "--scope", "publish", "--feed", "*")
    return compose("run", "--rm", "-T", "ingest", *command).strip()


@pytest.fixture
def web(compose: Compose, token: str) -> Iterator[httpx.Client]:
    """One who knows the gateway's address and the key."""
    with httpx.Client(
        base_url=f"http://127.0.0.1:{compose.port}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
        trust_env=False,
    ) as client:
        yield client


def post(web: httpx.Client, feed: str, articles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answer = web.post("/v1/articles", params={"feed": feed}, json=articles)
    assert answer.status_code == 202, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def some_articles(count: int) -> list[dict[str, Any]]:
    return [
        {"external_id": str(number), "title": f"Take {number} of the day", "body_text": "Rain."}
        for number in range(count)
    ]


def found(web: httpx.Client) -> int:
    total: int = web.get("/v1/search").raise_for_status().json()["total"]
    return total


def views(web: httpx.Client, article: str) -> int:
    counts = web.get("/v1/views", params={"article": article}).raise_for_status().json()["counts"]
    return int(counts[article]["views"])


def test_what_is_posted_at_the_gateway_is_found_listed_and_counted(web: httpx.Client) -> None:
    steps = [step for step in sample.steps(now()) if not step.after_s]
    posted = [
        result
        for step in steps
        for result in post(web, step.feed, [dict(article) for article in step.articles])
    ]
    article = posted[0]["id"]
    columns = {
        "article": [article] * 3,
        "visitor": ["one", "two", "three"],
        "at": [to_ms(now())] * 3,
    }
    assert web.post("/v1/views", json=columns).status_code == 202

    def all_is_there() -> bool:
        latest = web.get("/v1/rails/latest").raise_for_status().json()["entries"]
        popular = web.get("/v1/rails/popular").raise_for_status().json()["entries"]
        return (
            found(web) == len(posted)
            and len(latest) == 6
            and [entry["article"]["id"] for entry in popular] == [article]
            and views(web, article) == 3
        )

    until(all_is_there)
    assert web.get("/").status_code == 200


def test_readers_are_told_apart_by_the_address_they_have_and_not_one_they_invent(
    compose: Compose, web: httpx.Client
) -> None:
    [article] = [one["id"] for one in post(web, "wire", some_articles(1))]
    beacon = json.dumps({"article": article, "at": to_ms(now())})
    for address in ("192.0.2.1", "192.0.2.2"):
        headers = {"X-Forwarded-For": address, "User-Agent": BROWSER}
        answer = httpx.post(web.base_url.join("/v1/views"), content=beacon, headers=headers)
        assert answer.status_code == 202, answer.text
    until(lambda: views(web, article) > 0)
    assert views(web, article) == 1

    elsewhere = ("docker", "run", "--rm", "--network", "newsrail-test_outside", "newsrail:test")
    request = f"Request('http://gateway:8080/v1/views', {beacon!r}.encode(), {headers!r})"
    code = f"from urllib.request import *; urlopen({request})"
    compose.run(*elsewhere, "python", "-c", code)
    until(lambda: views(web, article) == 2)


def test_what_else_may_be_posted_comes_to_its_service(web: httpx.Client) -> None:
    first, second = post(web, "wire", some_articles(2))
    comment = {"name": "Kim", "text": "Well said."}
    commented = web.post(f"/v1/articles/{first['id']}/comments", json=comment)
    assert commented.status_code == 202, commented.text
    assert web.delete("/v1/comments/none").status_code == 403
    assert web.delete(f"/v1/articles/{second['id']}").status_code == 202
    tomorrow = f"{now().year + 1}-01-01T00:00:00Z"
    held = {"external_id": "held", "title": "Later", "body_text": "x", "embargoed_until": tomorrow}
    [result] = post(web, "wire", [held])
    assert result["outcome"] == "held"

    until(lambda: web.get(f"/v1/articles/{second['id']}").status_code in {404, 410})


@pytest.mark.parametrize(
    "path",
    [
        *("/metrics", "/metrics/", "/%6detrics", "/x/../metrics", "/METRICS"),
        *("/readyz", "/docs", "/openapi.json", "/v1/dead"),
    ],
)
def test_the_gateway_leads_to_nothing_that_is_for_operators(web: httpx.Client, path: str) -> None:
    answer = web.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_body_beyond_the_limit_is_refused_through_the_gateway_too(web: httpx.Client) -> None:
    for size in (2 << 20, 11 << 20):
        answer = web.post("/v1/articles", params={"feed": "wire"}, content=b" " * size)
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_not_root_writes_nowhere_and_keeps_its_secret(
    compose: Compose, service: str
) -> None:
    look = "id -u; touch /opt/x 2>&1 | grep -c Read-only; cat /proc/*/environ | grep -c redis://"
    said = compose("exec", "-T", service, "sh", "-c", f"{look}; grep CapBnd /proc/1/status")
    assert said.split() == ["10001", "1", "0", "CapBnd:", "0000000000000000"]


def test_what_builds_the_image_is_not_in_it(compose: Compose) -> None:
    look = "command -v uv gcc make valkey-server || echo none"
    assert compose("exec", "-T", "ingest", "sh", "-c", look).strip() == "none"


@pytest.mark.parametrize(
    ("user", "command", "may"),
    [
        ("reader", "XREAD STREAMS news.articles 0", True),
        ("reader", "XRANGE news.views - +", True),
        ("reader", "XREADGROUP GROUP index x STREAMS news.articles >", False),
        ("reader", "XACK news.articles index 0-1", False),
        ("reader", "XADD news.articles * a b", False),
        ("reader", "HGETALL newsrail:keys", False),
        ("reader", "HGETALL {news.views}:salts", False),
        ("ingest", "XADD news.articles * a b", True),
        ("ingest", "XADD news.rails * a b", False),
        ("ingest", "XACK news.articles index 0-1", False),
        ("index", "XACK news.articles index 0-1", True),
        ("index", "XADD news.articles * a b", False),
        ("index", "HSET newsrail:keys a b", False),
        ("rails", "XADD news.rails * a b", True),
        ("rails", "XADD news.views * a b", False),
        ("rails", "HGETALL {news.views}:salts", False),
        # What happens too seldom to be seen here.
        ("ingest", "HDEL {news.views}:salts a", True),
        ("ingest", "ZREM {news.articles}:held a", True),
        ("index", "XCLAIM news.rails index me 0 0-1", True),
        ("index", "XADD {news.rails}:dead:index * a b", True),
        ("index", "XDEL {news.articles}:dead:index 0-1", True),
        ("index", "XDEL {news.articles}:dead:rails 0-1", False),
        ("rails", "XADD {news.views}:dead:rails * a b", True),
        ("rails", "XCLAIM news.articles rails me 0 0-1", True),
        ("rails", "SET {news.views}:rails:snapshot a", True),
        *((user, "XTRIM news.articles MAXLEN 0", False) for user in SERVICES),
        *((user, "DEL news.articles", False) for user in SERVICES),
        *((user, "FLUSHALL", False) for user in SERVICES),
        *((user, "CONFIG GET *", False) for user in SERVICES),
        *((user, "EVAL x 0", False) for user in SERVICES),
        ("default", "PING", False),
    ],
)
def test_a_redis_user_may_do_its_work_and_no_more(
    compose: Compose, user: str, command: str, *, may: bool
) -> None:
    with compose.redis() as redis:
        said = redis.execute_command("ACL", "DRYRUN", user, *command.split())
    assert (said in {b"OK", "OK"}) == may, said


def test_an_upgrade_with_a_backlog_loses_nothing(compose: Compose, web: httpx.Client) -> None:
    before = found(web)
    compose("stop", "index", "rails")
    away = web.get("/v1/search")
    assert (away.status_code, away.headers["retry-after"]) == (502, "2")
    articles = some_articles(BACKLOG)
    posted = {
        result["id"]
        for start in range(0, BACKLOG, A_REQUEST)
        for result in post(web, "backlog", articles[start : start + A_REQUEST])
    }
    compose.run("docker", "tag", "newsrail:test", "newsrail:test-next")
    compose.environment["NEWSRAIL_VERSION"] = "test-next"
    compose.up("--no-build")

    until(lambda: found(web) == before + BACKLOG, within_s=60)
    with compose.redis() as redis:
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", redis.xrange("news.indexed"))
        catalogue = cast("list[bytes]", redis.hkeys("{news.articles}:rails:catalogue"))
    announced = Counter(fields[b"subject"].decode() for _, fields in entries)
    assert {announced[id_] for id_ in posted} == {1}
    assert posted <= {id_.decode() for id_ in catalogue}


def test_killed_services_go_on_where_they_were(compose: Compose, web: httpx.Client) -> None:
    popular = web.get("/v1/rails/popular").json()["entries"]
    article = popular[0]["article"]["id"]
    before = found(web), views(web, article)
    compose("kill", *SERVICES)
    compose.up("--no-build")
    assert (found(web), views(web, article)) == before


def test_a_foreign_entry_is_a_dead_letter_of_each_group(compose: Compose) -> None:
    with compose.redis() as redis:
        redis.xadd("news.articles", {"not": "ours"})
        dead = [f"{{news.articles}}:dead:{group}" for group in ("index", "rails")]
        until(lambda: all(redis.xlen(key) == 1 for key in dead))


def test_a_subscriber_on_this_machine_reads_the_streams(compose: Compose) -> None:
    with compose.redis("reader") as redis:
        assert redis.xread({"news.articles": "0"}, count=1)


def test_nothing_was_tried_that_redis_does_not_allow(compose: Compose) -> None:
    with compose.redis() as redis:
        assert redis.acl_log() == []


def test_a_backup_restored_is_all_that_was_there(
    compose: Compose, web: httpx.Client, tmp_path: Path
) -> None:
    before = found(web)
    backup = compose.run("deploy/backup")
    post(web, "after", some_articles(1))
    compose.run("deploy/restore", given=backup)

    until(lambda: found(web) == before)
    assert web.get("/v1/rails/latest").json()["entries"]


def test_services_stop_when_told(compose: Compose) -> None:
    compose("stop", *SERVICES)
    states = [json.loads(line) for line in compose("ps", "-a", "--format", "json").splitlines()]
    assert {
        s["Service"]: s["ExitCode"] for s in states if s["Service"] in SERVICES
    } == dict.fromkeys(SERVICES, 0)
