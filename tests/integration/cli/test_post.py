"""`newsrail post` and `newsrail keys` against a real ingest."""

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from tests.redis_server import free_port
from tests.stack import ROOT, Stack

RSS = """<rss version="2.0"><channel><title>Loam</title>
<item><guid>{0}1</guid><title>{0} ferry</title><description>It sails.</description></item>
<item><guid>{0}2</guid><title>{0} bridge</title><description>It stands.</description></item>
</channel></rss>"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), "ingest") as running:
        yield running


def command(stack: Stack, *arguments: str | Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "NEWSRAIL_INGEST_URL": stack.url("ingest"),
        "NEWSRAIL_KEY": stack.token,
        "NEWSRAIL_REDIS_URL": stack.redis.url,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def newsrail(stack: Stack, *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, what it printed, and what it complained of."""
    with command(stack, *arguments) as process:
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


def lines(out: str) -> dict[str, dict[str, Any]]:
    said = map(json.loads, out.splitlines())
    return {Path(line["file"]).name: line for line in said}


def test_all_accepted_is_exit_code_0_and_again_it_is_unchanged(
    stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "one.xml").write_text(RSS.format("one"))
    (tmp_path / "two.xml.gz").write_bytes(gzip.compress(RSS.format("two").encode()))
    code, out, _ = newsrail(stack, "post", "--feed", "loam", tmp_path)
    assert code == 0
    assert "4         published" in out
    code, out, _ = newsrail(stack, "post", "--feed", "loam", tmp_path)
    assert code == 0
    assert "4         unchanged" in out


def test_a_refusal_is_exit_code_1_and_is_summed_up_by_reason(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "good.xml").write_text(RSS.format("good"))
    (tmp_path / "bad.json").write_text('[{"title": "Kept"}, {"external_id": "7"}]')
    (tmp_path / "empty.xml").touch()
    code, out, _ = newsrail(stack, "post", "--feed", "mixed", tmp_path)
    assert code == 1
    assert "3         published" in out
    assert "2         refused" in out
    assert "missing-title" in out
    assert "empty-body" in out


def test_json_is_a_line_for_each_file(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "good.xml").write_text(RSS.format("line"))
    (tmp_path / "empty.xml").touch()
    code, out, _ = newsrail(stack, "post", "--json", "--feed", "lines", tmp_path)
    assert code == 1
    said = lines(out)
    assert said["good.xml"]["status"] == 202
    assert [one["outcome"] for one in said["good.xml"]["results"]] == ["published"] * 2
    assert said["empty.xml"]["status"] == 400
    assert said["empty.xml"]["problem"]["type"] == "urn:newsrail:problem:empty-body"


def test_a_feed_without_articles_is_accepted(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "quiet.xml").write_text("<rss version='2.0'><channel></channel></rss>")
    code, out, _ = newsrail(stack, "post", "--json", "--feed", "quiet", tmp_path)
    assert code == 0
    assert json.loads(out)["results"] == []


def test_a_feed_per_file_keeps_equal_ids_apart(stack: Stack, tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text('{"external_id": "1", "title": "Same id"}')
    code, out, _ = newsrail(stack, "post", "--json", "--feed-per-file", tmp_path)
    assert code == 0
    ids = {line["results"][0]["id"] for line in lines(out).values()}
    assert len(ids) == 2


def test_what_nobody_answers_is_exit_code_2(stack: Stack, tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/feed.xml"
    code, out, _ = newsrail(stack, "post", "--feed", "loam", nowhere)
    assert code == 2
    assert "not delivered" in out


def test_an_address_is_fetched_and_posted(stack: Stack, web: Path, web_url: str) -> None:
    (web / "feed").write_text(RSS.format("web"))
    code, out, _ = newsrail(stack, "post", "--json", "--feed", "web", f"{web_url}/feed")
    assert code == 0
    assert len(json.loads(out)["results"]) == 2


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """The folder that is served at `web_url`."""
    return tmp_path


@pytest.fixture
def web_url(web: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(web))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_outage_is_waited_for_and_publishes_once(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "late.json").write_text('{"external_id": "outage", "title": "Sent in an outage"}')
    stack.redis.hang()
    try:
        with command(stack, "post", "--json", "--feed", "outage", tmp_path) as process:
            wait_for_503(stack)
            stack.redis.go_on()
            out, _ = process.communicate(timeout=60)
    finally:
        stack.redis.go_on()
    assert process.returncode == 0
    assert json.loads(out)["results"][0]["version"] == 1


def wait_for_503(stack: Stack) -> None:
    while 'status="503"' not in httpx.get(f"{stack.url('ingest')}/metrics").text:
        time.sleep(0.02)


def test_without_a_running_newsrail_it_names_the_remedy(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NEWSRAIL_")}
    result = subprocess.run(
        [sys.executable, "-m", "cli.main", "post", "--data", tmp_path, __file__],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "newsrail up" in result.stderr


def test_a_key_is_made_listed_used_and_revoked(stack: Stack, tmp_path: Path) -> None:
    code, token, _ = newsrail(
        stack, "keys", "create", "--scope", "publish", "--feed", "mine", "--name", "[my] paper"
    )
    token = token.strip()
    assert code == 0
    assert token.startswith("nr_")
    key_id = token.split("_")[1]
    _, listed, _ = newsrail(stack, "keys", "list")
    assert key_id in listed
    assert "[my] paper" in listed
    assert token not in listed

    (tmp_path / "one.json").write_text('{"title": "With my own key"}')
    assert newsrail(stack, "post", "--key", token, tmp_path)[0] == 0
    assert newsrail(stack, "post", "--key", token, "--feed", "theirs", tmp_path)[0] == 1

    assert newsrail(stack, "keys", "revoke", key_id)[0] == 0
    assert newsrail(stack, "keys", "revoke", key_id)[0] == 1
    assert key_id not in newsrail(stack, "keys", "list")[1]


def test_a_key_that_may_publish_needs_a_feed(stack: Stack) -> None:
    code, _, complaint = newsrail(stack, "keys", "create", "--scope", "publish")
    assert code == 2
    assert "--feed" in complaint
