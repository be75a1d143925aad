"""HTML of others: the safe part of it, and its text.

Order: the format's entities are gone already, then guard, clean, text; what was cleaned
is never unescaped into HTML again (payloads come alive).
"""

import html
import re
from functools import lru_cache
from typing import Final

import nh3

from shared.errors import Unprocessable

from . import text, urls

MAX_CHARS: Final = 1024 * 1024
MAX_DEPTH: Final = 600
"""Real pages stay under 260; nh3 is quadratic in it (16,000 nested `div` take 0.8 s)."""
MAX_TAGS: Final = 20_000
MAX_ENTITIES: Final = 50_000
"""nh3 is quadratic in them, too: a million bare `&` took 14 s."""
MAX_ATTRIBUTES: Final = 5000
"""In one tag: every HTML parser is quadratic in them (real ones stay under 1,200)."""

_TAGS: Final = frozenset((
    "a", "abbr", "b", "blockquote", "br", "caption", "cite", "code", "col", "colgroup", "dd",
    "del", "dfn", "dl", "dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6",
    "hr", "i", "img", "ins", "kbd", "li", "ol", "p", "picture", "pre", "q", "s", "samp", "small",
    "source", "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "time",
    "tr", "u", "ul", "var", "div", "span",
))  # fmt: skip
_DROPPED_WHOLE: Final = frozenset((
    "script", "style", "noscript", "template", "iframe", "object", "embed", "svg", "math", "form",
    "button", "select", "textarea", "option", "canvas", "audio", "video", "xmp", "noembed",
    "noframes", "title", "frameset",
))  # fmt: skip
_ATTRIBUTES: Final = {
    "*": {"lang", "dir"},
    "a": {"href", "title", "hreflang"},
    "abbr": {"title"},
    "blockquote": {"cite"},
    "q": {"cite"},
    "del": {"cite", "datetime"},
    "ins": {"cite", "datetime"},
    "time": {"datetime"},
    "img": {"src", "alt", "title", "width", "height", "srcset"},
    "source": {"srcset", "width", "height"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
_SCHEMES: Final = {"http", "https", "mailto"}
_WEB_URL: Final = re.compile(r"\s*(?:https?://|/(?!/))[^\s\"'<>\\]*", re.IGNORECASE)
_CANDIDATE: Final = re.compile(_WEB_URL.pattern + r"(?:\s+[\d.]+[wxh])?\s*", re.IGNORECASE)

_SPACE: Final = r"[ \t\n\f\r]"
_ATTRIBUTE: Final = re.compile(
    r"[ \t\n\f\r/]*+[^ \t\n\f\r/>][^ \t\n\f\r/>=]*+"
    rf"""(?:{_SPACE}*+={_SPACE}*+(?:"[^"]*+"|'[^']*+'|(?!["'])[^ \t\n\f\r>]*+))?+"""
)
_TAG: Final = re.compile(rf"</?([A-Za-z][^ \t\n\f\r/>]*+)(?:{_ATTRIBUTE.pattern})*+")
_TAG_START: Final = re.compile(r"</?[A-Za-z]")
_UNNESTED: Final = frozenset((
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr", "p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "option",
    "optgroup", "colgroup",
))  # fmt: skip
"""Void, or closed by the next of its kind: it nests only through others."""
_INLINE: Final = frozenset((
    "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "span", "strike", "strong",
    "tt", "u", "abbr", "sub", "sup", "time",
))  # fmt: skip

_ANY_TAG: Final = re.compile(r"""<(/?[a-z][a-z0-9]*)[^>"]*(?:"[^"]*"[^>"]*)*>""")
_GAP: Final = re.compile(r"\n[ \n]+")
_BLOCKS: Final = (
    "p", "div", "blockquote", "dl", "figure", "figcaption", "h1", "h2", "h3", "h4", "h5", "h6",
    "hr", "ol", "pre", "table", "ul", "caption",
)  # fmt: skip
_BREAKS: Final = {
    **dict.fromkeys((*_BLOCKS, *(f"/{name}" for name in _BLOCKS)), "\n\n"),
    **dict.fromkeys(("br", "li", "tr", "dt", "dd"), "\n"),
    **dict.fromkeys(("td", "th"), " "),
}
_MARKUP: Final = re.compile(r"</?[A-Za-z][^<>]*>|<!--|<!\[CDATA\[")
# It starts with its one literal: an alternation in front takes longer than the cleaning.
_RELATIVE: Final = re.compile(
    r"=(?:(?<=href=)|(?<=src=)|(?<=cite=))\s*[\"']?\s*(?!https?:|mailto:|#)", re.IGNORECASE
)


def clean(source: str, base_url: str | None = None) -> str:
    """What of `source` is text, list, table or picture, safe to put into a page's body.

    Cleaned until it stays as it is: a text that changes when it is parsed again could be
    something else to a browser (mutation XSS). Raises Unprocessable for what would keep
    the parser busy.
    """
    guard(source)
    base = urls.web(base_url) if base_url and _RELATIVE.search(source) else None
    was, now = source, _cleaner(base).clean(source)
    for _ in range(4):
        was, now = now, _cleaner(None).clean(now)
        if was == now:
            return now.strip()
    return escape(to_text(now))


def to_text(cleaned: str) -> str:
    """The paragraphs of what `clean` returned."""
    spread = cleaned.replace("\n", " ")
    if "<" in spread:
        spread = _ANY_TAG.sub(lambda tag: _BREAKS.get(tag[1], ""), spread)
        spread = _GAP.sub(_gap, spread.replace(" \n", "\n")).strip()
    return text.paragraphs(text.unescape(spread))


def _gap(found: re.Match[str]) -> str:
    return "\n\n" if found[0].count("\n") > 1 else "\n"


def has_markup(source: str) -> bool:
    """Whether any tag is in it; entities alone are text."""
    return "<" in source and _MARKUP.search(source) is not None


def plain(source: str) -> str:
    """Text of a field that may hold HTML or plain text, as titles and summaries do."""
    if not has_markup(source):
        return text.paragraphs(text.unescape(source))
    guard(source)
    return to_text(_cleaner(None).clean(source))


def escape(source: str) -> str:
    """Plain text as HTML."""
    return html.escape(source, quote=False)


def guard(source: str) -> None:
    """Refuses what makes HTML parsers hang; linear in the length of `source`.

    The tags are found as the HTML standard reads them, at every place where one may begin,
    because what is a comment or a quoted value to one reader is a tag to another.
    """
    if len(source) > MAX_CHARS:
        raise Unprocessable(f"body_html: longer than {MAX_CHARS:,} characters; send less")
    if source.count("&") > MAX_ENTITIES:
        raise Unprocessable(f"body_html: over {MAX_ENTITIES:,} entities; send characters")
    if source.count("<") <= MAX_DEPTH and len(source) <= 2 * MAX_ATTRIBUTES:
        return
    open_tags: list[str] = []
    budget = 4 * len(source) + 1
    for number, start in enumerate(_TAG_START.finditer(source)):
        tag = _TAG.match(source, start.start())
        if tag is None:
            continue
        length = tag.end() - tag.start()
        budget -= length
        if number > MAX_TAGS or budget < 0:
            raise Unprocessable(f"body_html: more than {MAX_TAGS:,} tags; send less")
        if length > 2 * MAX_ATTRIBUTES and _attributes(tag[0]) > MAX_ATTRIBUTES:
            raise Unprocessable(f"body_html: a tag has over {MAX_ATTRIBUTES:,} attributes")
        _nest(open_tags, tag[1].lower(), closing=source[tag.start() + 1] == "/")
        if len(open_tags) > MAX_DEPTH:
            raise Unprocessable(f"body_html: nested over {MAX_DEPTH} deep; send flatter HTML")


def _attributes(tag: str) -> int:
    return sum(1 for _ in _ATTRIBUTE.finditer(tag))


def _nest(open_tags: list[str], name: str, *, closing: bool) -> None:
    """A closing tag closes nothing through a block: browsers may ignore it there."""
    if name in _UNNESTED:
        return
    if not closing:
        open_tags.append(name)
        return
    for back in range(len(open_tags) - 1, -1, -1):
        if open_tags[back] == name:
            del open_tags[back:]
            return
        if open_tags[back] not in _INLINE:
            return


def _attribute(element: str, name: str, value: str) -> str | None:
    """nh3 checks the scheme of `href` and `src` only."""
    if name == "cite":
        return value if _WEB_URL.fullmatch(value) else None
    if name == "srcset":
        candidates = value.split(", ")
        return value if all(_CANDIDATE.fullmatch(one) for one in candidates) else None
    return value


@lru_cache(maxsize=64)
def _cleaner(base_url: str | None) -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=set(_TAGS),
        clean_content_tags=set(_DROPPED_WHOLE),
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes=_SCHEMES,
        link_rel="nofollow noopener ugc",
        url_relative=("rewrite_with_base", base_url) if base_url else "pass_through",
    )
