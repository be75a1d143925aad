"""What differs between languages: where words end, and which way they are read.

Chinese, Japanese, Korean (and Thai, Lao, Khmer, Burmese) text is cut into pairs of
characters, so that one analyser serves every language in one field: measured hit@10 with
words against pairs: Japanese .605 / .974, Chinese .613 / .864, Korean .962 / .988.
"""

import unicodedata
from itertools import pairwise
from typing import Final

import regex

RUN: Final = (
    "\u0e01-\u0e4e\u0e81-\u0ecd\u1000-\u104f\u1100-\u11ff\u1780-\u17d3\u3005-\u3007"
    "\u3041-\u30ff\u3105-\u312f\u3131-\u318e\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua960-\ua97c\uac00-\ud7fb\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Inside of a character class: what is written without spaces, and Hangul, whose words
carry their particles."""
_RUN: Final = regex.compile(f"[{RUN}]+")
_RIGHT_TO_LEFT: Final = frozenset(
    ("ar", "arc", "ckb", "dv", "fa", "he", "iw", "ks", "ku", "nqo", "ps", "sd", "syr", "ug", "ur",
     "yi")
)  # fmt: skip
_RIGHT_TO_LEFT_SCRIPTS: Final = frozenset(("arab", "hebr", "nkoo", "syrc", "thaa"))


def prep(text: str) -> str:
    """Text as the analyser takes it, the same for articles and queries.

    NFKC (full-width digits, half-width kana), then each run of characters without spaces
    becomes its pairs, divided by spaces; a lone character stays.
    """
    if text.isascii():
        return text
    return _RUN.sub(_pairs, unicodedata.normalize("NFKC", text))


def runs(text: str) -> list[str]:
    """The runs without spaces in it, as `prep` sees them."""
    return _RUN.findall(unicodedata.normalize("NFKC", text))


def is_lone(token: str) -> bool:
    """Whether a token of prepared text is a run of one character, not a pair."""
    return len(token) == 1 and _RUN.match(token) is not None


def direction(language: str | None) -> str:
    """The value of HTML's `dir` for a BCP 47 tag; unknown: what the text itself says."""
    if not language:
        return "auto"
    primary, *others = language.lower().split("-")
    scripts = [part for part in others if len(part) == 4]
    if scripts:
        return "rtl" if scripts[0] in _RIGHT_TO_LEFT_SCRIPTS else "ltr"
    return "rtl" if primary in _RIGHT_TO_LEFT else "ltr"


def _pairs(run: regex.Match[str]) -> str:
    text = run[0]
    if len(text) == 1:
        return f" {text} "
    return f" {' '.join(map(''.join, pairwise(text)))} "
