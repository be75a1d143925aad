"""Addresses: which two name the same page.

Parsed as browsers do (WHATWG: case, port, IDN, dots), then our own rules. A page's
`m.` and `/amp` copies stay what they are: only their site knows.
"""

import re
from typing import Final
from urllib.parse import urljoin

import can_ada

from shared.errors import BadInput

MAX_CHARS: Final = 2048
# Not `share rss feature si`: on some sites they choose the content.
_TRACKER: Final = re.compile(
    r"(?:(?:utm_|mc_|ns_|at_|pk_|mtm_).*|fbclid|gclid|msclkid|_ga|spm|xtor|ref_src)\Z",
    re.IGNORECASE,
)
_ESCAPE: Final = re.compile(r"%[0-9a-fA-F]{2}")
_SLASHES: Final = re.compile(r"/{2,}")


def canonical(url: str) -> str:
    """The address under which two copies of one page are the same.

    Drops trackers (`utm_*`), user and fragment, sorts the other parameters and keeps them:
    many papers tell articles apart by `?idxno=`. Idempotent. Raises BadInput unless http(s)
    with a host that has a dot.
    """
    try:
        parsed = can_ada.parse(url.strip())
    except (ValueError, TypeError):
        raise _no_address(url) from None
    if parsed.protocol not in ("http:", "https:") or "." not in parsed.host.strip("."):
        raise _no_address(url)
    path = _SLASHES.sub("/", _tidy(parsed.pathname)).rstrip("/") or "/"
    kept = sorted(
        (part for part in _tidy(parsed.search[1:]).split("&") if part and not _tracks(part)),
        key=lambda part: part.partition("=")[0],
    )
    address = f"{parsed.protocol}//{parsed.host}{path}{'?' if kept else ''}{'&'.join(kept)}"
    if len(address) > MAX_CHARS:
        raise BadInput(f"url: longer than {MAX_CHARS} characters; send a shorter one")
    # The parser overlooks some dots where slashes stand together: it resolves them once
    # the slashes are folded.
    return canonical(address) if "//" in parsed.pathname else address


def web(url: str) -> str | None:
    """`url` as a browser would write it, or None unless http(s). Signed addresses stay good."""
    try:
        parsed = can_ada.parse(url.strip())
    except (ValueError, TypeError):
        return None
    return (
        parsed.href
        if parsed.protocol in ("http:", "https:") and len(parsed.href) <= MAX_CHARS
        else None
    )


def absolute(url: str, base: str | None) -> str:
    """`url` as a link on the page `base`."""
    if not base or url.lstrip().startswith(("https://", "http://")):
        return url.strip()
    try:
        return urljoin(base, url.strip())
    except (ValueError, TypeError):
        return url.strip()


def _tracks(part: str) -> bool:
    return _TRACKER.match(part.partition("=")[0]) is not None


def _tidy(part: str) -> str:
    return _ESCAPE.sub(
        lambda escape: "~" if escape[0].upper() == "%7E" else escape[0].upper(), part
    )


def _no_address(url: str) -> BadInput:
    return BadInput(f"url: {url[:200]!r} is no http(s) address; send an absolute one")
