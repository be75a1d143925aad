"""All of newsrail in containers, as an operator starts it. `make compose-test` runs this; it
needs a Docker engine with Compose. The tests follow each other on one stack."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import httpx
import pytest
import redis as sync_redis
from redis.typing import EncodableT, FieldT

from cli import sample
from shared.clock import now, to_ms
from shared.events import (
    Article,
    ArticleId,
    ArticlePublished,
    ArticleRetracted,
    Contract,
    Event,
    ViewsRecorded,
)
from tests.redis_server import free_port
from tests.stack import ROOT

if "NEWSRAIL_TEST_COMPOSE" not in os.environ:
    pytest.skip("needs a Docker engine; make compose-test runs it", allow_module_level=True)

SERVICES: Final = ("ingest", "index", "rails")
OLD: Final = 200
OLD_FOR: Final = timedelta(hours=2)
OLD_ARTICLES: Final = [f"{number:08x}" for number in range(OLD)]
RETRACTED: Final = "ffffffff"
OLD_ENTRIES: Final = OLD + 2
"""With one that is retracted."""
AUDITOR: Final = "auditor"
"""A group of another's: what it has not read stays for a day."""
BACKLOG: Final = 10_000
A_REQUEST: Final = 500
PROMETHEUS: Final = "prom/prometheus:latest"
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
        self.port, self.redis_port, self.prometheus_port = free_port(), free_port(), free_port()
        self.environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": "newsrail-test",
            "NEWSRAIL_VERSION": "test",
            "NEWSRAIL_LISTEN": f"127.0.0.1:{self.port}",
            "NEWSRAIL_REDIS_PORT": str(self.redis_port),
            "NEWSRAIL_PROMETHEUS_PORT": str(self.prometheus_port),
            "NEWSRAIL_RETENTION_S": "1200",
            "NEWSRAIL_SUBNET": "10.203.78.0/24",
            "NEWSRAIL_GATEWAY": "10.203.78.10",
        }

    def run(self, *command: str, code: int = 0) -> str:
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, input="", capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr[-3000:]
        return done.stdout

    def __call__(self, *arguments: str, code: int = 0) -> str:
        return self.run("docker", "compose", *arguments, code=code)

    def operator(self, *arguments: str, code: int = 0) -> str:
        """What newsrail says to an operator."""
        return self("run", "--rm", "-T", "operator", *arguments, code=code)

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
        compose.up("redis")
        with compose.redis() as redis:
            add_old_entries(redis)
        compose.up()
        yield compose
    finally:
        print(compose("logs", "--no-color", "--tail", "100"))
        compose("--profile", "*", "down", "--volumes", "--timeout", "5")


def add_old_entries(redis: sync_redis.Redis) -> None:
    """As if newsrail had run before: they are due for the archive when it starts."""
    then = now() - OLD_FOR
    since = to_ms(then)
    redis.xgroup_create("news.articles", AUDITOR, id="0", mkstream=True)
    retracted = ArticleRetracted(id=ArticleId(RETRACTED), feed="old", version=2, retracted_at=then)
    entries = [
        *(an_old_article(id_, then) for id_ in (*OLD_ARTICLES, RETRACTED)),
        an_entry(retracted, RETRACTED),
    ]
    for number, fields in enumerate(entries, start=1):
        redis.xadd("news.articles", fields, id=f"{since}-{number}")
    one = (0,)
    seen = ViewsRecorded(
        articles=(OLD_ARTICLES[0],),
        article=one,
        visitor=one,
        since=since,
        at=one,
        referrer=(-1,),
        engaged=one,
    )
    redis.xadd("news.views", an_entry(seen, "-"), id=f"{since}-1")


def an_old_article(id_: str, then: datetime) -> dict[FieldT, EncodableT]:
    article = Article(
        id=id_,
        feed="old",
        story=id_,
        version=1,
        title=f"Old harbour {id_}",
        published_at=then,
        received_at=then,
        content_hash="0",
    )
    return an_entry(ArticlePublished(article=article), id_)


def an_entry(data: Contract, subject: str) -> dict[FieldT, EncodableT]:
    event = Event(id=f"{subject}-old", source="/test", subject=subject, time=now(), data=data)
    fields = event.fields()
    return dict(zip(fields[::2], fields[1::2], strict=True))


