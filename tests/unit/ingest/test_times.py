from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain import times


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-03-04T10:11:12Z", "2026-03-04T10:11:12"),
        ("2026-03-04 10:11:12+09:00", "2026-03-04T01:11:12"),
        ("20260304", "2026-03-04T00:00:00"),
        ("20260304T101112Z", "2026-03-04T10:11:12"),
        ("1772619072", "2026-03-04T10:11:12"),
        ("1772619072000", "2026-03-04T10:11:12"),
        ("Wed, 04 Mar 2026 10:11:12 GMT", "2026-03-04T10:11:12"),
        ("Wed, 04 Mar 2026 10:11:12 KST", "2026-03-04T01:11:12"),
        ("Wed, 4 Mar 26 10:11 GMT+0900", "2026-03-04T01:11:00"),
        ("Mi, 04 Mär 2026 24:00:00 +0100", "2026-03-04T23:00:00"),
        ("Wed, 04 Mar 2026 23:59:60 GMT", "2026-03-05T00:00:00"),
        ("Wed Mar  4 10:11:12 2026", "2026-03-04T10:11:12"),
        ("March 4th, 2026 at 3:15pm EST", "2026-03-04T20:15:00"),
        ("2026.03.04. 오후 3:05", "2026-03-04T15:05:00"),
        ("2026년 3월 4일 오전 12:30", "2026-03-04T00:30:00"),
        ("2026年3月4日(水) 午後3時30分", "2026-03-04T15:30:00"),
    ],
)
def test_dates_are_read_as_their_senders_mean_them(written: str, meant: str) -> None:
    assert times.parse(written) == datetime.fromisoformat(meant).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    ["03/04/2026", "yesterday", "2026", "-1", "", "31 Feb 2026", "2026-02-30", "12:30",
     "Wed, 04 Mar 2026 10:11:12 XQZ", "Sun, 31 Dec 9999 23:59:59 -0900", "Wed, 04 Foo 2026"],
)  # fmt: skip
def test_what_is_no_date_or_two_is_none(written: str) -> None:
    assert times.parse(written) is None


@given(st.datetimes(timezones=st.just(UTC)))
def test_rfc_3339_comes_back(at: datetime) -> None:
    assert times.parse(at.isoformat()) == at


@given(st.text(alphabet="0123456789 :-+/.,TZapm年月日JanuaryGMT()"))
def test_no_text_is_too_odd(written: str) -> None:
    at = times.parse(written)
    assert at is None or at.tzinfo is UTC
