"""Cells, and who was seen, as bytes, so that a start need not read six hours of the log."""

import zlib
from typing import Final

import numpy as np
import orjson

from services.rails.domain.counts import Cells, Seen

LEVEL: Final = 1
"""Of compression: four times as fast as the usual one, for a tenth more bytes."""


def packed(cells: Cells) -> bytes:
    """A line of JSON, then the columns, compressed."""
    seen = cells.seen
    head = {
        "newest": cells.newest,
        "articles": list(cells.articles),
        "cells": len(cells.article),
        "seen": len(seen.article) if seen else None,
    }
    columns = [cells.article.astype("<u4"), cells.bucket.astype("<i8"), cells.readers.astype("<u4")]
    if seen:
        columns += [
            seen.article.astype("<u4"),
            seen.bucket.astype("<i8"),
            seen.visitor.astype("<u8"),
        ]
    body = b"".join(column.tobytes() for column in columns)
    return zlib.compress(b"\n".join([orjson.dumps(head), body]), LEVEL)


def unpacked(snapshot: bytes) -> Cells:
    head, _, columns = zlib.decompress(snapshot).partition(b"\n")
    said = orjson.loads(head)
    count, seen = said["cells"], said.get("seen")
    return Cells(
        newest=said["newest"],
        articles=said["articles"],
        article=np.frombuffer(columns, "<u4", count),
        bucket=np.frombuffer(columns, "<i8", count, offset=4 * count),
        readers=np.frombuffer(columns, "<u4", count, offset=12 * count),
        seen=None if seen is None else _seen(columns[16 * count :], seen),
    )


def _seen(columns: bytes, count: int) -> Seen:
    return Seen(
        article=np.frombuffer(columns, "<u4", count),
        bucket=np.frombuffer(columns, "<i8", count, offset=4 * count),
        visitor=np.frombuffer(columns, "<u8", count, offset=12 * count),
    )
