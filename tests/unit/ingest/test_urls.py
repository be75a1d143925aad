import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.ingest.domain import urls
from shared.errors import BadInput


@pytest.mark.parametrize(
    ("posted", "canonical"),
    [
        ("HTTP://Example.COM:80/a/../b//c/?#top", "http://example.com/b/c"),
        ("https://user:pw@example.com", "https://example.com/"),
        ("https://example.com/?utm_source=x&id=2&fbclid=1&a=1", "https://example.com/?a=1&id=2"),
        ("https://example.com/%7ejoe/%c3%a4", "https://example.com/~joe/%C3%A4"),
        ("https://example.com/news?idxno=17&idx=3", "https://example.com/news?idx=3&idxno=17"),
        ("https://example.com/?share=1&rss=2", "https://example.com/?rss=2&share=1"),
        ("https://m.example.com/amp/", "https://m.example.com/amp"),
        ("https://뉴스.example.com/", "https://xn--vg1b002a.example.com/"),
    ],
)
def test_copies_of_one_page_have_one_address(posted: str, canonical: str) -> None:
    assert urls.canonical(posted) == canonical


@pytest.mark.parametrize(
    "posted",
    ["", "news", "ftp://example.com/", "javascript:alert(1)", "http://localhost/", "http://",
     "https://example.com/" + "a" * 3000, "http://example.com/\ud800"],
)  # fmt: skip
def test_what_is_no_web_address_is_refused(posted: str) -> None:
    with pytest.raises(BadInput, match=r"^url: "):
        urls.canonical(posted)


@given(
    st.lists(st.sampled_from([*"abÄ/?#&=%.:@ ~", "%7e", "%2F", "utm_x=", "//", "..", "a=1"])).map(
        "".join
    )
)
@example("/.a/.")
def test_canonical_is_idempotent(rest: str) -> None:
    try:
        once = urls.canonical("http://Example.com/" + rest)
    except BadInput:
        return
    assert urls.canonical(once) == once
