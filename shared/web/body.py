"""Reading a request's body within bounds, also when it is compressed."""

import asyncio
import zlib
from typing import Final

from starlette.requests import Request

from shared.errors import BadInput, TooLarge, UnknownType

PATIENCE_S: Final = 15.0
GZIP_MAGIC: Final = b"\x1f\x8b"
"""No text begins so: a file that is packed and does not say it."""
_WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}


async def read(request: Request, max_bytes: int) -> bytes:
    """The body, unpacked. Reads at most `max_bytes` and a chunk, and unpacks no more.

    Raises TooLarge, UnknownType (an encoding we do not speak) or BadInput (cut short,
    or slower than `PATIENCE_S`).
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                chunks.append(chunk)
    except TimeoutError:
        raise BadInput(
            f"the body did not arrive within {PATIENCE_S:.0f} s; send it again"
        ) from None
    return _unpacked(b"".join(chunks), request.headers.get("content-encoding", ""), max_bytes)


def _unpacked(body: bytes, encoding: str, max_bytes: int) -> bytes:
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        if not body.startswith(GZIP_MAGIC):
            return body
        encoding = "gzip"
    if encoding not in _WINDOW_BITS:
        raise UnknownType(
            f"Content-Encoding: {encoding[:40]!r} is not known; send gzip, deflate or none"
        )
    unpacker = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        # One byte more than allowed tells a bomb without unpacking it.
        unpacked = unpacker.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise BadInput(f"Content-Encoding: the body is no {encoding} ({error})") from None
    if len(unpacked) > max_bytes:
        raise _too_large(max_bytes)
    if not unpacker.eof:
        raise BadInput(f"Content-Encoding: the {encoding} body is cut short; send it again")
    if unpacker.unused_data:
        # More members, as of two files put together: only the first would count.
        raise BadInput(f"Content-Encoding: more follows the {encoding} body; send one member")
    return unpacked


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"the body is over {max_bytes:,} bytes; send fewer items a request")
