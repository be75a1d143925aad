"""RFC 9457 problem documents: the one place that makes them."""

from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from structlog import get_logger

from shared.errors import BadInput, NewsrailError, NotFound, Unauthorized, Unavailable
from shared.streams.clients import is_outage

log = get_logger()

MEDIA_TYPE = "application/problem+json"


def document(error: NewsrailError, instance: str | None = None, **more: Any) -> dict[str, Any]:
    """`more`: extension members, such as the results of a request that failed in part."""
    return {
        "type": f"urn:newsrail:problem:{error.slug}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        **({"instance": instance} if instance else {}),
        **more,
    }


def response(error: NewsrailError, instance: str | None = None, **more: Any) -> Response:
    headers: dict[str, str] = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        orjson.dumps(document(error, instance, **more)),
        error.status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


def answer_to(error: Exception, instance: str) -> Response:
    """The document for any error. A defect of ours is logged, and not explained."""
    if isinstance(error, NewsrailError):
        return response(error, instance)
    if isinstance(error, RedisError) and is_outage(error):
        return response(Unavailable("the store does not answer; try again"), instance)
    if isinstance(error, ClientDisconnect):
        return response(BadInput("the connection ended before the body did"), instance)
    log.error("request.failed", route=instance, exc_info=error)
    return response(NewsrailError("it is logged; try again, and tell the operator"), instance)


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem document."""
    for kind in (NewsrailError, RedisError, ClientDisconnect, Exception):
        app.add_exception_handler(kind, _any)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _parameters)


def _any(request: Request, error: Exception) -> Response:
    return answer_to(error, request.url.path)


def _http(request: Request, error: Exception) -> Response:
    """Starlette's own: an unknown route, a method that is not there."""
    assert isinstance(error, HTTPException)  # noqa: S101 - how Starlette calls it
    if error.status_code == NotFound.status:
        return response(NotFound("no such address; see /docs"), request.url.path)
    body = {
        "type": "about:blank",
        "title": error.detail,
        "status": error.status_code,
        "detail": f"{request.method} is not served here; see /docs",
        "instance": request.url.path,
    }
    return Response(
        orjson.dumps(body), error.status_code, headers=error.headers, media_type=MEDIA_TYPE
    )


def _parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - how Starlette calls it
    detail = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
    return response(BadInput(detail), request.url.path)
