"""XML of others, safely: bytes to a tree, and what the feed formats share.

Order: charset → XML declaration and DOCTYPE cut → strict parse → where that fails, a repair
and a parse that recovers. Nothing is loaded and nothing expands: without a DOCTYPE no entity
is defined, and what is left of one (`&a;`) is text.
"""

import html
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from html.entities import html5
from itertools import islice
from typing import Final

from lxml import etree

from services.ingest.domain import body, urls
from services.ingest.domain.items import Document, Item, NotXml, Read, Refusal, original
from shared.errors import TooLarge, UnknownType, Unprocessable
from shared.events import Image

Element = etree._Element  # noqa: SLF001 - the only name lxml gives the type

REPAIRS_MAX: Final = 200_000
"""A repair takes a microsecond: a megabyte of bare `&` took 1.7 s."""
LEAD_MAX: Final = 1000
"""A longer description is the text of the article."""

LIST_MAX: Final = 100
CHILDREN_MAX: Final = 5000
"""Of an entry; real ones have some dozens."""

_BOMS: Final = (
    (b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe\0\0", "utf-32-le"), (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"),
)  # fmt: skip
_NULS: Final = (
    (b"<\0\0\0", "utf-32-le"), (b"\0\0\0<", "utf-32-be"), (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"), (b"Lo\xa7\x94", "cp037"),
)  # fmt: skip
_WIDER: Final = {
    **dict.fromkeys(("iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii"), "windows-1252"),
    "euc-kr": "cp949", "ks_c_5601-1987": "cp949", "gb2312": "gb18030", "gbk": "gb18030",
    "shift_jis": "cp932", "shift-jis": "cp932", "x-sjis": "cp932",
}  # fmt: skip
"""What a declared charset really is, mostly."""
# Senders name the codec: `idna` and `punycode` are quadratic, `unicode_escape` is no charset.
# UTF-16 on single bytes is ignored: it would have shown NULs.
_CHARSETS: Final = re.compile(
    r"utf-?8|(?:windows-|cp)(?:125\d|8\d\d|93\d|949|950)|iso-?8859-\d{1,2}|koi8-[ru]"
    r"|big5(?:-hkscs)?|gb18030|euc-jp|iso-2022-(?:jp|kr)|tis-620|macintosh"
)
_DECLARED: Final = re.compile(rb"\s*<\?xml[^>]{0,100}?encoding\s*=\s*[\"']([\w.:-]{1,40})[\"']")
_DECLARATION: Final = re.compile(r"\s*<\?xml[^>]*>")
_PROLOG: Final = re.compile(r"(?:\s++|<\?.*?\?>|<!--.*?-->)*+", re.DOTALL)
_DOCTYPE_TOKEN: Final = re.compile(r"<!--|<\?|[\"'\[\]>]")
_DOCTYPE_ENDS: Final = {"<!--": "-->", "<?": "?>", '"': '"', "'": "'"}
_DOCTYPE_MAX: Final = 64 * 1024
# Both patterns take an unclosed start to the end: else each of many would look for it again.
_REPAIR: Final = re.compile(
    r"<!\[CDATA\[.*?(?:\]\]>|\Z)|&(#\d{1,7};|#[xX][0-9A-Fa-f]{1,6};|[A-Za-z][A-Za-z0-9]{1,31};)?",
    re.DOTALL,
)
_CONTROLS: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_XML_ENTITIES: Final = frozenset(("lt;", "gt;", "amp;", "quot;", "apos;"))
_TOO_DEEP: Final = re.compile("depth|huge|too (?:long|large|many|deep)", re.IGNORECASE)
_NAMESPACE: Final = re.compile(r"\sxmlns(?::[\w.-]+)?=\"[^\"]*\"")
_PREFIXED: Final = re.compile(r"<(/?)[\w.-]+:")
_NAMESPACES: Final = {
    "": "",
    "http://purl.org/rss/1.0": "",
    "http://purl.org/net/rss1.1#": "",
    "http://my.netscape.com/rdf/simple/0.9": "",
    "http://channel.netscape.com/rdf/simple/0.9": "",
    "http://backend.userland.com/rss": "",
    "http://backend.userland.com/rss2": "",
    "http://blogs.law.harvard.edu/tech/rss": "",
    "http://www.w3.org/2005/atom": "atom:",
    "http://purl.org/atom/ns#": "atom:",
    "http://purl.org/dc/elements/1.0": "dc:",
    "http://purl.org/dc/elements/1.1": "dc:",
    "http://purl.org/dc/terms": "dcterms:",
    "http://purl.org/rss/1.0/modules/content": "content:",
    "http://search.yahoo.com/mrss": "media:",
    "http://www.itunes.com/dtds/podcast-1.0.dtd": "itunes:",
    "http://www.w3.org/1999/xhtml": "xhtml:",
}
_KNOWN: Final = frozenset(_NAMESPACES.values())
_COMMENT: Final = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_XML: Final = "{http://www.w3.org/XML/1998/namespace}"


@dataclass(frozen=True, slots=True)
class Tree:
    root: Element
    source: str
    error: str | None
    """Where and why the document is no XML; it was read as far as it goes."""

    def entries(self, local_name: str, roots: Collection[str]) -> list[Element]:
        """None is fine in a whole feed; raises where the document is broken or no feed."""
        found = list(self.root.iter(f"{{*}}{local_name}"))
        if not found and self.error:
            raise NotXml(f"{self.error}; send well-formed XML")
        if not found and local(self.root).lower() not in roots:
            raise UnknownType(f"<{local(self.root)}> is no feed; send RSS or Atom")
        return found

    def ends_within(self, entry: Element) -> bool:
        """Whether the document breaks off before the end of `entry`, its last."""
        name = f"{entry.prefix}:{local(entry)}" if entry.prefix else local(entry)
        return self.error is not None and (
            self.source.rfind(f"<{name}") > self.source.rfind(f"</{name}")
        )


def tree(document: Document) -> Tree:
    source = _without_doctype(
        _DECLARATION.sub("", decode(document.body, document.charset), count=1)
    )
    try:
        return Tree(etree.fromstring(source.encode("utf-8", "replace"), _parser()), source, None)
    except etree.XMLSyntaxError as error:
        _refuse_cut(str(error.msg))
        broken = str(error.msg)
    recovering = _parser(recover=True)
    try:
        root = etree.fromstring(_repaired(source).encode("utf-8", "replace"), recovering)
    except etree.XMLSyntaxError:
        root = None
    if root is None:
        raise NotXml(f"{broken}; send well-formed XML")
    fatal = [entry.message for entry in recovering.error_log if entry.level_name == "FATAL"]
    for message in fatal:
        _refuse_cut(message)
    return Tree(root, source, broken if fatal else None)


def decode(raw: bytes, charset: str | None) -> str:
    for bom, codec in _BOMS:
        if raw.startswith(bom):
            return raw[len(bom) :].decode(codec, "replace")
    for start, codec in _NULS:
        if raw.startswith(start):
            return raw.decode(codec, "replace")
    declared = _DECLARED.match(raw)
    for name in (charset, declared and declared[1].decode()):
        if name and (text := _decoded(raw, name.lower())) is not None:
            return text
    text = raw.decode("utf-8", "replace")
    # A few broken bytes in a long text: they are damage, not another charset.
    broken = text.count("\ufffd")
    if broken * 10 > len(raw) - len(text):
        return raw.decode("windows-1252", "replace")
    return text


def _decoded(raw: bytes, charset: str) -> str | None:
    codec = _WIDER.get(charset, charset)
    if not _CHARSETS.fullmatch(codec):
        return None
    for attempt in ("utf-8", codec) if codec == "windows-1252" else (codec,):
        try:
            return raw.decode(attempt)
        except (UnicodeDecodeError, LookupError):
            continue
    return None


def _without_doctype(source: str) -> str:
    """A linear scan: a pattern with nested quotes took 25 s for an unclosed one."""
    prolog = _PROLOG.match(source)
    start = prolog.end() if prolog else 0
    if source[start : start + 9].upper() != "<!DOCTYPE":
        return source
    at, limit, in_subset = start + 9, start + _DOCTYPE_MAX, False
    while token := _DOCTYPE_TOKEN.search(source, at, limit):
        at = token.end()
        match token[0]:
            case "[" | "]":
                in_subset = token[0] == "["
            case ">":
                if not in_subset:
                    return source[:start] + source[at:]
            case opening:
                end = _DOCTYPE_ENDS[opening]
                at = source.find(end, at, limit) + len(end)
                if at < len(end):
                    break
    raise NotXml("the DOCTYPE does not end within 64 kB; leave it out")


def _parser(*, recover: bool = False) -> etree.XMLParser:
    # Never collect_ids=False: lxml 6.1 then reads an external DTD in spite of load_dtd=False.
    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        recover=recover,
    )


