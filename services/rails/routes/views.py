"""GET /v1/views: how often articles were viewed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from fastapi import APIRouter
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response

from services.rails import keys
from shared.errors import Unprocessable
from shared.streams.keys import belonging, partition_of
from shared.web.auth import Authority
from shared.web.service import DirectRoute

ARTICLES_MOST: Final = 100


@dataclass(frozen=True, slots=True)
class ViewRoutes:
    authority: Authority
    redis: Redis
    stream_keys: Sequence[str]
    """The partitions of `news.views`."""

    def router(self) -> APIRouter:
        router = APIRouter(tags=["views"], route_class=DirectRoute)
        article = {
            "name": "article", "in": "query", "required": True, "schema": {"type": "string"},
            "description": f"ids, divided by commas, at most {ARTICLES_MOST}",
        }  # fmt: skip
        router.get(
            "/v1/views", summary="Views of articles", openapi_extra={"parameters": [article]}
        )(self.get)
        return router

    async def get(self, request: Request) -> Response:
        await self.authority.require_read(request)
        said = request.query_params.get("article", "")
        ids = list(dict.fromkeys(id_ for id_ in said.split(",") if id_))
        if not 0 < len(ids) <= ARTICLES_MOST:
            raise Unprocessable(
                f"article: {len(ids)} ids; send 1 to {ARTICLES_MOST}, divided by commas"
            )
        counts = {id_: {"views": int(total or 0)} for id_, total in await self._totals(ids)}
        return Response(orjson.dumps({"counts": counts}), media_type="application/json")

    async def _totals(self, ids: Sequence[str]) -> list[tuple[str, bytes | None]]:
        pipe = self.redis.pipeline(transaction=False)
        for id_ in ids:
            stream_key = self.stream_keys[partition_of(id_, len(self.stream_keys))]
            pipe.hget(belonging(stream_key, keys.TOTALS), id_)
        return list(zip(ids, await pipe.execute(), strict=True))
