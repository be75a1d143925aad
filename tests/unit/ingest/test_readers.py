from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.ingest.domain import normalise, readers
from services.ingest.domain.items import EmptyBody, Item, NotJson, NotUtf8, NotXml, Read, Refusal
from shared.errors import BadInput, NewsrailError, TooLarge, UnknownType, Unprocessable

DATA = Path(__file__).parents[4] / "shared" / "data"
NOW = datetime(2026, 11, 24, 15, tzinfo=UTC)
BOMB = (
    b'<!DOCTYPE rss [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]><rss><channel><item>'
    b"<title>B</title><description>&b;</description></item></channel></rss>"
)
RSS = b"<rss><channel><link>https://example.com/</link>%s</channel></rss>"
ATOM = b"<feed xmlns='http://www.w3.org/2005/Atom'>%s</feed>"


def items(body: bytes, content_type: str | None = None) -> list[Item]:
    read = readers.read(body, content_type)
    assert not [one for one in read if isinstance(one, Refusal)]
    return [one for one in read if isinstance(one, Item)]


def refusals(read: list[Read]) -> list[str | None]:
    return [one.slug if isinstance(one, Refusal) else None for one in read]


def rss_item(fields: bytes) -> Item:
    return items(RSS % b"<item>%s</item>" % fields)[0]


@pytest.mark.parametrize(
    ("body", "content_type", "error"),
    [
        (b" \n", "application/json", EmptyBody),
        (b'{"title": ', "application/json", NotJson),
        (b'{"title": NaN}', "application/json", NotJson),
        (b'{"title": "\\ud800"}', "application/json", NotJson),
        (b'{"title": "\xff"}', "application/json", NotUtf8),
        (b"[]", "application/json", Unprocessable),
        (b'"title"', "application/json", Unprocessable),
        (b"[" * 100_000, "application/json", NotJson),
        (b"<rss><channel><title>cut", "application/rss+xml", NotXml),
        (b"no markup", "application/rss+xml", NotXml),
        (b"<x>" * 100_000, "application/rss+xml", TooLarge),
        (b"<!DOCTYPE rss [" + b"<!ENTITY a '" * 9000, "application/rss+xml", NotXml),
        (b"<opml/>", "application/rss+xml", UnknownType),
        (b"<opml/>", "application/xml", UnknownType),
        (b"%PDF-1.7", None, UnknownType),
    ],
)
def test_a_document_that_cannot_be_read_says_why(
    body: bytes, content_type: str | None, error: type[BadInput]
) -> None:
    with pytest.raises(error) as raised:
        readers.read(body, content_type)
    assert type(raised.value) is error
    assert "send" in raised.value.detail or "leave" in raised.value.detail


@pytest.mark.parametrize(
    "content_type",
    ["text/html; charset=utf-8", "application/octet-stream", "application/json", None],
)
def test_content_wins_over_a_type_that_lies(content_type: str | None) -> None:
    assert items(RSS % b"<item><title>T</title></item>", content_type)[0].title == "T"


def test_one_bad_item_never_stops_the_others() -> None:
    body = b'[{"title":"A"}, 7, {"title":"B","colour":"red"}, {"title":3}, {"title":"C"}]'
    read = readers.read(body, "application/json")
    assert refusals(read) == [None, "not-an-object", "unknown-field", "unknown-field-type", None]
    assert "colour: is no field" in str(read[2])
    assert "title: must be a text" in str(read[3])


def test_a_bad_line_is_refused_with_its_number() -> None:
    read = readers.read(b'{"title":"A"}\n\n{"title":\n{"title":"B"}\n', "application/x-ndjson")
    assert refusals(read) == [None, "not-json", None]
    assert "line 3" in str(read[1])


def test_a_line_ends_at_a_newline_only() -> None:
    body = '{"title":"A\u2028B\u0085C"}\n{"title":"D"}'.encode()
    assert [item.title for item in items(body, "application/json")] == ["A\u2028B\u0085C", "D"]


def test_a_feed_without_items_is_fine() -> None:
    assert readers.read(RSS % b"", "application/rss+xml") == []
    assert readers.read(ATOM % b"", "application/atom+xml") == []


def test_what_is_behind_the_two_thousandth_item_is_refused_by_name() -> None:
    read = readers.read(RSS % (b"<item><title>T</title></item>" * 2001), None)
    assert refusals(read) == [None] * 2000 + ["too-many-items"]


def test_a_feed_that_breaks_off_loses_only_its_last_item() -> None:
    whole = b"<item><title>A</title></item>"
    read = readers.read(
        b"<rss><channel>" + whole + b"<item><title>B</title><description>half", None
    )
    assert refusals(read) == [None, "truncated"]


def test_nothing_expands_and_nothing_is_loaded() -> None:
    assert items(BOMB)[0].summary == "&b;"
    external = b'<!DOCTYPE rss SYSTEM "file:///etc/passwd" [<!ENTITY a SYSTEM "/etc/passwd">]>'
    assert items(external + RSS % b"<item><title>&a;</title></item>")[0].title == "&a;"


