"""`newsrail rebuild` against a real index."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from shared.events import Article, ArticlePublished, Event
from tests.integration.shared.conftest import NOON
from tests.redis_server import free_port
from tests.stack import ROOT, Stack, hears_ctrl_c

STREAM = "news.articles"
ARTICLES = 3000


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEWSRAIL_ARCHIVE", str(archive))
        with Stack(tmp_path_factory.mktemp("stack"), "index") as running:
            fill(running)
            yield running


def fill(stack: Stack) -> None:
    """Returns once all is applied."""
    with Redis(port=stack.redis.port) as redis:
        pipe: Any = redis.pipeline(transaction=False)
        for number in range(ARTICLES):
            article = Article(
                id=str(number), feed="wire", version=1, story=str(number), title="Harbour opens",
                body_text="Ships enter the harbour. " * 80, published_at=NOON, received_at=NOON,
                content_hash="x",
            )  # fmt: skip
            event = Event(str(number), "/test", "-", NOON, ArticlePublished(article=article))
            fields = event.fields()
            pipe.xadd(STREAM, dict(zip(fields[::2], fields[1::2], strict=True)))
        pipe.execute()
    until(lambda: search(stack)["total"] == ARTICLES)


def until(holds: Any, within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def search(stack: Stack) -> Any:
    return httpx.get(f"{stack.url('index')}/v1/search").json()


def state(stack: Stack) -> str:
    key = {"Authorization": f"Bearer {stack.token}"}
    told: str = httpx.get(f"{stack.url('index')}/v1/rebuild", headers=key).json()["state"]
    return told


def command(stack: Stack, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", "rebuild", "index"],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "NEWSRAIL_INDEX_URL": stack.url("index"),
             "NEWSRAIL_KEY": stack.token, **environment},
        preexec_fn=hears_ctrl_c,
    )  # fmt: skip


def newsrail(stack: Stack, **environment: str) -> tuple[int, str, str]:
    """Exit code, what it printed, and what it complained of."""
    with command(stack, **environment) as process:
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


def test_it_ends_when_the_new_read_model_answers(stack: Stack) -> None:
    code, out, _ = newsrail(stack)
    assert code == 0
    assert f"index is rebuilt: {ARTICLES:,} entries read" in out
    assert search(stack)["total"] == ARTICLES


def test_interrupted_it_leaves_the_rebuild_going_and_says_so(stack: Stack) -> None:
    with command(stack) as process:
        until(lambda: state(stack) == "running")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the rebuild of index goes on" in err
    until(lambda: state(stack) == "done")


def test_a_service_that_cannot_be_asked_is_exit_code_2(stack: Stack) -> None:
    code, _, err = newsrail(stack, NEWSRAIL_KEY="nr_none")
    assert (code, "401" in err) == (2, True)
    code, _, err = newsrail(stack, NEWSRAIL_INDEX_URL=f"http://127.0.0.1:{free_port()}")
    assert (code, "does not answer" in err) == (2, True)


def test_a_damaged_archive_is_exit_code_1_and_the_old_one_answers(
    stack: Stack, archive: Path
) -> None:
    (archive / STREAM).mkdir()
    (archive / STREAM / "0-0.ndjson.zst").write_bytes(b"cut short")
    with Redis(port=stack.redis.port) as redis:
        redis.xtrim(STREAM, maxlen=1, approximate=False)
    code, _, err = newsrail(stack)
    assert code == 1
    assert f"Damaged: {STREAM}/0-0.ndjson.zst" in err
    assert search(stack)["total"] == ARTICLES
