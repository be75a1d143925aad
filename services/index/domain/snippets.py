"""The piece of a text that shows why it was found, with the matches marked.

Engine-neutral: a word matches when the analyser gives it a token of the query; a run
written without spaces matches where the query's run stands in it.
"""

import html
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import regex

from services.index.domain.languages import RUN, runs

LENGTH: Final = 200
LEAD: Final = 40
"""Characters shown before the first match."""
SCANNED: Final = 20_000
"""Characters looked through; a match behind them is found, but not shown."""
NEAR: Final = 20
"""How far a cut is moved to find a border between words."""
ELLIPSIS: Final = "…"

_WORD: Final = regex.compile(rf"[[\p{{Alphabetic}}\p{{N}}]--[{RUN}]]+", regex.VERSION1)
_ASCII_WORD: Final = re.compile("[A-Za-z0-9]+")
"""The same where all is ASCII, in a fifth of the time."""
_INSIDE_A_WORD: Final = regex.compile(
    rf"[[\p{{Alphabetic}}\p{{N}}\p{{M}}]--[{RUN}]]", regex.VERSION1
)

Tokens = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to mark."""

    tokens: frozenset[str]
    runs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Match:
    start: int
    end: int
    what: str


def wanted(parts: Sequence[str], tokens: Tokens) -> Wanted:
    words = [word for part in parts for word in _WORD.findall(unicodedata.normalize("NFKC", part))]
    found = frozenset(token for word in words for token in tokens(word))
    distinct = {run for part in parts for run in runs(part)}
    return Wanted(found, tuple(sorted(distinct)))


def snippet(texts: Sequence[str | None], look_for: Wanted, tokens: Tokens) -> str:
    """HTML: of the first text in which something matches, else the beginning of the first.

    All of it is escaped; the only tags are `<mark>`.
    """
    for text in texts:
        if text and (matches := _matches(text[:SCANNED], look_for, tokens)):
            return _marked(text, matches)
    return _marked(next((text for text in texts if text), ""), [])


def _matches(text: str, look_for: Wanted, tokens: Tokens) -> list[_Match]:
    """In order, none overlapping another."""
    found: list[_Match] = []
    if look_for.tokens:
        for word in (_ASCII_WORD if text.isascii() else _WORD).finditer(text):
            for token in tokens(word[0]):
                if token in look_for.tokens:
                    found.append(_Match(word.start(), word.end(), token))
                    break
    for run in look_for.runs:
        start = text.find(run)
        while start >= 0:
            found.append(_Match(start, start + len(run), run))
            start = text.find(run, start + len(run))
    found.sort(key=lambda match: (match.start, -match.end))
    apart: list[_Match] = []
    for match in found:
        if not apart or match.start >= apart[-1].end:
            apart.append(match)
    return apart


def _marked(text: str, matches: Sequence[_Match]) -> str:
    start, end = _window(text, _best(matches))
    pieces = [ELLIPSIS] if start > 0 else []
    at = start
    for match in matches:
        if match.start < start or match.end > end:
            continue
        pieces += (
            html.escape(text[at : match.start]),
            f"<mark>{html.escape(text[match.start : match.end])}</mark>",
        )
        at = match.end
    pieces.append(html.escape(text[at:end]))
    if end < len(text):
        pieces.append(ELLIPSIS)
    return "".join(pieces)


def _best(matches: Sequence[_Match]) -> int:
    """Where the window with the most different matches begins, the earliest of equals."""
    starts = [match.start for match in matches]

    def distinct(first: int) -> int:
        last = bisect_left(starts, starts[first] + LENGTH - LEAD)
        return len({match.what for match in matches[first:last]})

    best = max(range(len(matches)), key=distinct, default=None)
    return 0 if best is None else starts[best]


def _window(text: str, match: int) -> tuple[int, int]:
    """Begins a little before the match, and is filled where the text allows."""
    first = max(0, min(match - LEAD, len(text) - LENGTH))
    heads = (at for at in range(first, match) if _is_border(text, at) and text[at] != " ")
    start = next(heads, min(first, match))
    last = min(len(text), start + LENGTH)
    tails = (at for at in range(last, last - NEAR, -1) if _is_border(text, at))
    end = next(tails, last)
    return start, end - text[start:end].endswith(" ")


def _is_border(text: str, at: int) -> bool:
    """Whether a cut there divides neither a word nor a character and its marks."""
    if at <= 0 or at >= len(text):
        return True
    if unicodedata.combining(text[at]) or text[at] in "\u200d\ufe0f":
        return False
    return not (_INSIDE_A_WORD.match(text[at - 1]) and _INSIDE_A_WORD.match(text[at]))
