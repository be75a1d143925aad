import nh3
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.ingest.domain import body
from shared.errors import Unprocessable

PIECES = (
    "<p>", "</p>", "<b>", "</b>", "<a href='javascript:alert(1)'>", "<a href=//e.com/x>", "</a>",
    "<img src=x onerror=alert(1)>", "<img srcset='javascript:a 1x'>", "<svg>", "</svg>", "<math>",
    "<style>", "</style>", "<script>", "</script>", "<noscript>", "<table>", "<td>", "<select>",
    "<!--", "-->", "<![CDATA[", "]]>", "&lt;script&gt;", "&amp;lt;", "text", '"', "'", ">", "<",
    "<q cite='javascript:a'>", "<form>", "<details>", "<pre>\n\n", "<mglyph>", "<annotation-xml>",
)  # fmt: skip
html = st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text()


@given(html)
@example("<table><a><td><a>")
@example("<pre>\n\n\nx")
def test_what_is_clean_stays_as_it_is_when_cleaned_again(source: str) -> None:
    """What changes when it is parsed again may be something else to a browser."""
    cleaned = body.clean(source)
    assert body.clean(cleaned) == cleaned


@given(html)
def test_nothing_that_runs_is_left(source: str) -> None:
    cleaned = body.clean(source)
    tags = nh3.clean(cleaned, tags=nh3.ALLOWED_TAGS | {"script"}, clean_content_tags=set())
    assert "<script" not in tags
    assert not any(f"<{name}" in cleaned for name in ("svg", "math", "style", "iframe", "form"))
    attributes = [part for part in cleaned.split("<") if ">" in part and "=" in part]
    assert not any("javascript:" in part.partition(">")[0] for part in attributes)


def test_entities_are_never_resolved_into_markup() -> None:
    cleaned = body.clean("<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>")
    assert cleaned == "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>"
    assert body.to_text(cleaned) == "<script>alert(1)</script>"


def test_paragraphs_cells_and_lists_come_out_as_text() -> None:
    cleaned = body.clean(
        "<h2>Head</h2>\n<p>One<br>two</p><ul><li>a<li>b</ul><table><tr><td>1<td>2</table>"
    )
    assert body.to_text(cleaned) == "Head\n\nOne\ntwo\n\na\nb\n\n1 2"


def test_relative_links_lead_to_the_page_they_stood_on() -> None:
    cleaned = body.clean("<a href='b'>b</a><img src='/c.png'>", "https://example.com/a/")
    assert 'href="https://example.com/a/b"' in cleaned
    assert 'src="https://example.com/c.png"' in cleaned
    assert "e.com" not in body.clean("<a href='b'>b</a>", "/no/base")


@pytest.mark.parametrize(
    "source",
    [
        "<div>" * 16_000,
        "<div><marquee></div></marquee>" * 5000,
        "<a " + " ".join(f"a{number}" for number in range(20_000)) + ">",
        "<a " + " ".join(f'a{number}=">"' for number in range(20_000)) + ">",
        "<!-- <i a='--> <a " + " ".join(f"a{number}" for number in range(20_000)) + ">",
        "&amp;" * 100_000,
        "<p>" * 30_000,
        "a" * (body.MAX_CHARS + 1),
    ],
    ids=["nested", "hidden-nesting", "attributes", "quoted", "after-comment", "entities", "tags",
         "long"],
)  # fmt: skip
def test_what_hangs_html_parsers_never_reaches_one(source: str) -> None:
    with pytest.raises(Unprocessable, match=r"^body_html: "):
        body.clean(source)
