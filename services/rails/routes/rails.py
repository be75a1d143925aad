"""GET /v1/rails/{rail}."""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import orjson
from fastapi import APIRouter
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response

from services.rails import keys
from services.rails.domain.candidates import list_name
from services.rails.domain.rules import RULES
from shared.clock import from_ms, now
from shared.errors import NotFound, Unprocessable
from shared.events import RAILS, RailChanged
from shared.streams.keys import belonging
from shared.web.auth import Authority
from shared.web.service import DirectRoute

LIMIT_MOST: Final = 20
STALE_AFTER_S: Final = 5


@dataclass(frozen=True, slots=True)
class RailRoutes:
    authority: Authority
    redis: Redis

    def router(self) -> APIRouter:
        router = APIRouter(tags=["rails"], route_class=DirectRoute)
        router.get(
            "/v1/rails/{rail}", summary="A list as it is now", openapi_extra={"parameters": _ASKED}
        )(self.get)
        return router

    async def get(self, request: Request) -> Response:
        await self.authority.require_read(request)
        rail = request.path_params["rail"]
        if rail not in RULES:
            raise NotFound(f"there is no rail {rail[:64]!r}; there are {' and '.join(RULES)}")
        section = request.query_params.get("section") or None
        limit = _limit(request.query_params.get("limit", str(LIMIT_MOST)))
        text, beat = await self._stored(list_name(rail, section))
        listed = RailChanged.model_validate_json(text) if text else None
        tag = f'"{rail}:{quote(section or "", safe="")}:{listed.version if listed else 0}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if _is_known(tag, request.headers.get("if-none-match", "")):
            return Response(None, 304, headers)
        holds = [from_ms(int(beat or 0)), *([listed.computed_at] if listed else [])]
        computed_at = max(holds)
        answer = {
            "rail": rail,
            "section": section,
            "computed_at": computed_at,
            "stale": (now() - computed_at).total_seconds() > STALE_AFTER_S,
            "fallback": None,
            "entries": [e.model_dump() for e in listed.entries[:limit]] if listed else [],
        }
        body = orjson.dumps(answer, option=orjson.OPT_UTC_Z)
        return Response(body, headers=headers, media_type="application/json")

    async def _stored(self, name: str) -> tuple[bytes | None, bytes | None]:
        """The list, and as of when all lists hold."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.hget(belonging(RAILS.name, keys.LISTS), name)
        pipe.get(belonging(RAILS.name, keys.HEARTBEAT))
        text, beat = await pipe.execute()
        return text, beat


def _limit(said: str) -> int:
    if not (said.isascii() and said.isdecimal() and 1 <= int(said[:9]) <= LIMIT_MOST):
        raise Unprocessable(f"limit: {said[:20]!r} is not 1 to {LIMIT_MOST}")
    return int(said)


def _is_known(tag: str, header: str) -> bool:
    known = [each.strip().removeprefix("W/") for each in header.split(",")]
    return tag in known or "*" in known


_ASKED: Final[list[dict[str, Any]]] = [
    {"name": "rail", "in": "path", "required": True, "schema": {"enum": list(RULES)}},
    {
        "name": "section", "in": "query", "schema": {"type": "string"},
        "description": "one section; left out: over all",
    },
    {
        "name": "limit", "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": LIMIT_MOST},
    },
]  # fmt: skip