def _refuse_cut(message: str) -> None:
    """At libxml2's own limits `recover` ends the document in silence."""
    if _TOO_DEEP.search(message):
        raise TooLarge(f"{message}; send flatter XML")


def _repaired(source: str) -> str:
    if source.count("&") > REPAIRS_MAX:
        raise NotXml(f"broken, with more than {REPAIRS_MAX:,} entities; send well-formed XML")
    return _REPAIR.sub(_repair, _CONTROLS.sub("", source))


def _repair(found: re.Match[str]) -> str:
    entity = found[1]
    if found[0].startswith("<") or (entity and (entity[0] == "#" or entity in _XML_ENTITIES)):
        return found[0].replace("&#X", "&#x") if entity else found[0]
    if entity and entity in html5:
        return "".join(f"&#{ord(character)};" for character in html5[entity])
    return f"&amp;{found[0][1:]}"


@lru_cache(maxsize=4096)
def _short(tag: str) -> str:
    """`dc:creator` of `{http://purl.org/dc/elements/1.1/}creator`; `?` for what is unknown."""
    if tag.startswith("{"):
        namespace, _, name = tag[1:].partition("}")
        prefix = _NAMESPACES.get(namespace.lower().rstrip("/"), "?:")
    else:  # a recovered document keeps undeclared prefixes
        prefix, colon, name = tag.rpartition(":")
        prefix = prefix.lower() + colon if prefix.lower() + colon in _KNOWN else "?:"
    return prefix + name.lower()


