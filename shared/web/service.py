"""What every service's HTTP side has: problems, CORS, metrics, health, the contract."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import metrics, schemas
from shared.errors import NotFound
from shared.events import EVENT_TYPES
from shared.settings import Settings
from shared.web import problems

Check = Callable[[], Awaitable[object]]
"""Raises when the service cannot do its work."""

Endpoint = Callable[[Request], Awaitable[Response]]
ErrorHandler = Callable[[Request, Exception], Awaitable[Response]]

CHECK_PATIENCE_S = 1.0


class DirectRoute(APIRoute):
    """A route whose endpoint takes the request and gives the response itself.

    It is documented like any other, without FastAPI's machinery for parameters, which
    costs more than the rest of a small request.
    """

    def get_route_handler(self) -> Endpoint:  # type: ignore[override]  # FastAPI says Coroutine.
        endpoint: Endpoint = self.endpoint
        return endpoint


def create_app(
    name: str,
    settings: Settings,
    *routers: APIRouter,
    checks: Mapping[str, Check],
    direct: Mapping[tuple[str, str], Endpoint] | None = None,
    errors: Mapping[int | type[Exception], ErrorHandler] | None = None,
) -> ASGIApp:
    """The app of service `name`. `checks`: what `/readyz` asks, by name. `direct`: the
    endpoints of the busiest routes, by method and path. `errors`: who answers an error,
    by class or status, where that is not to be a problem document."""
    app = FastAPI(
        title=f"newsrail {name}", version=version("newsrail"), docs_url="/docs", redoc_url=None
    )
    for router in routers:
        app.include_router(router)
    app.include_router(_common(checks))
    problems.install(app)
    for kind, handler in (errors or {}).items():
        app.add_exception_handler(kind, handler)
    app.add_middleware(Measured)
    return CORSMiddleware(
        Direct(app, direct or {}),
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Content-Type", "Idempotency-Key"],
        expose_headers=["ETag", "Retry-After"],
    )


def _common(checks: Mapping[str, Check]) -> APIRouter:
    router = APIRouter(tags=["service"])

    @router.get("/healthz", summary="Whether the process is alive")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz", summary="Whether it can do its work")
    async def readyz() -> Response:
        problems_found = {
            name: problem for name, check in checks.items() if (problem := await _problem(check))
        }
        status = 503 if problems_found else 200
        return JSONResponse({"ready": not problems_found, "problems": problems_found}, status)

    @router.get("/metrics", include_in_schema=False)
    async def get_metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/asyncapi", summary="The streams and their events, as AsyncAPI 3")
    async def asyncapi() -> dict[str, Any]:
        return schemas.asyncapi(version("newsrail"))

    @router.get("/schemas/{event_type}", summary="The JSON Schema of an event's data")
    async def schema(event_type: str) -> dict[str, Any]:
        if event_type not in EVENT_TYPES:
            raise NotFound(f"no such event type; there are {', '.join(EVENT_TYPES)}")
        return schemas.json_schema(EVENT_TYPES[event_type])

    return router


async def _problem(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_PATIENCE_S):
            await check()
    except Exception as error:  # noqa: BLE001 - whatever it is, the answer is "not ready"
        return f"{type(error).__name__}: {error}"[:200]
    return None


class Direct:
    """Answers a service's busiest routes before the framework does: its middlewares and
    route matching cost more than a beacon. The same endpoints stay registered in the app,
    which documents them.
    """

    def __init__(self, app: ASGIApp, endpoints: Mapping[tuple[str, str], Endpoint]) -> None:
        self._app = app
        self._endpoints = endpoints
        """By method and path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = (
            self._endpoints.get((scope["method"], scope["path"]))
            if scope["type"] == "http"
            else None
        )
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request = Request(scope, receive)
        try:
            response = await endpoint(request)
        except Exception as error:  # noqa: BLE001 - the outermost place; it is logged there
            response = problems.answer_to(error, scope["path"])
        await response(scope, receive, send)
        _count(scope["method"], scope["path"], response.status_code, began)


def _count(method: str, route: str, status: int, began: float) -> None:
    requests, seconds = _meters(method, route, status)
    requests.inc()
    seconds.observe(time.perf_counter() - began)


@lru_cache(maxsize=1000)
def _meters(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Looking labels up takes longer than counting."""
    return metrics.REQUESTS.labels(method, route, status), metrics.REQUEST_SECONDS.labels(route)


class Measured:
    """Counts requests by route template, so that ids do not become labels."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        try:
            await self._app(scope, receive, watched)
        finally:
            _count(scope["method"], getattr(scope.get("route"), "path", "none"), status, began)
