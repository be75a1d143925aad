"""What a reader sees."""

import json
import re
from typing import Any, cast
from urllib.parse import quote

import pytest
from lxml import html

from shared.events import RailArticle, RailChanged, RailEntry
from tests.integration.index.conftest import NOON, Site, publish


def found(page: str, path: str) -> list[Any]:
    """Elements or attributes, as the XPath says."""
    return cast("list[Any]", html.document_fromstring(page).xpath(path))


def texts(page: str, path: str) -> list[str]:
    return [" ".join(one.text_content().split()) for one in found(page, path)]


async def publish_list(site: Site, rail: str, version: int, *ids: str) -> None:
    entries = tuple(
        RailEntry(rank=rank, article=RailArticle(id=id_, title="-"), score=1.0)
        for rank, id_ in enumerate(ids, start=1)
    )
    data = RailChanged(rail=rail, version=version, computed_at=NOON, entries=entries)
    await publish(site.redis, "news.rails", data)


async def test_an_article_has_one_address_and_it_carries_the_title(site: Site) -> None:
    article = await site.publish(title="Harbour: 3 ships / 시장")
    canonical = f"/articles/{article.id}/harbour-3-ships-{quote('시장')}"
    for path in (f"/articles/{article.id}", f"/articles/{article.id}/old-title"):
        answer = await site.client.get(path)
        assert answer.status_code == 302
        assert answer.headers["location"] == canonical
    assert texts(await site.page(canonical), "//h1") == ["Harbour: 3 ships / 시장"]


async def test_the_article_page_says_what_it_is_to_machines_too(site: Site) -> None:
    article = await site.publish(
        title="The </script> affair", summary='A "quoted" start', language="en", section="World",
        body_html="<p>Safe <em>as it is</em></p>", body_text="Safe as it is",
        authors=("Mara Lind",),
        image={"url": "https://pictures.example/a.jpg", "credit": "Photo: Jon Weir", "alt": "Ships"},
    )  # fmt: skip
    page = await site.page(f"/articles/{article.id}/the-script-affair")
    assert "<p>Safe <em>as it is</em></p>" in page
    linked = json.loads(texts(page, "//script[@type='application/ld+json']")[0])
    assert linked["@type"] == "NewsArticle"
    assert linked["headline"] == article.title
    assert linked["datePublished"] == "2026-05-04T12:00:00+00:00"
    assert linked["author"] == [{"@type": "Person", "name": "Mara Lind"}]
    graph = {one.get("property"): one.get("content") for one in found(page, "//meta[@property]")}
    assert graph["og:title"] == article.title
    assert graph["og:description"] == article.summary
    assert graph["og:url"] == found(page, "//link[@rel='canonical']")[0].get("href")
    assert texts(page, "//figcaption") == ["Photo: Jon Weir"]
    assert len(found(page, "//main//h1")) == 1


@pytest.mark.parametrize(("language", "expected"), [("ar", "rtl"), ("ko", "ltr")])
async def test_an_article_is_marked_with_its_language_and_direction(
    site: Site, language: str, expected: str
) -> None:
    article = await site.publish(language=language)
    page = await site.page(f"/articles/{article.id}/harbour-opens")
    story = found(page, "//article[@class='story']")[0]
    assert (story.get("lang"), story.get("dir")) == (language, expected)


async def test_pages_carry_the_lists_as_last_published(site: Site) -> None:
    first = await site.publish(title="First of the list", section="World")
    second = await site.publish(title="Second of the list")
    gone = await site.publish(title="Retracted")
    await site.retract(gone)
    await publish_list(site, "popular", 100, second.id, gone.id, first.id)
    await publish_list(site, "popular", 99, gone.id)
    last = await site.publish(title="After the lists")
    for path in ("/", f"/articles/{last.id}/after-the-lists", "/search?q=list"):
        page = await site.page(path)
        assert texts(page, "//*[@class='rail']//h3") == ["Second of the list", "First of the list"]
        assert texts(page, "//*[@class='rail']//*[@class='label']") == ["World"]


async def test_the_front_tells_each_story_once(site: Site) -> None:
    title = f"Told twice by {site.feed}"
    for _ in range(2):
        await site.publish(title=title, story=site.feed)
    assert texts(await site.page("/"), "//main//h2 | //main//h3").count(title) == 1


async def test_a_section_is_paged_from_the_newest(site: Site) -> None:
    section = f"Local/{site.feed}"
    for number in range(21):
        await site.publish(title=f"Take {number}", section=section)
    path = f"/sections/{quote(section, safe='')}"
    page = await site.page(path)
    (more,) = found(page, "//a[@class='more']")
    older = await site.page(more.get("href"))
    assert len(texts(page, "//*[@class='river']//h2")) == 20
    assert len(texts(older, "//*[@class='river']//h2")) == 1
    await site.page("/sections/nowhere", status=404)


async def test_search_shows_what_was_typed_and_found_as_text(site: Site) -> None:
    await site.publish(title="Tags", body_text=f"{site.feed} <script>alert(1)</script>")
    page = await site.page(f'/search?q="{site.feed}" <script>&utm_source=mail')
    assert not found(page, "//script")
    assert texts(page, "//*[@class='river']//h2") == ["Tags"]
    assert found(page, "//main//input[@name='q']")[0].get("value") == (f'"{site.feed}" <script>')


async def test_a_page_asks_nobody_but_us_and_ingest(site: Site) -> None:
    article = await site.publish()
    answer = await site.client.get(f"/articles/{article.id}/harbour-opens")
    policy = answer.headers["content-security-policy"]
    assert "connect-src 'self' http://127.0.0.1:9999;" in policy
    assert "script-src 'self';" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    (beacon,) = found(answer.text, "//script[@src]")
    assert beacon.get("data-article") == article.id
    assert beacon.get("data-url") == "http://127.0.0.1:9999/v1/views"
    asked = "//@src | //link[@rel='stylesheet']/@href | //link[@rel='icon']/@href"
    for address in map(str, found(answer.text, asked)):
        assert address.startswith("/static/")
        assert (await site.client.get(address)).status_code == 200
    assert not found(answer.text, "//@style")
    assert not re.search(r"url\(|@import", (await site.client.get("/static/paper.css")).text)


async def test_skip_links_lead_somewhere(site: Site) -> None:
    page = await site.page("/")
    for link in found(page, "//a[@class='skip'] | //footer//a"):
        assert found(page, f"//*[@id='{link.get('href')[1:]}']")


async def test_browsers_get_pages_for_errors_and_programs_problems(site: Site) -> None:
    article = await site.publish()
    await site.retract(article)
    for path, status in ((f"/articles/{article.id}", 410), ("/articles/x", 404), ("/nowhere", 404)):
        assert texts(await site.page(path, status=status), "//*[@class='label']") == [str(status)]
        answer = await site.client.get(path)
        assert answer.headers["content-type"] == "application/problem+json"
    answer = await site.client.get("/v1/articles/x", headers={"Accept": "text/html"})
    assert answer.headers["content-type"] == "application/problem+json"
