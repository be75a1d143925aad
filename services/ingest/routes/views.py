"""POST /v1/views: a beacon from a page, or many views in columns from a trusted sender."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Self

import orjson
from fastapi import APIRouter
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from starlette.requests import Request
from starlette.responses import Response

from services.ingest.domain import urls, views
from services.ingest.domain.views import View
from services.ingest.publish import Repeatable, url_hash
from services.ingest.records import Records
from services.ingest.routes.articles import idempotency_key
from services.ingest.routes.visitors import visitor_of
from services.ingest.salts import Salts
from services.ingest.settings import IngestSettings
from services.ingest.views import Beacons, record_columns
from shared.clock import now, to_ms
from shared.errors import BadInput, Unprocessable
from shared.events import Millis
from shared.streams.append import Appender
from shared.web import body
from shared.web.auth import Authority
from shared.web.keys import Scope
from shared.web.service import DirectRoute

ROUTE: Final = "/v1/views"
MAX_BEACON_BYTES: Final = 16 * 1024

Name = Annotated[str, Field(min_length=1, max_length=64)]
Time = Millis | AwareDatetime
Seconds = Annotated[int, Field(ge=0, le=86_400)]


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Beacon(Strict):
    article: Annotated[str, Field(min_length=1, max_length=2_000)]
    at: Time | None = None
    referrer: Annotated[str, Field(max_length=2_000)] | None = None
    engaged: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 0


class Columns(Strict):
    article: list[Name]
    visitor: list[Annotated[str, Field(max_length=200)] | int]
    at: list[Time]
    referrer: list[Name | None] | None = None
    engaged: list[Seconds] | None = None

    @model_validator(mode="after")
    def same_length(self) -> Self:
        for name in ("visitor", "at", "referrer", "engaged"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.article):
                raise ValueError(f"{name}: {len(column)} values for {len(self.article)} articles")
        return self


_BEACON: Final = TypeAdapter(Beacon)
_COLUMNS: Final = TypeAdapter(Columns)


@dataclass(frozen=True, slots=True)
class ViewRoutes:
    authority: Authority
    appenders: Sequence[Appender]
    beacons: Beacons
    records: Records
    salts: Salts
    settings: IngestSettings

    def router(self) -> APIRouter:
        router = APIRouter(tags=["views"], route_class=DirectRoute)
        router.post(
            ROUTE,
            summary="Post a beacon, or views in columns",
            status_code=202,
            openapi_extra=_posting(),
        )(self.post)
        return router

    async def post(self, request: Request) -> Response:
        key = await self.authority.sender(request)
        limit = self.settings.max_views_bytes if key else MAX_BEACON_BYTES
        received = await body.read(request, limit)
        posted = _parsed(received)
        if isinstance(posted, Beacon):
            return await self._beacon(request, posted)
        sender = (await self.authority.require(request, Scope.PUBLISH)).id
        return await self._columns(request, posted, sender, received)

    async def _beacon(self, request: Request, beacon: Beacon) -> Response:
        agent = request.headers.get("user-agent", "")
        if views.is_bot(agent):
            return self._dropped("bot")
        now_ms = to_ms(now())
        at_ms = views.arrival_time(_ms(beacon.at), now_ms)
        if views.is_late(at_ms, now_ms):
            self.beacons.drop("late")
            raise Unprocessable("at: over 10 minutes ago; send a beacon when the page is read")
        article = await self._named(beacon.article)
        if article is None:
            return self._dropped("unknown-address")
        referrer = await self._named(beacon.referrer) if beacon.referrer else None
        day = views.day_of(at_ms)
        salt = await self.salts.of(day, now().date())
        visitor = visitor_of(request, salt)
        await self.beacons.record(View(article, visitor, at_ms, referrer, int(beacon.engaged)))
        # No page reads the answer to a beacon, and without a body it is one packet.
        return Response(status_code=202)

    def _dropped(self, reason: views.Drop) -> Response:
        self.beacons.drop(reason)
        return _answer(0, {reason: 1})

    async def _named(self, name: str) -> str | None:
        """The id of the article that a page names, by id or by address."""
        if "://" not in name:
            return name if len(name) <= 64 else None
        try:
            return await self.records.article_at(url_hash(urls.canonical(name)))
        except BadInput:
            return None

    async def _columns(
        self, request: Request, columns: Columns, sender: str, received: bytes
    ) -> Response:
        at = now()
        now_ms = to_ms(at)
        times = [views.arrival_time(_ms(time), now_ms) for time in columns.at]
        days = [views.day_of(time) for time in times]
        salts = {day: await self.salts.of(day, at.date()) for day in set(days)}
        rows = zip(
            columns.article,
            columns.visitor,
            times,
            days,
            columns.referrer or [None] * len(times),
            columns.engaged or [0] * len(times),
            strict=True,
        )
        on_time: list[View] = []
        late: list[View] = []
        for article, who, time, day, referrer, engaged in rows:
            visitor = views.visitor(salts[day], sender, str(who))
            column = late if views.is_late(time, now_ms) else on_time
            column.append(View(article, visitor, time, referrer, engaged))
        repeatable = Repeatable.of(sender, ROUTE, idempotency_key(request), received)
        counted = await record_columns(self.appenders, on_time, late, repeatable, at)
        return _answer(counted.counted, {}, late=counted.late)


def _parsed(received: bytes) -> Beacon | Columns:
    try:
        said = orjson.loads(received)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"the body is no JSON ({error}); send a beacon or columns") from None
    if not isinstance(said, dict):
        raise BadInput("the body is no JSON object; send a beacon or columns")
    adapter: TypeAdapter[Beacon] | TypeAdapter[Columns] = (
        _COLUMNS if isinstance(said.get("article"), list) else _BEACON
    )
    try:
        return adapter.validate_python(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"] if part not in _UNION_ARMS)
        raise Unprocessable(f"{place or 'columns'}: {first['msg']}") from None


_UNION_ARMS: Final = {"constrained-int", "datetime", "constrained-str", "str", "int"}


def _ms(time: int | AwareDatetime | None) -> int | None:
    return time if time is None or isinstance(time, int) else to_ms(time)


def _answer(counted: int, dropped: dict[str, int], late: int = 0) -> Response:
    said = {"counted": counted, "late": late, "dropped": dropped}
    return Response(orjson.dumps(said), 202, media_type="application/json")


def _posting() -> dict[str, Any]:
    schemas = [_BEACON.json_schema(), _COLUMNS.json_schema()]
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"oneOf": schemas}}},
        }
    }
