"""Pages for readers, rendered here; they work without scripts and ask nobody else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from importlib.resources import files
from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.index.domain.languages import direction
from services.index.domain.slugs import slug
from services.index.lists import Lists
from services.index.routes import search
from services.index.routes.articles import published
from services.index.settings import IndexSettings
from services.index.store import Filters, SearchRequest, SearchStore, Sort
from shared.clock import now
from shared.errors import NewsrailError, NotFound, Unavailable
from shared.events import Article
from shared.web import problems
from shared.web.auth import Authority
from shared.web.service import DirectRoute, ErrorHandler

SECTIONS: Final = 8
BANDS: Final = 6
BAND: Final = 4
"""Articles in a section's band on the front page."""
FRONT: Final = 30
LATEST, POPULAR = 6, 5

_STATIC: Final = {
    name: (files("services.index").joinpath("static", name).read_bytes(), media_type)
    for name, media_type in (
        ("paper.css", "text/css"),
        ("beacon.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    )
}


@dataclass(frozen=True, slots=True)
class Band:
    section: str
    articles: Sequence[Article]


class PageRoutes:
    def __init__(
        self, authority: Authority, store: SearchStore, lists: Lists, settings: IndexSettings
    ) -> None:
        self._authority = authority
        self._store = store
        self._lists = lists
        self._headers = _headers(settings)
        self._templates = _templates(settings)

    def router(self) -> APIRouter:
        router = APIRouter(route_class=DirectRoute, include_in_schema=False)
        for path, endpoint in (
            ("/", self.front),
            ("/sections/{section:path}", self.section),
            ("/search", self.search),
            ("/articles/{id}", self.article),
            ("/articles/{id}/{slug}", self.article),
        ):
            router.add_api_route(path, endpoint, methods=["GET", "HEAD"])
        router.add_api_route("/static/{name}", _static)
        return router

    def errors(self) -> dict[int | type[Exception], ErrorHandler]:
        """Pages where a browser asked for one, else problem documents."""
        return {NewsrailError: self._failed, NotFound.status: self._unknown}

    async def front(self, request: Request) -> Response:
        await self._authority.require_read(request)
        page = await self._store.search(SearchRequest(limit=FRONT))
        articles = one_a_story([hit.article for hit in page.hits])
        lead = next((one for one in articles[:5] if one.image), articles[0] if articles else None)
        seconds = [one for one in articles if one is not lead][:6]
        shown = {one.story for one in (lead, *seconds) if one}
        sections = await self._sections()
        bands = [await self._band(section, shown) for section in sections[:BANDS]]
        return await self._page(
            request,
            "front.html",
            lead=lead,
            seconds=seconds,
            bands=[band for band in bands if band.articles],
            sections=sections,
        )

    async def section(self, request: Request) -> Response:
        await self._authority.require_read(request)
        section = request.path_params["section"]
        parameters = _known(request, "cursor")
        asked = search.read(QueryParams([*parameters, ("section", section)]))
        page = await self._store.search(asked)
        if page.total == 0:
            raise NotFound(f"there is no section {section[:100]!r}")
        return await self._page(
            request,
            "section.html",
            section=section,
            articles=[hit.article for hit in page.hits],
            next=search.next_cursor(page, asked),
        )

    async def search(self, request: Request) -> Response:
        await self._authority.require_read(request)
        parameters = QueryParams(_known(request, "q", "sort", "cursor"))
        asked = search.read(parameters)
        page = await self._store.search(asked)
        hits = [
            (hit.article, search.shown(hit, asked.query, self._store)["snippet"])
            for hit in page.hits
        ]
        return await self._page(
            request,
            "search.html",
            q=parameters.get("q", ""),
            newest=asked.sort is Sort.NEWEST,
            total=page.total,
            hits=hits,
            next=search.next_cursor(page, asked),
        )

    async def article(self, request: Request) -> Response:
        await self._authority.require_read(request)
        article = await published(self._store, request.path_params["id"])
        if request.path_params.get("slug") != slug(article.title):
            # Not for ever: a title may change, and change back.
            return RedirectResponse(path_of(article), 302)
        address = str(request.base_url).rstrip("/") + path_of(article)
        return await self._page(
            request, "article.html", section=article.section, article=article, address=address
        )

    async def _sections(self) -> list[str]:
        """The largest, in an order that does not change with every article."""
        return sorted(await self._store.sections(SECTIONS), key=str.casefold)

    async def _band(self, section: str, shown: set[str]) -> Band:
        """Stories are added to what is `shown`, so that the next band has others."""
        asked = SearchRequest(filters=Filters(sections=(section,)), limit=2 * BAND)
        page = await self._store.search(asked)
        articles = [
            one for one in one_a_story([hit.article for hit in page.hits]) if one.story not in shown
        ][:BAND]
        shown |= {one.story for one in articles}
        return Band(section, articles)

    async def _page(self, request: Request, template: str, **values: Any) -> Response:
        section = values.setdefault("section", None)
        if "sections" not in values:
            values["sections"] = await self._sections()
        latest = await self._rail("latest", section, LATEST) if section else ()
        values["latest_of"] = section if latest else None
        values["latest"] = latest or await self._rail("latest", None, LATEST)
        values["popular"] = (
            section and await self._rail("popular", section, POPULAR)
        ) or await self._rail("popular", None, POPULAR)
        return self._html(template, values)

    async def _rail(self, rail: str, section: str | None, slots: int) -> Sequence[Article]:
        """Those that are here: a list may name what was retracted a moment ago."""
        found = [
            await self._store.get(entry.article.id) for entry in self._lists.entries(rail, section)
        ]
        return [one for one in found if isinstance(one, Article)][:slots]

    def _html(self, template: str, values: Mapping[str, Any], status: int = 200) -> Response:
        html = self._templates.get_template(template).render(today=now(), **values)
        return Response(html, status, media_type="text/html", headers=self._headers)

    async def _failed(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, NewsrailError)  # noqa: S101 - how Starlette calls it
        if request.url.path.startswith("/v1/") or "text/html" not in request.headers.get(
            "accept", ""
        ):
            return problems.response(error, request.url.path)
        answer = self._html("error.html", {"error": error, "sections": ()}, error.status)
        if isinstance(error, Unavailable):
            answer.headers["Retry-After"] = str(error.retry_after_s)
        return answer

    async def _unknown(self, request: Request, _: Exception) -> Response:
        return await self._failed(request, NotFound("no such address"))


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        raise NotFound("no such file")
    content, media_type = _STATIC[name]
    headers = {"Cache-Control": "max-age=31536000, immutable"}
    return Response(content, media_type=media_type, headers=headers)


def static_path(name: str) -> str:
    """Another address for another content, so that it may be kept for ever."""
    return f"/static/{name}?v={blake2b(_STATIC[name][0], digest_size=4).hexdigest()}"


def one_a_story(articles: Sequence[Article]) -> list[Article]:
    """Of those that tell one story the first, in the same order."""
    by_story: dict[str, Article] = {}
    for article in articles:
        by_story.setdefault(article.story, article)
    return list(by_story.values())


def path_of(article: Article) -> str:
    return f"/articles/{quote(article.id, safe='')}/{quote(slug(article.title), safe='')}"


def linked_data(article: Article, address: str, site_name: str) -> dict[str, Any]:
    """schema.org's NewsArticle."""
    said = {
        "@context": "https://schema.org",
        "@type": "NewsArticle",
        "headline": article.title,
        "description": article.summary,
        "datePublished": article.published_at.isoformat(),
        "dateModified": (article.updated_at or article.published_at).isoformat(),
        "author": [{"@type": "Person", "name": name} for name in article.authors],
        "image": [article.image.url] if article.image else None,
        "inLanguage": article.language,
        "articleSection": article.section,
        "keywords": list(article.tags),
        "wordCount": article.word_count or None,
        "mainEntityOfPage": address,
        "publisher": {"@type": "Organization", "name": article.credit or site_name},
    }
    return {name: value for name, value in said.items() if value}


def _known(request: Request, *names: str) -> list[tuple[str, str]]:
    """Others may hang anything on a page's address (`utm_source`); it is passed over."""
    return [pair for pair in request.query_params.multi_items() if pair[0] in names]


def _headers(settings: IndexSettings) -> dict[str, str]:
    """Pictures may come from the feeds' own servers, by https; all else is from here."""
    connect = "'self'"
    if url := settings.ingest_url:
        connect += f" {url.scheme}://{url.host}:{url.port}"
    policy = (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' https:; "
        f"connect-src {connect}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
    }


def _templates(settings: IndexSettings) -> Environment:
    environment = Environment(
        loader=PackageLoader("services.index"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "site_name": settings.site_name,
        "views_url": f"{str(settings.ingest_url).rstrip('/')}/v1/views"
        if settings.ingest_url
        else None,
        "path_of": path_of,
        "static_path": static_path,
        "section_path": lambda section: f"/sections/{quote(section, safe='')}",
        "direction": direction,
        "linked_data": linked_data,
    }
    environment.filters |= {
        "day": lambda at: f"{_utc(at):%A, %-d %B %Y}",
        "moment": lambda at: f"{_utc(at):%-d %B %Y, %H:%M} UTC",
        "short": lambda at: f"{_utc(at):%-d %b, %H:%M}",
        "iso": lambda at: _utc(at).isoformat(timespec="seconds"),
    }
    return environment


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC)