def give_up_one(redis: sync_redis.Redis) -> None:
    """As a version of index would have done that cannot read what this one can. It is stopped."""
    fields = an_old_article("eeeeeeee", now())
    entry = cast("bytes", redis.xadd("news.articles", fields))
    redis.xreadgroup("index", "index", {"news.articles": ">"}, count=1)
    redis.xack("news.articles", "index", entry)
    letter: dict[FieldT, EncodableT] = {
        "dead-stream": "news.articles",
        "dead-group": "index",
        "dead-entry": entry,
        "dead-reason": "failed 5 times",
        "dead-attempts": "5",
    }
    redis.xadd("{news.articles}:dead:index", {**letter, **fields})


def archived(compose: Compose, stream: str) -> list[str]:
    """The ids of its entries, as the archive has them."""
    lines = compose.operator("archive", "cat", stream).splitlines()
    return [json.loads(line)["entry"] for line in lines]


@pytest.fixture(scope="module")
def token(compose: Compose) -> str:
    """The first key, as the guide says to make it."""
    command = ("newsrail", "keys", "create", "--scope", "publish", "--feed", "*")
    return compose("run", "--rm", "-T", "ingest", *command).strip()


@pytest.fixture(scope="module")
def operator_key(compose: Compose) -> Iterator[None]:
    """Where the guide says to keep it; what is there is of the stack of this machine."""
    place = ROOT / "deploy/secrets/operator_key.txt"
    before = place.read_bytes()
    place.write_text(compose.operator("keys", "create", "--scope", "operate"))
    yield
    place.write_bytes(before)


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


def old_entries(redis: sync_redis.Redis, stream: str) -> Sequence[Any]:
    last = to_ms(now() - OLD_FOR / 2)
    return cast("Sequence[Any]", redis.xrange(stream, max=last))


def announced(redis: sync_redis.Redis) -> Counter[str]:
    entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", redis.xrange("news.indexed"))
    return Counter(fields[b"subject"].decode() for _, fields in entries)


def catalogue(redis: sync_redis.Redis) -> list[str]:
    known = cast("list[bytes]", redis.hkeys("{news.articles}:rails:catalogue"))
    return [id_.decode() for id_ in known]


def answers(web: httpx.Client) -> list[Any]:
    """What readers see, of old articles and new, but for scores: they fade as time goes by."""

    def asked(path: str) -> Any:
        return web.get(path).raise_for_status().json()

    lists = (asked(f"/v1/rails/{rail}")["entries"] for rail in ("latest", "popular"))
    return [
        *([entry["article"] for entry in entries] for entries in lists),
        *(asked(f"/v1/search?q={words}")["total"] for words in ("", "harbour", "take")),
        *(asked(f"/v1/articles/{id_}") for id_ in OLD_ARTICLES[:10]),
        asked(f"/v1/views?article={OLD_ARTICLES[0]}"),
    ]


