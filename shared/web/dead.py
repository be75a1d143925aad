"""`/v1/dead`: the dead letters of a service's groups. Each service has these routes."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Self, TypeVar

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response

from shared.errors import Conflict, NewsrailError, NotFound, Unavailable, Unprocessable
from shared.streams import dead
from shared.streams.dead import Letter
from shared.streams.entries import FIRST
from shared.web import body, problems
from shared.web.auth import Authority
from shared.web.keys import Scope
from shared.web.service import DirectRoute

ROUTE: Final = "/v1/dead"
MAX_BODY_BYTES: Final = 64 * 1024
MOST_AT_ONCE: Final = 1_000
ID: Final = "^[0-9]{1,19}-[0-9]{1,19}$"

Redrive = Callable[[str], Awaitable[None]]
"""Applies the letter of that id and removes it. Raises a NewsrailError that says why not."""

Place = tuple[str, str]
"""Stream key and group."""

LetterId = Annotated[str, Field(pattern=ID)]
M = TypeVar("M", bound=BaseModel)


class Asked(BaseModel):
    """What a list is to show, as parameters of the address."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    stream: str | None = None
    group: str | None = None
    after: LetterId = FIRST
    """The `next` of the page before."""
    limit: Annotated[int, Field(ge=1, le=MOST_AT_ONCE)] = 20
    """Letters of each group."""


class Wanted(BaseModel):
    """Which letters to redrive."""

    model_config = ConfigDict(extra="forbid")

    ids: tuple[LetterId, ...] = Field(default=(), max_length=MOST_AT_ONCE)
    all: bool = False

    @model_validator(mode="after")
    def is_one_of_both(self) -> Self:
        if bool(self.ids) == self.all:
            raise ValueError('send {"ids": [...]} or {"all": true}')
        return self


@dataclass(frozen=True, slots=True)
class DeadRoutes:
    """`groups`: those of the service. None in place of a redrive: the group keeps its place
    by offset, so that a letter applied later would count at the wrong one."""

    authority: Authority
    redis: Redis
    groups: Mapping[Place, Redrive | None]

    def router(self) -> APIRouter:
        router = APIRouter(tags=["dead letters"], route_class=DirectRoute)
        one = f"{ROUTE}/{{stream}}/{{group}}/{{id}}"
        router.get(ROUTE, summary="The service's groups and their dead letters",
                   openapi_extra={"parameters": _asked()})(self.list_all)  # fmt: skip
        router.get(one, summary="A dead letter with its original fields")(self.show)
        router.delete(one, summary="Drop a dead letter for good", status_code=204)(self.drop)
        router.post(
            f"{ROUTE}/{{stream}}/{{group}}/redrive",
            summary="Give dead letters to their group once more",
            openapi_extra=_wanting(),
        )(self.redrive)
        return router

    async def list_all(self, request: Request) -> Response:
        await self.authority.require(request, Scope.OPERATE)
        asked = _valid(lambda: Asked.model_validate(dict(request.query_params)))
        groups = [
            await self._listed(stream, group, asked)
            for stream, group in self.groups
            if asked.stream in {None, stream} and asked.group in {None, group}
        ]
        return _json({"groups": groups})

    async def _listed(self, stream: str, group: str, asked: Asked) -> dict[str, Any]:
        oldest = await dead.letters(self.redis, stream, group, FIRST, 1)
        page = await dead.letters(self.redis, stream, group, asked.after, asked.limit)
        return {
            "stream": stream,
            "group": group,
            "count": await dead.count(self.redis, stream, group),
            "oldest": oldest[0].at if oldest else None,
            "letters": [_summary(letter) for letter in page],
            "next": page[-1].id if len(page) == asked.limit else None,
        }

    async def show(self, request: Request) -> Response:
        stream, group = await self._place(request)
        letter = await dead.find(self.redis, stream, group, _id(request))
        if letter is None:
            raise _missing(request)
        fields = {_text(name): _text(value) for name, value in letter.fields.items()}
        return _json({**_summary(letter), "stream": stream, "group": group, "fields": fields})

    async def drop(self, request: Request) -> Response:
        stream, group = await self._place(request)
        if not await dead.drop(self.redis, stream, group, _id(request)):
            raise _missing(request)
        return Response(status_code=204)

    async def redrive(self, request: Request) -> Response:
        stream, group = await self._place(request)
        redrive = self.groups[stream, group]
        if redrive is None:
            raise Conflict(
                f"{stream} is counted by offset and no entry of it can be applied later; after an "
                f"upgrade that reads these, `newsrail rebuild {group}` counts them in their place"
            )
        received = await body.read(request, MAX_BODY_BYTES)
        wanted = _valid(lambda: Wanted.model_validate_json(received))
        ids = wanted.ids or await self._all(stream, group)
        results = [await _redriven(redrive, id_) for id_ in ids]
        failed = any(result["problem"] for result in results)
        return _json({"results": results}, 207 if failed else 200)

    async def _all(self, stream: str, group: str) -> list[str]:
        """Those there are now: others may come meanwhile."""
        ids = [FIRST]
        while page := await dead.letters(self.redis, stream, group, ids[-1], MOST_AT_ONCE):
            ids += [letter.id for letter in page]
        return ids[1:]

    async def _place(self, request: Request) -> Place:
        """The group that the path names, once the sender may operate."""
        await self.authority.require(request, Scope.OPERATE)
        place = request.path_params["stream"], request.path_params["group"]
        if place not in self.groups:
            there = ", ".join(f"{stream}/{group}" for stream, group in self.groups) or "none"
            raise NotFound(f"this service has no such group; there are: {there}")
        return place


async def _redriven(redrive: Redrive, letter_id: str) -> dict[str, Any]:
    try:
        await redrive(letter_id)
    except Unavailable:
        # Nor would the next ones be applied now; those before are, and have gone.
        raise
    except NewsrailError as error:
        outcome = "missing" if isinstance(error, NotFound) else "failed"
        document = problems.document(error)
        return {"id": letter_id, "status": error.status, "outcome": outcome, "problem": document}
    return {"id": letter_id, "status": 200, "outcome": "redriven", "problem": None}


def _valid(read: Callable[[], M]) -> M:
    try:
        return read()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise Unprocessable(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None


def _summary(letter: Letter) -> dict[str, Any]:
    said = {name: letter.fields.get(name.encode()) for name in ("type", "subject")}
    return {
        "id": letter.id,
        "at": letter.at,
        "entry": letter.entry,
        "reason": letter.reason,
        "attempts": letter.attempts,
        **{name: None if value is None else _text(value) for name, value in said.items()},
    }


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


def _id(request: Request) -> str:
    id_: str = request.path_params["id"]
    if not re.match(ID, id_):
        raise _missing(request)
    return id_


def _missing(request: Request) -> NotFound:
    return NotFound(
        f"there is no letter {request.path_params['id'][:64]!r}; it was redriven or dropped, or "
        f"never was (GET {ROUTE} lists those there are)"
    )


def _json(answer: dict[str, Any], status: int = 200) -> Response:
    content = orjson.dumps(answer, option=orjson.OPT_UTC_Z)
    return Response(content, status, media_type="application/json")


def _wanting() -> dict[str, Any]:
    schema = Wanted.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _asked() -> list[dict[str, Any]]:
    schemas = Asked.model_json_schema()["properties"]
    return [{"name": name, "in": "query", "schema": schema} for name, schema in schemas.items()]
