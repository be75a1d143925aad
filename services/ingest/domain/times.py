"""Dates as senders write them, in UTC.

Order: ISO 8601 (`fromisoformat`), an epoch of 10 or 13 digits, RFC 822 and its many
dialects, `Mon d, yyyy`, `yyyy[-/.年년]m[월月]d[일日]` with Asian half-days. What could be two days
(`03/04/2026`) is none. Without a zone: UTC.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from shared.clock import EPOCH

_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            "jan ene gen", "feb fev fév", "mar mär mrz maa", "apr abr avr", "may mai mag mei",
            "jun jui giu", "jul lug", "aug ago aoû aou", "sep set", "oct okt ott out",
            "nov", "dec dez dic déc",
        ),
        start=1,
    )
    for name in names.split()
}  # fmt: skip
# Hours. Names with two meanings (IST, CST, BST) as feeds mostly mean them.
_ZONES: Final = {
    **dict.fromkeys(("", "Z", "UT", "UTC", "GMT", "WET"), 0.0),
    "BST": 1, "WEST": 1, "CET": 1, "MEZ": 1, "CEST": 2, "MESZ": 2, "EET": 2, "SAST": 2, "EEST": 3,
    "MSK": 3, "GST": 4, "PKT": 5, "IST": 5.5, "WIB": 7, "ICT": 7, "HKT": 8, "SGT": 8, "PHT": 8,
    "AWST": 8, "KST": 9, "JST": 9, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13, "BRT": -3,
    "ART": -3, "AST": -4, "ADT": -3, "NST": -3.5, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5,
    "MST": -7, "MDT": -6, "PST": -8, "PDT": -7, "AKST": -9, "AKDT": -8, "HST": -10, "ET": -5,
    "CT": -6, "MT": -7, "PT": -8,
}  # fmt: skip
_HALF_DAYS: Final = {
    "오전": "am",
    "上午": "am",
    "午前": "am",
    "오후": "pm",
    "下午": "pm",
    "午後": "pm",
}

_DAY: Final = r"(?P<day>\d{1,2})"
_MONTH: Final = r"(?P<month>[^\W\d]{3,10})\.?"
_WEEKDAY: Final = r"(?:[^\W\d]+\.?,?\s+)?"
_CLOCK: Final = (
    r"(?:[\sT,]*(?:at|um|à)?\s*(?P<half>오전|오후|午前|午後|上午|下午)?\s*"
    r"(?P<hour>\d{1,2})[:시時点](?:\s*(?P<minute>\d{1,2}))?[분分]?"
    r"(?::(?P<second>\d{1,2})(?:[.,]\d+)?)?\s*(?P<noon>[ap]\.?m\b\.?)?)?"
    r"\s*(?P<zone>(?:GMT|UTC|UT)?\s*[+-]\d{1,2}:?(?:\d\d)?|[A-Z]{1,5})?\s*(?:\([^()]*\))?"
)
_DAY_FIRST: Final = (
    rf"{_WEEKDAY}{_DAY}(?:st|nd|rd|th)?\.?[\s-]+{_MONTH},?[\s-]+(?P<year>\d{{4}}|\d{{2}})\b"
)
_MONTH_FIRST: Final = rf"{_WEEKDAY}{_MONTH}\s+{_DAY}(?:st|nd|rd|th)?,?\s+(?P<year>\d{{4}})\b"
_YEAR_FIRST: Final = (
    r"(?P<year>\d{4})\s*[-/.年년]\s*(?P<month>\d{1,2})\s*[-/.月월]\s*(?P<day>\d{1,2})\s*[.日일]?"
    r"\s*(?:\([^()]\))?"
)
_FORMS: Final = tuple(
    re.compile(form + _CLOCK, re.IGNORECASE) for form in (_DAY_FIRST, _MONTH_FIRST, _YEAR_FIRST)
)
# C's asctime, which puts the year behind the clock.
_ASCTIME: Final = re.compile(
    r"([A-Za-z]{3} [A-Za-z]{3} +\d{1,2}) (\d\d:\d\d:\d\d)(?: ([A-Z]{1,5}))? (\d{4})"
)


def parse(text: str) -> datetime | None:
    """The moment in UTC, or None where `text` is no date or more than one."""
    text = " ".join(text.split())[:100]
    if text.isascii() and text.isdigit() and len(text) != 8:
        return _epoch(text) if len(text) in (10, 13) else None
    try:
        return _utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        pass
    text = _ASCTIME.sub(r"\1 \4 \2 \3", text)
    for form in _FORMS:
        if found := form.fullmatch(text):
            try:
                return _moment(found.groupdict())
            except (ValueError, OverflowError, KeyError):
                return None
    return None


def _epoch(digits: str) -> datetime:
    return EPOCH + timedelta(milliseconds=int(digits) * (1000 if len(digits) == 10 else 1))


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _moment(part: dict[str, str | None]) -> datetime:
    year = int(part["year"] or "")
    if year < 100:
        year += 2000 if year < 70 else 1900
    month = part["month"] or ""
    midnight = datetime(
        year,
        int(month) if month.isdecimal() else _month(month),
        int(part["day"] or ""),
        tzinfo=_zone(part["zone"] or ""),
    )
    hour, minute, second = (int(part[name] or "0") for name in ("hour", "minute", "second"))
    half = part["noon"] or _HALF_DAYS.get(part["half"] or "")
    if half and hour <= 12:
        hour = hour % 12 + (12 if half[0] in "pP" else 0)
    # 24:00 and second 60 exist: midnight's end and a leap second.
    if hour > 24 or minute > 59 or second > 60:
        raise ValueError
    return _utc(midnight + timedelta(hours=hour, minutes=minute, seconds=second))


def _month(name: str) -> int:
    name = name.lower()
    return _MONTHS["jul"] if name.startswith("juil") else _MONTHS[name[:3]]


def _zone(name: str) -> timezone:
    """The zone of `KST`, `+09:00`, `GMT+0900`; its sign is as written."""
    sign, digits = re.search(r"[+-]|\Z", name), re.sub(r"\D", "", name)
    if sign is None or not sign[0]:
        return timezone(timedelta(hours=_ZONES[name.upper()]))
    hours, minutes = (digits[:-2], digits[-2:]) if len(digits) > 2 else (digits, "0")
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-offset if sign[0] == "-" else offset)
