"""NDJSON: an article a line. A bad line is refused with its number, the others go on."""

import re
from collections.abc import Iterator
from typing import Final

from services.ingest.domain.items import Document, Read, Reader, Refusal, original
from shared.errors import BadInput

from .json_articles import item, loads

# An object that ends with its line, and another behind it: no JSON document.
_TWO_LINES: Final = re.compile(rb"\s*\{[^\n]*\}[ \t\r]*\n\s*\{")


def _read(document: Document) -> Iterator[Read]:
    # Never splitlines(): it cuts at U+2028 and U+0085, which JSON strings may hold.
    for number, line in enumerate(document.body.split(b"\n"), start=1):
        if line.strip():
            yield _line(line, number)


def _line(line: bytes, number: int) -> Read:
    try:
        return item(loads(line, f"line {number}"), line)
    except BadInput as error:
        return Refusal(error.slug, error.detail, original(line))


READER: Final = Reader(
    name="NDJSON",
    media_types=frozenset(
        {
            "application/x-ndjson",
            "application/ndjson",
            "application/jsonl",
            "application/x-jsonlines",
        }
    ),
    recognises=lambda head: _TWO_LINES.match(head) is not None,
    read=_read,
)
