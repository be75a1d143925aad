"""POST /v1/articles/{id}/comments and DELETE /v1/comments/{id}."""

from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson
from fastapi import APIRouter
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from services.ingest.comments import Commented, Comments
from services.ingest.domain.comments import PostedComment
from services.ingest.publish import Repeatable
from services.ingest.routes.articles import idempotency_key
from services.ingest.routes.visitors import visitor_of
from services.ingest.salts import Salts
from shared.clock import now
from shared.errors import BadInput, Unprocessable
from shared.web import body
from shared.web.auth import Authority
from shared.web.keys import Scope
from shared.web.service import DirectRoute

MAX_COMMENT_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class CommentRoutes:
    authority: Authority
    comments: Comments
    salts: Salts

    def router(self) -> APIRouter:
        router = APIRouter(tags=["comments"], route_class=DirectRoute)
        router.post(
            "/v1/articles/{id}/comments",
            summary="Post a reader's comment",
            status_code=202,
            openapi_extra=_posting(),
        )(self.post)
        router.delete("/v1/comments/{id}", summary="Remove a comment", status_code=202)(self.delete)
        return router

    async def post(self, request: Request) -> Response:
        comment, received = await _read(request)
        at = now()
        salt = await self.salts.of(at.date(), at.date())
        reader = visitor_of(request, salt)
        article = request.path_params["id"]
        repeatable = Repeatable.of(
            str(reader), request.scope["path"], idempotency_key(request), received
        )
        return _answer(await self.comments.post(article, comment, repeatable, at))

    async def delete(self, request: Request) -> Response:
        await self.authority.require(request, Scope.MODERATE)
        reason = request.query_params.get("reason")
        return _answer(await self.comments.remove(request.path_params["id"], now(), reason))


async def _read(request: Request) -> tuple[PostedComment, bytes]:
    received = await body.read(request, MAX_COMMENT_BYTES)
    try:
        said = orjson.loads(received)
    except orjson.JSONDecodeError as error:
        raise BadInput(f'the body is no JSON ({error}); send {{"name", "text"}}') from None
    try:
        return PostedComment.model_validate(said), received
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise Unprocessable(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None


def _answer(commented: Commented) -> Response:
    return Response(orjson.dumps(asdict(commented)), 202, media_type="application/json")


def _posting() -> dict[str, Any]:
    schema = PostedComment.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
