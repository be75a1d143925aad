"""The requests that the benchmarks send, as bytes on the wire."""

import json
import random
import time
from collections.abc import Callable
from hashlib import blake2b
from uuid import uuid4

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
WORDS = [
    "harbour",
    "council",
    "rain",
    "bridge",
    "school",
    "market",
    "doctor",
    "garden",
    "record",
    "weather",
    "vote",
    "library",
    "river",
    "engine",
    "teacher",
    "winter",
    "concert",
    "island",
    "farmer",
    "budget",
    "museum",
    "traffic",
    "station",
    "summer",
    "science",
]


def _wire(method: str, path: str, body: bytes, *headers: str) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: bench",
        f"User-Agent: {BROWSER}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def an_article(number: int, run: str, size: int = 4_000) -> bytes:
    """A text-only article of about `size` bytes; each number is another article."""
    rng = random.Random(number % 64)
    paragraphs: list[str] = []
    while sum(map(len, paragraphs)) < size - 500:
        sentences = [" ".join(rng.choices(WORDS, k=12)).capitalize() for _ in range(5)]
        paragraphs.append(". ".join(sentences) + ".")
    article = {
        "external_id": f"{run}-{number}",
        "url": f"https://paper.example/{run}/{number}",
        "title": f"{' '.join(rng.choices(WORDS, k=6)).capitalize()} {run} {number}",
        "body_text": "\n\n".join(paragraphs),
        "authors": ["Mara Lind", "Jon Weir"],
        "section": "world",
        "tags": ["bench"],
        "language": "en",
        "published_at": "2026-11-01T08:00:00Z",
    }
    return json.dumps(article).encode()


def _articles(path: str, method: str = "POST") -> Callable[[str], Callable[[int], bytes]]:
    def renderer(token: str) -> Callable[[int], bytes]:
        run = uuid4().hex[:8]
        samples = [an_article(number, "RUN") for number in range(64)]
        cut = [sample.split(b"RUN") for sample in samples]

        def render(number: int) -> bytes:
            parts = cut[number % 64]
            # The number stands behind each RUN already; the run makes it another article.
            body = f"{run}x{number}".encode().join(parts)
            return _wire(method, path, body, f"Authorization: Bearer {token}")

        return render

    return renderer


def _beacons(path: str, method: str = "POST") -> Callable[[str], Callable[[int], bytes]]:
    def renderer(_: str) -> Callable[[int], bytes]:
        rng = random.Random(1)
        ids = [blake2b(str(n).encode(), digest_size=12).hexdigest() for n in range(1000)]
        chosen = rng.choices(ids, [1 / (rank + 1) for rank in range(1000)], k=10_000)
        at = int(time.time_ns() // 1_000_000)
        wires = [
            _wire(method, path, json.dumps({"article": id_, "at": at, "engaged": 12}).encode())
            for id_ in chosen
        ]
        return lambda number: wires[number % len(wires)]

    return renderer


RENDERERS: dict[str, Callable[[str], Callable[[int], bytes]]] = {
    "articles": _articles("/v1/articles?feed=bench"),
    "beacons": _beacons("/v1/views"),
    "webdis-articles": _articles("/XADD/peer/*/data", "PUT"),
    "webdis-beacons": _beacons("/XADD/peer/*/data", "PUT"),
}
