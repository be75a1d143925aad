# ruff: noqa: RUF001 - full-width marks and dashes are what bylines hold
"""Bylines to names: who wrote it, and which house it comes from.

Order: tags, addresses and handles → place (`(서울=연합뉴스)`, `【東京】`) → lead word (`By`, `Von`,
`기자:`) → `Doe, Jane` → split → each part: tail (`Views`, `조회수`), title (`기자`, `記者`), place.
What names an organisation is a credit and no author.
"""

import re
from functools import lru_cache
from typing import Final

from . import text

_AUTHORS_MAX: Final = 100
_CHARS_MAX: Final = 1000
"""Longer is no byline, and the patterns are quadratic in what is none."""

_MAIL_NAME: Final = re.compile(r"^\s*(?:mailto:)?[^\s@()<>]+@[^\s@()<>]+\s*\(([^()]+)\)\s*$")
_ADDRESS: Final = re.compile(
    r"[<(\[]?\s*(?:mailto:)?[\w.+-]+@[\w-]+(?:\.[\w-]+)+\s*[>)\]]?|\(?https?://\S+\)?|(?<!\w)@\w+",
)
_PLACE: Final = re.compile(
    r"^\s*(?:\([^()=]{1,20}=[^()]{1,20}\)|【[^】]{1,20}】|\[[^\]=]{1,20}=[^\]]{1,20}\])\s*"
)
_LEAD: Final = re.compile(
    r"^(?:(?:written|posted|reported|story|text|words)\s+by\b|(?:by|von|par|por|di|door|af|av)(?=\s|:)"
    r"|(?:글·사진|글|記者|记者|文|作者|기자)\s*[:：=]|(?:記者|记者)\s)\s*:?\s*",
    re.IGNORECASE,
)
_INVERTED: Final = re.compile(r"^([^\W\d_][\w'’-]+), ([^\W\d_][\w'’.-]*(?: [^\W\d_]\.?)?)$")
_SPLIT: Final = re.compile(
    r"\s*(?:[/|·、；，&]|,(?!\s*(?:Jr|Sr|II|III|IV|Ph|M\.?D)\b)|\s(?:and|und|y|et|e|with|mit|con)\s)\s*",
    re.IGNORECASE,
)
_TAIL: Final = re.compile(
    r"\s*(?:[\d,.]+\s*views?|\bviews?|조회수?\s*[\d,]*|\b(?:updated|published|posted|last modified)\b.*)\s*$",
    re.IGNORECASE,
)
_TITLE: Final = re.compile(
    r"\s*(?:선임|수습|인턴|전문)?\s*(?:기자|특파원|記者|记者|特派員|特派员|편집위원|논설위원)\s*$"
    r"|,?\s+(?:staff writer|staff reporter|correspondent|reporter|editor|columnist)\s*$",
    re.IGNORECASE,
)
_IN_PLACE: Final = re.compile(r"\s+in\s+[A-Z][\w .'-]+$")
_HOUSE: Final = re.compile(
    r"\b(?:news|newsroom|agency|press|times|post|media|network|team|desk|editors|editorial"
    r"|bureau|service|wire|magazine|daily|tribune|herald|guardian|redaktion|agencies|inc|llc|ltd|gmbh)\b"
    r"|^(?:AP|AFP|UPI|DPA|EFE|ANSA|BBC|CNN|NHK|KBS|MBC|SBS|Reuters|Xinhua|Bloomberg|TASS)\b"
    r"|(?:뉴스|신문|일보|통신|방송|편집국|新聞|通信|新华社|新聞社|編集部|编辑部)(?:\s|$)|\.(?:com|net|org)$",
    re.IGNORECASE,
)
_ROLE: Final = re.compile(
    r"(?:(?:senior|chief|managing|deputy|staff|contributing)\s+)*"
    r"(?:writer|reporter|editor|correspondent|columnist|contributor|admin)",
    re.IGNORECASE,
)
_CAPITALS: Final = re.compile(r"[A-Z]{2,}")
_EDGE: Final = ' -–—,;:()[]<>"“”'
_PERSON: Final = re.compile(r"^(?:Post|Press|Times|Herald|Daily|Guardian|Desk) \w+$")


@lru_cache(maxsize=4096)  # a house has few authors, and a byline takes 20 µs
def names(byline: str) -> tuple[tuple[str, ...], str | None]:
    """Authors in order, and the house if it is named."""
    authors: dict[str, None] = {}
    houses: dict[str, None] = {}
    for part in _parts(text.line(byline[:_CHARS_MAX])):
        name = _name(part)
        if _HOUSE.search(name) and not _PERSON.match(name):
            houses[name] = None
        elif (
            len(name) > 1
            and not _ROLE.fullmatch(name)
            and (
                # A lone word behind a house is where it sits: `BBC News, Seoul`.
                not houses or authors or " " in name
            )
        ):
            authors[name] = None
    return tuple(authors)[:_AUTHORS_MAX], ", ".join(houses) or None


def _parts(byline: str) -> list[str]:
    if named := _MAIL_NAME.match(byline):
        byline = named[1]
    byline = _PLACE.sub("", _ADDRESS.sub(" ", byline)).strip(_EDGE)
    while (rest := _LEAD.sub("", byline)) != byline:
        byline = rest
    whole = [one.strip(_EDGE) for one in _TAIL.sub("", byline).split(";")]
    turned = [one if _HOUSE.search(one) else _INVERTED.sub(r"\2 \1", one) for one in whole]
    return [part for one in turned for part in _SPLIT.split(one)]


def _name(part: str) -> str:
    part = _IN_PLACE.sub("", _TITLE.sub("", _TAIL.sub("", part))).strip(_EDGE)
    if " " in part and part.isascii() and part.isupper() and not _HOUSE.search(part):
        return _CAPITALS.sub(lambda word: word[0].capitalize(), part)
    return part
