"""What a reader types, as a query: words and "phrases", all of which must match.

Any text is a valid query. There is no other syntax: a quote that is not closed belongs to
no phrase, `-x` is the word x. Nothing is handed to an engine's own query language, which
drops `*`, fails on `[` and lets readers name fields.
"""

import re
import unicodedata
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

MAX_PARTS: Final = 64
"""Words beyond these do not narrow the search, so that no query is too expensive; a longer
title is still found by its key."""

_PART: Final = re.compile(r'["“„]([^"“”„]+)["“”]|([^\s"“”„]+)')


@dataclass(frozen=True, slots=True)
class Query:
    title: str
    """`title_key` of the whole text: an article with just this title matches, first."""
    parts: tuple[str, ...]
    """Each a word or phrase; what it holds must stand together."""


def parse(text: str) -> Query | None:
    """None asks for everything."""
    if not text.strip():
        return None
    parts = (phrase.strip() or word for phrase, word in _PART.findall(text))
    distinct = dict.fromkeys(part for part in parts if part)
    return Query(title_key(text), tuple(distinct)[:MAX_PARTS])


def title_key(title: str) -> str:
    """Equal for titles that a reader takes for the same, and of a length any engine holds.

    It finds titles that the analyser finds nothing in: `???`, an emoji.
    """
    folded = unicodedata.normalize("NFKC", title).casefold()
    return blake2b(" ".join(folded.split()).encode(errors="replace"), digest_size=16).hexdigest()