def test_html_entities_without_a_dtd_are_understood() -> None:
    assert rss_item(b"<title>a&nbsp;&eacute;&xyzzy; & b</title>").title == "a é&xyzzy; & b"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("<?xml version='1.0' encoding='euc-kr'?>%s".encode("cp949"), None),
        (b"<?xml version='1.0' encoding='utf-16'?>%s", None),
        (b"<?xml version='1.0' encoding='iso-8859-1'?>%s", None),
        (b"\xef\xbb\xbf%s", "application/xml; charset=us-ascii"),
        (b"%s", "text/xml; charset=no-such"),
        (b"%s", "text/xml; charset=punycode"),
    ],
)
def test_declared_charsets_are_taken_with_care(body: bytes, content_type: str | None) -> None:
    charset = "cp949" if b"euc-kr" in body else "utf-8"
    feed = "<rss><channel><item><title>한글 “x”</title></item></channel></rss>".encode(charset)
    assert items(body % feed, content_type)[0].title == "한글 “x”"


def test_rss_gives_what_news_feeds_say() -> None:
    item = rss_item(
        b"""<guid isPermaLink='false'>g1</guid><title>A &amp;amp; B</title><link>/news/1</link>
        <description>&lt;p>Short&lt;/p></description><pubDate>Wed, 04 Mar 2026 10:11:12 GMT</pubDate>
        <content:encoded xmlns:content='http://purl.org/rss/1.0/modules/content/'>
          <![CDATA[<p>Long</p>]]></content:encoded>
        <dc:creator xmlns:dc='http://purl.org/dc/elements/1.1/'>Jane Doe</dc:creator>
        <category>World</category><category>Ports</category>
        <enclosure url='/p.jpg' type='image/jpeg'/>"""
    )
    assert item.external_id == "g1"
    assert item.title == "A & B"
    assert item.url == "https://example.com/news/1"
    assert item.summary == "Short"
    assert item.body_html is not None
    assert item.body_html.strip() == "<p>Long</p>"
    assert item.authors == ("Jane Doe",)
    assert (item.section, item.tags) == ("World", ("World", "Ports"))
    assert item.image is not None
    assert item.image.url == "https://example.com/p.jpg"


def test_a_guid_is_the_page_unless_it_says_that_it_is_not() -> None:
    assert rss_item(b"<guid>http://e.com/1</guid><title>T</title>").url == "http://e.com/1"
    guid = b"<guid isPermaLink='false'>http://e.com/1</guid><title>T</title>"
    assert rss_item(guid).url is None


def test_the_items_of_rss_1_stand_beside_the_channel() -> None:
    body = b"""<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'
        xmlns='http://purl.org/rss/1.0/'><channel/><item rdf:about='urn:1'><title>T</title></item>
        </rdf:RDF>"""
    assert (items(body)[0].external_id, items(body)[0].title) == ("urn:1", "T")


def test_modules_do_not_lend_their_title() -> None:
    item = rss_item(b"<x:title xmlns:x='urn:other'>Not this</x:title><title>This</title>")
    assert item.title == "This"


def test_atom_gives_what_news_feeds_say() -> None:
    [item] = items(
        ATOM
        % b"""<entry xml:lang='en'><id>urn:1</id><title type='html'>A &lt;b>b&lt;/b></title>
        <link rel='self' href='http://e.com/self'/><link href='http://e.com/1'/>
        <updated>2026-03-04T10:11:12Z</updated><author><name>Jane Doe</name></author>
        <category term='ports' label='Ports'/><summary>1 &lt; 2</summary>
        <content type='xhtml'><div xmlns='http://www.w3.org/1999/xhtml'><p>x<br/>y</p></div></content>
        </entry>"""
    )
    assert (item.external_id, item.url) == ("urn:1", "http://e.com/1")
    assert (item.title, item.summary) == ("A b", "1 < 2")
    assert item.authors == ("Jane Doe",)
    assert (item.tags, item.language) == (("Ports",), "en")
    assert item.updated_at == "2026-03-04T10:11:12Z"
    assert item.body_html is not None
    assert "<p>x<br/>y</p>" in item.body_html


@given(
    st.binary()
    | st.lists(
        st.sampled_from(
            [b"<rss>", b"<item>", b"</item>", b"<title>", b"&x;", b"<![CDATA[", b"]]>", b"<feed>",
             b"<!DOCTYPE", b"<entry>", b"\0", b"\xff\xfe", b"{", b'"title":', b'"a"', b"}", b"[",
             b"\n", b"<?xml", b"?>", b"<!--", b"-->", b"<a:b c='d'>", b">", b","]
        ),
        max_size=30,
    ).map(b"".join),
    st.sampled_from(
        [None, "application/json", "application/x-ndjson", "application/rss+xml",
         "application/atom+xml;charset=utf-16", "text/xml; charset=iso-2022-jp"]
    ),
)  # fmt: skip
@example(b"<rss><item><title>a</title><description>&lt;<b>c</item>", None)
def test_no_bytes_raise_anything_but_a_newsrail_error(body: bytes, kind: str | None) -> None:
    try:
        read = readers.read(body, kind)
    except NewsrailError:
        return
    for one in read:
        if isinstance(one, Item):
            normalise.article(one, feed="f", now=NOW)


def test_every_file_of_the_collections_is_read_or_refused() -> None:
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is not there: the feeds of others are not part of the project")
    files = [
        file
        for folder in ("feeds_*", "bad_xml", "bad_json")
        for file in DATA.glob(f"{folder}/**/*")
        if file.suffix in (".xml", ".rss", ".atom", ".json")
    ]
    articles = 0
    for file in files:
        try:
            read = readers.read(file.read_bytes(), None)
        except NewsrailError:
            continue
        made = (normalise.article(one, feed="f", now=NOW) for one in read if isinstance(one, Item))
        articles += sum(not isinstance(one, Refusal) for one in made)
    assert articles > 2000
