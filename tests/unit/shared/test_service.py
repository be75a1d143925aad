"""What every service answers: problem documents, health, metrics, the contract."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from starlette.requests import Request
from starlette.responses import Response

from shared.errors import NewsrailError, Unavailable
from shared.events import EVENT_TYPES, STREAMS
from shared.settings import Settings
from shared.web.service import DirectRoute, create_app


def tree(kind: type[NewsrailError] = NewsrailError) -> Iterator[type[NewsrailError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


ERRORS = {kind.__name__: kind for kind in tree() if kind.__module__ == "shared.errors"}


def routes() -> APIRouter:
    router = APIRouter(route_class=DirectRoute)

    @router.get("/ours/{name}")
    async def ours(request: Request) -> Response:
        raise ERRORS[request.path_params["name"]]("version: 0 is too low; send 1 or more")

    @router.get("/outage")
    async def outage(request: Request) -> Response:
        raise RedisConnectionError("connection refused")

    @router.get("/defect")
    async def defect(request: Request) -> Response:
        raise ResponseError("WRONGTYPE of the secret key nr_1")

    return router


def parameters() -> APIRouter:
    router = APIRouter()

    @router.get("/numbers")
    async def numbers(limit: int) -> dict[str, int]:
        return {"limit": limit}

    return router


async def fine() -> None:
    return


async def broken() -> None:
    raise RedisConnectionError("connection refused")


async def stuck() -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app("tests", Settings(), routes(), parameters(), checks={"fine": fine})
    async with asking(app) as client:
        yield client


def asking(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://tests")


def problem(answer: httpx.Response) -> dict[str, Any]:
    """Its members, once it is known to be a problem document."""
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == answer.status_code
    assert document["type"]
    assert document["title"]
    assert document["detail"]
    return document


@pytest.mark.parametrize("name", ERRORS)
async def test_each_of_our_errors_is_a_problem_document(
    client: httpx.AsyncClient, name: str
) -> None:
    answer = await client.get(f"/ours/{name}")
    error = ERRORS[name]
    assert problem(answer) == {
        "type": f"urn:newsrail:problem:{error.slug}",
        "title": error.title,
        "status": error.status,
        "detail": "version: 0 is too low; send 1 or more",
        "instance": f"/ours/{name}",
    }
    assert ("retry-after" in answer.headers) == issubclass(error, Unavailable)
    assert ("www-authenticate" in answer.headers) == (error.status == 401)


def test_each_error_has_a_type_of_its_own() -> None:
    assert len({error.slug for error in ERRORS.values()}) == len(ERRORS)


async def test_an_outage_of_the_store_is_503_and_says_when_to_come_again(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/outage")
    assert problem(answer)["status"] == 503
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.logs_errors("request.failed")
async def test_a_defect_of_ours_is_a_problem_that_tells_nothing_of_it(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/defect")
    assert problem(answer)["status"] == 500
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/schemas/news.nothing.v1", 404),
        ("POST", "/healthz", 405),
        ("GET", "/numbers?limit=many", 400),
    ],
)
async def test_what_is_not_there_or_cannot_be_read_is_a_problem_too(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)
    assert problem(answer)["status"] == status
    assert ("allow" in answer.headers) == (status == 405)


async def test_a_wrong_parameter_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.get("/numbers?limit=many")
    assert problem(answer)["detail"].startswith("limit: ")


async def test_alive_and_ready_when_every_check_holds(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "alive"}
    assert (await client.get("/readyz")).json() == {"ready": True, "problems": {}}


async def test_not_ready_names_the_checks_that_fail_and_still_is_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.web.service.CHECK_PATIENCE_S", 0.01)
    checks = {"redis": broken, "engine": stuck, "fine": fine}
    async with asking(create_app("tests", Settings(), checks=checks)) as client:
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert set(answer.json()["problems"]) == {"redis", "engine"}
        assert "connection refused" in answer.json()["problems"]["redis"]
        assert (await client.get("/healthz")).status_code == 200


async def test_requests_are_counted_by_route_and_not_by_what_is_in_it(
    client: httpx.AsyncClient,
) -> None:
    await client.get("/schemas/news.article.indexed.v1")
    await client.get("/nowhere/at/all")
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'method="GET",route="/schemas/{event_type}",status="200"' in answer.text
    assert 'method="GET",route="none",status="404"' in answer.text
    assert "nowhere" not in answer.text


async def test_pages_of_other_origins_may_ask(client: httpx.AsyncClient) -> None:
    origin = {"Origin": "https://paper.example"}
    answer = await client.get("/healthz", headers=origin)
    assert answer.headers["access-control-allow-origin"] == "*"
    asked = {**origin, "Access-Control-Request-Method": "POST"}
    assert (await client.options("/healthz", headers=asked)).status_code == 200


async def test_asyncapi_names_every_stream_and_type_and_every_reference_leads_somewhere(
    client: httpx.AsyncClient,
) -> None:
    document = (await client.get("/asyncapi")).json()
    assert document["asyncapi"].startswith("3.")
    assert {"title", "version"} <= set(document["info"])
    assert set(document["channels"]) == {stream.name for stream in STREAMS}
    for name, channel in document["channels"].items():
        assert channel["address"] == name
        types = {type_ for type_, event in EVENT_TYPES.items() if event.stream.name == name}
        assert set(channel["messages"]) == types
    channels = {operation["channel"]["$ref"] for operation in document["operations"].values()}
    assert channels == {f"#/channels/{stream.name}" for stream in STREAMS}
    assert {operation["action"] for operation in document["operations"].values()} == {"receive"}
    for reference in references(document):
        assert isinstance(at(document, reference), dict), reference


async def test_asyncapi_leads_from_each_type_to_its_fields(client: httpx.AsyncClient) -> None:
    document = (await client.get("/asyncapi")).json()
    for name, event in EVENT_TYPES.items():
        message = at(document, f"#/channels/{event.stream.name}/messages/{name}")
        while "$ref" in message:
            message = at(document, message["$ref"])
        payload = at(document, message["payload"]["$ref"])
        assert set(payload["properties"]) == set(event.model.model_fields)


def references(node: Any) -> Iterator[str]:
    match node:
        case {"$ref": str(reference)}:
            yield reference
        case dict():
            for child in node.values():
                yield from references(child)
        case list():
            for child in node:
                yield from references(child)


def at(document: Any, reference: str) -> Any:
    """As a tool resolves it: from the root of the document."""
    root, *steps = reference.split("/")
    assert root == "#"
    for step in steps:
        document = document[step]
    return document


@pytest.mark.parametrize("name", EVENT_TYPES)
async def test_a_schema_is_served_under_its_stable_id(client: httpx.AsyncClient, name: str) -> None:
    schema = (await client.get(f"/schemas/{name}")).json()
    assert schema["$id"] == f"urn:newsrail:schema:{name}"
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["type"] == "object"
    for reference in references(schema):
        assert at(schema, reference)


async def test_the_documentation_is_there(client: httpx.AsyncClient) -> None:
    assert (await client.get("/docs")).status_code == 200
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert {"/healthz", "/readyz", "/asyncapi", "/schemas/{event_type}"} <= set(paths)