def denied(compose: Compose) -> Sequence[Any]:
    with compose.redis() as redis:
        return cast("Sequence[Any]", redis.acl_log())


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
            found(web) == OLD + len(posted)
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
        *("/readyz", "/docs", "/openapi.json"),
        *("/v1/dead", "/v1/dead/news.articles/index", "/V1/Dead", "/v1//dead"),
        *("/v1/rebuild", "/v1/rebuild/", "/v1/x/../rebuild"),
    ],
)
def test_the_gateway_leads_to_nothing_that_is_for_operators(web: httpx.Client, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = web.request(method, path)
        said = answer.status_code, answer.headers["content-type"]
        assert said == (404, "application/problem+json")


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
        *((user, "INFO memory", True) for user in SERVICES),
        *(
            ("ingest", f"XTRIM {stream} MINID 1-1", True)
            for stream in ("news.articles.00", "news.comments")
        ),
        ("ingest", "XPENDING news.views rails", True),
        ("ingest", "XINFO GROUPS news.comments", True),
        ("ingest", "XTRIM news.rails MAXLEN 0", False),
        ("index", "XINFO GROUPS news.indexed", True),
        ("index", "XTRIM news.indexed MINID 1-1", True),
        ("rails", "XTRIM news.rails MINID 1-1", True),
        ("operator", "XDEL news.comments 0-1", True),
        ("operator", "XDEL {news.rails}:dead:index 0-1", True),
        ("operator", "XTRIM news.articles MAXLEN 0", False),
        ("operator", "XACK news.articles index 0-1", False),
        ("operator", "HGETALL {news.views}:salts", False),
        *((user, "XTRIM news.articles MAXLEN 0", False) for user in ("reader", "index", "rails")),
        *((user, "DEL news.articles", False) for user in (*SERVICES, "operator")),
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


def test_what_everybody_has_read_is_archived_and_trimmed_and_counts_still(
    compose: Compose, web: httpx.Client
) -> None:
    with compose.redis() as redis:
        until(lambda: not old_entries(redis, "news.views"))
        assert len(old_entries(redis, "news.articles")) == OLD_ENTRIES
    [entry] = archived(compose, "news.views")
    assert entry.endswith("-1")
    assert views(web, OLD_ARTICLES[0]) == 1


def test_an_upgrade_with_a_backlog_loses_nothing(compose: Compose, web: httpx.Client) -> None:
    """Nor does a trim that comes meanwhile."""
    before = found(web)
    compose("stop", "index", "rails")
    away = web.get("/v1/search")
    assert (away.status_code, away.headers["retry-after"]) == (502, "2")
    with compose.redis() as redis:
        give_up_one(redis)
    articles = some_articles(BACKLOG)
    posted = {
        result["id"]
        for start in range(0, BACKLOG, A_REQUEST)
        for result in post(web, "backlog", articles[start : start + A_REQUEST])
    }
    with compose.redis() as redis:
        redis.xgroup_destroy("news.articles", AUDITOR)
        until(lambda: not old_entries(redis, "news.articles"))
    compose.run("docker", "tag", "newsrail:test", "newsrail:test-next")
    compose.environment["NEWSRAIL_VERSION"] = "test-next"
    compose.up("--no-build")

    until(lambda: found(web) == before + BACKLOG, within_s=60)
    with compose.redis() as redis:
        # An article is found before it is announced.
        until(lambda: posted <= announced(redis).keys())
        until(lambda: posted <= set(catalogue(redis)))
        times = announced(redis)
        assert {times[id_] for id_ in posted} == {1}
    assert len(archived(compose, "news.articles")) == OLD_ENTRIES


@pytest.mark.usefixtures("operator_key")
@pytest.mark.parametrize("service", ["index", "rails"])
def test_what_is_rebuilt_answers_as_before(
    compose: Compose, web: httpx.Client, service: str
) -> None:
    """What is read from the archive is in it."""
    before = answers(web)
    assert "is rebuilt" in compose.operator("rebuild", service)
    assert answers(web) == before


def test_killed_services_go_on_where_they_were(compose: Compose, web: httpx.Client) -> None:
    popular = web.get("/v1/rails/popular").json()["entries"]
    article = popular[0]["article"]["id"]
    before = found(web), views(web, article)
    compose("kill", *SERVICES)
    compose.up("--no-build")
    assert (found(web), views(web, article)) == before


@pytest.mark.usefixtures("operator_key")
def test_dead_letters_are_listed_redriven_and_dropped(compose: Compose, web: httpx.Client) -> None:
    with compose.redis() as redis:
        redis.xadd("news.articles", {"not": "ours"})
        dead = {f"{{news.articles}}:dead:{group}": n for group, n in (("index", 2), ("rails", 1))}
        until(lambda: all(redis.xlen(key) == count for key, count in dead.items()))
        listed = json.loads(compose.operator("dead", "list", "--json"))["groups"]
        counts = {(group["stream"], group["group"]): group["count"] for group in listed}
        places = [("news.rails", "index"), ("news.views", "rails")]
        assert counts == {
            ("news.articles", "index"): 2,
            ("news.articles", "rails"): 1,
            **dict.fromkeys(places, 0),
        }

        before = found(web)
        said = compose.operator("dead", "redrive", "news.articles", "index", "--all", code=1)
        assert "1 of 2 redriven" in said
        until(lambda: found(web) == before + 1)
        for group in ("index", "rails"):
            compose.operator("dead", "drop", "news.articles", group, "--all")
        assert not any(redis.xlen(key) for key in dead)


def test_an_operator_sees_who_lags_and_what_comes(compose: Compose) -> None:
    streams = {one["key"]: one for one in json.loads(compose.operator("lag", "--json"))}
    assert streams["news.articles"]["archived"]["segments"] == 1
    assert {group["name"] for group in streams["news.articles"]["groups"]} == {"index", "rails"}

    command = ("docker", "compose", "run", "--rm", "-T", "operator", "watch", "--all")
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=compose.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as watching:
        assert watching.stdout
        assert b"article.published.v1" in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)


