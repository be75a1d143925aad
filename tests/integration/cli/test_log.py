"""`newsrail lag`, `watch`, `archive` and `erase` on a stack that runs."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from shared.clock import now
from shared.events import ARTICLES, COMMENTS, RAILS
from shared.streams.archive import Archive
from shared.streams.clients import writer
from shared.streams.lag import states
from shared.streams.trim import Janitor
from tests.eventually import until
from tests.stack import ROOT, Stack, hears_ctrl_c

SECRET = "Minister resigns over ferry"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), "ingest", "index", "rails") as running:
        yield running


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def command(stack: Stack, archive: Path, *arguments: str) -> subprocess.Popen[str]:
    archive.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "NEWSRAIL_REDIS_URL": stack.redis.url,
            "NEWSRAIL_ARCHIVE": str(archive),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hears_ctrl_c,
    )


def newsrail(stack: Stack, archive: Path, *arguments: str) -> tuple[int, str, str]:
    with command(stack, archive, *arguments) as process:
        out, err = process.communicate(timeout=90)
        return process.returncode, out, err


def ask(stack: Stack, method: str, path: str, body: object = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {stack.token}"}
    answer = httpx.request(
        method, stack.url("ingest") + path, json=body, headers=headers, timeout=10
    )
    assert answer.status_code == 202, answer.text
    said: dict[str, Any] = answer.json()
    return said


def post(stack: Stack, external_id: str, title: str) -> str:
    article = {"external_id": external_id, "title": title, "body_text": f"{title}. All of it."}
    said = ask(stack, "POST", "/v1/articles?feed=wire", article)
    id_: str = said["results"][0]["id"]
    return id_


def on_redis(stack: Stack, work: Callable[[Redis], Any]) -> Any:
    async def run() -> Any:
        async with writer(SecretStr(stack.redis.url)) as redis:
            return await work(redis)

    return asyncio.run(run())


def trim(stack: Stack, archive: Path) -> None:
    """As the janitor would in half a day, once all is read."""

    async def all_read(redis: Redis) -> bool:
        found = await states(redis, None)
        return not any(group.oldest_ms for state in found for group in state.groups)

    async def tend(redis: Redis) -> None:
        await until(lambda: all_read(redis))
        streams = [ARTICLES, COMMENTS, RAILS]
        janitor = Janitor(
            redis,
            Archive(str(archive)),
            streams,
            partitions=1,
            retention_s=1200,
            clock=lambda: now() + timedelta(hours=12),
        )
        for stream in streams:
            await janitor.tend(stream.name)

    on_redis(stack, tend)


def test_lag_shows_streams_groups_dead_letters_and_the_archive(stack: Stack, archive: Path) -> None:
    post(stack, "lag", "Harbour opens")
    trim(stack, archive)
    post(stack, "lag2", "Harbour closes")
    code, out, _ = newsrail(stack, archive, "lag")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "1 segments" in lines["news.articles"]
    assert "news.views" in lines
    on_redis(stack, lambda redis: redis.xadd("{news.articles}:dead:rails", {"dead-reason": "x"}))
    code, out, _ = newsrail(stack, archive, "lag", "--json")
    assert code == 1
    articles = next(state for state in json.loads(out) if state["key"] == "news.articles")
    assert {group["name"]: group["dead"] for group in articles["groups"]} == {
        "index": 0,
        "rails": 1,
    }
    on_redis(stack, lambda redis: redis.delete("{news.articles}:dead:rails"))


def test_watch_prints_what_comes_and_only_the_types_asked_for(stack: Stack, archive: Path) -> None:
    with command(stack, archive, "watch", "news.article.published*", "--all", "--json") as process:
        assert process.stdout
        first = post(stack, "watch", "Bridge opens")
        while True:
            said = json.loads(process.stdout.readline())
            assert said["event"]["type"] == "news.article.published.v1"
            if said["event"]["subject"] == first:
                break
        assert said["event"]["data"]["article"]["title"] == "Bridge opens"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0


def test_watch_without_json_is_a_line_for_people(stack: Stack, archive: Path) -> None:
    id_ = post(stack, "people", "Tram stops")
    with command(stack, archive, "watch", "--all") as process:
        assert process.stdout
        lines = iter(process.stdout.readline, "")
        assert any(
            "article.published" in line and id_ in line and "Tram stops" in line for line in lines
        )
        process.send_signal(signal.SIGINT)


def test_the_archive_is_verified_and_shown_and_damage_is_named(stack: Stack, archive: Path) -> None:
    for number in range(3):
        post(stack, f"archive{number}", f"Number {number}")
        trim(stack, archive)
    code, out, _ = newsrail(stack, archive, "archive", "verify")
    assert code == 0
    assert "news.articles" in out
    code, out, _ = newsrail(stack, archive, "archive", "cat", "news.articles")
    titles = [json.loads(line)["event"]["data"]["article"]["title"] for line in out.splitlines()]
    assert code == 0
    assert titles[-3:] == ["Number 0", "Number 1", "Number 2"]
    assert newsrail(stack, archive, "archive", "cat", "--since", "2099-01-01")[1] == ""
    assert newsrail(stack, archive, "archive", "cat", "--since", "noon")[0] == 2

    segments = sorted((archive / "news.articles").iterdir())
    segments[-2].write_bytes(segments[-2].read_bytes()[:-9])
    code, _, err = newsrail(stack, archive, "archive", "verify")
    assert code == 1
    assert segments[-2].name in err
    code, out, err = newsrail(stack, archive, "archive", "cat", "news.articles")
    assert code == 1
    assert segments[-2].name in err
    assert "Number 2" in out

    segments[-2].unlink()
    code, _, err = newsrail(stack, archive, "archive", "verify")
    assert code == 1
    assert f"{segments[-1].name}: missing is what came after" in err


def test_an_erased_article_is_nowhere_in_the_log_and_its_retraction_is(
    stack: Stack, archive: Path
) -> None:
    id_ = post(stack, "erase", SECRET)
    other = post(stack, "stays", "Ferry sails")
    said = {"name": "Mi", "text": f"{SECRET}? Good."}
    ask(stack, "POST", f"/v1/articles/{id_}/comments", said)
    code, _, err = newsrail(stack, archive, "erase", id_)
    assert code == 1
    assert f"DELETE /v1/articles/{id_}" in err
    trim(stack, archive)
    ask(stack, "DELETE", f"/v1/articles/{id_}")
    post(stack, "erase2", "Later news")
    trim(stack, archive)
    ask(stack, "POST", f"/v1/articles/{other}/comments", said | {"text": "Which?"})

    code, out, _ = newsrail(stack, archive, "erase", id_)
    assert code == 0
    assert "0 in the archive" not in out
    _, log, _ = newsrail(stack, archive, "archive", "cat")
    assert SECRET not in log
    assert "Ferry sails" in log
    retracted = [json.loads(line) for line in log.splitlines() if id_ in line]
    assert "news.article.retracted.v1" in [each["event"]["type"] for each in retracted]
    assert newsrail(stack, archive, "archive", "verify")[0] == 0
    assert newsrail(stack, archive, "erase", id_)[1].startswith("erased 0 entries in Redis, 0 in")
    code, _, err = newsrail(stack, archive, "erase", "nothing")
    assert code == 1
    assert "nothing" in err
