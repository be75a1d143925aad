"""POST /v1/articles and DELETE /v1/articles/{id}."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from structlog import get_logger

from services.ingest.domain import normalise, readers
from services.ingest.domain.items import Refusal, original
from services.ingest.domain.normalise import Normalised
from services.ingest.publish import Publisher, Repeatable, Result, Source
from services.ingest.records import Records
from services.ingest.settings import IngestSettings
from shared.clock import now
from shared.errors import BadInput, Forbidden, NotFound, Unprocessable
from shared.web import body, problems
from shared.web.auth import Authority
from shared.web.keys import ANY_FEED, Key, Scope
from shared.web.service import DirectRoute

log = get_logger()

ROUTE: Final = "/v1/articles"
DELETE: Final = f"DELETE {ROUTE}"
LARGE: Final = 64 * 1024
"""A body from here on is read in a thread, so that others do not wait for it."""
FEED_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MAX_IDEMPOTENCY_KEY: Final = 255


@dataclass(frozen=True, slots=True)
class ArticleRoutes:
    authority: Authority
    publisher: Publisher
    records: Records
    settings: IngestSettings

    def router(self) -> APIRouter:
        router = APIRouter(tags=["articles"], route_class=DirectRoute)
        router.post(
            ROUTE,
            summary="Post one article, an array, NDJSON or a document",
            status_code=202,
            openapi_extra=_posting(),
        )(self.post)
        router.delete(ROUTE + "/{id}", summary="Retract an article", status_code=202)(self.delete)
        return router

    async def post(self, request: Request) -> Response:
        key = await self.authority.require(request, Scope.PUBLISH)
        source = Source(key.id, feed_of(request, key))
        at = now()
        received = b""
        try:
            received = await body.read(request, self.settings.max_articles_bytes)
            things = await _things(request, received, source.feed)
        except BadInput as error:
            await self._reject(source, [(None, error.slug, error.detail, original(received))])
            raise
        route = f"{ROUTE}?feed={source.feed}"
        idempotency = idempotency_key(request)
        results = await self.publisher.articles(
            things,
            at,
            repeatable=Repeatable.of(key.id, route, idempotency, received) if idempotency else None,
            dry_run=request.query_params.get("dry_run") == "1",
        )
        await self._reject(
            source,
            [
                (place, thing.slug, thing.detail, thing.original)
                for place, thing in enumerate(things)
                if isinstance(thing, Refusal)
            ],
        )
        refused = sum(result.status == 422 for result in results)
        log.info("articles.posted", feed=source.feed, results=len(results), refused=refused)
        return answer(results, request.scope["path"])

    async def delete(self, request: Request) -> Response:
        key = await self.authority.require(request, Scope.PUBLISH, Scope.OPERATE)
        id_ = request.path_params["id"]
        record = await self.records.article(id_)
        if record is None:
            raise NotFound(f"id: there is no article {id_[:64]!r}")
        if not key.may_post_for(record.feed):
            raise Forbidden(f"id: this article is of the feed {record.feed}, not of this key's")
        idempotency = idempotency_key(request)
        result = await self.publisher.retract(
            id_,
            now(),
            request.query_params.get("reason"),
            Repeatable.of(key.id, DELETE, idempotency, id_.encode()) if idempotency else None,
        )
        log.info("article.retracted", feed=record.feed, version=result.version)
        return answer([result], request.scope["path"])

    async def _reject(
        self, source: Source, refused: list[tuple[int | None, str, str, str]]
    ) -> None:
        await self.publisher.reject(source, ROUTE, refused, now(), self.settings.rejected_kept)


def feed_of(request: Request, key: Key) -> str:
    """The feed posted for: `?feed=`, else the only one that the key may post for."""
    feed = request.query_params.get("feed")
    if feed is None:
        if len(key.feeds) == 1 and key.feeds[0] != ANY_FEED:
            return key.feeds[0]
        raise BadInput("feed: this key may post for several feeds; name one with ?feed=NAME")
    if not FEED_NAME.fullmatch(feed):
        raise BadInput(f"feed: {feed[:100]!r} is no name; use up to 100 letters, digits and . _ -")
    if not key.may_post_for(feed):
        raise Forbidden(f"feed: this key may not post for {feed}; ask an operator for one that may")
    return feed


def idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= MAX_IDEMPOTENCY_KEY:
        raise BadInput(f"Idempotency-Key: send 1 to {MAX_IDEMPOTENCY_KEY} characters")
    return key


def answer(results: list[Result], path: str) -> Response:
    """202 all, 207 some, 422 none; always with the results."""
    shown = [_shown(result) for result in results]
    refused = sum(result.status == 422 for result in results)
    if results and refused == len(results):
        detail = (
            shown[0]["problem"]["detail"]
            if len(results) == 1
            else (f"none of the {refused} items could be taken; see results")
        )
        return problems.response(Unprocessable(detail), path, results=shown)
    return Response(
        orjson.dumps({"results": shown}),
        207 if refused else 202,
        media_type="application/json",
    )


def _shown(result: Result) -> dict[str, Any]:
    problem = result.problem and {
        "type": f"urn:newsrail:problem:{result.problem['slug']}",
        "title": "This item cannot be taken",
        "status": result.status,
        "detail": result.problem["detail"],
    }
    return {
        "status": result.status,
        "id": result.id,
        "version": result.version,
        "outcome": result.outcome,
        "event": result.event,
        "warnings": result.warnings,
        "problem": problem,
    }


async def _things(request: Request, received: bytes, feed: str) -> list[Normalised | Refusal]:
    content_type = request.headers.get("content-type")
    url = request.query_params.get("url")
    if len(received) < LARGE:
        return _read(received, content_type, url, feed)
    return await asyncio.to_thread(_read, received, content_type, url, feed)


def _read(
    received: bytes, content_type: str | None, url: str | None, feed: str
) -> list[Normalised | Refusal]:
    at = now()
    return [
        item if isinstance(item, Refusal) else normalise.article(item, feed=feed, now=at)
        for item in readers.read(received, content_type, url=url)
    ]


def _posting() -> dict[str, Any]:
    kinds = ("application/json", "application/x-ndjson", "application/rss+xml",
             "application/atom+xml")  # fmt: skip
    return {
        "parameters": [
            {"name": name, "in": "query", "required": False, "description": text,
             "schema": {"type": "string"}}
            for name, text in (
                ("feed", "The feed posted for, among those the key may post for"),
                ("url", "The address of the document"),
                ("dry_run", "1: only answer what would become of it"),
            )
        ],
        "requestBody": {"required": True, "content": {kind: {} for kind in kinds}},
    }  # fmt: skip
