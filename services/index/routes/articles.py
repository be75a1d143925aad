"""GET /v1/articles/{id}"""

from dataclasses import dataclass

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.index.store import Removed, SearchStore
from shared.errors import Gone, NotFound
from shared.events import Article, to_json
from shared.web.auth import Authority
from shared.web.service import DirectRoute


@dataclass(frozen=True, slots=True)
class ArticleRoutes:
    authority: Authority
    store: SearchStore

    def router(self) -> APIRouter:
        router = APIRouter(tags=["articles"], route_class=DirectRoute)
        id_ = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        router.get(
            "/v1/articles/{id}",
            summary="An article, whole",
            openapi_extra={"parameters": [id_]},
        )(self.get)
        return router

    async def get(self, request: Request) -> Response:
        await self.authority.require_read(request)
        article = await published(self.store, request.path_params["id"])
        return Response(to_json(article), media_type="application/json")


async def published(store: SearchStore, id_: str) -> Article:
    """Raises NotFound, or Gone for one that was retracted."""
    match await store.get(id_):
        case None:
            raise NotFound(f"id: there is no article {id_[:64]!r}")
        case Removed():
            raise Gone("id: this article was retracted")
        case article:
            return article
