"""Every real feed we have goes in at the door and comes out of the search."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.stack import Stack

SUFFIXES: Final = {".xml", ".rss", ".atom", ".rdf", ".gz"}
WITHIN_S: Final = 2.0
AT_ONCE: Final = 4
RENAMED: Final = str.maketrans({"/": ".", "+": "_", " ": "_"})


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), "ingest", "index") as running:
        yield running


@pytest.fixture(scope="module")
def feeds(data_folder: Path) -> list[Path]:
    return sorted(
        path
        for path in data_folder.glob("feeds_*/**/*")
        if path.is_file() and path.suffix in SUFFIXES
    )


@dataclass(slots=True)
class Seen:
    outcomes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    slowest_answer_s: float = 0.0
    longest_wait_s: float = 0.0
    """After which an article was still not found."""
    amiss: list[str] = field(default_factory=list)


@pytest.mark.timeout(300)
async def test_every_feed_is_answered_found_and_known_when_it_comes_again(
    stack: Stack, feeds: list[Path], data_folder: Path
) -> None:
    assert len(feeds) > 1000
    first = await post_all(stack, feeds, data_folder, find=True)
    print(f"\nfirst: {first.statuses} {first.outcomes}, slowest answer "
          f"{first.slowest_answer_s:.2f} s, longest wait {first.longest_wait_s:.2f} s")  # fmt: skip
    assert not first.amiss, first.amiss[:10]
    assert first.outcomes["published"] > 1000
    assert max(first.statuses) < 500
    assert first.slowest_answer_s < WITHIN_S

    again = await post_all(stack, feeds, data_folder, find=False)
    assert set(again.outcomes) <= {"unchanged", "late", "held", "refused"}
    assert again.outcomes["refused"] == first.outcomes["refused"]
    assert again.statuses == first.statuses


async def post_all(stack: Stack, feeds: list[Path], root: Path, *, find: bool) -> Seen:
    seen = Seen()
    waiting = iter(feeds)
    headers = {"Authorization": f"Bearer {stack.token}"}
    async with (
        httpx.AsyncClient(headers=headers, timeout=30) as client,
        asyncio.TaskGroup() as senders,
    ):

        async def sender() -> None:
            for path in waiting:
                feed = str(path.relative_to(root)).translate(RENAMED)[-100:].lstrip("._-")
                results = await post(client, stack, path, feed, seen)
                published = [r["id"] for r in results if r["outcome"] == "published"]
                if find:
                    # One after the other: else this client is what is waited for.
                    answered = time.monotonic()
                    for id_ in published:
                        await look_for(client, stack, id_, feed, answered, seen)

        for _ in range(AT_ONCE):
            senders.create_task(sender())
    return seen


async def post(
    client: httpx.AsyncClient, stack: Stack, path: Path, feed: str, seen: Seen
) -> list[dict[str, Any]]:
    packed = {"Content-Encoding": "gzip"} if path.suffix == ".gz" else {}
    began = time.monotonic()
    answer = await client.post(
        f"{stack.url('ingest')}/v1/articles",
        params={"feed": feed},
        content=path.read_bytes(),
        headers=packed,
    )
    seen.slowest_answer_s = max(seen.slowest_answer_s, time.monotonic() - began)
    seen.statuses[answer.status_code] += 1
    if answer.status_code >= 400:
        said = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert said["detail"]
    results: list[dict[str, Any]] = answer.json().get("results", [])
    seen.outcomes.update(result["outcome"] for result in results)
    return results


async def look_for(
    client: httpx.AsyncClient, stack: Stack, id_: str, feed: str, answered: float, seen: Seen
) -> None:
    """By its title. A look that begins after `WITHIN_S` must find it."""
    title = ""
    while True:
        waited = time.monotonic() - answered
        if not title:
            article = await client.get(f"{stack.url('index')}/v1/articles/{id_}")
            title = article.json()["title"] if article.status_code == 200 else ""
        if title and await is_found(client, stack, id_, title, feed):
            return
        if waited > WITHIN_S:
            seen.amiss.append(f"{feed} {id_} {title!r}")
            return
        seen.longest_wait_s = max(seen.longest_wait_s, waited)
        await asyncio.sleep(0.02)


async def is_found(
    client: httpx.AsyncClient, stack: Stack, id_: str, title: str, feed: str
) -> bool:
    found = await client.get(
        f"{stack.url('index')}/v1/search", params={"q": title, "feed": feed, "limit": 100}
    )
    assert found.status_code == 200, found.text
    return any(hit["id"] == id_ for hit in found.json()["hits"])
