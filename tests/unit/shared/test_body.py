"""A body is read within its bounds, however it is declared and packed."""

import gzip
import zlib
from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from shared.errors import BadInput, TooLarge, UnknownType
from shared.web import body

MOST = 1_000


class Sender:
    """Sends chunks, and knows how many were taken."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks = list(chunks)
        self.taken = 0

    async def receive(self) -> Message:
        chunk = self.chunks[self.taken]
        self.taken += 1
        more = self.taken < len(self.chunks)
        return {"type": "http.request", "body": chunk, "more_body": more}

    async def read(self, **headers: str) -> bytes:
        names = [(name.replace("_", "-").encode(), v.encode()) for name, v in headers.items()]
        scope = {"type": "http", "method": "POST", "path": "/", "headers": names}
        return await body.read(Request(scope, self.receive), MOST)


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=10))
async def test_a_body_within_bounds_is_read_as_it_is(chunks: list[bytes]) -> None:
    assume(not b"".join(chunks).startswith(body.GZIP_MAGIC))
    assert await Sender(chunks).read() == b"".join(chunks)


@given(st.binary(max_size=MOST), st.sampled_from(["gzip", "x-gzip", "deflate", " GZip "]))
async def test_a_packed_body_is_read_as_it_was(content: bytes, encoding: str) -> None:
    packed = zlib.compress(content) if encoding == "deflate" else gzip.compress(content)
    assert await Sender([packed]).read(content_encoding=encoding) == content


@given(st.binary(max_size=MOST), st.sampled_from(["gzip", "deflate", "br", "", "identity"]))
async def test_any_bytes_are_a_body_or_a_refusal(content: bytes, encoding: str) -> None:
    with suppress(BadInput):
        await Sender([content]).read(content_encoding=encoding)


async def test_exactly_the_limit_is_allowed() -> None:
    assert len(await Sender([b"x" * MOST]).read(content_length=str(MOST))) == MOST
    packed = gzip.compress(b"x" * MOST)
    assert len(await Sender([packed]).read(content_encoding="gzip")) == MOST


async def test_a_declared_size_over_the_limit_is_refused_unread() -> None:
    sender = Sender([b"x" * 10])
    with pytest.raises(TooLarge, match="1,000 bytes"):
        await sender.read(content_length=str(MOST + 1))
    assert sender.taken == 0


async def test_an_undeclared_size_is_refused_when_it_passes_the_limit() -> None:
    sender = Sender([b"x" * 600] * 100)
    with pytest.raises(TooLarge):
        await sender.read()
    assert sender.taken == 2


async def test_a_bomb_is_refused_and_not_unpacked() -> None:
    bomb = gzip.compress(gzip.compress(b"\0" * 50_000_000))
    assert len(bomb) < MOST
    with pytest.raises(TooLarge):
        await Sender([bomb]).read(content_encoding="gzip")


async def test_a_packed_body_that_is_cut_short_is_refused() -> None:
    packed = gzip.compress(b"hello")
    for length in (0, 5, len(packed) - 1):
        with pytest.raises(BadInput, match="cut short"):
            await Sender([packed[:length]]).read(content_encoding="gzip")


async def test_what_is_not_what_its_encoding_says_is_refused() -> None:
    with pytest.raises(BadInput, match="no gzip"):
        await Sender([b'{"title": "x"}']).read(content_encoding="gzip")


async def test_what_follows_the_packed_body_is_refused_and_not_dropped() -> None:
    """Two gzip members are two halves of a body, of which only one would count."""
    packed = gzip.compress(b"one\n") + gzip.compress(b"two\n")
    with pytest.raises(BadInput, match="one member"):
        await Sender([packed]).read(content_encoding="gzip")


async def test_an_encoding_we_do_not_speak_is_named() -> None:
    with pytest.raises(UnknownType, match="'br'"):
        await Sender([b"x"]).read(content_encoding="br")