def test_what_is_erased_is_in_the_archive_no_more(compose: Compose) -> None:
    text = f"Old harbour {RETRACTED}"
    assert text in compose.operator("archive", "cat", "news.articles")
    assert "1 in the archive" in compose.operator("erase", RETRACTED)
    kept = compose.operator("archive", "cat", "news.articles")
    assert text not in kept
    assert kept.count(RETRACTED) > 0
    compose.operator("archive", "verify")


def test_a_subscriber_on_this_machine_reads_the_streams(compose: Compose) -> None:
    with compose.redis("reader") as redis:
        assert redis.xread({"news.articles": "0"}, count=1)


@pytest.fixture(scope="module")
def _prometheus() -> None:
    commands = ("docker", "image", "inspect", PROMETHEUS), ("docker", "pull", PROMETHEUS)
    if all(subprocess.run(command, capture_output=True).returncode for command in commands):
        pytest.skip(f"{PROMETHEUS} is not here, and no registry has it")


@pytest.mark.usefixtures("_prometheus")
def test_alarms_come_when_they_must(compose: Compose) -> None:
    here = Path(__file__).parent
    mounts = "-v", f"{ROOT}/deploy/prometheus:/rules:ro", "-v", f"{here}:/tests:ro"
    command = "docker", "run", "--rm", "--entrypoint", "promtool", *mounts, PROMETHEUS
    compose.run(*command, "check", "config", "/rules/prometheus.yml")
    compose.run(*command, "test", "rules", "/tests/alerts.yml")


@pytest.mark.usefixtures("_prometheus")
def test_prometheus_reads_every_service_and_nothing_alarms(compose: Compose) -> None:
    compose("--profile", "monitor", "up", "-d", "--wait", "prometheus")
    address = f"http://127.0.0.1:{compose.prometheus_port}/api/v1"

    def asked(path: str) -> Any:
        return httpx.get(f"{address}/{path}", trust_env=False).raise_for_status().json()["data"]

    until(lambda: len(asked("query?query=up==1")["result"]) == len(SERVICES), within_s=45)
    firing = {alert["labels"]["alertname"] for alert in asked("alerts")["alerts"]}
    assert firing <= {"DeadLetters"}


def test_nothing_was_tried_that_redis_does_not_allow(compose: Compose) -> None:
    assert denied(compose) == []


def test_a_backup_restored_is_all_that_was_there(
    compose: Compose, web: httpx.Client, tmp_path: Path
) -> None:
    """Also what was trimmed long ago."""
    before, kept = found(web), archived(compose, "news.articles")
    compose.run("deploy/backup", str(tmp_path / "backup"))
    post(web, "after", some_articles(1))
    compose("run", "--rm", "-T", "--entrypoint", "rm", "operator", "-r", "/archive/news.articles")
    compose.run("deploy/restore", str(tmp_path / "backup"))

    until(lambda: found(web) == before)
    assert web.get("/v1/rails/latest").json()["entries"]
    assert archived(compose, "news.articles") == kept
    assert denied(compose) == []


def test_services_stop_when_told(compose: Compose) -> None:
    compose("stop", *SERVICES)
    states = [json.loads(line) for line in compose("ps", "-a", "--format", "json").splitlines()]
    assert {
        s["Service"]: s["ExitCode"] for s in states if s["Service"] in SERVICES
    } == dict.fromkeys(SERVICES, 0)
