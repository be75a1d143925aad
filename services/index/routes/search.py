"""GET /v1/search"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from services.index.domain import cursors
from services.index.domain.query import Query, parse
from services.index.domain.snippets import snippet, wanted
from services.index.store import Filters, Hit, SearchPage, SearchRequest, SearchStore, Sort
from shared.errors import BadInput, Unprocessable
from shared.web.auth import Authority
from shared.web.service import DirectRoute

MAX_QUERY: Final = 2_000
MAX_LIMIT: Final = 100
_DIGITS: Final = re.compile("[0-9]{1,9}")
PARAMETERS: Final = {
    "q": 'Words and "phrases", all of which must match; empty: everything',
    "section": "Only of this section; may be repeated",
    "feed": "Only of this feed; may be repeated",
    "from": "Published then or later: RFC 3339, or a date (UTC)",
    "to": "Published before then; a date counts whole",
    "sort": "relevance (where there is a q) or newest",
    "limit": f"1 to {MAX_LIMIT}; 20",
    "cursor": "`next` of the page before",
}


@dataclass(frozen=True, slots=True)
class SearchRoutes:
    authority: Authority
    store: SearchStore

    def router(self) -> APIRouter:
        router = APIRouter(tags=["search"], route_class=DirectRoute)
        router.get(
            "/v1/search", summary="Search the archive", openapi_extra=_asking()
        )(self.search)  # fmt: skip
        return router

    async def search(self, request: Request) -> Response:
        await self.authority.require_read(request)
        asked = read(request.query_params)
        page = await self.store.search(asked)
        answer = {
            "total": page.total,
            "hits": [shown(hit, asked.query, self.store) for hit in page.hits],
            "next": next_cursor(page, asked),
        }
        body = orjson.dumps(answer, option=orjson.OPT_UTC_Z)
        return Response(body, media_type="application/json")


def read(parameters: QueryParams) -> SearchRequest:
    """What a request asks for. Raises BadInput that names the parameter and the remedy."""
    unknown = [name for name in parameters if name not in PARAMETERS]
    if unknown:
        known = ", ".join(PARAMETERS)
        raise BadInput(f"{unknown[0][:40]}: no such parameter; there are {known}")
    text = parameters.get("q", "")
    if len(text) > MAX_QUERY:
        raise Unprocessable(f"q: longer than {MAX_QUERY:,} characters; send fewer words")
    query = parse(text)
    request = SearchRequest(
        query=query,
        filters=Filters(
            sections=_values(parameters, "section"),
            feeds=_values(parameters, "feed"),
            published_from=_time(parameters, "from", whole_day=False),
            published_before=_time(parameters, "to", whole_day=True),
        ),
        sort=_sort(parameters, query),
        limit=_limit(parameters),
    )
    cursor = parameters.get("cursor")
    return replace(request, after=cursors.decode(cursor, request)) if cursor else request


def next_cursor(page: SearchPage, asked: SearchRequest) -> str | None:
    return cursors.encode(page.next, asked) if page.next else None


def shown(hit: Hit, query: Query | None, store: SearchStore) -> dict[str, Any]:
    article = hit.article
    texts = (article.body_text, article.summary)
    look_for = wanted(query.parts if query else (), store.tokens)
    return {
        "id": article.id,
        "title": article.title,
        "snippet": snippet(texts, look_for, store.tokens),
        "score": hit.score,
        "story": article.story,
        "section": article.section,
        "feed": article.feed,
        "url": article.url,
        "published_at": article.published_at,
        "updated_at": article.updated_at,
        "language": article.language,
        "authors": article.authors,
        "version": article.version,
    }


def _values(parameters: QueryParams, name: str) -> tuple[str, ...]:
    return tuple(value for value in parameters.getlist(name) if value)


def _sort(parameters: QueryParams, query: Query | None) -> Sort:
    """Relevance to nothing is no order: without a query it is always the newest."""
    wanted = parameters.get("sort") or (Sort.RELEVANCE if query else Sort.NEWEST)
    if wanted not in list(Sort):
        raise Unprocessable(f"sort: {wanted[:40]!r} is none; send {' or '.join(Sort)}")
    return Sort(wanted) if query else Sort.NEWEST


def _limit(parameters: QueryParams) -> int:
    value = parameters.get("limit") or "20"
    if not _DIGITS.fullmatch(value) or not 1 <= int(value) <= MAX_LIMIT:
        raise Unprocessable(f"limit: {value[:40]!r} will not do; send 1 to {MAX_LIMIT}")
    return int(value)


def _time(parameters: QueryParams, name: str, *, whole_day: bool) -> datetime | None:
    value = parameters.get(name)
    if not value:
        return None
    try:
        day = date.fromisoformat(value)
    except ValueError:
        return _instant(name, value)
    if whole_day and day < date.max:
        day += timedelta(days=1)
    return datetime.combine(day, time.min, tzinfo=UTC)


def _instant(name: str, value: str) -> datetime:
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Unprocessable(
            f"{name}: {value[:60]!r} is no date; send 2026-05-04 or 2026-05-04T12:00:00Z "
            "(+ is %2B in an address)"
        )
    return at


def _asking() -> dict[str, Any]:
    return {
        "parameters": [
            {"name": name, "in": "query", "required": False, "description": text,
             "schema": {"type": "string"}}
            for name, text in PARAMETERS.items()
        ]
    }  # fmt: skip
