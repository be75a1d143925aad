"""What readers see of a text that was found."""

import html
import re
from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from services.index.domain.snippets import ELLIPSIS, LENGTH, snippet, wanted


def tokens(text: str) -> Sequence[str]:
    return text.lower().split()


def shown(text: str, *parts: str) -> str:
    return snippet([text], wanted(parts, tokens), tokens)


def plain(marked: str) -> str:
    return html.unescape(re.sub("</?mark>", "", marked)).removeprefix(ELLIPSIS).removesuffix(
        ELLIPSIS
    )  # fmt: skip


HOSTILE = st.text(alphabet=st.sampled_from("ab <>&\"';é\u0301경제東京👍\u200d\n…")) | st.text()


@given(text=HOSTILE.map(lambda text: text * 9), parts=st.lists(HOSTILE, max_size=4))
@example(text="<script>alert(1)</script> &amp; " * 20, parts=["script", "amp"])
def test_without_its_marks_a_snippet_is_a_piece_of_the_text(text: str, parts: list[str]) -> None:
    marked = shown(text, *parts)
    assert plain(marked) in text
    assert len(plain(marked)) <= LENGTH


@given(text=HOSTILE, parts=st.lists(HOSTILE, max_size=4))
def test_the_only_tags_are_marks(text: str, parts: list[str]) -> None:
    assert not re.search("[<>\"']", re.sub("</?mark>", "", shown(text, *parts)))


def test_matching_words_are_marked_whole() -> None:
    assert shown("The Harbour opens", "harbour") == "The <mark>Harbour</mark> opens"


def test_a_run_without_spaces_is_marked_where_it_stands() -> None:
    assert shown("한국경제가 산다", "경제") == "한국<mark>경제</mark>가 산다"
    assert shown("東京都の新しい市場", "市場") == "東京都の新しい<mark>市場</mark>"


def test_the_window_holds_most_of_the_words_and_is_cut_between_words() -> None:
    text = "harbour " + "filler words go here " * 30 + "the harbour bridge opens" + " more" * 60
    marked = shown(text, "harbour", "bridge")
    assert "<mark>harbour</mark> <mark>bridge</mark>" in marked
    assert marked.startswith(ELLIPSIS)
    assert marked.endswith(ELLIPSIS)
    assert set(plain(marked).split()) <= set(text.split())


def test_the_first_text_that_matches_is_shown() -> None:
    look_for = wanted(["bridge"], tokens)
    assert snippet(["Rain", None, "A bridge"], look_for, tokens) == "A <mark>bridge</mark>"
    assert snippet([None, "Rain", "Sun"], look_for, tokens) == "Rain"
    assert snippet([None, ""], look_for, tokens) == ""