def local(element: Element) -> str:
    return etree.QName(element).localname


class Fields:
    """The children of an element by their short names, in order."""

    __slots__ = ("_by_name", "element")

    def __init__(self, element: Element, own_prefix: str = "") -> None:
        self.element = element
        self._by_name: dict[str, list[Element]] = {}
        for child in islice(element, CHILDREN_MAX):
            if isinstance(child.tag, str):
                name = _short(child.tag).removeprefix(own_prefix)
                self._by_name.setdefault(name, []).append(child)

    def all(self, *names: str) -> Iterator[Element]:
        for name in names:
            yield from self._by_name.get(name, ())

    def first(self, *names: str) -> str | None:
        """The first that is not empty, as it stands: it may be HTML."""
        return next((found for one in self.all(*names) if (found := inner(one)).strip()), None)

    def plain(self, *names: str) -> str | None:
        found = self.first(*names)
        return body.plain(found) if found else None

    def texts(self, *names: str) -> tuple[str, ...]:
        elements = islice(self.all(*names), LIST_MAX)
        return tuple(body.plain(found) for one in elements if (found := inner(one)).strip())


def inner(element: Element) -> str:
    """The content: text as it is, child elements as HTML."""
    if not len(element):
        return element.text or ""
    children = "".join(
        etree.tostring(child, encoding="unicode") for child in element if isinstance(child.tag, str)
    )
    return html.escape(element.text or "", quote=False) + _PREFIXED.sub(
        r"<\1", _NAMESPACE.sub("", children)
    )


def attribute(element: Element, name: str) -> str:
    return (element.get(name) or "").strip()


def language(element: Element) -> str | None:
    return element.get(f"{_XML}lang")


def link(href: str | None, base: str | None) -> str | None:
    return urls.absolute(href, base) if href and href.strip() else None


def body_and_lead(content: str | None, description: str | None) -> tuple[str | None, str | None]:
    """Which is the text, which the summary: a long description alone is the text."""
    summary = body.plain(description) if description else None
    if content or not summary or len(summary) <= LEAD_MAX:
        return content, summary
    return description, None


def image(fields: Fields, base: str | None) -> Image | None:
    """The first picture that goes with an entry."""
    groups = [Fields(group) for group in fields.all("media:group")]
    for source in (fields, *groups):
        for one in source.all("media:content", "media:thumbnail", "enclosure", "itunes:image"):
            kind = attribute(one, "type") or attribute(one, "medium")
            href = link(attribute(one, "url") or attribute(one, "href"), base)
            plain = _short(str(one.tag)) in ("media:thumbnail", "itunes:image")
            if href and (kind.startswith("image") or (plain and not kind)):
                media = Fields(one)
                return Image(
                    url=href,
                    width=_pixels(one, "width"),
                    height=_pixels(one, "height"),
                    alt=media.plain("media:description", "media:title"),
                    credit=media.plain("media:credit") or source.plain("media:credit"),
                )
    return None


def _pixels(element: Element, name: str) -> int | None:
    value = attribute(element, name)
    return int(value) if value.isascii() and value.isdigit() and len(value) < 6 else None


def first_element(head: bytes) -> str:
    """The local name of a document's first element, in small letters."""
    found = re.search(rb"<(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)", _COMMENT.sub(b"", head))
    return found[1].decode().lower() if found else ""


def read_entries(
    document: Document,
    local_name: str,
    item: Callable[[Element, Element], Item],
    roots: Collection[str],
) -> Iterator[Read]:
    """`item(entry, root)` of each entry; what one cannot be read for is its refusal alone."""
    found = tree(document)
    entries = found.entries(local_name, roots)
    for entry in entries:
        source = original(etree.tostring(entry, encoding="unicode", with_tail=False))
        if entry is entries[-1] and found.ends_within(entry):
            detail = f"{local_name}: the document ends within it ({found.error}); send it whole"
            yield Refusal("truncated", detail, source)
            continue
        try:
            yield replace(item(entry, found.root), original=source)
        except Unprocessable as error:
            yield Refusal("bad-body", error.detail, source)
