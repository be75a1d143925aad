"""`newsrail up` as an operator runs it: a server and services of its own."""

import json
import os
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from redis import Redis

from cli.server import LOOPBACK, is_free
from tests.redis_server import free_port
from tests.stack import ROOT

WITHIN_S = 60


def free_ports(count: int) -> int:
    """The first of `count` free ports in a row."""
    while True:
        first = free_port()
        if all(is_free(LOOPBACK, first + place) for place in range(1, count)):
            return first


class Up:
    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_ports(4)
        command = [sys.executable, "-m", "cli.main", "up", "--data", str(folder), *options]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )

    def run_file(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return said

    def ready(self, *, without: int | None = None) -> dict[str, Any]:
        """What run.json says, once it is there and names the process `without` no more."""
        path = self.folder / "run.json"
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "newsrail up has ended"
            if path.exists() and without not in self.run_file()["pids"].values():
                return self.run_file()
            time.sleep(0.02)
        raise AssertionError(f"not ready within {WITHIN_S} s")

    def stop(self) -> str:
        """What it had printed."""
        self.process.send_signal(signal.SIGTERM)
        printed, _ = self.process.communicate(timeout=WITHIN_S)
        assert self.process.returncode == 0
        return printed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    with Up(tmp_path, "--empty") as running:
        running.ready()
        yield running


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def post(said: dict[str, Any], title: str) -> None:
    """Until it is answered, as a feed would."""
    headers = {"Authorization": f"Bearer {said['key']}", "Idempotency-Key": title}
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        try:
            answer = httpx.post(
                f"{said['ingest']}/v1/articles?feed=mine", json={"title": title}, headers=headers
            )
        except httpx.TransportError:
            time.sleep(0.05)
            continue
        if answer.status_code == 202:
            return
        assert answer.status_code == 503, answer.text
        time.sleep(0.05)
    raise AssertionError("not taken")


def articles(said: dict[str, Any]) -> int:
    with Redis.from_url(said["redis"]) as redis:
        count: int = redis.xlen("news.articles")
        return count


def test_it_says_where_all_is_and_stops_cleanly(up: Up) -> None:
    said = up.ready()
    assert set(said) == {"index", "ingest", "rails", "redis", "key", "pids"}
    assert set(said["pids"]) == {"redis", "index", "ingest", "rails"}
    for place, name in enumerate(("index", "ingest", "rails")):
        assert said[name] == f"http://127.0.0.1:{up.port + place}"
        assert httpx.get(f"{said[name]}/readyz").status_code == 200
    assert stat.S_IMODE((up.folder / "run.json").stat().st_mode) == 0o600
    with Redis.from_url(said["redis"]) as redis:
        config = redis.config_get("append*", "maxmemory-policy", "save", "bind", "protected-mode")
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "always"
    assert config["maxmemory-policy"] == "noeviction"
    assert config["save"] == ""
    assert config["bind"] == "127.0.0.1"
    assert config["protected-mode"] == "yes"

    printed = up.stop()
    assert said["index"] in printed
    assert said["key"] in printed
    assert not any(map(is_alive, said["pids"].values()))
    assert not (up.folder / "run.json").exists()


def test_what_dies_is_started_again_and_nothing_answered_is_lost(up: Up) -> None:
    for number, name in enumerate(("ingest", "redis", "index", "rails")):
        before = up.ready()
        post(before, f"Before {name} dies")
        os.kill(before["pids"][name], signal.SIGKILL)
        after = up.ready(without=before["pids"][name])
        assert {**after, "pids": None} == {**before, "pids": None}
        post(after, f"After {name} died")
        assert articles(after) == 2 * number + 2


def test_a_second_start_goes_on_with_the_data(up: Up) -> None:
    said = up.ready()
    post(said, "Kept over night")
    up.stop()
    with Up(up.folder, "--empty") as again:
        said_again = again.ready()
        assert said_again["key"] == said["key"]
        assert said_again["redis"] == said["redis"]
        assert articles(said_again) == 1
        post(said_again, "The next day")


def test_nothing_outlives_it_when_it_is_killed(up: Up) -> None:
    children = [os.pidfd_open(pid) for pid in up.ready()["pids"].values()]
    up.process.kill()
    for child in children:
        gone = select.poll()
        gone.register(child, select.POLLIN)
        assert gone.poll(WITHIN_S * 1000)
        os.close(child)


def test_a_folder_or_a_port_in_use_names_the_remedy(up: Up, tmp_path: Path) -> None:
    def refused(folder: Path, port: int) -> str:
        command = [sys.executable, "-m", "cli.main", "up", "--data", str(folder)]
        result = subprocess.run(
            [*command, "--port", str(port)],
            cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False,
        )  # fmt: skip
        assert result.returncode == 1
        return result.stderr

    assert "--data" in refused(up.folder, free_ports(4))
    assert "--port" in refused(tmp_path / "other", up.port)
    assert up.process.poll() is None


def test_the_sample_is_published_once_and_read(tmp_path: Path) -> None:
    with Up(tmp_path) as first:
        said = first.ready()
        wait_for(lambda: views(said) > 1)
        published = articles(said)
        assert published >= 38
        assert "sample readers are clicking" in first.stop()
    with Up(tmp_path) as second:
        said = second.ready()
        before = views(said)
        wait_for(lambda: views(said) > before)
        assert articles(said) == published
        second.stop()


def views(said: dict[str, Any]) -> int:
    with Redis.from_url(said["redis"]) as redis:
        count: int = redis.xlen("news.views")
        return count


def wait_for(holds: Any) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
