"""An article's address for readers: its title in it, its id decides."""

import unicodedata
from typing import Final

import regex

_WORDS: Final = regex.compile(r"[\p{Alphabetic}\p{M}\p{N}]+")
MAX_CHARS: Final = 80


def slug(title: str) -> str:
    """Letters of any script, as browsers show them in the address; `-` where none is left."""
    words = _WORDS.findall(unicodedata.normalize("NFKC", title).casefold())
    made = ""
    for word in words:
        if made and len(made) + len(word) >= MAX_CHARS:
            break
        made += f"-{word}" if made else word[:MAX_CHARS]
    return made or "-"
