"""Cells as bytes, so that a start need not read six hours of the log."""

import zlib
from typing import Final

import numpy as np
import orjson

from services.rails.domain.counts import Cells

LEVEL: Final = 1
"""Of compression: four times as fast as the usual one, for a tenth more bytes."""


def packed(cells: Cells) -> bytes:
    """A line of JSON, then the columns, compressed."""
    head = {"newest": cells.newest, "articles": list(cells.articles), "cells": len(cells.article)}
    columns = (
        cells.article.astype("<u4").tobytes(),
        cells.bucket.astype("<i8").tobytes(),
        cells.readers.astype("<u4").tobytes(),
    )
    return zlib.compress(b"\n".join([orjson.dumps(head), b"".join(columns)]), LEVEL)


def unpacked(snapshot: bytes) -> Cells:
    head, _, columns = zlib.decompress(snapshot).partition(b"\n")
    said = orjson.loads(head)
    count = said["cells"]
    return Cells(
        newest=said["newest"],
        articles=said["articles"],
        article=np.frombuffer(columns, "<u4", count),
        bucket=np.frombuffer(columns, "<i8", count, offset=4 * count),
        readers=np.frombuffer(columns, "<u4", count, offset=12 * count),
    )
