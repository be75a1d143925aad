"""Plain text as a reader sees it: no invisible characters, one kind of white space.

Order: entities (once, and only by who knows the text to be escaped), NFC, noise out,
white space. No NFKC: it makes `㈜` three characters.
"""

import html
import re
import unicodedata
from typing import Final

# Joiners shape Arabic and Indic words and glue emoji; tags after a flag name the flag.
_NOISE: Final = re.compile(
    "(?<![\u0600-\u06ff\u0750-\u077f\u08a0-\u0dff\u0f00-\u109f\u1780-\u17ff\ufb50-\ufdff\ufe0f"
    "\ufe70-\ufefe\u2190-\u2bff\U0001f000-\U0001faff])[\u200c\u200d]"
    "|(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0020-\U000e007f]+"
    "|[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000\U000e0001]"
)
_GAP: Final = re.compile(r"\n{3,}")
_CONTROLS: Final = dict.fromkeys((*range(10), *range(11, 32), 127))
_HAN_KANA: Final = re.compile(
    "[\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d"
    "\U00020000-\U0003ffff]"
)
_WORD: Final = re.compile(r"\w[\w'’.-]*")  # noqa: RUF001 - an apostrophe too


def unescape(text: str) -> str:
    """HTML entities to characters, `&nbsp` without its semicolon too. Once per text."""
    return html.unescape(text) if "&" in text else text


def line(text: str) -> str:
    """One line: titles, names, sections."""
    text = " ".join(text.split())
    if not text.isprintable():  # the pattern alone takes 60 ns a character
        text = " ".join(_NOISE.sub("", text).split())
    return unicodedata.normalize("NFC", text)


def paragraphs(text: str) -> str:
    """Lines kept, paragraphs divided by one empty line."""
    if not _is_tidy(text):
        text = "\n".join([line(row) for row in text.splitlines()])
        text = _GAP.sub("\n\n", text).strip("\n")
    return unicodedata.normalize("NFC", text)


def _is_tidy(text: str) -> bool:
    """Most texts are: seeing it takes a tenth of tidying."""
    return (
        _is_printable(text)
        and "  " not in text
        and "\n\n\n" not in text
        and all(row == row.strip() for row in text.split("\n"))
        and text == text.strip()
    )


def _is_printable(text: str) -> bool:
    if text.isascii():
        return text.translate(_CONTROLS) == text  # six times as fast
    return text.replace("\n", "").isprintable()


def cut(text: str, at_most: int) -> str:
    """Shortened at a word border, with an ellipsis; as it is where it fits."""
    if len(text) <= at_most:
        return text
    head = text[: at_most - 1]
    border = head.rfind(" ", at_most // 2)
    return (head[:border] if border > 0 else head).rstrip(" ,;:.-") + "…"


def word_count(tidy: str) -> int:
    """Words in what `paragraphs` made: between spaces, or where a script has none, its
    characters (as editors count)."""
    if not tidy:
        return 0
    if tidy.isascii() or not _HAN_KANA.search(tidy):
        return 1 + tidy.count(" ") + tidy.count("\n") - tidy.count("\n\n")
    rest, characters = _HAN_KANA.subn(" ", tidy)
    return characters + len(_WORD.findall(rest))
